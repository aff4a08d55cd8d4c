//! A long run of tiny steps holds no more memory and no more files at its end than at its beginning.
//!
//! ```text
//! cargo test --release -p stillhouse --test soak -- --ignored --nocapture
//! ```
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::time::{Duration, Instant};
use support::lab::{Lab, plugin};

/// Convolutions, batch norm, dropout, augmented pictures, a connector, a memory of rows; log lines and checkpoints.
const BODY: &str = r#"
[run]
threads = 1
checkpoint.every = "1000 steps"

[data]
use = "digits"
limit = 128
augment = [{ crop = 1 }]
split = { val = 0.25, seed = 1 }

[models.teacher]
arch = { kind = "mlp", hidden = [16] }

[models.student]
layers = [{ name = "conv", kind = "conv", out = 2, kernel = 3, padding = 1 }, { name = "bn", kind = "batch_norm" },
  { name = "relu", kind = "relu" }, { name = "flat", kind = "flatten" }, { name = "drop", kind = "dropout", p = 0.1 },
  { name = "fc", kind = "linear", out = 10 }]

[stage.teacher]
train = "teacher"
epochs = 2
batch = 8
optimizer = { kind = "sgd", lr = 0.05 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = "student"
steps = 50000
batch = 8
optimizer = { kind = "adam", lr = 1e-3 }
terms.task = { use = "cross_entropy" }
terms.kd = { use = "kd" }
terms.hint = { use = "mse", student = "flat", teacher = "relu1", connector = "linear" }
terms.bank = { use = "row_bank", student = "logits", weight = 0.01 }
clip_norm = 1.0
ema = 0.99
"#;

/// Bytes that a process holds, and its open files.
fn held(id: u32) -> Option<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kilobytes << 10, fs::read_dir(format!("/proc/{id}/fd")).ok()?.count()))
}

#[test]
#[ignore = "takes minutes"]
fn fifty_thousand_steps_hold_no_more_at_the_end_than_at_the_beginning() {
    let lab = Lab::with(["general", "stillhouse-basics", "stillhouse-kd", "stillhouse-fitnet"].map(plugin));
    lab.manifest("soak", BODY);
    let (mut child, start, mut seen) = (lab.start("soak", &[]), Instant::now(), vec![]);
    while child.try_wait().expect("can be asked").is_none() {
        seen.extend(held(child.id()));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(child.wait().expect("ends").success());
    let last = lab.epochs("soak", "distil").pop().expect("epochs");
    assert_eq!(last["step"], 50_000);
    // The first tenth fills buffers and caches; from there on nothing grows.
    let quarter = |from: usize| &seen[seen.len() * from / 40..seen.len() * (from + 9) / 40];
    let most = |part: &[(u64, usize)]| {
        (part.iter().map(|at| at.0).max().unwrap_or(0), part.iter().map(|at| at.1).max().unwrap_or(0))
    };
    let (early, late) = (most(quarter(4)), most(quarter(31)));
    println!(
        "50,000 steps, {} epochs, {} s: {:.1} MB and {} files held at most in the first quarter, {:.1} MB and {} files in the last",
        last["epoch"],
        start.elapsed().as_secs(),
        early.0 as f64 / 1e6,
        early.1,
        late.0 as f64 / 1e6,
        late.1
    );
    assert!(seen.len() > 40 && late.1 <= early.1, "{early:?} {late:?}");
    assert!(late.0 <= early.0 + (1 << 20), "{early:?} {late:?}");
}
