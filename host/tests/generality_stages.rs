//! Stages that a method plans itself.
#![allow(missing_docs)]

mod support;

use support::lab::{DIGITS, DISTIL, Lab};

fn body(terms: &str) -> String {
    format!("{DIGITS}\n{DISTIL}\n{terms}")
}

const TWO: &str = r#"terms.task = { use = "cross_entropy" }
terms.method = { use = "two_stages", student = "relu1", teacher = "relu1", approach_epochs = 2, fade_epochs = 2 }
"#;

#[test]
fn two_stages_run_one_after_the_other() {
    let lab = Lab::new();
    let ran = lab.run("a", &body(TWO));
    assert!(ran.accuracy("student") > 0.8, "{:#}", ran.table());
    let stages: Vec<String> =
        lab.events("a", "stage").iter().map(|start| start["stage"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(stages, ["teacher", "distil.approach", "distil.task"]);
    let approach = lab.term("a", "distil.approach", "method.approach");
    assert!(approach.len() == 2 && approach[1] < approach[0], "{approach:?}");
    assert_eq!(lab.term("a", "distil.approach", "task"), [0.0; 0]);
    assert_eq!(lab.term("a", "distil.task", "method.stay").len(), 3);
    let weight = |epoch: &serde_json::Value| {
        epoch["terms"]
            .as_array()
            .and_then(|terms| terms.iter().find(|term| term["name"] == "method.stay"))
            .and_then(|term| term["weight"].as_f64())
    };
    let weights: Vec<f64> = lab.epochs("a", "distil.task").iter().filter_map(weight).collect();
    assert!(weights[0] > 0.5 && weights[0] < 0.52 && weights[1] < 0.02 && weights[2] == 0.0, "{weights:?}");
}

#[test]
fn two_stages_first_moves_nothing_behind_the_tap() {
    let lab = Lab::new();
    lab.run("a", &body(TWO)).table();
    // What a stage of next to no learning rate leaves is where the student started.
    lab.run(
        "still",
        &body("terms.task = { use = \"cross_entropy\" }").replace("lr = 0.05, momentum = 0.9", "lr = 1e-30"),
    )
    .table();
    let (start, first) = (lab.weights("still", "distil", "last"), lab.weights("a", "distil.approach", "last"));
    assert_eq!(start.differing(&first), ["fc1.bias", "fc1.weight"]);
    assert!(first.differing(&lab.weights("a", "distil.task", "last")).contains(&"fc.weight".to_owned()));
}

#[test]
fn two_stages_first_keeps_statistics_behind_the_tap() {
    let lab = Lab::new();
    let layers = r#"layers = [
  { name = "flat", kind = "flatten" }, { name = "fc1", kind = "linear", out = 16 }, { name = "bn1", kind = "batch_norm" },
  { name = "relu1", kind = "relu" }, { name = "fc2", kind = "linear", out = 16 }, { name = "bn2", kind = "batch_norm" },
  { name = "fc", kind = "linear", out = 10 }]"#;
    // The method reads the logits, too, so that the layers behind the tap run in its first stage.
    let terms = r#"terms.task = { use = "cross_entropy" }
terms.method = { use = "fitnet", student = "relu1", teacher = "relu1", hint_epochs = 1 }"#;
    let body = body(terms).replace(r#"arch = { kind = "mlp", hidden = [16] }"#, layers);
    lab.run("a", &body).table();
    let first = lab.weights("a", "distil.hint", "last");
    assert!(first.get("bn1.running_mean").iter().all(|value| *value != 0.0));
    assert!(first.get("bn2.running_mean").iter().all(|value| *value == 0.0), "{:?}", first.get("bn2.running_mean"));
    assert!(lab.weights("a", "distil.kd", "last").get("bn2.running_mean").iter().all(|value| *value != 0.0));
}

#[test]
fn two_stages_second_freezes_the_own_parameters() {
    let lab = Lab::new();
    let manifest = body(TWO);
    lab.run_with("a", &manifest, &["--set", "stage.distil.epochs=1"]).table();
    let map = lab.checkpoint("a").under("part/distil/with/method/");
    lab.run("b", &manifest).table();
    assert_eq!(map.names(), ["map.weight"]);
    assert_eq!(map.differing(&lab.checkpoint("b").under("part/distil/with/method/")), Vec::<String>::new());
    let state = lab.checkpoint("b");
    assert!(!state.names().iter().any(|name| name.starts_with("optimizer/") && name.contains("map.weight")));
}

#[test]
fn two_stages_killed_in_either_stage_resume_to_the_same() {
    let lab = Lab::new();
    lab.run("whole", &body(TWO)).table();
    // 3 epochs of the teacher, 2 of the first stage, 3 of the second.
    for epochs in [4, 5, 6] {
        let name = format!("cut{epochs}");
        lab.run_and_kill(&name, &body(TWO), epochs);
        lab.run_with(&name, &body(TWO), &["--resume"]).table();
        assert_eq!(lab.checkpoint("whole").differing(&lab.checkpoint(&name)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn phases_of_the_manifest_beside_those_of_a_method_are_refused() {
    let lab = Lab::new();
    let rivals = r#"terms.task = { use = "cross_entropy" }
terms.rivals = { use = "alternating", student = "relu1", teacher = "relu1", weight = 0.1, hidden = 8, judge_lr = 0.01 }"#;
    let equal = body(rivals).replace("hidden = [16]", "hidden = [32]");
    for (terms, owner) in [(equal, "rivals"), (body(TWO), "method")] {
        let (message, hint) = lab.refusal(&format!("{terms}\nphases.a = {{ every = 2 }}\n"));
        let wanted = format!("term `{owner}` brings the phases of this stage: what `phases.a` says would not count");
        assert_eq!(message, wanted);
        assert!(hint.starts_with("leave out its `terms`, `updates` and `every`"), "{hint}");
        assert!(lab.check(&format!("{terms}\nphases.a = {{}}\n")).iter().all(|one| one["severity"] != "error"));
    }
}
