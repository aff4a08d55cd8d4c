//! Runs that are killed at any moment go on to the very end that they would have had: weights, results and log, bit by bit.
//!
//! Each way of training is killed at random times and resumed until it is through. `STILLHOUSE_KILLS` says how often in all
//! (24 unless set), `STILLHOUSE_KILL_SEED` repeats the times of an earlier run, `STILLHOUSE_KILL_KIND=crd` takes one way alone:
//!
//! ```text
//! STILLHOUSE_KILLS=200 cargo test --release -p stillhouse --test killed -- --nocapture
//! ```
#![allow(missing_docs)]

mod support;

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use stillhouse::data::Rng;
use support::lab::{DIGITS, DISTIL, Lab, plugin};
use support::shipped::{self, SHIPPED};
use support::stateful::everything;
use support::{predictors, spots};

/// A number that a user may set.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

/// Ways of training: everything with state, and the shipped methods.
fn kinds() -> Vec<(&'static str, String)> {
    let digits = |terms: &str| format!("{DIGITS}\n{DISTIL}\n{terms}\n");
    let method = |name: &str, settings: &str| shipped::body("auto", 2, &shipped::term("method", name, settings));
    let of = |wanted: &str| {
        let losses = shipped::LOSSES.into_iter();
        let methods = shipped::METHODS.into_iter().map(|(name, settings, ..)| (name, settings));
        let (name, settings) = losses.chain(methods).find(|(name, _)| *name == wanted).expect("it is shipped");
        method(name, &settings.replace("paraphraser_epochs = 6", "paraphraser_epochs = 1"))
    };
    let bank = "\n[recordings.bank]\ndata = \"target\"\n\
                taps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]\n";
    let predictors = |recordings: &str, sampling: &str, more: &str| {
        let term = format!("{}{more}", predictors::NAMED);
        let stage = predictors::stage(sampling, &term);
        [predictors::DATA, predictors::SOURCES, recordings, predictors::STUDENT, &stage].concat()
    };
    let two_stages = "terms.task = { use = \"cross_entropy\" }\n\
                      terms.fit = { use = \"fitnet\", student = \"relu1\", teacher = \"relu1\", hint_epochs = 1 }";
    let kd = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\nema = 0.9\n";
    // All losses at once, some with parameters or memories of their own.
    let both = [("dkd", ""), ("rkd", r#"student = "avgpool", teacher = "avgpool""#)];
    let weighted = |(name, settings): (&str, &str)| {
        let comma = if settings.is_empty() { "" } else { ", " };
        shipped::term(name, name, &format!("{settings}{comma}weight = 1e-3"))
    };
    let losses: String = shipped::LOSSES.into_iter().chain(both).map(weighted).collect();
    let kept = digits(kd).replace("[models.teacher]\n", "[models.teacher]\ncache = \"f16\"\n");
    vec![
        ("everything", everything()),
        ("kept", kept),
        ("kd", format!("[run]\nseeds = [0, 1]\nbaseline = true\n{}", digits(kd))),
        ("fitnet", digits(two_stages)),
        ("afd", of("afd")),
        ("crkd", of("crkd")),
        ("crd", of("crd")),
        ("ft", of("ft")),
        ("ab", of("ab")),
        ("losses", shipped::body("auto", 2, &losses)),
        ("tmu", predictors("", "sampling = { step = 0.1 }", "")),
        ("tmu-stored", predictors(bank, predictors::TRUE, ", bank = \"stored\"")),
        ("skd", spots::spatiotemporal("auto", spots::FROZEN).replace("epochs = 6", "epochs = 2")),
    ]
}

fn lab() -> Lab {
    let lab = Lab::with(SHIPPED.into_iter().chain(["general"]).map(plugin));
    spots::write_clips(&lab.path().join("clips.npz"));
    lab
}

/// With the key that says when checkpoints are written, in `[run]` or a new one.
fn every(body: &str, every: &str) -> String {
    let key = format!("[run]\ncheckpoint.every = \"{every}\"\nthreads = 1\n");
    if body.contains("[run]\n") { body.replacen("[run]\n", &key, 1) } else { format!("{key}{body}") }
}

/// SHA-256 of all that a run leaves but its checkpoints; the log itself, without times.
fn left(lab: &Lab, run: &str) -> BTreeMap<String, String> {
    let root = lab.path().join("runs").join(run);
    let mut found = BTreeMap::new();
    collect(&root, &root, &mut found);
    assert!(found.keys().any(|name| name.ends_with("best.safetensors")) && found.contains_key("results.json"));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.strip_prefix(root).expect("is below").to_string_lossy().into_owned();
        match entry.file_name().and_then(|name| name.to_str()) {
            // They have the name of the run, when checkpoints are written, and how long it took.
            Some("checkpoints" | "manifest.toml" | "receipt.toml" | "parts.json" | "run.lock") => {}
            Some("metrics.jsonl") => {
                found.insert(name, log(&entry));
            }
            _ if entry.is_dir() => collect(root, &entry, found),
            _ => {
                found.insert(name, hash(&fs::read(&entry).expect("reads")));
            }
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a log without times.
fn log(path: &Path) -> String {
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let object = value.as_object_mut().expect("an object");
        ["seconds", "samples_per_second"].iter().for_each(|key| drop(object.remove(*key)));
        format!("{value}\n")
    };
    fs::read_to_string(path).expect("there is a log").lines().map(line).collect()
}

/// Runs on until the process is through or the time is over, which ends it; true when it was killed.
fn killed_after(lab: &Lab, name: &str, more: &[&str], time: Duration) -> bool {
    let (mut child, start) = (lab.start(name, more), Instant::now());
    while start.elapsed() < time {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            assert!(status.success(), "{name}: {status}");
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().expect("the child is killed");
    !child.wait().expect("the child ends").success()
}

#[track_caller]
fn assert_same(lab: &Lab, whole: &BTreeMap<String, String>, run: &str, what: &str) {
    let cut = left(lab, run);
    let names: Vec<&String> = whole.keys().chain(cut.keys()).collect();
    let line = |one: &BTreeMap<String, String>, name: &str, at: usize| {
        one.get(name).and_then(|text| text.lines().nth(at).map(str::to_owned))
    };
    for name in names {
        let lines = [whole, &cut].map(|one| one.get(name).map_or(0, |text| text.lines().count()));
        for at in 0..lines[0].max(lines[1]) {
            assert_eq!(line(&cut, name, at), line(whole, name, at), "{what}: {name}, line {}", at + 1);
        }
    }
}

#[test]
fn runs_killed_at_any_moment_end_as_if_nothing_had_been() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let (wanted, seed) = (setting("STILLHOUSE_KILLS", 24), setting("STILLHOUSE_KILL_SEED", now % 1_000_000));
    println!("STILLHOUSE_KILL_SEED={seed}");
    let lab = lab();
    let only = std::env::var("STILLHOUSE_KILL_KIND").ok();
    let kinds: Vec<_> = kinds().into_iter().filter(|(kind, _)| only.as_ref().is_none_or(|only| only == kind)).collect();
    let each = wanted.div_ceil(kinds.len() as u64);
    let mut kills = 0;
    for (at, (kind, body)) in kinds.iter().enumerate() {
        let mut rng = Rng::new(seed, "kill", at as u64);
        let start = Instant::now();
        lab.run(kind, &every(body, "1 epoch")).table();
        let (whole, length) = (left(&lab, kind), start.elapsed());
        let (mut of_kind, mut round) = (0, 0);
        while of_kind < each {
            let often = ["1 step", "3 steps", "1 epoch", "0.001 minutes", "1 minute"][rng.below(5)];
            let name = format!("{kind}-{round}");
            lab.manifest(&name, &every(body, often));
            let (mut times, mut more): (Vec<String>, &[&str]) = (vec![], &[]);
            // Twice at most, so that a round ends.
            while times.len() < 2 {
                let time = length.mul_f64(rng.uniform_f64());
                times.push(format!("{} ms", time.as_millis()));
                if !killed_after(&lab, &name, more, time) {
                    break;
                }
                (of_kind, kills, more) = (of_kind + 1, kills + 1, &["--resume"]);
            }
            println!(
                "{name}: of {} ms, checkpoint every {often}, killed after {}",
                length.as_millis(),
                times.join(", ")
            );
            lab.run_with(&name, &every(body, often), &["--resume"]).table();
            assert_same(&lab, &whole, &name, &format!("{name}, seed {seed}"));
            fs::remove_dir_all(lab.path().join("runs").join(&name)).expect("is removed");
            round += 1;
        }
    }
    println!("{kills} kills");
    assert!(kills >= wanted);
}

/// The checkpoint that is being written, or was when the process ended.
fn half_written(folder: &Path) -> Option<PathBuf> {
    let mut all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.find(|path| path.extension().is_some_and(|ending| ending == "partial"))
}

#[test]
fn kills_inside_the_write_of_a_checkpoint_lose_nothing() {
    let lab = lab();
    // Weights enough for a write to take a while.
    let body = every(&everything().replace("out = 4,", "out = 48,"), "1 step");
    lab.run("whole", &body).table();
    let whole = left(&lab, "whole");
    let mut sizes = vec![];
    for round in 0.. {
        assert!(round < 20, "{} kills were inside a write", sizes.len());
        let name = format!("cut-{round}");
        lab.manifest(&name, &body);
        let checkpoints = lab.seed_folder(&name, 0).join("checkpoints");
        let mut more: &[&str] = &[];
        loop {
            let stale = half_written(&checkpoints);
            let mut child = lab.start(&name, more);
            // Not the first that it writes: both stages are met.
            let (mut writes, mut seen) = (0, stale.clone());
            while writes < 5 && child.try_wait().expect("can be asked").is_none() {
                let now = half_written(&checkpoints);
                writes += u64::from(now.is_some() && now != seen);
                seen = now.or(seen);
            }
            child.kill().expect("is killed");
            if child.wait().expect("ends").success() {
                break;
            }
            more = &["--resume"];
            if let Some(path) = half_written(&checkpoints).filter(|path| Some(path) != stale.as_ref()) {
                assert!(!path.with_extension("").exists(), "it has its name only when it is whole");
                sizes.push(fs::metadata(&path).expect("is there").len());
            }
        }
        assert_same(&lab, &whole, &name, "killed inside writes");
        assert_eq!(half_written(&checkpoints), None, "nothing of them is left");
        if sizes.len() >= 6 {
            break;
        }
    }
    println!("killed with so many bytes written: {sizes:?}");
}

/// Samples enough for a recording that takes a while.
fn recorded(file: &str) -> String {
    let bank = format!(
        "\n[recordings.bank]\ndata = \"target\"\nbatch = 1\n{file}\n\
         taps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]\n"
    );
    let data = predictors::DATA.replace("train=12", "train=160");
    let stage = predictors::stage(predictors::TRUE, &format!("{}, bank = \"stored\"", predictors::NAMED));
    let body = [&data, predictors::SOURCES, &bank, predictors::STUDENT, &stage].concat();
    every(&body.replace("epochs = 4", "epochs = 1"), "1 minute")
}

#[test]
fn recording_half_made_is_made_again() {
    let lab = lab();
    // Kept in the folder of the seed, or wherever the manifest says.
    for file in ["", "file = \"FILE.rec\""] {
        let named = |name: &str| recorded(&file.replace("FILE", name));
        let [whole, cut] = ["whole", "cut"].map(|name| format!("{name}{}", file.len()));
        lab.run(&whole, &named(&whole)).table();
        let expected = left(&lab, &whole);
        lab.manifest(&cut, &named(&cut));
        let partial = match file {
            "" => lab.seed_folder(&cut, 0).join("recordings/bank.rec.partial"),
            _ => lab.path().join(format!("{cut}.rec.partial")),
        };
        let mut child = lab.start(&cut, &[]);
        while !partial.exists() {
            assert!(child.try_wait().expect("can be asked").is_none(), "ended without a recording");
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().expect("is killed");
        child.wait().expect("ends");
        assert!(partial.exists(), "it was half made");
        lab.run_with(&cut, &named(&cut), &["--resume"]).table();
        assert_same(&lab, &expected, &cut, file);
        // What was told of it is told once.
        assert_eq!(lab.events(&cut, "said").iter().filter(|said| said["term"] == "bank").count(), 1);
    }
}

/// A run that was killed in its second stage, and what it would have left.
fn cut() -> (Lab, BTreeMap<String, String>, String) {
    let lab = lab();
    let body = every(&everything(), "2 steps").replace("threads", "checkpoint.keep = 3\nthreads");
    lab.run("whole", &body).table();
    let whole = left(&lab, "whole");
    lab.run_and_kill("cut", &body, 4);
    let all = lab.checkpoints("cut", 0);
    // Killed between a new one and the end of the oldest, a run leaves one more, until its next.
    assert!((3..=4).contains(&all.len()), "{all:?}");
    all.iter().skip(3).for_each(|oldest| fs::remove_file(oldest).expect("is removed"));
    (lab, whole, body)
}

#[test]
fn damaged_checkpoints_fall_back_and_never_give_wrong_numbers() {
    let (lab, whole, body) = cut();
    let files = lab.checkpoints("cut", 0);
    let bytes = fs::read(&files[0]).expect("reads");
    fs::write(&files[0], &bytes[..bytes.len() / 2]).expect("is cut");
    let mut second = fs::read(&files[1]).expect("reads");
    let middle = second.len() / 2;
    second[middle] ^= 4;
    fs::write(&files[1], second).expect("is damaged");
    let ran = lab.run_with("cut", &body, &["--resume"]);
    ran.table();
    let name = |at: usize| files[at].file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    for (at, line) in ran.err.lines().take(2).enumerate() {
        assert!(line.starts_with("warning: `") && line.contains(&name(at)), "{}", ran.err);
        assert!(line.contains("is damaged: its ") && line.ends_with("goes on from the checkpoint before"), "{line}");
    }
    assert_same(&lab, &whole, "cut", "two were damaged");

    for file in lab.checkpoints("cut", 0) {
        fs::write(file, "none").expect("is damaged");
    }
    fs::remove_file(lab.path().join("runs/cut/results.json")).expect("is removed");
    let ran = lab.run_with("cut", &body, &["--resume"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.starts_with("error: no checkpoint of this run can be read\n  `"), "{}", ran.err);
    assert!(ran.err.contains("hint: start anew without `--resume`") && ran.out.is_empty(), "{}", ran.err);
    assert!(!lab.path().join("runs/cut/results.json").exists());
}

#[test]
fn what_was_written_behind_the_checkpoint_does_not_leak() {
    let (lab, whole, body) = cut();
    let folder = lab.seed_folder("cut", 0);
    // Better weights, epochs and tables of a time that the checkpoint does not know.
    for name in ["best", "last"] {
        let other = lab.seed_folder("whole", 0).join("teacher").join("best.safetensors");
        fs::copy(other, folder.join("distil").join(format!("{name}.safetensors"))).expect("is copied");
    }
    let mut log = fs::read_to_string(folder.join("metrics.jsonl")).expect("reads");
    log.push_str("{\"event\":\"epoch\",\"stage\":\"distil\",\"epoch\":99}\n{\"event\":\"ep");
    fs::write(folder.join("metrics.jsonl"), log).expect("is written");
    lab.run_with("cut", &body, &["--resume"]).table();
    assert_same(&lab, &whole, "cut", "it leaked");
}

#[test]
fn lost_lines_of_the_log_are_told() {
    let (lab, _, body) = cut();
    fs::write(lab.seed_folder("cut", 0).join("metrics.jsonl"), "").expect("is written");
    let ran = lab.run_with("cut", &body, &["--resume"]);
    ran.table();
    assert!(ran.err.contains("warning: `metrics.jsonl` is shorter than it was at the checkpoint"), "{}", ran.err);
}
