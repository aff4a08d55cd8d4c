//! Lock files, by the real binary: what was locked runs, and any other plugin is refused before any of its code runs.
#![allow(missing_docs)]

mod support;

use candle_core::{Device, Tensor};
use std::fs;
use std::path::PathBuf;
use support::lab::{DIGITS, DISTIL, Lab, Ran, plugin};
use support::{hostile, library};

const TERMS: &str = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\n";

/// A lab whose own folder `own` has the plugins, and the manifest `m.toml`, locked.
struct Locked {
    lab: Lab,
}

impl Locked {
    fn new() -> Locked {
        let none: [PathBuf; 0] = [];
        let locked = Locked { lab: Lab::with(none) };
        for name in ["stillhouse-basics", "stillhouse-kd"] {
            locked.put("own", name, &[]);
        }
        locked.write(&["own"], &format!("{DIGITS}{DISTIL}{TERMS}"));
        let said = locked.ask(&["lock", "m.toml"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(
            said.out.starts_with("m.lock: 2 plugins and 0 files\n  plugin stillhouse-basics 0.1.0 ("),
            "{}",
            said.out
        );
        locked
    }

    fn file(&self, folder: &str, name: &str) -> PathBuf {
        self.lab.path().join(folder).join(library(&name.replace('-', "_")))
    }

    /// A plugin with these bytes behind its own, which nothing reads.
    fn put(&self, folder: &str, name: &str, more: &[u8]) {
        fs::create_dir_all(self.lab.path().join(folder)).expect("made");
        let bytes = [&fs::read(plugin(name)).expect("read")[..], more].concat();
        fs::write(self.file(folder, name), bytes).expect("written");
    }

    fn write(&self, folders: &[&str], body: &str) {
        let text = format!("manifest = 1\n\n[plugins]\npaths = {folders:?}\n{body}");
        fs::write(self.lab.path().join("m.toml"), text).expect("written");
    }

    fn ask(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.lab.ask(arguments);
        ran.err = ran.err.replace(self.lab.path().to_str().expect("a path in UTF-8"), "DIR");
        ran
    }

    /// `check` and `run` refuse it with these words.
    fn refuses(&self, words: &[&str]) {
        for command in ["check", "run"] {
            let said = self.ask(&[command, "m.toml"]);
            assert_eq!(said.code, Some(2), "{command}: {}", said.err);
            for word in words {
                assert!(said.err.contains(word), "{command}: no `{word}` in {}", said.err);
            }
            assert!(
                said.err.contains(
                    "hint: `stillhouse lock m.toml` accepts what is there now, `--ignore-lock` goes on for once"
                ),
                "{}",
                said.err
            );
            assert!(!self.lab.path().join("runs").exists());
        }
        assert_eq!(self.ask(&["check", "m.toml", "--ignore-lock"]).code, Some(0));
    }
}

fn short(sha256: &str) -> String {
    format!("({}..)", &sha256[..12])
}

/// Hash of a plugin in a lock file.
fn locked_hash(locked: &Locked, name: &str) -> String {
    let text = fs::read_to_string(locked.lab.path().join("m.lock")).expect("a lock file");
    let table: toml::Table = toml::from_str(&text).expect("TOML");
    let plugins = table["plugin"].as_array().expect("plugins");
    let one = plugins.iter().find(|one| one["name"].as_str() == Some(name)).expect("is listed");
    assert_eq!((one["version"].as_str(), one["abi"].as_str()), (Some("0.1.0"), Some("1.0")));
    one["sha256"].as_str().expect("a hash").to_owned()
}

#[test]
fn locked_manifest_checks_and_runs() {
    let locked = Locked::new();
    assert_eq!(locked.ask(&["check", "m.toml"]).code, Some(0));
    let text = fs::read_to_string(locked.lab.path().join("m.lock")).expect("a lock file");
    assert!(text.starts_with("# Written by `stillhouse lock`: ") && text.contains("\nlock = 1\n"), "{text}");
    assert!(text.contains(&format!("file = \"{}\"", library("stillhouse_kd"))), "{text}");
    let again = locked.ask(&["lock", "m.toml"]);
    assert_eq!(again.out, "m.lock: 2 plugins and 0 files, as before\n");
    assert_eq!(fs::read_to_string(locked.lab.path().join("m.lock")).expect("a lock file"), text);
    let ran =
        locked.ask(&["run", "m.toml", "--quiet", "--set", "stage.teacher.epochs=1", "--set", "stage.distil.epochs=1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn changed_plugin_is_refused_until_it_is_locked_again() {
    let locked = Locked::new();
    let before = locked_hash(&locked, "stillhouse-kd");
    locked.put("own", "stillhouse-kd", b"x");
    let start =
        format!("error: plugin `stillhouse-kd` is not the one that was locked: 0.1.0 {} was, 0.1.0 (", short(&before));
    locked.refuses(&[&start, &format!("..) is found: `own/{}`", library("stillhouse_kd"))]);
    let said = locked.ask(&["lock", "m.toml"]);
    let after = locked_hash(&locked, "stillhouse-kd");
    let wanted = format!(
        "m.lock: 2 plugins and 0 files\n  plugin stillhouse-kd 0.1.0 {}, was 0.1.0 {}\n",
        short(&after),
        short(&before)
    );
    assert_eq!(said.out, wanted);
    assert_eq!(locked.ask(&["check", "m.toml"]).code, Some(0));
}

#[test]
fn plugin_before_the_locked_one_is_refused() {
    let locked = Locked::new();
    locked.put("before", "stillhouse-kd", b"x");
    locked.write(&["before", "own"], &format!("{DIGITS}{DISTIL}{TERMS}"));
    let behind = format!("the one that was locked lies behind it: `own/{}`", library("stillhouse_kd"));
    locked.refuses(&[&format!("is found: `before/{}`", library("stillhouse_kd")), &behind]);
}

#[test]
fn missing_plugin_is_told_as_locked() {
    let locked = Locked::new();
    fs::remove_file(locked.file("own", "stillhouse-kd")).expect("removed");
    let said = locked.ask(&["check", "m.toml"]);
    assert!(said.err.contains("error: plugin `stillhouse-kd` 0.1.0 was locked and is not found"), "{}", said.err);
    fs::write(locked.file("own", "stillhouse-kd"), "no library").expect("written");
    let said = locked.ask(&["check", "m.toml"]);
    assert!(said.err.contains("refused: `own/libstillhouse_kd.so` is not a shared library"), "{}", said.err);
}

#[test]
fn plugin_that_was_not_locked_is_refused() {
    let locked = Locked::new();
    locked.put("own", "general", &[]);
    assert_eq!(locked.ask(&["check", "m.toml"]).code, Some(0), "what is not used does not matter");
    let more = "terms.bank = { use = \"row_bank\", student = \"relu1\" }\n";
    locked.write(&["own"], &format!("{DIGITS}{DISTIL}{TERMS}{more}"));
    let unlocked = "= note: not locked, and so not opened: `general`\n";
    let hint = "= hint: `stillhouse lock` accepts what is there now, `--ignore-lock` goes on for once\n";
    for command in ["check", "run"] {
        let said = locked.ask(&[command, "m.toml"]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.starts_with("error: no plugin has a loss or distiller `row_bank`\n"), "{}", said.err);
        assert!(said.err.contains(unlocked) && said.err.contains(hint), "{}", said.err);
    }
    assert_eq!(locked.ask(&["check", "m.toml", "--ignore-lock"]).code, Some(0));
    locked.write(&["own"], &format!("{DIGITS}{DISTIL}{TERMS}").replace("\"kd\"", "\"kdd\""));
    let said = locked.ask(&["check", "m.toml"]);
    let hint = "= hint: did you mean `kd`? Otherwise, `stillhouse lock` accepts what is there now, ";
    assert!(said.err.contains(unlocked) && said.err.contains(hint), "{}", said.err);
}

/// A library that the system cannot open, and one that offers what a locked one offers.
#[test]
fn plugin_that_was_not_locked_is_not_opened() {
    let locked = Locked::new();
    let own = |name: &str| locked.lab.path().join("own").join(name);
    fs::copy(hostile("undefined"), own(&library("hostile_undefined"))).expect("copied");
    let other = format!("{DIGITS}{DISTIL}{TERMS}").replace("\"kd\"", "\"hostile-undefined::kd\"");
    locked.write(&["own"], &other);
    let said = locked.ask(&["check", "m.toml"]);
    assert!(said.err.contains("= note: not locked, and so not opened: `hostile-undefined`\n"), "{}", said.err);
    let said = locked.ask(&["check", "m.toml", "--ignore-lock"]);
    assert!(said.err.contains("plugin `hostile-undefined` cannot be opened"), "{}", said.err);
}

#[test]
fn changed_weights_are_refused() {
    let locked = Locked::new();
    let trained =
        locked.ask(&["run", "m.toml", "--quiet", "--set", "stage.distil.epochs=1", "--set", "run.name=first"]);
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    let weights = locked.lab.seed_folder("first", 0).join("teacher/last.safetensors");
    fs::copy(weights, locked.lab.path().join("w.safetensors")).expect("copied");
    fs::remove_dir_all(locked.lab.path().join("runs")).expect("removed");
    let start = DIGITS.find("[stage.teacher]").expect("is there");
    let given = DIGITS[..start].replace("hidden = [32] }", "hidden = [32] }\nweights = \"w.safetensors\"");
    locked.write(&["own"], &format!("{given}{DISTIL}{TERMS}"));
    locked.refuses(&["error: `w.safetensors` (`models.teacher.weights`) is used and was not locked"]);
    let said = locked.ask(&["lock", "m.toml"]);
    assert!(said.out.starts_with("m.lock: 2 plugins and 1 file\n  file w.safetensors ("), "{}", said.out);
    let mut bytes = fs::read(locked.lab.path().join("w.safetensors")).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(locked.lab.path().join("w.safetensors"), bytes).expect("written");
    locked.refuses(&["error: `w.safetensors` is not the file that was locked: its SHA-256 was ", ".. and is "]);
}

#[test]
fn what_is_no_manifest_is_not_locked() {
    let locked = Locked::new();
    let said = locked.ask(&["lock", "m.lock"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            Some(2),
            "error: `m.lock` is the name of a lock file\n\nhint: name the manifest; its lock lies beside it and ends with `.lock`\n"
        )
    );
    let short = ["--set", "stage.teacher.epochs=1", "--set", "stage.distil.epochs=1"];
    assert_eq!(locked.ask(&[&["run", "m.toml", "--quiet"], &short[..]].concat()).code, Some(0));
    let said = locked.ask(&["lock", "runs/m/receipt.toml"]);
    assert!(
        said.code == Some(2) && said.err.starts_with("error: `runs/m/receipt.toml` is a receipt\n"),
        "{}",
        said.err
    );
}

#[test]
fn lock_file_that_cannot_be_read_is_an_error() {
    let locked = Locked::new();
    for (text, wanted) in [
        ("lock = 1\nplugins = 3\n", "error: `m.lock`, line 2: unknown field `plugins`"),
        ("lock = 7\n", "error: `m.lock` is of format 7, this host reads 1"),
        ("lock = 1\n[[plugin]\n", "error: `m.lock`, line 2: "),
    ] {
        fs::write(locked.lab.path().join("m.lock"), text).expect("written");
        let said = locked.ask(&["check", "m.toml"]);
        assert!(said.code == Some(2) && said.err.contains(wanted), "{}", said.err);
        assert!(said.err.contains("hint: `stillhouse lock m.toml` writes it anew"), "{}", said.err);
    }
    assert_eq!(locked.ask(&["lock", "m.toml"]).code, Some(0));
    assert_eq!(locked.ask(&["check", "m.toml"]).code, Some(0));
}

/// Without a lock file: what a run goes on with is what it began with.
#[test]
fn run_goes_on_with_the_plugins_files_and_data_that_it_began_with() {
    let locked = Locked::new();
    let short = ["--set", "stage.teacher.epochs=1", "--set", "stage.distil.epochs=1"];
    let arrays = |first: f32| {
        [("train", 64usize), ("test", 16)].into_iter().flat_map(move |(part, count)| {
            let mut values: Vec<f32> = (0..count * 64).map(|at| ((at * 7919) as f32 * 0.618).fract()).collect();
            values[0] = first;
            let labels: Vec<i64> = (0..count as i64).map(|at| at % 10).collect();
            let pictures = Tensor::from_vec(values, (count, 1, 8, 8), &Device::Cpu).expect("fits");
            let labels = Tensor::from_vec(labels, count, &Device::Cpu).expect("fits");
            [(format!("{part}_image"), pictures), (format!("{part}_label"), labels)]
        })
    };
    let data = locked.lab.path().join("pictures.npz");
    let write = |first: f32| Tensor::write_npz(&arrays(first).collect::<Vec<_>>(), &data).expect("is written");
    write(0.5);
    locked
        .write(&["own"], &format!("{DIGITS}{DISTIL}{TERMS}").replace("use = \"digits\"", "use = \"npz:pictures.npz\""));
    fs::remove_file(locked.lab.path().join("m.lock")).expect("there is one");
    let run = |more: &[&str]| locked.ask(&[&["run", "m.toml", "--quiet"], &short[..], more].concat());
    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(run(&["--resume"]).code, Some(0));

    locked.put("own", "stillhouse-kd", b"x");
    write(0.25);
    let said = run(&["--resume"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    let start = "error: what this run is made with changed since this run began\n  plugin stillhouse-kd 0.1.0 (";
    assert!(said.err.starts_with(start), "{}", said.err);
    assert!(said.err.contains("\n  file ../../pictures.npz (") && said.err.contains("..), was "), "{}", said.err);
    assert!(said.err.contains("\n  data main: the SHA-256 of its samples was "), "{}", said.err);
    assert!(said.err.contains("`--resume --accept-changes`"), "{}", said.err);

    assert_eq!(run(&["--resume", "--accept-changes"]).code, Some(0));
    assert_eq!(run(&["--resume"]).code, Some(0), "they are the run's from now on");
    let text = fs::read_to_string(locked.lab.path().join("runs/m/receipt.toml")).expect("a receipt");
    let receipt: toml::Table = toml::from_str(&text).expect("TOML");
    let changed = receipt["changed"].as_array().expect("a list");
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert!(changed[0].as_str().is_some_and(|line| line.starts_with("plugin stillhouse-kd 0.1.0 (")), "{changed:?}");
}
