//! `run`, `eval` and `check`: what they print and what they leave behind.

use super::support::command::Place;
use super::{TINY, finished, json};
use serde_json::Value;

#[test]
fn run_prints_table_and_clean_path() {
    let said = Place::with(TINY).succeed(&["run", "m.toml"]);
    let lines: Vec<&str> = said.out.lines().collect();
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(lines.len(), 6, "{}", said.out);
    assert_eq!(words(1), ["model", "parameters", "test", "accuracy", "test", "nll"]);
    assert_eq!(words(2)[..2], ["teacher", "1810"]);
    assert_eq!(words(3)[..3], ["student", "alone", "610"]);
    assert_eq!(words(4)[..3], ["student", "distilled", "610"]);
    assert!(lines[5].starts_with("student: ") && lines[5].ends_with(" points by distillation"), "{}", lines[5]);
    assert!(said.err.ends_with("\nwritten to runs/tiny\n"), "{}", said.err);
}

#[test]
fn run_without_terminal_tells_lines() {
    let said = Place::with(TINY).succeed(&["run", "m.toml"]);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 3 * 3 + 2, "{}", said.err);
    assert_eq!(lines[0], "teacher          1,810 trained values, 2 epochs of 6 updates");
    assert!(lines[1].starts_with("teacher          1/2  val ") && lines[1].ends_with(" samples/s"), "{}", lines[1]);
    assert!(lines[3].starts_with("distil-alone     610 trained values"), "{}", lines[3]);
    assert!(lines[7].contains("  task ") && lines[7].contains("  kd "), "{}", lines[7]);
    assert!(!said.err.contains('\u{1b}') && !said.err.contains('\r'), "{}", said.err);
}

#[test]
fn run_quiet_says_nothing_beside_the_table() {
    let place = Place::with(TINY);
    assert_eq!(place.succeed(&["run", "m.toml", "--quiet"]).err, "");
    assert_eq!(place.succeed(&["run", "m.toml", "-q"]).err, "");
}

#[test]
fn run_json_has_rows_and_gain() {
    let said = Place::with(TINY).succeed(&["run", "m.toml", "--json"]);
    let table = json(&said.out);
    let models: Vec<&str> =
        table["rows"].as_array().expect("rows").iter().filter_map(|row| row["model"].as_str()).collect();
    assert_eq!(models, ["teacher", "student-alone", "student"]);
    let accuracy = |row: usize| table["rows"][row]["accuracy"].as_f64().expect("an accuracy");
    let gain = table["gain"][0]["mean"].as_f64().expect("a gain");
    assert!((gain - (accuracy(2) - accuracy(1))).abs() < 1e-12, "{table}");
}

#[test]
fn run_leaves_manifest_that_checks_and_runs() {
    let place = finished();
    place.succeed(&["check", "runs/tiny/manifest.toml"]);
    let again = place.succeed(&["run", "runs/tiny/manifest.toml", "--json", "--set", "run.name=again"]);
    let first = json(&place.read("runs/tiny/results.json"));
    let student = |row: &&Value| row["model"] == "student";
    let before =
        first.as_array().expect("outcomes").iter().find(student).expect("a student")["metrics"]["accuracy"].clone();
    assert_eq!(json(&again.out)["rows"][2]["accuracy"], before);
}

#[test]
fn run_leaves_plugins_results_and_log() {
    let place = finished();
    let plugins = json(&place.read("runs/tiny/plugins.json"));
    let names: Vec<&str> = plugins.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["stillhouse-basics", "stillhouse-fitnet", "stillhouse-kd"]);
    assert!(plugins[0]["sha256"].as_str().is_some_and(|sum| sum.len() == 64));
    assert_eq!(json(&place.read("runs/tiny/results.json")).as_array().map(Vec::len), Some(3));
    let log = place.read("runs/tiny/seed-0/metrics.jsonl");
    let events: Vec<Value> = log.lines().map(json).collect();
    let count = |event: &str| events.iter().filter(|one| one["event"] == event).count();
    assert_eq!((count("stage"), count("epoch")), (3, 6), "{log}");
}

#[test]
fn run_leaves_weights_under_the_names_of_the_layers() {
    let place = finished();
    for (stage, width) in [("teacher", 24), ("distil-alone", 8), ("distil", 8)] {
        for file in ["best", "last"] {
            let path = place.path(&format!("runs/tiny/seed-0/{stage}/{file}.safetensors"));
            let tensors = stillhouse::model::read_weights(&path).expect("the weights are read");
            let mut shapes: Vec<_> =
                tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims().to_vec())).collect();
            shapes.sort();
            let wanted = [
                ("fc.bias", vec![10]),
                ("fc.weight", vec![10, width]),
                ("fc1.bias", vec![width]),
                ("fc1.weight", vec![width, 64]),
            ];
            assert_eq!(shapes, wanted);
        }
    }
}

#[test]
fn run_again_moves_the_first_aside() {
    let place = finished();
    let before = place.read("runs/tiny/seed-0/metrics.jsonl");
    let said = place.succeed(&["run", "m.toml"]);
    assert!(said.err.starts_with("note: an earlier run of this name was moved to runs/tiny.1\n"), "{}", said.err);
    assert_eq!(place.read("runs/tiny.1/seed-0/metrics.jsonl"), before);
    assert_eq!(place.read("runs/tiny.1/results.json"), place.read("runs/tiny/results.json"));
}

#[test]
fn eval_of_saved_weights_gives_the_accuracy_of_the_run() {
    let place = finished();
    let results = json(&place.read("runs/tiny/results.json"));
    for (stage, model) in [("teacher", "teacher"), ("distil", "student")] {
        let weights = format!("runs/tiny/seed-0/{stage}/best.safetensors");
        let said = place.succeed(&["eval", "m.toml", "--model", model, "--weights", &weights, "--json"]);
        let row = results.as_array().expect("outcomes").iter().find(|row| row["model"] == model).expect("the model");
        assert_eq!(json(&said.out), serde_json::json!({ "model": model, "metrics": row["metrics"] }));
    }
}

#[test]
fn eval_without_weights_or_of_unknown_model_is_refused() {
    let place = Place::with(TINY);
    let said = place.run(&["eval", "m.toml"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert_eq!(said.err, "error: model `teacher` has no weights in the manifest\n\nhint: give `--weights FILE`\n");
    let said = place.run(&["eval", "m.toml", "--model", "studnet"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (2, "error: there is no model `studnet`\n\nhint: did you mean `student`?\n")
    );
}

#[test]
fn check_tells_what_will_run() {
    let place = Place::with(TINY);
    let said = place.succeed(&["check", "m.toml"]);
    let wanted = "\
the manifest is fine; it runs

stage teacher
  data main: 192 samples to train, 64 to validate, 100 to test
  trains teacher: mlp, 1810 parameters, sees [1, 8, 8]
  term task: cross_entropy (student = teacher `logits`, label = field `label`)

stage distil-alone
  data main: 192 samples to train, 64 to validate, 100 to test
  trains student-alone: mlp, 610 parameters, sees [1, 8, 8]
  term task: cross_entropy (student = student `logits`, label = field `label`)

stage distil
  data main: 192 samples to train, 64 to validate, 100 to test
  trains student: mlp, 610 parameters, sees [1, 8, 8]
  term task: cross_entropy (student = student `logits`, label = field `label`)
  term kd: kd (student = student `logits`, teacher = teacher `logits`)
";
    let rest = said.out.strip_prefix(wanted).unwrap_or_else(|| panic!("{}", said.out));
    assert!(rest.starts_with("\na step of every stage works; the run takes about "), "{rest}");
    assert_eq!((rest.lines().count(), said.err.as_str()), (2, ""));
    assert_eq!(place.succeed(&["check", "m.toml", "--no-preflight"]).out, wanted);
}

#[test]
fn check_explained_tells_what_runs_each_layer() {
    let place = Place::with(TINY);
    for (executor, name) in [("auto", "fast"), ("candle", "candle")] {
        let set = format!("run.executor={executor}");
        let said = place.succeed(&["check", "m.toml", "--explain", "--set", &set]);
        let (_, layers) = said.out.split_once(&format!("model student: mlp, {name} executor\n")).expect("the student");
        let first = layers.lines().next().expect("a layer");
        assert!(first.contains("[64]") && first.ends_with(&format!(" {name}")), "{first}");
    }
}

#[test]
fn check_json_has_findings_with_their_places() {
    let fine = Place::with(TINY).succeed(&["check", "m.toml", "--json"]);
    let told = json(&fine.out);
    assert_eq!((&told["ok"], &told["findings"]), (&true.into(), &serde_json::json!([])));
    assert!(told["estimate"]["seconds"].is_f64() && told["estimate"]["disk"].is_u64(), "{told}");
    let said = Place::with(&TINY.replace("\"kd\"", "\"kdd\"")).run(&["check", "m.toml", "--json"]);
    assert_eq!((said.code, said.err.as_str()), (2, ""));
    let wanted = serde_json::json!({ "ok": false, "findings": [{
        "severity": "error",
        "message": "no plugin has a loss or distiller `kdd`",
        "place": { "file": "m.toml", "line": 33, "column": 20 },
        "notes": [],
        "hint": "did you mean `kd`?",
    }] });
    assert_eq!(json(&said.out), wanted);
}

#[test]
fn exit_code_of_wrong_input_is_2_and_of_failed_run_1() {
    let place = Place::with(TINY);
    assert_eq!(place.run(&["run", "m.toml", "--set", "stage.distil.epochs=0"]).code, 2);
    assert_eq!(place.run(&["run"]).code, 2);
    assert_eq!(place.run(&["walk"]).code, 2);
    assert!(!place.path("runs").exists(), "a refused run leaves no folder");
    let said = place.run(&["run", "m.toml", "--set", "stage.teacher.optimizer.lr=1e30"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    let error = said.err.lines().find(|line| line.starts_with("error: ")).expect("an error");
    assert!(error.starts_with("error: term `task` (`cross_entropy`) is "), "{error}");
    assert!(
        said.err.ends_with("\nhint: lower the learning rate or the weight of the term, or set `clip_norm`\n"),
        "{}",
        said.err
    );
}

#[test]
fn output_to_reader_that_left_is_no_panic() {
    let place = Place::with(TINY);
    let set = ["check", "m.toml", "--set", "x=1"];
    for args in [&["schema"][..], &["plugins"], &["describe", "kd"], &["describe", "kdd"], &["check", "m.toml"], &set] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = place.command(args);
        command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let wanted = if args == set || args == ["describe", "kdd"] { 2 } else { 0 };
        assert_eq!(command.status().expect("the binary runs").code(), Some(wanted), "{args:?}");
    }
}

#[test]
fn compare_shows_runs_side_by_side() {
    let place = Place::with(&TINY.replace("[run]", "[run]\nseeds = [1, 2]"));
    place.succeed(&["run", "m.toml", "-q"]);
    place.succeed(&["run", "m.toml", "-q", "--set", "run.name=other", "--set", "stage.distil.terms.kd.weight=0.7"]);
    let said = place.succeed(&["compare", "runs/tiny", "runs/other", "--model", "student"]).out;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("run") && lines[0].ends_with("accuracy, %"), "{said}");
    assert!(lines[1].starts_with("tiny") && lines[2].starts_with("other"), "{said}");
    assert!(lines[4].starts_with("other, student: ") && lines[4].contains(" over 2 common seeds ("), "{said}");
    assert!(said.contains("other has other settings:\n") && said.contains("stage.distil.terms.kd.weight: "), "{said}");
    let told = json(&place.succeed(&["compare", "runs/tiny", "runs/other", "--json", "--metric", "nll"]).out);
    assert_eq!(told["metric"], "nll");
    assert_eq!(told["rows"].as_array().map(Vec::len), Some(6));

    // Runs of one name in two folders.
    place.succeed(&["run", "m.toml", "-q", "--set", "run.dir=far", "--set", "stage.distil.terms.kd.weight=0.7"]);
    let said = place.succeed(&["compare", "runs/tiny", "far/tiny", "--model", "student"]).out;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[1].starts_with("runs/tiny  ") && lines[2].starts_with("far/tiny  "), "{said}");
    assert!(lines[4].starts_with("far/tiny, student: ") && said.contains("far/tiny has other settings:\n"), "{said}");

    std::fs::create_dir_all(place.path("runs/empty")).expect("a folder");
    let refused = place.run(&["compare", "runs/tiny", "runs/empty"]);
    assert_eq!(refused.code, 1);
    let refused = refused.err;
    assert!(refused.starts_with("error: runs/empty has no `results.json`: no run ended there"), "{refused}");
    assert!(refused.contains("hint: name folders of runs that ended"), "{refused}");
    let refused = place.run(&["compare", "runs/tiny", "--metric", "f1"]).err;
    assert_eq!(refused, "error: no run has the metric `f1`; there are `accuracy`, `nll`\n");
}
