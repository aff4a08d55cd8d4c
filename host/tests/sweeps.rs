//! Sweeps: grids and variants, in processes, resumed, with points that fail.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::lab::{DIGITS, DISTIL, Lab, Ran, plugin};

fn body() -> String {
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\n";
    format!("{DIGITS}{DISTIL}{terms}").replace("epochs = 3", "epochs = 2").replace("split =", "limit = 320\nsplit =")
}

const GRID: &str = "manifest = \"m.toml\"\n[grid]\nstage.distil.terms.kd.temperature = [1.0, 4.0]\n\
                    \"stage.distil.optimizer.lr\" = [0.05, 0.1]\n";
const NAMES: [&str; 4] =
    ["temperature=1.0,lr=0.05", "temperature=1.0,lr=0.1", "temperature=4.0,lr=0.05", "temperature=4.0,lr=0.1"];

fn lab(sweep: &str) -> Lab {
    let lab = Lab::new();
    lab.manifest("m", &body());
    fs::write(lab.path().join("s.toml"), sweep).expect("written");
    lab
}

fn sweep(lab: &Lab, more: &[&str]) -> Ran {
    lab.ask(&[&["sweep", "s.toml"], more].concat())
}

fn summary(lab: &Lab) -> Value {
    let text = fs::read_to_string(lab.path().join("runs/s/sweep.json")).expect("a summary");
    serde_json::from_str(&text).expect("JSON")
}

fn states(summary: &Value) -> Vec<&str> {
    summary["points"].as_array().expect("points").iter().filter_map(|point| point["state"].as_str()).collect()
}

/// What came out, point by point: the rows of all models.
fn rows(summary: &Value) -> &Value {
    &summary["comparison"]["rows"]
}

#[test]
fn grid_runs_each_point_in_its_folder_and_compares_them() {
    let lab = lab(&format!("seeds = [3, 4]\n{GRID}"));
    let listed = sweep(&lab, &["--dry-run"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let heads: Vec<&str> = listed.out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(heads, NAMES.map(|name| format!("{name}: to run")));
    let first =
        "\n    run.seeds=[3, 4]\n    stage.distil.terms.kd.temperature=1.0\n    stage.distil.optimizer.lr=0.05\n";
    assert!(listed.out.contains(first), "{}", listed.out);
    assert!(!lab.path().join("runs").exists(), "nothing was run");

    let said = sweep(&lab, &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(
        said.err.starts_with("4 points, 0 of them finished before\n[1/4] temperature=1.0,lr=0.05: "),
        "{}",
        said.err
    );
    assert!(said.err.ends_with("\nwritten to runs/s\n"), "{}", said.err);
    assert!(said.out.contains("temperature=4.0,lr=0.1, student: "), "{}", said.out);
    let other = "temperature=1.0,lr=0.1 has other settings:\n  stage.distil.optimizer.lr: 0.05, now 0.1\n";
    assert!(said.out.contains(other), "{}", said.out);
    let summary = summary(&lab);
    assert_eq!(states(&summary), ["finished"; 4]);
    let rows = rows(&summary).as_array().expect("rows");
    assert_eq!(rows.len(), 8, "teacher and student of each");
    assert!(rows.iter().all(|row| row["seeds"] == serde_json::json!([3, 4])));
    // A point is what `run` with its settings gives.
    let alone = lab.run_with(
        "m",
        &body(),
        &[
            "--set",
            "run.seeds=[3, 4]",
            "--set",
            "stage.distil.optimizer.lr=0.1",
            "--set",
            "stage.distil.terms.kd.temperature=4",
        ],
    );
    alone.table();
    let read = |folder: &str| fs::read_to_string(lab.path().join(folder).join("results.json")).expect("results");
    assert_eq!(read("runs/m"), read("runs/s/temperature=4.0,lr=0.1"));

    // Again: nothing is left to do, and the comparison is the same.
    let receipt = lab.path().join("runs/s").join(NAMES[0]).join("receipt.toml");
    let before = fs::read_to_string(&receipt).expect("a receipt");
    let again = sweep(&lab, &["--json"]);
    assert_eq!((again.code, again.err.lines().next()), (Some(0), Some("4 points, 4 of them finished before")));
    let answer: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(answer["comparison"], summary["comparison"]);
    assert_eq!(fs::read_to_string(&receipt).expect("a receipt"), before);

    // Another rate in the manifest: finished points were of another run.
    lab.manifest("m", &body().replace("lr = 0.1, momentum = 0.9 }\nterms", "lr = 0.2, momentum = 0.9 }\nterms"));
    let listed = sweep(&lab, &["--dry-run"]);
    assert_eq!(listed.out.matches(": to run\n").count(), 4, "{}", listed.out);
}

#[test]
fn workers_give_the_same_results_in_any_order() {
    let alone = lab(GRID);
    assert_eq!(sweep(&alone, &["--quiet"]).code, Some(0));
    let both = lab(&format!("workers = 2\n{GRID}"));
    let said = sweep(&both, &["--quiet"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(rows(&summary(&both)), rows(&summary(&alone)));
    for name in NAMES {
        let weights = |lab: &Lab| {
            let text =
                fs::read_to_string(lab.path().join("runs/s").join(name).join("receipt.toml")).expect("a receipt");
            let lines = text.lines().filter(|line| line.starts_with("weights = ")).map(str::to_owned);
            lines.collect::<Vec<String>>()
        };
        assert_eq!((weights(&both).len(), weights(&both)), (2, weights(&alone)));
    }
}

#[test]
fn variants_are_crossed_with_the_grid_and_a_manifest_may_be_its_own_sweep() {
    let variants = "manifest = \"m.toml\"\nname = \"methods\"\n[grid]\nstage.distil.epochs = [1, 2]\n[variant.kd]\n\
                    [variant.hint]\nstage.distil.terms.kd = { use = \"mse\", student = \"relu1\", teacher = \"relu1\", \
                    connector = \"linear\" } # in its place\n";
    let lab = lab(variants);
    let said = sweep(&lab, &["--model", "student", "--metric", "nll"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for name in ["kd,epochs=1", "kd,epochs=2", "hint,epochs=1", "hint,epochs=2"] {
        assert!(lab.path().join("runs/methods").join(name).join("receipt.toml").exists(), "{name}");
    }
    assert!(
        said.out.starts_with("\nrun ") && said.out.contains(" nll\n") && !said.out.contains("teacher  "),
        "{}",
        said.out
    );

    lab.manifest("own", &format!("{}\n[sweep]\n\"stage.distil.epochs\" = [1, 2]\n", body()));
    let listed = lab.ask(&["sweep", "own.toml", "--dry-run"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    assert!(listed.out.starts_with("epochs=1: to run\n    stage.distil.epochs=1\nepochs=2: "), "{}", listed.out);
}

#[test]
fn point_that_fails_is_reported_and_the_others_go_on() {
    let lab = lab(&GRID.replace("[0.05, 0.1]", "[1e30, 0.1]"));
    let said = sweep(&lab, &[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let summary = summary(&lab);
    assert_eq!(states(&summary), ["failed", "finished", "failed", "finished"]);
    assert!(
        said.err.contains("] error: temperature=1.0,lr=1e30 failed (exit status: 1); it said, in runs/s/"),
        "{}",
        said.err
    );
    assert!(said.err.contains("\n  error: "), "its own words: {}", said.err);
    assert!(
        said.err.ends_with("error: 2 of 4 points failed: `temperature=1.0,lr=1e30`, `temperature=4.0,lr=1e30`\n"),
        "{}",
        said.err
    );
    assert_eq!(rows(&summary).as_array().map(Vec::len), Some(4), "those that ended are compared");
    assert!(lab.path().join("runs/s/temperature=1.0,lr=1e30.log").exists());
}

/// Slow enough that a signal comes within a point.
#[cfg(unix)]
#[test]
fn sweep_that_is_stopped_goes_on_with_the_same_command() {
    let slow =
        body().replace("batch = 32", "batch = 1").replace("lr = 0.1", "lr = 0.01").replace("epochs = 2", "epochs = 12");
    let grid = GRID.replace("[0.05, 0.1]", "[0.002, 0.005]");
    let whole = lab(&grid);
    whole.manifest("m", &slow);
    assert_eq!(sweep(&whole, &["--quiet"]).code, Some(0));
    let lab = lab(&grid);
    lab.manifest("m", &slow);
    for (workers, signal, code) in [("1", "-TERM", 143), ("2", "-INT", 130)] {
        let log = fs::File::create(lab.path().join("said")).expect("made");
        let mut command = lab.command(&["sweep", "s.toml", "--workers", workers]);
        let mut child = command.stdout(std::process::Stdio::null()).stderr(log).spawn().expect("begins");
        let (start, before) = (Instant::now(), finished(&lab));
        // One point is through, and another one trains.
        while finished(&lab) == before || !trains(&lab) {
            assert!(child.try_wait().expect("can be asked").is_none() && start.elapsed() < Duration::from_secs(600));
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.expect("`kill` runs").success());
        assert_eq!(child.wait().expect("ends").code(), Some(code));
        let said = fs::read_to_string(lab.path().join("said")).expect("read");
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("stopped: ")
                && last.ends_with(" of 4 points are finished; go on with `stillhouse sweep s.toml`"),
            "{said}"
        );
        let listed = sweep(&lab, &["--dry-run"]);
        assert!(listed.out.contains(": finished\n"), "{}", listed.out);
        // Of two at once the other one may end before it hears of it.
        assert!(workers == "2" || listed.out.contains(": begun\n"), "{}", listed.out);
    }
    let said = sweep(&lab, &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(rows(&summary(&lab)), rows(&summary(&whole)));
    assert!(!said.out.contains("run.threads"), "what changes no number is no other setting: {}", said.out);
    let resumed = NAMES.iter().filter(|name| {
        let name = name.replace("0.05", "0.002").replace("0.1", "0.005");
        let text = fs::read_to_string(lab.path().join("runs/s").join(name).join("receipt.toml")).expect("a receipt");
        !text.contains("resumed = 0\n")
    });
    assert!(resumed.count() >= 1, "a point went on where it was");
}

/// Its points end with it, and leave what they go on from.
#[cfg(unix)]
#[test]
fn sweep_that_is_killed_takes_its_points_along() {
    let lab = lab(GRID);
    lab.manifest("m", &body().replace("batch = 32", "batch = 1").replace("epochs = 2", "epochs = 40"));
    let mut command = lab.command(&["sweep", "s.toml", "--quiet", "--workers", "2"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("begins");
    let start = Instant::now();
    let soon = |start: Instant| {
        assert!(start.elapsed() < Duration::from_secs(600));
        std::thread::sleep(Duration::from_millis(1));
    };
    while !trains(&lab) {
        soon(start);
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let is_free =
        |folder: &std::path::PathBuf| fs::File::open(folder.join("run.lock")).is_ok_and(|file| file.try_lock().is_ok());
    while !points(&lab).iter().all(is_free) {
        soon(start);
    }
    assert_eq!(finished(&lab), 0);
    let listed = sweep(&lab, &["--dry-run"]);
    assert!(listed.out.contains(": begun\n"), "{}", listed.out);
    let has_checkpoint = |folder: &std::path::PathBuf| fs::read_dir(folder.join("seed-0/checkpoints")).is_ok();
    assert!(points(&lab).iter().any(has_checkpoint), "a checkpoint inside of the first epoch");
}

#[cfg(unix)]
fn finished(lab: &Lab) -> usize {
    points(lab).iter().filter(|folder| folder.join("receipt.toml").exists()).count()
}

/// Whether a point that is not finished has written a line.
#[cfg(unix)]
fn trains(lab: &Lab) -> bool {
    let is_open = |folder: &std::path::PathBuf| {
        let log = fs::metadata(folder.join("seed-0/metrics.jsonl"));
        !folder.join("receipt.toml").exists() && log.is_ok_and(|log| log.len() > 0)
    };
    points(lab).iter().any(is_open)
}

#[cfg(unix)]
fn points(lab: &Lab) -> Vec<std::path::PathBuf> {
    let folder = fs::read_dir(lab.path().join("runs/s"));
    folder.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn mistakes_are_one_error_before_anything_runs() {
    let head = "manifest = \"m.toml\"\n";
    let grid = |line: &str| format!("{head}[grid]\n{line}\n");
    let cases = [
        (grid("stage.distil.epohcs = [1]"), "there is no `epohcs` in `stage.distil` to set"),
        (
            grid("stage.distil.epochs = []"),
            "error: `s.toml`, line 3: `stage.distil.epochs` has no values to sweep over",
        ),
        (grid("stage.distil.epochs = 3"), "error: `s.toml`, line 3: `stage.distil.epochs` is no list of values"),
        (grid("stage.distil.epochs = [1, 1]"), "error: `s.toml`: two points have the name `epochs=1`"),
        (grid("stage.distil.batch = [32, 0]"), "`batch` must be at least 1, got 0"),
        (grid("stage.distil.terms.kd.temperature = [1, -1]"), "`temperature`"),
        (grid("stage.distil.terms.kd.use = [\"kd\", \"none\"]"), "no plugin has a loss or distiller `none`"),
        (head.to_owned(), "error: `s.toml`: there is nothing to sweep over"),
        (
            format!("{head}seeds = []\n[grid]\nstage.distil.epochs = [1]\n"),
            "line 2: `seeds` has no values to sweep over",
        ),
        (format!("{head}workers = 0\n"), "error: `s.toml`, line 2: `workers` is a number from 1 to 256"),
        (format!("{head}[gird]\n"), "error: `s.toml`, line 2: unknown key `gird`\n\nhint: did you mean `grid`?"),
        (format!("{head}[variant.\"a/b\"]\n"), "line 2: a variant's name is part of a folder's name, got `a/b`"),
        (format!("{head}[variant]\nx = 3\n"), "line 3: variant `x` is no table, `[variant.x]`"),
        (format!("{head}name = \"../x\"\n"), "line 2: `name` is the name of a folder, got `../x`"),
        ("manifest = \"n.toml\"\n".to_owned(), "error: `s.toml`, line 1: there is no manifest `n.toml`"),
        ("[grid]\n".to_owned(), "error: `s.toml`, line 1: a sweep names its manifest"),
        ("manifest = 1\n[grid\n".to_owned(), "error: `s.toml`, line 2: "),
    ];
    let lab = lab("");
    for (text, wanted) in cases {
        fs::write(lab.path().join("s.toml"), &text).expect("written");
        let said = sweep(&lab, &[]);
        assert_eq!(said.code, Some(2), "{text}: {}", said.err);
        assert!(said.err.contains(wanted) && said.out.is_empty(), "{text}: {}", said.err);
        assert!(!lab.path().join("runs").exists(), "{text}: something ran");
    }
    let said = lab.ask(&["sweep", "m.toml"]);
    assert!(
        said.code == Some(2) && said.err.starts_with("error: `m.toml` is a manifest without `[sweep]`"),
        "{}",
        said.err
    );
    let said = lab.ask(&["sweep", "nowhere.toml"]);
    assert!(
        said.code == Some(2) && said.err.starts_with("error: the sweep `nowhere.toml` cannot be read: "),
        "{}",
        said.err
    );
}

/// Paths in a sweep are seen from its folder, wherever it is called.
#[test]
fn paths_in_a_sweep_are_seen_from_its_file() {
    let lab = lab("");
    lab.run("m", &body()).table();
    let folder = lab.path().join("inner");
    fs::create_dir(&folder).expect("made");
    for name in ["a", "b"] {
        fs::copy(lab.seed_folder("m", 0).join("teacher/best.safetensors"), folder.join(format!("{name}.safetensors")))
            .expect("copied");
    }
    let text = "manifest = \"../m.toml\"\n[grid]\nmodels.teacher.weights = [\"a.safetensors\", \"b.safetensors\"]\n";
    fs::write(folder.join("s.toml"), text).expect("written");
    let said = lab.ask(&["sweep", "inner/s.toml", "--json", "--quiet"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let receipt = fs::read_to_string(lab.path().join("runs/s/weights=a.safetensors/receipt.toml")).expect("a receipt");
    assert!(receipt.contains("path = \"../../../inner/a.safetensors\""), "{receipt}");
}

/// What a finished point was made with is changed, and the sweep asked how far its points are.
fn listed(lab: &Lab, file: &str, more: &[&str]) -> String {
    let said = lab.ask(&[&["sweep", file, "--dry-run"], more].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

fn append(file: &Path) {
    let bytes = [&fs::read(file).expect("read")[..], b"x"].concat();
    fs::write(file, bytes).expect("written");
}

#[test]
fn finished_point_of_another_plugin_runs_again_and_says_which() {
    let own = support::folder();
    let put = |name: &str| -> PathBuf {
        let path = own.path().join(plugin(name).file_name().expect("a name"));
        fs::copy(plugin(name), &path).expect("copied");
        path
    };
    let files = ["stillhouse-basics", "stillhouse-kd", "stillhouse-fitnet"].map(put);
    let lab = Lab::with(&files);
    lab.manifest("m", &body());
    let variants = "manifest = \"m.toml\"\n[variant.kd]\n[variant.hint]\nstage.distil.terms.kd = { use = \"mse\", \
                    student = \"relu1\", teacher = \"relu1\", connector = \"linear\" }\n";
    fs::write(lab.path().join("s.toml"), variants).expect("written");
    assert_eq!(sweep(&lab, &["--quiet"]).code, Some(0));
    assert!(listed(&lab, "s.toml", &[]).starts_with("kd: finished\nhint: finished\n"));

    // Bytes behind its own, which nothing reads.
    append(&files[1]);
    let told = listed(&lab, "s.toml", &[]);
    assert!(
        told.starts_with("kd: to run\n    changed: plugin stillhouse-kd 0.1.0 (") && told.contains("..), was 0.1.0 ("),
        "{told}"
    );
    assert_eq!((told.matches("changed: ").count(), told.matches("hint: finished\n").count()), (1, 1), "{told}");
    assert!(listed(&lab, "s.toml", &["--ignore-lock"]).starts_with("kd: finished\n"), "taken as it is when asked to");

    let said = sweep(&lab, &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let head = "finished with something else, so moved aside and run again: `kd`\n  plugin stillhouse-kd 0.1.0 (";
    assert!(said.err.starts_with(head) && said.err.contains("\n2 points, 1 of them finished before\n"), "{}", said.err);
    assert!(lab.path().join("runs/s/kd.1/receipt.toml").exists(), "the earlier one is kept");
    assert!(!lab.path().join("runs/s/hint.1").exists(), "what does not use the plugin stays");
    let point = &summary(&lab)["points"][0];
    assert!(point["changed"][0].as_str().is_some_and(|line| line.starts_with("plugin stillhouse-kd ")), "{point}");
    assert!(listed(&lab, "s.toml", &[]).starts_with("kd: finished\nhint: finished\n"));
}

#[test]
fn finished_point_of_other_files_data_or_host_runs_again_and_says_which() {
    let lab = lab("");
    lab.run("m", &body()).table();
    for name in ["a", "b"] {
        let weights = lab.seed_folder("m", 0).join("teacher/best.safetensors");
        fs::copy(weights, lab.path().join(format!("{name}.safetensors"))).expect("copied");
    }
    let text = "manifest = \"m.toml\"\n[grid]\nmodels.teacher.weights = [\"a.safetensors\", \"b.safetensors\"]\n";
    fs::write(lab.path().join("s.toml"), text).expect("written");
    assert_eq!(sweep(&lab, &["--quiet"]).code, Some(0));
    let finished = listed(&lab, "s.toml", &[]);
    assert_eq!(finished.matches(": finished\n").count(), 2, "{finished}");
    let changed = |wanted: &str| {
        let told = listed(&lab, "s.toml", &[]);
        assert!(told.starts_with("weights=a.safetensors: to run\n") && told.contains(wanted), "{told}");
        assert_eq!((told.matches("changed: ").count(), told.matches(": finished\n").count()), (1, 1), "{told}");
        assert_eq!(listed(&lab, "s.toml", &["--ignore-lock"]), finished);
    };

    // Other weights that fit.
    let (file, other) = (lab.path().join("a.safetensors"), lab.seed_folder("m", 0).join("teacher/last.safetensors"));
    let before = fs::read(&file).expect("read");
    let mut bytes = fs::read(other).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&file, bytes).expect("written");
    changed("\n    changed: file ../../../a.safetensors (");
    fs::write(&file, before).expect("written");
    assert_eq!(listed(&lab, "s.toml", &[]), finished);

    let receipt = lab.path().join("runs/s/weights=a.safetensors/receipt.toml");
    let known = fs::read_to_string(&receipt).expect("a receipt");
    let version = env!("CARGO_PKG_VERSION");
    let older = known.replacen(&format!("stillhouse = \"{version}\""), "stillhouse = \"0.0.1\"", 1);
    assert_ne!(older, known);
    fs::write(&receipt, older).expect("written");
    changed(&format!("\n    changed: stillhouse {version}, was 0.0.1\n"));

    let table: toml::Table = toml::from_str(&known).expect("TOML");
    let sum = table["data"][0]["sha256"].as_str().expect("a hash").to_owned();
    fs::write(&receipt, known.replacen(&sum, &"0".repeat(64), 1)).expect("written");
    changed("\n    changed: data main: the SHA-256 of its samples was 000000000000.. and is ");
    fs::write(&receipt, known).expect("written");
    assert_eq!(listed(&lab, "s.toml", &[]), finished);

    // One that is gone cannot be run again, either; that is told before anything is moved.
    fs::remove_file(&file).expect("removed");
    let said = sweep(&lab, &[]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    let note = "note: the point was finished, and changed: file ../../../a.safetensors, gone";
    assert!(said.err.contains(note), "{}", said.err);
    assert!(receipt.exists());
}
