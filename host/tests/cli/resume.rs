//! A run that is stopped goes on where its last checkpoint stands.

use super::support::command::Place;
use super::{TINY, json};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Command;

/// Slow enough to be interrupted: convolutions, and more epochs.
fn slow() -> String {
    let slow = TINY.replace("kind = \"mlp\", hidden = [24]", "kind = \"resnet\", depth = 8, width = 8");
    slow.replace("epochs = 2", "epochs = 24")
}

/// Results without what differs from run to run: nothing does.
fn results(place: &Place) -> Value {
    json(&place.read("runs/tiny/results.json"))
}

#[cfg(unix)]
#[test]
fn run_interrupted_after_an_epoch_resumes_to_the_same_end() {
    let whole = Place::with(&slow());
    whole.succeed(&["run", "m.toml", "-q"]);

    let place = Place::with(&slow());
    let mut child = place.command(&["run", "m.toml"]).spawn().expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    // The line of the second epoch: the checkpoint of the first is written by then.
    let second = lines.by_ref().map_while(Result::ok).find(|line| line.contains(" 2/24 "));
    assert!(second.is_some(), "the teacher has a second epoch");
    // Not the signal of Ctrl-C: what a shell starts in the background is deaf to that.
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("`kill` runs");
    assert!(sent.success());
    let last = lines.map_while(Result::ok).last().unwrap_or_default();
    assert_eq!(child.wait().expect("the binary ends").code(), Some(143), "{last}");
    assert!(last.starts_with("stopped at stage teacher, epoch "), "{last}");
    assert!(last.contains(", step ") && last.ends_with("; go on with --resume"), "{last}");

    let said = place.succeed(&["run", "m.toml", "--resume"]);
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("teacher ") && first.contains(" updates, goes on "), "{first}");
    assert_eq!(results(&place), results(&whole));
}

#[test]
fn run_resumed_at_its_end_gives_the_same_results() {
    let place = Place::with(TINY);
    place.succeed(&["run", "m.toml", "-q"]);
    let before = results(&place);
    place.succeed(&["run", "m.toml", "--resume", "-q"]);
    assert_eq!(results(&place), before);
    assert!(!place.path("runs/tiny.1").exists());
}

#[test]
fn run_resumed_under_another_manifest_is_refused_unless_accepted() {
    let place = Place::with(TINY);
    place.succeed(&["run", "m.toml", "-q"]);
    let changed = TINY.replace("use = \"kd\", weight = 0.5", "use = \"kd\", weight = 0.25, temperature = 2.0");
    place.write("m.toml", changed.replace("baseline = true", "baseline = true\nthreads = 1"));
    let said = place.run(&["run", "m.toml", "--resume"]);
    let wanted = "error: the manifest changed since this run began\n  stage.distil.terms.kd.weight: 0.5, now 0.25\n  \
                  stage.distil.terms.kd.temperature: was not there, now 2.0\n\nhint: put it back, or go on all the same with \
                  `--resume --accept-changes`; without `--resume` the run starts anew and runs/tiny is moved aside\n";
    assert_eq!((said.code, said.err.as_str()), (2, wanted));
    let said = place.succeed(&["run", "m.toml", "--resume", "--accept-changes"]);
    assert!(
        said.err.contains("note: the manifest changed since this run began\n  stage.distil.terms.kd.weight"),
        "{}",
        said.err
    );
    // It is the run's manifest from now on.
    place.succeed(&["run", "m.toml", "--resume"]);
    let alone = place.run(&["run", "m.toml", "--accept-changes"]);
    assert_eq!(alone.code, 2, "{}", alone.err);
}

#[test]
fn run_resumed_with_another_network_says_what_does_not_fit() {
    let place = Place::with(TINY);
    place.succeed(&["run", "m.toml", "-q"]);
    place.write("m.toml", TINY.replace("hidden = [24]", "hidden = [20]"));
    let said = place.run(&["run", "m.toml", "--resume", "--accept-changes", "-q"]);
    let wanted = "error: `model/teacher/fc1.weight` has the shape [24, 64] in the checkpoint, and [20, 64] in the run now\n\n\
                  hint: start anew without `--resume`: this folder is then moved aside\n";
    assert_eq!((said.code, said.err.as_str()), (1, wanted));
}

#[test]
fn run_resumed_without_checkpoint_starts_anew_and_says_so() {
    let said = Place::with(TINY).succeed(&["run", "m.toml", "--resume"]);
    assert!(
        said.err.starts_with("note: nothing to go on with in runs/tiny, so this run starts anew\n"),
        "{}",
        said.err
    );
}
