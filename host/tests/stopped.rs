//! Runs that are asked to stop: they end where they can go on, and say so.
#![allow(missing_docs)]
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::hostile;
use support::lab::{DIGITS, DISTIL, Lab, plugin};

/// Steps of an epoch: whole batches of 32 of nine tenths of 1,797 digits.
const EPOCH: u64 = 50;

/// Steps of a stage in which it looks for its file.
const STEPS: [u64; 3] = [5, 60, 100];

fn body() -> String {
    let gate = format!("terms.gate = {{ use = \"gate\", steps = {STEPS:?}, file = \"gate\", weight = 0.01 }}\n");
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\n";
    format!("{DIGITS}{gate}{DISTIL}{terms}{gate}")
}

fn lab() -> Lab {
    Lab::with([plugin("stillhouse-basics"), plugin("stillhouse-kd"), hostile("parts")])
}

/// Begins or goes on; the next of [`STEPS`] does as the file says.
fn begun(lab: &Lab, name: &str, more: &[&str], file: &str) -> Child {
    std::fs::write(lab.path().join("gate"), file).expect("written");
    let file = format!("{name}.toml");
    let mut command = lab.command(&[&["run", "--quiet", &file], more].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// The same, and gives the process when it waits there.
fn held(lab: &Lab, name: &str, more: &[&str]) -> Child {
    let (mut child, waits, start) = (begun(lab, name, more, ""), lab.path().join("waits"), Instant::now());
    while !waits.exists() {
        assert!(child.try_wait().expect("can be asked").is_none() && start.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(waits).expect("it waits");
    child
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
    let lab = lab();
    let whole = lab.run("whole", &body());
    for signal in [2, 15] {
        let name = format!("cut-{signal}");
        lab.manifest(&name, &body());
        let mut more: &[&str] = &[];
        for stage in ["teacher", "distil"] {
            for step in STEPS {
                let (ended, lines) = end(begun(&lab, &name, more, &signal.to_string()));
                let (epoch, done) = (step / EPOCH + 1, step + 1);
                let last = format!("stopped at stage {stage}, epoch {epoch}, step {done}; go on with --resume");
                assert_eq!((ended, lines), (Some(128 + signal), vec![last]));
                assert!(!lab.checkpoints(&name, 0).is_empty());
                more = &["--resume"];
            }
        }
        let resumed = lab.run_with(&name, &body(), &["--resume"]);
        assert_eq!(resumed.table()["rows"], whole.table()["rows"]);
        assert_eq!(lab.checkpoint("whole").differing(&lab.checkpoint(&name)), Vec::<String>::new());
    }
}

#[test]
fn second_signal_ends_a_run_at_once() {
    let lab = lab();
    lab.manifest("long", &body());
    let mut child = held(&lab, "long", &[]);
    // The first one waits for the end of a step, which does not come. Two that arrive at once are one to the process.
    while child.try_wait().expect("can be asked").is_none() {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("`kill` runs");
        assert!(sent.success());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(end(child), (Some(130), vec![]));
}

#[test]
fn folder_in_which_a_process_runs_is_not_taken_by_another() {
    let lab = lab();
    lab.manifest("a", &body());
    let mut child = held(&lab, "a", &[]);
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
    let mut resumed = held(&lab, "a", &["--resume"]);
    let lock = lab.path().join("runs/a/run.lock");
    assert_eq!(std::fs::read_to_string(lock).expect("there is a lock"), resumed.id().to_string());
    resumed.kill().expect("it runs");
    assert_eq!(end(resumed), (None, vec![]), "the lock went with its process");
}
