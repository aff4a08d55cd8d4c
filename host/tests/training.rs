//! What a run promises whatever it trains: the same numbers again, resumed as if never stopped, schedules that hold.
#![allow(missing_docs)]

mod support;

use support::lab::{DISTIL, Lab};
use support::stateful::{KD, body, everything};

#[test]
fn run_twice_gives_the_same_bits() {
    let lab = Lab::new();
    lab.run("a", &everything()).table();
    lab.run("b", &everything()).table();
    assert_eq!(lab.checkpoint("a").differing(&lab.checkpoint("b")), Vec::<String>::new());
    assert_eq!(lab.term("a", "distil", "hint"), lab.term("b", "distil", "hint"));
    lab.run("c", &format!("[run]\nseeds = [1]\n{}", everything())).table();
    let other = lab.checkpoint_of("c", 1);
    assert!(!lab.checkpoint("a").differing(&other).is_empty());
}

#[test]
fn run_on_one_or_two_threads_gives_the_same_bits() {
    let lab = Lab::new();
    for threads in [1, 2] {
        lab.run(&format!("t{threads}"), &format!("[run]\nthreads = {threads}\n{}", everything())).table();
    }
    assert_eq!(lab.checkpoint("t1").differing(&lab.checkpoint("t2")), Vec::<String>::new());
}

#[test]
fn run_killed_and_resumed_equals_one_that_was_not() {
    let lab = Lab::new();
    let whole = lab.run("whole", &everything());
    for epochs in [1, 3, 4, 5] {
        let name = format!("cut{epochs}");
        let often = format!("[run]\ncheckpoint.every = \"1 epoch\"\n{}", everything());
        lab.run_and_kill(&name, &often, epochs);
        let resumed = lab.run_with(&name, &often, &["--resume"]);
        assert_eq!(resumed.table()["rows"], whole.table()["rows"], "{name}");
        assert_eq!(lab.checkpoint("whole").differing(&lab.checkpoint(&name)), Vec::<String>::new(), "{name}");
        let best = |run: &str| lab.weights(run, "distil", "best");
        assert_eq!(best("whole").differing(&best(&name)), Vec::<String>::new(), "{name}");
        assert_eq!(lab.epochs(&name, "distil").len(), 3, "{name}");
    }
}

#[test]
fn run_resumed_after_its_end_changes_nothing() {
    let lab = Lab::new();
    let first = lab.run("a", &body(KD));
    let before = lab.checkpoint("a");
    let second = lab.run_with("a", &body(KD), &["--resume"]);
    assert_eq!(first.table(), second.table());
    assert_eq!(before.differing(&lab.checkpoint("a")), Vec::<String>::new());
}

#[test]
fn run_resumed_with_another_manifest_is_refused() {
    let lab = Lab::new();
    lab.run("a", &body(KD)).table();
    let other = body(KD).replace("hidden = [16]", "hidden = [16, 8]");
    let ran = lab.run_with("a", &other, &["--resume"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("models.student.arch.hidden: [16], now [16,8]"), "{}", ran.err);
    let ran = lab.run_with("a", &other, &["--resume", "--accept-changes"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("the checkpoint has no `model/student/fc2."), "{}", ran.err);
}

#[test]
fn patience_stops_and_stays_stopped() {
    let lab = Lab::new();
    let manifest = body(&format!("{KD}patience = 2\n")).replace("lr = 0.05, momentum = 0.9", "lr = 1e-30").replacen(
        "epochs = 3\nbatch = 32\noptimizer = { kind = \"sgd\", lr = 1e-30",
        "epochs = 9\nbatch = 32\noptimizer = { kind = \"sgd\", lr = 1e-30",
        1,
    );
    lab.run("a", &manifest).table();
    assert_eq!(lab.epochs("a", "distil").len(), 3);
    lab.run_with("a", &manifest, &["--resume"]).table();
    assert_eq!(lab.epochs("a", "distil").len(), 3);
}

/// Weights behind a few updates of plain SGD.
fn updated(lab: &Lab, name: &str, steps: usize, rate: f64, more: &str) -> support::lab::Weights {
    let stage = DISTIL
        .replace("epochs = 3", &format!("steps = {steps}"))
        .replace("lr = 0.05, momentum = 0.9", &format!("lr = {rate:e}"));
    let text = body(&format!("{KD}{more}")).replace(DISTIL, &stage);
    lab.run(name, &text).table();
    lab.weights(name, "distil", "last")
}

#[test]
fn clip_norm_bounds_the_first_step() {
    let lab = Lab::new();
    let start = updated(&lab, "start", 1, 1e-30, "");
    let length = |end: &support::lab::Weights| {
        let of =
            |name: &&str| start.get(name).iter().zip(end.get(name)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        start.names().iter().map(of).sum::<f64>().sqrt()
    };
    let step = |name: &str, more: &str| length(&updated(&lab, name, 1, 1.0, more));
    let (free, clipped) = (step("free", ""), step("clipped", "clip_norm = 0.01\n"));
    assert!(free > 0.1 && (clipped - 0.01).abs() < 1e-4, "{free} {clipped}");
    // An average takes in what was clipped.
    let twice = step("twice", "clip_norm = 0.01\ngradient_ema = { decay = 0.5, gain = 1.0 }\n");
    assert!((twice - 0.02).abs() < 1e-4, "{twice}");
}

#[test]
fn average_of_gradients_moves_the_weights() {
    let lab = Lab::new();
    let rate = 0.5;
    let [start, first, second] = [(1, 1e-30), (1, rate), (2, rate)]
        .map(|(steps, rate)| updated(&lab, &format!("plain-{steps}-{rate:e}"), steps, rate, ""));
    let moved = |name: &str, rate: f64, rule: &str| {
        updated(&lab, name, 2, rate, &format!("gradient_ema = {{ decay = 0.75{rule} }}\n"))
    };
    // With the gain the first update is three gradients long: a third of the rate leads to the same place.
    let (instead, beside) = (moved("instead", rate, ""), moved("beside", rate / 3.0, ", gain = 2.0"));
    for name in start.names() {
        let all = [&start, &first, &second, &instead, &beside].map(|weights| weights.get(name));
        for at in 0..all[0].len() {
            let [start, first, second, instead, beside] = all.map(|values| f64::from(values[at]));
            // Each is `- rate g`.
            let (one, two) = (first - start, second - first);
            let mean = 0.75 * one + 0.25 * two;
            assert!((instead - (first + mean)).abs() < 2e-6, "{name} {at}");
            assert!((beside - (first + (two + 2.0 * mean) / 3.0)).abs() < 2e-6, "{name} {at}");
        }
        let far = all[3].iter().zip(all[2]).any(|(a, b)| (a - b).abs() > 1e-4);
        assert!(far, "{name}: the average changes something");
    }
}

#[test]
fn accumulated_pieces_equal_the_big_batch() {
    let lab = Lab::new();
    lab.run("big", &body(KD)).table();
    lab.run(
        "pieces",
        &body(&format!("{KD}accumulate = 2\n")).replace(
            "batch = 32\noptimizer = { kind = \"sgd\", lr = 0.05",
            "batch = 16\noptimizer = { kind = \"sgd\", lr = 0.05",
        ),
    )
    .table();
    let distance = lab.weights("big", "distil", "last").distance(&lab.weights("pieces", "distil", "last"));
    assert!(distance < 1e-4, "{distance}");
    let steps = |run: &str| lab.events(run, "stage")[1]["total_steps"].clone();
    assert_eq!(steps("big"), steps("pieces"));
}

#[test]
fn gradient_norms_are_logged_for_every_term() {
    let lab = Lab::new();
    lab.run("a", &body(&format!("{KD}gradient_norms = true\nlog_every = 10\n"))).table();
    for epoch in lab.epochs("a", "distil") {
        for term in epoch["terms"].as_array().expect("terms") {
            assert!(term["gradient_norm"].as_f64().is_some_and(|norm| norm > 0.0), "{epoch:#}");
        }
    }
    assert!(lab.epochs("a", "teacher")[0]["terms"][0].get("gradient_norm").is_none());
}

#[test]
fn seeds_give_mean_and_deviation() {
    let lab = Lab::new();
    let ran = lab.run("a", &format!("[run]\nseeds = [1, 2, 3]\nbaseline = true\n{}", body(KD)));
    let row = ran.row("student");
    assert_eq!((row["seeds"].as_u64(), row["role"].as_str()), (Some(3), Some("distilled")));
    let text = std::fs::read_to_string(lab.path().join("runs/a/results.json")).expect("results");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    let own: Vec<f64> = all
        .iter()
        .filter(|one| one["model"] == "student")
        .filter_map(|one| one["metrics"]["accuracy"].as_f64())
        .collect();
    assert_eq!(own.len(), 3);
    let mean = own.iter().sum::<f64>() / 3.0;
    let deviation = (own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((row["accuracy"].as_f64().unwrap_or_default() - mean).abs() < 1e-12);
    assert!((row["accuracy_deviation"].as_f64().unwrap_or_default() - deviation).abs() < 1e-12);
    assert!(ran.table()["gain"][0]["standard_error"].as_f64().is_some());
}
