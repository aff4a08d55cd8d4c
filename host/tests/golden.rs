//! Golden cases through plugins that are loaded from their files, in double and in single precision.

mod support;

use std::path::{Path, PathBuf};
use stillhouse::eval::{Float, GoldenMap, Outcome, Verdict, run_case};
use stillhouse::plugin::Registry;
use support::made::PLUGINS;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn map() -> GoldenMap {
    GoldenMap::load(&golden().join("map.toml")).expect("the map is read")
}

/// Descriptions of all cases, sorted.
fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden().join("cases")).expect("there are cases");
    let paths = entries.map(|entry| entry.expect("is read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    paths.sort();
    paths
}

/// Runs all cases; gives the names of those that no parts stand for.
fn run_all(registry: &Registry, float: Float) -> Vec<(String, String)> {
    let (map, mut failed, mut not_mapped) = (map(), vec![], vec![]);
    for path in cases() {
        let report =
            run_case(registry, &map, &path, None, float).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match &report.outcome {
            Outcome::NotMapped(reason) => not_mapped.push((report.case.clone(), reason.clone())),
            Outcome::Compared(_, comparison) => {
                let worst = comparison.worst().expect("something is compared");
                println!(
                    "{:36} {} {:32} {:9.2e} of {:9.2e}",
                    report.case,
                    float.name(),
                    worst.name,
                    worst.error,
                    worst.allowed
                );
                if !report.passed() {
                    failed.push(report.to_string());
                }
            }
            Outcome::Written(_) => panic!("nothing is to be written"),
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    not_mapped
}

#[test]
fn golden_cases_match_their_reference() {
    let registry = support::plugins(PLUGINS);
    for float in [Float::F64, Float::F32] {
        let not_mapped = run_all(&registry, float);
        let traces: Vec<String> = cases()
            .iter()
            .map(|path| path.file_stem().expect("has a name").to_string_lossy().into_owned())
            .filter(|name| name.starts_with("trace_"))
            .collect();
        assert_eq!(not_mapped.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), traces);
        assert!(traces.contains(&"trace_kd_sgd".to_owned()) && traces.contains(&"trace_fitnet_two_stage".to_owned()));
        let reason = "a whole training, which the trainer runs and no part";
        assert!(not_mapped.iter().all(|(_, given)| given == reason), "{not_mapped:?}");
    }
}

#[test]
fn golden_case_is_written_under_its_own_names() {
    let (registry, folder) = (support::plugins(PLUGINS), support::folder());
    let out = folder.path().join("out.safetensors");
    let case = golden().join("cases/fitnet_convreg_same.json");
    let report = run_case(&registry, &map(), &case, Some(&out), Float::F64).expect("runs");
    assert!(matches!(report.outcome, Outcome::Written(_)));
    let written = stillhouse::eval::Tensors::read(&out).expect("is read");
    let wanted = [
        "buffer_after.bn.running_mean",
        "buffer_after.bn.running_var",
        "grad.input.student.0",
        "grad.param.bn.bias",
        "grad.param.bn.weight",
        "grad.param.conv.bias",
        "grad.param.conv.weight",
        "out.loss",
        "out.regressed",
    ];
    assert_eq!(written.names().collect::<Vec<_>>(), wanted);
}

/// A copy of a case whose description is changed.
fn changed(folder: &Path, name: &str, change: impl Fn(&mut serde_json::Value)) -> PathBuf {
    let from = golden().join("cases").join(name);
    let text = std::fs::read_to_string(from.with_extension("json")).expect("is read");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    change(&mut json);
    let to = folder.join(name).with_extension("json");
    std::fs::write(&to, json.to_string()).expect("is written");
    std::fs::copy(from.with_extension("safetensors"), to.with_extension("safetensors")).expect("is copied");
    to
}

#[test]
fn golden_case_with_another_temperature_is_beyond() {
    let (registry, folder) = (support::plugins(PLUGINS), support::folder());
    let case = changed(folder.path(), "kd_t4", |json| json["hyperparameters"]["temperature"] = 4.000_001.into());
    let report = run_case(&registry, &map(), &case, None, Float::F64).expect("runs");
    assert!(!report.passed());
    let Outcome::Compared(_, comparison) = &report.outcome else { panic!("is compared") };
    assert!(comparison.checks.iter().all(|check| check.verdict == Verdict::Beyond), "{comparison}");
    assert!(report.to_string().contains("BEYOND"), "{report}");
}

#[test]
fn golden_case_of_unknown_variant_is_error() {
    let (registry, folder) = (support::plugins(PLUGINS), support::folder());
    let run = |case: &Path| run_case(&registry, &map(), case, None, Float::F64).expect_err("refused").with_hint();
    let case = changed(folder.path(), "kd_t4", |json| json["variant"] = "logits_kl".into());
    let wanted =
        "the map has no rule for algorithm `kd`, variant `logits_kl`\n\nhint: did you mean variant `logit_kl`?";
    assert_eq!(run(&case), wanted);
    let case = changed(folder.path(), "kd_t4", |json| json["algorithm"] = "magic".into());
    assert!(
        run(&case)
            .starts_with("the map has no rule for algorithm `magic`, variant `logit_kl`\n\nhint: add a `[[rule]]`")
    );
    let case = changed(folder.path(), "kd_t4", |json| json["hyperparameters"]["class_dim"] = 2.into());
    assert!(run(&case).starts_with("rule `kd/logit_kl` of the map: no rule's conditions hold for `kd_t4`"));
    let case = changed(folder.path(), "kd_t4", |json| {
        json["hyperparameters"].as_object_mut().expect("is an object").shift_remove("temperature");
    });
    assert_eq!(
        run(&case),
        "rule `kd/logit_kl` of the map: `config` of `kd`: the case has no hyperparameter `temperature`"
    );
}

#[test]
fn golden_case_that_no_part_stands_for_is_not_mapped() {
    let (registry, folder) = (support::plugins(&["kd"]), support::folder());
    let case = changed(folder.path(), "kd_t4", |json| json["variant"] = "training_trace".into());
    let report = run_case(&registry, &map(), &case, None, Float::F64).expect("is no failure");
    assert!(report.passed() && report.tensors().is_none());
    assert_eq!(
        report.to_string(),
        "kd_t4 (kd/training_trace, f64): not mapped: a whole training, which the trainer runs and no part\n"
    );
}
