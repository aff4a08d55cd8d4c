//! Runs that are asked to stop: they end where they can go on, and say so.
#![allow(missing_docs)]
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::lab::{DIGITS, DISTIL, Lab};

/// Epochs of seconds, so that a signal comes within one.
fn body() -> String {
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\n";
    let slow = format!("{DIGITS}\n{DISTIL}\n{terms}").replace("hidden = [16]", "hidden = [16, 16]");
    slow.replace("batch = 32", "batch = 1").replace("split =", "limit = 1200\nsplit =").replace("lr = 0.1", "lr = 0.01")
}

fn begun(lab: &Lab, name: &str, more: &[&str]) -> Child {
    let file = format!("{name}.toml");
    let mut command = lab.command(&[&["run", "--quiet", &file], more].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let log = lab.seed_folder(name, 0).join("metrics.jsonl");
    let start = Instant::now();
    while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
        assert!(child.try_wait().expect("can be asked").is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("`kill` runs");
    assert!(sent.success());
}

/// Exit code, and the lines that the process said.
fn end(mut child: Child) -> (Option<i32>, Vec<String>) {
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok).collect();
    let mut out = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("reads");
    assert_eq!(out, "", "no table of a run that was stopped");
    (child.wait().expect("it ends").code(), lines)
}

#[test]
fn signal_ends_a_run_within_an_epoch_and_it_goes_on_to_the_same_end() {
    let lab = Lab::new();
    let started = Instant::now();
    let whole = lab.run("whole", &body());
    let lasts = started.elapsed();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let name = format!("cut{signal}");
        lab.manifest(&name, &body());
        let mut more: &[&str] = &[];
        // Early, and later: after shares of the time that the whole run took, which another may need a third of.
        for share in [0.02, 0.15, 0.15] {
            let child = begun(&lab, &name, more);
            std::thread::sleep(lasts.mul_f64(share));
            send(&child, signal);
            let (ended, lines) = end(child);
            let last = lines.last().expect("a line");
            assert_eq!(ended, Some(code), "{lines:?}");
            assert_eq!(lines.len(), 1, "{lines:?}");
            let numbers =
                last.strip_prefix("stopped at stage ").and_then(|rest| rest.strip_suffix("; go on with --resume"));
            let parts: Vec<&str> = numbers.unwrap_or_else(|| panic!("{last}")).split(", ").collect();
            assert!(["teacher", "distil"].contains(&parts[0]), "{last}");
            let number = |at: usize, word: &str| parts[at].strip_prefix(word).and_then(|rest| rest.parse::<u64>().ok());
            let (epoch, step) = (number(1, "epoch ").expect("a number"), number(2, "step ").expect("a number"));
            assert!(epoch >= 1 && step >= 1, "{last}");
            assert!(!lab.checkpoints(&name, 0).is_empty());
            more = &["--resume"];
        }
        let resumed = lab.run_with(&name, &body(), &["--resume"]);
        assert_eq!(resumed.table()["rows"], whole.table()["rows"]);
        assert_eq!(lab.checkpoint("whole").differing(&lab.checkpoint(&name)), Vec::<String>::new());
    }
}

#[test]
fn second_signal_ends_a_run_at_once() {
    let lab = Lab::new();
    // One update of many batches: the first signal waits for its end.
    let long =
        body().replace("epochs = 3\nbatch = 1\noptimizer", "epochs = 400\nbatch = 1\naccumulate = 1000\noptimizer");
    lab.manifest("long", &long.replace("limit = 1200", "limit = 1200\naugment = [{ noise = 0.1 }]"));
    let child = begun(&lab, "long", &[]);
    send(&child, "-INT");
    send(&child, "-INT");
    let start = Instant::now();
    let (code, lines) = end(child);
    // Either the second found the first one waiting, or the update ended between the two.
    assert_eq!(code, Some(130), "{lines:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(lines.is_empty() || lines[0].starts_with("stopped at stage teacher"), "{lines:?}");
}

#[test]
fn folder_in_which_a_process_runs_is_not_taken_by_another() {
    let lab = Lab::new();
    lab.manifest("a", &body().replace("epochs = ", "epochs = 100"));
    let mut child = begun(&lab, "a", &[]);
    for more in [&[][..], &["--resume"]] {
        let other = lab.ask(&[&["run", "--quiet", "a.toml"], more].concat());
        assert_eq!(other.code, Some(1), "{}", other.err);
        assert!(
            other.err.ends_with(&format!(
                "runs/a: process {} runs here\n\nhint: wait for it or stop it; or give this run \
            another name: `--set run.name=NAME`\n",
                child.id()
            )),
            "{}",
            other.err
        );
        assert!(child.try_wait().expect("can be asked").is_none(), "the first one goes on");
        assert!(!lab.path().join("runs/a.1").exists(), "nothing was moved");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let mut resumed = begun(&lab, "a", &["--resume"]);
    let start = Instant::now();
    while std::fs::read_to_string(lab.path().join("runs/a/run.lock")).ok() != Some(resumed.id().to_string()) {
        assert!(resumed.try_wait().expect("can be asked").is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    send(&resumed, "-KILL");
    assert_eq!(end(resumed), (None, vec![]), "the lock went with its process");
}
