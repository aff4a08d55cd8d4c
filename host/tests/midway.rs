//! A part that fails in the middle of a run costs that step and nothing else, whatever it does: the message says which part, where and
//! on what, the last checkpoint is whole and can be gone on from, and the inputs can be kept and the failure repeated.
#![allow(missing_docs)]

mod support;

use support::hostile;
use support::lab::{DIGITS, DISTIL, Lab, Ran, plugin};

/// In the second epoch of the stage.
const STEP: u64 = 50;

fn lab() -> Lab {
    Lab::with([plugin("stillhouse-basics"), hostile("parts")])
}

fn body(how: &str, step: u64) -> String {
    let bad = format!("terms.bad = {{ use = \"midway\", how = \"{how}\", step = {step}, weight = 0.01 }}");
    format!("{DIGITS}{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\n{bad}\n")
}

/// The run fails after one epoch of the stage, which is saved.
fn fails(how: &str, more: &[&str]) -> (Lab, Ran) {
    let lab = lab();
    let ran = lab.run_with("a", &body(how, STEP), more);
    assert_ne!(ran.code, Some(0), "{how}");
    assert_eq!(lab.epochs("a", "distil").len(), 1, "{how}: {}", ran.err);
    (lab, ran)
}

/// Going on without the failure ends where a run that never failed ends, to the bit.
fn goes_on(lab: &Lab) {
    lab.run_with("a", &body("error", 1_000_000), &["--resume", "--accept-changes"]).table();
    lab.run("never", &body("error", 1_000_000)).table();
    let (resumed, never) = (lab.weights("a", "distil", "last"), lab.weights("never", "distil", "last"));
    assert_eq!(resumed.differing(&never), Vec::<String>::new());
}

/// The text with the line and column of the plugin's source taken out.
fn without_place(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("midway.rs:") {
        let end = at + "midway.rs".len();
        out.push_str(&rest[..end]);
        rest = rest[end..].trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        out.push(':');
    }
    out + rest
}

const SOURCE: &str = "tests/plugins/hostile/parts/src/midway.rs";

#[test]
fn failure_in_a_step_says_part_place_and_inputs() {
    let at = format!(
        "  in the loss `hostile-parts::midway`, at step {STEP} of stage `distil`\n  reading `student`: [32, 10] f32\n"
    );
    let saved = "  the last checkpoint is in runs/a/seed-0; go on with `--resume`\n";
    let mistake = "\nhint: this is a mistake of the plugin; the last checkpoint is intact\n";
    for (how, said, hint) in [
        ("error", "refuses this batch".to_owned(), ""),
        ("panic", format!("`midway` panicked at {SOURCE}: boom midway"), mistake),
        ("bomb", format!("`midway` panicked at {SOURCE}: a panic without text"), mistake),
        ("worker", format!("a piece of `parallel_for` panicked at {SOURCE}: boom in a worker"), mistake),
        ("worker_bomb", format!("a piece of `parallel_for` panicked at {SOURCE}: a panic without text"), mistake),
        ("forward", format!("fused operation `breaks`: panicked at {SOURCE}: boom on the way forward"), mistake),
        ("shape", format!("fused operation `breaks`: panicked at {SOURCE}: boom in its shape"), mistake),
    ] {
        let (lab, ran) = fails(how, &[]);
        assert_eq!(ran.code, Some(1), "{how}: {}", ran.err);
        let wanted = format!("error: `bad` (`midway`): {said}\n{at}{saved}{hint}");
        assert_eq!(without_place(&ran.err), wanted, "{how}");
        // Others end the same way.
        if how == "worker_bomb" {
            goes_on(&lab);
        }
    }
}

#[test]
fn failure_on_the_way_back_says_operation_term_and_step() {
    let (lab, ran) = fails("backward", &[]);
    let said = without_place(&ran.err);
    let wanted = format!(
        "error: `bad`: fused operation `breaks`, on the way back: panicked at {SOURCE}: boom on the way back\n"
    );
    assert!(ran.code == Some(1) && said.starts_with(&wanted), "{said}");
    let notes = format!(
        "\n  at step {STEP} of stage `distil`\n  in term `bad` (`midway`)\n  port `student`: [32, 10] f32, largest magnitude "
    );
    let end = "\n  the last checkpoint is in runs/a/seed-0; go on with `--resume`\n\n\
               hint: this is a mistake of the plugin; the last checkpoint is intact\n";
    assert!(said.contains(&notes) && said.ends_with(end), "{said}");
    goes_on(&lab);
    let (lab, ran) = fails("backward", &["--dump-inputs"]);
    let case = format!("runs/a/seed-0/inputs/bad-distil-step-{STEP}.json");
    assert!(ran.err.contains(&format!("  its inputs are in {case}; ")), "{}", ran.err);
    assert!(lab.path().join(case).exists());
}

#[test]
fn value_that_is_no_number_midway_is_an_error() {
    let (lab, ran) = fails("nan", &[]);
    let wanted = format!("error: term `bad` (`midway`) is NaN at step {STEP} of stage `distil`\n");
    assert!(ran.code == Some(1) && ran.err.starts_with(&wanted), "{}", ran.err);
    assert!(ran.err.contains("  port `student`: [32, 10] f32, largest magnitude "), "{}", ran.err);
    goes_on(&lab);
}

/// What ends the process is told by its last words.
#[cfg(target_os = "linux")]
#[test]
fn end_of_the_process_in_a_part_is_told() {
    for (how, code, what) in [
        ("exit", Some(86), "it called `exit`"),
        ("abort", None, "it aborted (SIGABRT)"),
        ("address", None, "a wrong address, or its stack is full (SIGSEGV)"),
        ("stack", None, "a wrong address, or its stack is full (SIGSEGV)"),
    ] {
        let (lab, ran) = fails(how, &[]);
        assert_eq!(ran.code, code, "{how}: {}", ran.err);
        let wanted = format!(
            "error: plugin `hostile-parts`, loss `midway` (`bad`) ended the process at step {STEP} of stage `distil`: {what}\n  the last \
             checkpoint is in runs/a/seed-0; go on with `--resume`\n"
        );
        assert!(ran.err.contains(&wanted), "{how}: {}", ran.err);
        goes_on(&lab);
    }
}

/// Likewise before any step.
#[cfg(target_os = "linux")]
#[test]
fn end_of_the_process_in_a_part_that_is_planned_is_told() {
    let lab = lab();
    for (when, who) in [("new", ""), ("bind", " (`bad`)"), ("trace", " (`bad`)")] {
        let early = format!("use = \"exits_early\", when = \"{when}\"");
        lab.manifest("a", &body("error", 7).replace("use = \"midway\", how = \"error\", step = 7", &early));
        for command in ["check", "run"] {
            let said = lab.ask(&[command, "a.toml"]);
            let wanted = format!(
                "error: plugin `hostile-parts`, loss `exits_early`{who} ended the process when the run was planned: it called `exit`\n"
            );
            assert!(
                said.code == Some(87) && said.err.ends_with(&wanted),
                "{when}, {command}: {}{}",
                said.out,
                said.err
            );
        }
    }
}

#[test]
fn inputs_of_a_failing_call_repeat_it() {
    for (how, said) in
        [("error", "refuses this batch"), ("panic", "boom midway"), ("forward", "boom on the way forward")]
    {
        let (lab, ran) = fails(how, &["--dump-inputs"]);
        let case = format!("runs/a/seed-0/inputs/bad-distil-step-{STEP}.json");
        let note = format!("  its inputs are in {case}; repeat it with `stillhouse plugin eval --case {case}`\n");
        assert!(ran.err.contains(&note), "{how}: {}", ran.err);
        let file = lab.seed_folder("a", 0).join(format!("inputs/bad-distil-step-{STEP}.json"));
        let again = lab.ask(&["plugin", "eval", "--case", file.to_str().expect("a path in UTF-8")]);
        assert_eq!((again.code, again.out.as_str()), (Some(2), ""), "{how}");
        assert!(again.err.starts_with("error: bad (`midway`): ") && again.err.contains(said), "{how}: {}", again.err);
        let files = std::fs::read_dir(file.parent().expect("a folder")).expect("a folder").count();
        assert_eq!(files, 2, "the case, and nothing of calls that worked");
    }
}

#[test]
fn inputs_of_what_is_no_number_show_it_again() {
    let lab = lab();
    let ran = lab.run("a", &body("nan", STEP).replace("[data]", "[run]\ndump_inputs = true\n\n[data]"));
    assert!(ran.err.contains(&format!("bad-distil-step-{STEP}.json")), "{}", ran.err);
    let file = lab.seed_folder("a", 0).join(format!("inputs/bad-distil-step-{STEP}.json"));
    let again = lab.ask(&["plugin", "eval", "--case", file.to_str().expect("a path in UTF-8")]);
    assert!(again.code == Some(0) && again.out.contains("NaN"), "{}{}", again.out, again.err);
    assert!(again.out.contains("the run said: `bad` is NaN\n"), "{}", again.out);
}

#[cfg(target_os = "linux")]
#[test]
fn inputs_are_there_when_the_process_ended() {
    let (lab, ran) = fails("exit", &["--dump-inputs"]);
    assert_eq!(ran.code, Some(86), "{}", ran.err);
    let file = lab.seed_folder("a", 0).join("inputs/last-call.json");
    let again = lab.ask(&["plugin", "eval", "--case", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(again.code, Some(86), "{}", again.err);
}

#[test]
fn inputs_of_a_modules_failing_call_repeat_it() {
    let lab = lab();
    let layers = "layers = [{ name = \"flat\", kind = \"flatten\" }, { name = \"cell\", kind = \"relu\" }, { name = \"fc\", kind = \"linear\", out = 10 }]\nmodules.cell = \"panics_in_step\"";
    let body = body("error", 1_000_000).replace("arch = { kind = \"mlp\", hidden = [16] }", layers);
    let ran = lab.run_with("a", &body, &["--dump-inputs"]);
    assert!(
        ran.err.contains("  in the module `hostile-parts::panics_in_step`, at step 0 of stage `distil`\n"),
        "{}",
        ran.err
    );
    let file = lab.seed_folder("a", 0).join("inputs/student.cell-distil-step-0.json");
    let again = lab.ask(&["plugin", "eval", "--case", file.to_str().expect("a path in UTF-8")]);
    assert!(again.code == Some(2) && again.err.contains("boom in step"), "{}{}", again.out, again.err);
}

#[test]
fn run_that_keeps_inputs_ends_as_any_other_and_leaves_none() {
    let lab = lab();
    lab.run_with("kept", &body("error", 1_000_000), &["--dump-inputs"]).table();
    lab.run("plain", &body("error", 1_000_000)).table();
    let (kept, plain) = (lab.weights("kept", "distil", "last"), lab.weights("plain", "distil", "last"));
    assert_eq!(kept.differing(&plain), Vec::<String>::new());
    assert!(!lab.seed_folder("kept", 0).join("inputs").exists());
}
