//! Parts that misbehave in the middle of a run: the process lives, says what happened, and what was saved stays.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use support::hostile;
use support::lab::{DIGITS, DISTIL, Lab, Ran, plugin};

fn lab() -> Lab {
    let sound = ["stillhouse-basics", "stillhouse-kd"].map(plugin);
    let files: Vec<&Path> = sound.into_iter().chain([hostile("parts"), hostile("raw")]).collect();
    Lab::with(files)
}

fn body(terms: &str) -> String {
    format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\n{terms}\n")
}

fn term(name: &str) -> String {
    body(&format!("terms.bad = {{ use = \"{name}\" }}"))
}

/// The run fails with code 1 after the teacher was trained; what the teacher's stage saved is whole and can be gone on from.
fn fails(name: &str) -> (Lab, Ran) {
    let lab = lab();
    let found = lab.run("a", &term(name));
    assert!(found.code == Some(1) && found.err.contains(name), "{name}: {}", found.err);
    assert!(!lab.path().join("runs").exists(), "{name} is found before anything is trained");
    let ran = lab.run_with("a", &term(name), &["--no-preflight"]);
    assert_eq!(ran.code, Some(1), "{name}: {}", ran.err);
    assert!(ran.err.contains(name), "{name}: {}", ran.err);
    assert_eq!(lab.epochs("a", "teacher").len(), 3, "{name}");
    assert!(!lab.checkpoint("a").names().is_empty());
    (lab, ran)
}

fn goes_on(lab: &Lab) {
    let sound = body("terms.bad = { use = \"good\", weight = 0.01 }");
    lab.run_with("a", &sound, &["--resume"]).table();
    lab.run("never", &sound).table();
    let (resumed, never) = (lab.weights("a", "distil", "last"), lab.weights("never", "distil", "last"));
    assert_eq!(resumed.differing(&never), Vec::<String>::new());
}

#[test]
fn panic_in_a_step_is_an_error_with_its_line() {
    let (lab, ran) = fails("panics_in_run");
    assert!(ran.err.contains("error: `bad` (`panics_in_run`): `panics_in_run` panicked at "), "{}", ran.err);
    assert!(ran.err.contains("losses.rs:") && ran.err.contains("boom in run"), "{}", ran.err);
    assert!(ran.err.contains("hint: this is a mistake of the plugin; the last checkpoint is intact"), "{}", ran.err);
    assert!(ran.err.contains("go on with `--resume`"), "{}", ran.err);
    goes_on(&lab);
}

#[test]
fn error_in_a_step_ends_the_run_with_its_words() {
    let (lab, ran) = fails("fails_in_run");
    assert!(ran.err.contains("refuses this batch"), "{}", ran.err);
    goes_on(&lab);
}

#[test]
fn loss_that_is_not_finite_names_term_step_and_inputs() {
    let (lab, ran) = fails("not_finite");
    assert!(ran.err.contains("error: term `bad` (`not_finite`) is -inf at step 0 of stage `distil`"), "{}", ran.err);
    assert!(ran.err.contains("port `student`: [32, 10] f32, largest magnitude "), "{}", ran.err);
    // All that it reads is finite, and nothing was updated: the learning rate is not to blame.
    let hint = "hint: all that it reads is finite: `bad` (`not_finite`) has no finite value there";
    assert!(ran.err.contains(hint) && !ran.err.contains("learning rate"), "{}", ran.err);
    goes_on(&lab);
}

#[test]
fn first_tensor_that_is_not_finite_is_named() {
    let lab = lab();
    let rate = |lr: &str| body("").replace("lr = 0.05, momentum", &format!("lr = {lr}, momentum"));
    // An update that overflows: the training is to blame.
    let ran = lab.run("rate", &rate("1e30"));
    assert!(ran.err.contains("first not finite: ") && ran.err.contains("` of `student`"), "{}", ran.err);
    assert!(ran.err.contains("hint: lower the learning rate or the weight of the term"), "{}", ran.err);
    // Weights of a teacher that are damaged.
    lab.run("sound", &body("")).table();
    let path = lab.seed_folder("sound", 0).join("teacher/best.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).expect("reads");
    let bias = tensors["fc1.bias"].affine(f64::NAN, 0.0).expect("small");
    tensors.insert("fc1.bias".into(), bias);
    candle_core::safetensors::save(&tensors, lab.path().join("damaged.safetensors")).expect("is written");
    let (start, end) = (DIGITS.find("[stage.teacher]").expect("is there"), DIGITS.len());
    let text = format!("{}{}", &DIGITS[..start], &DIGITS[end..])
        .replace("hidden = [32] }", "hidden = [32] }\nweights = \"damaged.safetensors\"");
    let text = format!("{text}{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\nterms.kd = {{ use = \"kd\" }}\n");
    let ran = lab.run("damaged", &text);
    assert!(ran.err.contains("term `kd` (`kd`) is NaN at step 0 of stage `distil`"), "{}", ran.err);
    assert!(ran.err.contains("first not finite: `fc1.bias` of `teacher`"), "{}", ran.err);
    assert!(ran.err.contains("hint: the weights that `teacher` came with are damaged"), "{}", ran.err);
}

#[test]
fn panic_when_a_part_is_dropped_harms_nobody() {
    let lab = lab();
    let ran = lab.run("a", &body("terms.bad = { use = \"panics_in_drop\", weight = 0.01 }"));
    assert!(ran.accuracy("student") > 0.8, "{}", ran.err);
}

#[test]
fn panic_in_a_modules_step_is_an_error_with_its_line() {
    let lab = lab();
    let layers = "layers = [{ name = \"flat\", kind = \"flatten\" }, { name = \"cell\", kind = \"relu\" }, { name = \"fc\", kind = \"linear\", out = 10 }]\nmodules.cell = \"panics_in_step\"";
    let ran = lab.run_with(
        "a",
        &term("good").replace("arch = { kind = \"mlp\", hidden = [16] }", layers),
        &["--no-preflight"],
    );
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(
        ran.err.contains("models.student.modules.cell")
            && ran.err.contains("others.rs:")
            && ran.err.contains("boom in step"),
        "{}",
        ran.err
    );
    assert_eq!(lab.epochs("a", "teacher").len(), 3);
}

#[test]
fn loss_without_a_gradient_leaves_the_rest_to_train() {
    let lab = lab();
    assert!(lab.run("a", &term("detached")).accuracy("student") > 0.8);
    let (message, _) = lab.refusal(&format!("{DIGITS}\n{DISTIL}\nterms.bad = {{ use = \"detached\" }}\n"));
    assert_eq!(message, "no term reaches the parameter `student.fc1.weight` and 3 more, which stage `distil` trains");
}

/// Refused before any training, with code 2, by words that name the component.
fn refused(name: &str, words: &[&str]) {
    let lab = lab();
    let ran = lab.run("a", &term(name));
    assert_eq!(ran.code, Some(2), "{name}: {}", ran.err);
    for word in words.iter().chain([&name]) {
        assert!(ran.err.contains(word), "{name}: no `{word}` in {}", ran.err);
    }
    assert!(ran.err.contains("1 error in the manifest") && ran.err.contains("a.toml:"), "{name}: {}", ran.err);
    assert!(!lab.path().join("runs/a").exists(), "{name}");
}

#[test]
fn panics_before_a_step_are_refused() {
    refused("panics_in_new", &["panicked at", "endings.rs:", "boom in new"]);
    refused("panics_in_bind", &["panicked at", "endings.rs:", "boom in bind"]);
    refused("panics_in_trace", &["panicked at", "losses.rs:", "boom in trace"]);
    refused("panics_in_plan", &["panicked at", "distillers.rs:", "boom in plan"]);
    refused("panics_in_worker", &["a piece of `parallel_for` panicked"]);
    refused("panics_with_bomb", &["panicked at", "losses.rs:"]);
}

#[test]
fn results_of_another_kind_are_refused() {
    refused("not_a_scalar", &["must give a float scalar, got [32] f32"]);
    refused("wrong_dtype", &["must give a float scalar, got [] i64"]);
    refused("bad_shapes", &["operation `add` on [32, 10] f32, [3, 5, 7] f32"]);
    refused("gives_nothing", &[]);
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    refused("reads_undeclared", &["only a part that is declared dynamic may read values"]);
    refused("unknown_state", &["the part has no parameter or buffer `nobody`"]);
    refused("unbound_port", &["port `secret` is not bound"]);
    refused("unknown_group", &["there is no group `nobody` to update"]);
    refused("other_terms", &["planned the term `mean` and gave `median`"]);
    refused("unknown_op", &["has no operation named"]);
}

#[test]
fn connector_that_gives_another_shape_is_refused_by_the_loss() {
    let lab = lab();
    let message = |connector: &str| {
        lab.refusal(&body(&format!("terms.bad = {{ use = \"kd\", student = \"relu1\", connector = \"{connector}\" }}")))
            .0
    };
    assert!(message("refuses_ends").contains("cannot connect [32, 16] f32 to [32, 10] f32"));
    assert!(message("wrong_shape").contains("kd"));
}

#[test]
fn process_ended_by_a_part_leaves_the_checkpoint() {
    let lab = lab();
    let ran = lab.run_with("a", &term("exits_in_run"), &["--no-preflight"]);
    assert_eq!(ran.code, Some(86));
    goes_on(&lab);
}
