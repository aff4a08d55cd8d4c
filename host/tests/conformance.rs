//! The conformance kit, by the real binary: every plugin that ships keeps all rules, and each unruly part breaks its own.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::Path;
use support::command::{Place, Said};
use support::{hostile, plugins};

/// Settings that keep a check short: as many negatives as the usual training has would be most of the time.
const SETTINGS: [&str; 1] = [r#"crd={"negatives": 16}"#];

fn check(file: &Path, more: &[&str]) -> Said {
    let file = file.to_str().expect("a path in UTF-8");
    Place::new().run(&[&["plugin", "check", file], more].concat())
}

/// A part by `kind/name`, and its checks: name, verdict, detail.
type Part = (String, Vec<(String, String, String)>);

/// The report of each part.
fn report(said: &Said) -> Vec<Part> {
    let json: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}{}", said.out, said.err));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = |part: &Value| {
        let all = part["checks"].as_array().expect("checks");
        all.iter().map(|one| (text(&one["check"]), text(&one["verdict"]), text(&one["detail"]))).collect()
    };
    let parts = json["parts"].as_array().expect("parts");
    parts.iter().map(|part| (format!("{}/{}", text(&part["kind"]), text(&part["name"])), checks(part))).collect()
}

#[test]
fn every_shipped_plugin_passes() {
    let registry = plugins(support::made::PLUGINS);
    let (mut parts, mut fused) = (0, 0);
    for plugin in registry.plugins() {
        let own = registry.components().iter().filter(|component| component.plugin.name == plugin.name);
        let fits =
            |setting: &&str| own.clone().any(|component| setting.starts_with(&format!("{}=", component.desc.name)));
        let settings: Vec<&str> =
            SETTINGS.iter().filter(|setting| fits(setting)).flat_map(|one| ["--config", *one]).collect();
        let said = check(&plugin.path, &settings);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains(" 0 failed, "), "{}", said.out);
        let json = check(&plugin.path, &[&settings[..], &["--json"]].concat());
        for (part, checks) in report(&json) {
            let names: Vec<&str> = checks.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(names, stillhouse::conform::CHECKS, "{part}");
            // Operations of its own and settings are all that a sound part may lack.
            let lacks = |name: &str, why: &str| match name {
                "unfused" => why == "no operations of its own",
                _ => name == "variants" && why == "no setting has another value that could be guessed",
            };
            let is_sound = |(name, verdict, why): &(String, String, String)| verdict == "ok" || lacks(name, why);
            assert!(checks.iter().all(is_sound), "{part}: {checks:?}");
            fused += checks.iter().filter(|(name, verdict, _)| name == "unfused" && verdict == "ok").count();
            parts += 1;
        }
    }
    assert_eq!((parts, fused), (registry.components().len(), 3));
}

#[test]
fn unruly_part_fails_by_its_own_rule() {
    let said = check(hostile("unruly"), &["--json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let report = report(&said);
    let of = |part: &str| &report.iter().find(|(name, _)| name == part).unwrap_or_else(|| panic!("no {part}")).1;
    // All rules that are broken, one of them, and what is said of that one.
    for (part, broken, rule, wanted) in [
        ("loss/panics_on_vectors", &["shapes"][..], "shapes", "scalars, 4 samples: `panics_on_vectors`: "),
        (
            "loss/turns_over",
            &["shapes", "samples"],
            "shapes",
            "takes one number a sample and nothing else; vectors, 4 samples: `turns_over`: operation `mul` on ",
        ),
        (
            "loss/flat",
            &["gradients"],
            "gradients",
            "vectors, 4 samples: every gradient is 0, so nothing would be learnt",
        ),
        (
            "loss/other_root",
            &["variants"],
            "variants",
            "`root` = true: extremes: vectors, 4 samples, zeros, f32: the gradient of student[0] is NaN",
        ),
        ("loss/imprecise", &["values"], "values", "vectors, 4 samples: term loss differs by "),
        (
            "loss/infinite_at_zero",
            &["extremes"],
            "extremes",
            "vectors, 4 samples, zeros, f32: the gradient of student[0] is NaN",
        ),
        (
            "loss/for_the_teacher",
            &["gradients", "reach"],
            "reach",
            "the gradient of the loss goes to `teacher` alone, where the host cuts it off",
        ),
        (
            "loss/with_the_teacher",
            &["reach"],
            "reach",
            "a gradient arrives at `teacher[0]` of the teacher: `x.pair` detaches it, else `.detach()`",
        ),
        ("loss/forgets_port", &["reach"], "reach", "no gradient reaches the student's `other`"),
        ("loss/forgets_tap", &["reach"], "reach", "no gradient reaches tap 1 of the student's `student`"),
        (
            "loss/couples_samples",
            &["samples"],
            "samples",
            "vectors, 4 samples: term loss of a batch is not what its halves give: take the mean over samples that each stand alone, or \
             say `const BATCH_COUPLED: bool = true`",
        ),
        ("loss/adds_samples", &["samples"], "samples", "vectors, 4 samples: term loss is a sum over samples, "),
        ("loss/takes_anything", &["settings"], "settings", "takes `scale` = -1.5, which its schema does not allow"),
        ("loss/takes_inner", &["settings"], "settings", "takes `inner.scale` = -1.5, which its schema does not allow"),
        (
            "loss/other_default",
            &["schema"],
            "schema",
            "do not mean what no settings mean: other values on vectors, 4 samples",
        ),
        ("loss/picky", &["extremes"], "extremes", "none of 32 runs is taken"),
        ("loss/open", &["schema"], "schema", "`inner` is not closed: `#[serde(deny_unknown_fields)]`"),
        ("loss/needs_scale", &["schema", "shapes"], "schema", "missing field `scale`"),
        // The graph that was traced is another one than what runs, and so is its slope.
        ("loss/counts_calls", &["gradients", "repeat", "state"], "repeat", "a second run gives other bits"),
        ("loss/counts_threads", &["gradients", "repeat"], "repeat", "2 threads give other bits than one"),
        ("distiller/keeps_epochs", &["state"], "state", "what changes from step to step belongs in buffers"),
        ("loss/wrong_slope", &["gradients", "unfused"], "gradients", "the gradient of student[0] at 0 is "),
        ("loss/other_composite", &["unfused"], "unfused", "term loss differs from the composite form by 5.0e-1"),
        ("loss/misshapen_composite", &["unfused"], "unfused", "vectors, 4 samples: the composite form: "),
        ("loss/panicking_composite", &["unfused"], "unfused", "the composite form: `panicking_composite`: "),
        ("loss/some_composite", &["unfused"], "unfused", "one class, 4 samples: there is none: "),
        ("loss/without_composite", &[], "unfused", "`half_squares` runs on the CPU only"),
        ("loss/refuses_composite", &[], "unfused", "is written for the CPU alone"),
        (
            "loss/single_slope",
            &["values"],
            "values",
            "the gradient of student[0] differs by 1.0e-2 between `f32` and `f64`",
        ),
        (
            "loss/single_tail",
            &["values", "unfused"],
            "unfused",
            "wide vectors, 64 samples: the gradient of student[0] differs from ",
        ),
        ("loss/panics_in_shape", &["shapes"], "shapes", "fused operation `half_squares`: panicked at "),
        ("loss/panics_forward", &["shapes"], "shapes", "boom on the way forward"),
        (
            "loss/panics_backward",
            &["shapes"],
            "shapes",
            "fused operation `half_squares`, on the way back: panicked at ",
        ),
        ("module/keeps_sum", &[], "reach", "the student's ports, 0 parameters"),
        ("module/panics_on_state", &["shapes"], "shapes", "boom at the second frame"),
        ("module/growing_state", &["shapes"], "shapes", "gave the state `state.all` "),
        ("module/couples_on_state", &["samples"], "samples", "output of a batch is not what its halves give"),
        ("module/couples_in_evaluation", &["samples"], "samples", "output of a batch is not what its halves give"),
        ("loss/keeps_rules", &[], "schema", "0 settings"),
        ("loss/right_operation", &[], "unfused", "1 equal to their composite form; "),
    ] {
        let failed: Vec<_> = of(part).iter().filter(|(_, verdict, _)| verdict == "failed").collect();
        let names: Vec<&str> = failed.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, broken, "{part}: {failed:?}");
        let why = of(part).iter().find(|(name, ..)| name == rule).map(|(_, _, why)| why.as_str()).unwrap_or_default();
        assert!(why.contains(wanted), "{part}: {why}");
    }
}

#[test]
fn part_that_needs_settings_passes_with_them() {
    let said = check(hostile("unruly"), &["--part", "needs_scale", "--config", r#"needs_scale={"scale": 2.0}"#]);
    assert_eq!(said.code, 0, "{}", said.out);
    let said = check(hostile("unruly"), &["--part", "needs_scale"]);
    assert!(said.out.contains("hint: give settings: `--config needs_scale='{...}'`"), "{}", said.out);
}

#[test]
fn modules_over_time_and_parts_that_read_values_pass() {
    let general = support::lab::plugin("general");
    for (part, more) in [
        ("gated_cell", &[][..]),
        ("conv_lstm_cell", &["--config", r#"conv_lstm_cell={"kernel": 3}"#]),
        ("reads_value", &[]),
        ("parameter_pull", &[]),
    ] {
        let said = check(general, &[&["--part", part], more].concat());
        assert_eq!(said.code, 0, "{part}: {}{}", said.out, said.err);
    }
}

#[test]
fn part_that_ends_its_process_is_told() {
    for (part, wanted) in [
        ("exits_in_run", "process    FAILED  ended its process: exit status: 86"),
        ("overflows_stack", "process    FAILED  ended its process: signal: "),
        ("panics_in_new", "FAILED  plugin `hostile-parts`, loss `panics_in_new`: panicked at "),
        ("panics_in_plan", "shapes     FAILED  `panics_in_plan`: `panics_in_plan` panicked at "),
        (
            "panics_in_run",
            "shapes     FAILED  none of the generated inputs is taken: vectors, 4 samples: `panics_in_run`: `panics_in_run` panicked at ",
        ),
        ("not_a_scalar", "must give a float scalar"),
        ("idle_parameter", "no gradient reaches the parameter `idle`"),
        ("detached", "no gradient reaches the student's `student`"),
        ("reads_undeclared", "only a part that is declared dynamic may read values"),
    ] {
        let said = check(hostile("parts"), &["--part", part]);
        assert_eq!(said.code, 1, "{part}: {}{}", said.out, said.err);
        assert!(said.out.contains(wanted), "{part}: {}", said.out);
    }
}

#[test]
fn file_that_is_no_plugin_is_told() {
    let said = check(hostile("plain"), &[]);
    assert_eq!(said.code, 1);
    assert!(said.err.ends_with("is not a plugin; was `export_plugin!` forgotten?\n"), "{}", said.err);
    let said = check(hostile("signature"), &["--json"]);
    let answer: Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(
        answer["error"].as_str().is_some_and(|why| why.contains("was built against another interface")),
        "{answer}"
    );
}

#[test]
fn golden_cases_of_a_plugin_are_compared() {
    let registry = plugins(&["kd"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases");
    let cases = folder.to_str().expect("a path in UTF-8");
    let said = check(&registry.plugins()[0].path, &["--part", "kd", "--golden", cases]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let lines: Vec<&str> = said.out.lines().filter(|line| line.ends_with("  ok") && line.contains(" f64")).collect();
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.contains("kd")), "{}", said.out);
    let case = folder.join("crkd_pair.json");
    let missing = check(&registry.plugins()[0].path, &["--part", "kd", "--case", case.to_str().expect("UTF-8")]);
    assert!(missing.code == 1 && missing.out.contains("FAILED: no plugin has a loss `crkd_pair`"), "{}", missing.out);
}
