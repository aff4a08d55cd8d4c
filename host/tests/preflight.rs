//! What is tried before a run: it finds what tracing cannot, and changes nothing of what follows.
#![allow(missing_docs)]

mod support;

use candle_core::{Device, Tensor};
use serde_json::Value;
use std::fs;
use std::process::Command;
use support::hostile;
use support::lab::{DIGITS, DISTIL, Lab, plugin};
use support::stateful::{KD, body, everything};

/// Lines of a log without what the clock says.
fn log(lab: &Lab, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.seed_folder(name, 0).join("metrics.jsonl")).expect("there is a log");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        ["seconds", "samples_per_second", "time"].iter().for_each(|key| drop(line.remove(*key)));
    }
    lines
}

/// Weights, optimizers, buffers of parts and lines of the log are those of a run without it.
#[test]
fn run_is_the_same_to_the_bit_with_and_without() {
    let lab = Lab::new();
    for (name, text) in [("everything", everything()), ("soft", body(KD))] {
        let (with, without) = (format!("{name}-with"), format!("{name}-without"));
        lab.run(&with, &text).table();
        lab.run_with(&without, &text, &["--no-preflight"]).table();
        let differing = lab.checkpoint(&with).differing(&lab.checkpoint(&without));
        assert_eq!(differing, Vec::<String>::new(), "{name}");
        for which in ["best", "last"] {
            let [a, b] = [&with, &without].map(|run| lab.weights(run, "distil", which));
            assert_eq!(a.differing(&b), Vec::<String>::new(), "{name}");
        }
        assert_eq!(log(&lab, &with), log(&lab, &without), "{name}");
    }
}

/// The derivative overflows at the first step: `check` says so at the line of the stage, `run` before it makes a folder.
#[test]
fn step_that_would_fail_is_found_before_the_run() {
    let lab = Lab::new();
    let steep = format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\", weight = 1e39 }}\n");
    let (message, hint) = lab.refusal(&steep);
    assert!(message.starts_with("the gradient of `student.fc") && message.contains("of stage `distil`"), "{message}");
    assert!(hint.starts_with("the derivative of some operation overflows there"), "{hint}");
    let ran = lab.run("steep", &steep);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("error: the gradient of `student.fc"), "{}", ran.err);
    assert!(!lab.path().join("runs").exists(), "nothing was begun");
    // Shapes alone do not show it.
    let said = lab.ask(&["check", "checked.toml", "--no-preflight"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

/// Values that are not finite: the term is named, and what was wrong first.
#[test]
fn first_batch_that_is_not_finite_is_told_with_its_term() {
    let lab = Lab::new();
    let arrays = [("train", f32::NAN), ("test", 0.0)].into_iter().flat_map(|(part, value)| {
        let pictures = Tensor::full(value, (16, 1, 4, 4), &Device::Cpu).expect("small");
        let labels = Tensor::from_vec((0..16).map(|at| at % 2).collect::<Vec<i64>>(), 16, &Device::Cpu).expect("fits");
        [(format!("{part}_image"), pictures), (format!("{part}_label"), labels)]
    });
    Tensor::write_npz(&arrays.collect::<Vec<_>>(), lab.path().join("p.npz")).expect("is written");
    let text = "[data]\nuse = \"npz:p.npz\"\n[models.student]\narch = { kind = \"mlp\", hidden = [4] }\n\
        input = { mean = 0.5, std = 0.5 }\n[stage.learn]\ntrain = \"student\"\nepochs = 1\nbatch = 8\n\
        optimizer = { kind = \"sgd\", lr = 0.1 }\nterms.task = { use = \"cross_entropy\" }\n";
    let (message, _) = lab.refusal(text);
    assert_eq!(message, "term `task` (`cross_entropy`) is NaN at step 0 of stage `learn`");
    let notes = lab.check(text)[0]["notes"].to_string();
    assert!(notes.contains("first not finite: the input of `student`"), "{notes}");
    let estimate = |text: &str| {
        lab.manifest("checked", text);
        let said = lab.ask(&["check", "--json", "checked.toml"]);
        serde_json::from_str::<Value>(&said.out).expect("JSON")["estimate"].clone()
    };
    let skips = estimate(&text.replace("terms.task", "nonfinite = { skip = 9 }\nterms.task"));
    assert!(skips["notes"][0].as_str().is_some_and(|note| note.contains("leaves its first step out, of 9")), "{skips}");
}

/// A part that reads values is not traced: that it leaves a parameter alone is seen in its first step.
#[test]
fn parameter_without_gradient_is_found_where_no_trace_shows_it() {
    let lab = Lab::with([hostile("parts"), plugin("stillhouse-basics")]);
    let text = format!(
        "{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\nterms.idle = {{ use = \"idle_unseen\" }}\n"
    );
    let (message, hint) = lab.refusal(&text);
    assert_eq!(message, "no term gave `idle.idle` a gradient in the first step of stage `distil`, which trains it");
    assert!(hint.starts_with("a part that reads values is seen only when it runs"), "{hint}");
    let ran = lab.run("idle", &text);
    assert_eq!((ran.code, ran.err.lines().next()), (Some(1), Some(format!("error: {message}").as_str())));
}

#[test]
fn check_estimates_time_memory_and_disk_and_explains_the_plan() {
    let lab = Lab::new();
    lab.manifest("m", &everything());
    let said = lab.ask(&["check", "m.toml", "--explain"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for line in [
        "plan of stage distil\n",
        "  pass teacher: model teacher, sees `teacher`, evaluation, no gradient\n",
        "  pass student: model student, sees `student`, training, gradient\n",
        "  term hint: mse\n",
        "    student `flat` -> student [256]\n      by linear: [256] to [32], ",
        "    teacher `relu1` -> teacher [32]\n",
        "  updates student: ",
        " tensors, adam, learning rate 0.01\n",
        "a step of every stage works; the run takes about ",
        " of memory, ",
        " on the disk of ",
    ] {
        assert!(said.out.contains(line), "{line:?}: {}", said.out);
    }
    let json = lab.ask(&["check", "m.toml", "--json"]);
    let estimate = serde_json::from_str::<Value>(&json.out).expect("JSON")["estimate"].clone();
    assert!(estimate["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 600.0), "{estimate}");
    // What it says of the disk is not less than what the run leaves there.
    lab.run("m", &everything()).table();
    let files = |folder: std::path::PathBuf| -> u64 {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum()
    };
    let seed = lab.seed_folder("m", 0);
    let left = files(seed.join("checkpoints")) + files(seed.join("distil")) + files(seed.join("teacher"));
    let said = estimate["disk"].as_u64().expect("a number");
    assert!(said * 11 / 10 > left && said < 3 * left, "{said} {left}");
}

/// A disk that is too small is found before anything is written.
#[cfg(target_os = "linux")]
#[test]
fn disk_without_room_is_told_before_the_run() {
    let lab = Lab::new();
    let runs = lab.path().join("runs");
    fs::create_dir_all(&runs).expect("is made");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"]).arg(&runs).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("no file system may be mounted here");
        return;
    }
    let ran = lab.run("m", &body(KD));
    let checked = lab.check(&body(KD));
    let unmounted = Command::new("umount").arg(&runs).output().expect("umount runs");
    assert!(unmounted.status.success());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("error: the run needs about 0.1 MB on the disk, and 0.0 MB are free"), "{}", ran.err);
    assert!(ran.err.contains("\n  checkpoints 0.1 MB, weights 0.0 MB\n  of the disk that has "), "{}", ran.err);
    assert!(ran.err.contains("hint: make room, give the run another `dir`"), "{}", ran.err);
    let message = checked[0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("the run needs about 0.1 MB on the disk"), "{message}");
    // A file stands where the folder would be.
    fs::remove_dir(&runs).expect("is removed");
    fs::write(&runs, "no folder").expect("is written");
    let (message, hint) = lab.refusal(&format!("[run]\n{}", body(KD)));
    assert!(message.starts_with("the folder of the run cannot be made: runs: "), "{message}");
    assert_eq!(hint, "give the run another `dir`");
}
