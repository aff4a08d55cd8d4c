//! What may be lost around a run, its disk and its data: one clear error, and the last checkpoint is intact.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::lab::{DIGITS, DISTIL, Lab, Ran};

/// A second stage whose state is several times that of the first.
fn body() -> String {
    let text =
        format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\nterms.kd = {{ use = \"kd\" }}\n");
    let text = text.replace("hidden = [16]", "hidden = [200]");
    format!(
        "[run]\ncheckpoint.every = \"1 epoch\"\n{}",
        text.replace("{ kind = \"sgd\", lr = 0.05, momentum = 0.9 }", "{ kind = \"adam\", lr = 1e-3 }")
    )
}

/// The binary under a shell that first does something.
fn within(lab: &Lab, before: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before} \"$@\"")).arg("sh").arg(lab.path().join("stillhouse")).args(arguments);
    command.current_dir(lab.path()).env("HOME", lab.path()).env("NO_COLOR", "1").env_remove("STILLHOUSE_PLUGINS");
    Ran::of(&command.stdin(Stdio::null()).output().expect("a shell runs"))
}

#[track_caller]
fn goes_on(lab: &Lab, name: &str, body: &str) {
    assert!(!lab.checkpoints(name, 0).is_empty());
    lab.run_with(name, body, &["--resume"]).table();
    lab.run("never", body).table();
    for which in ["best", "last"] {
        let (resumed, never) = (lab.weights(name, "distil", which), lab.weights("never", "distil", which));
        assert_eq!(resumed.differing(&never), Vec::<String>::new());
    }
    assert_eq!(lab.epochs(name, "distil").len(), 3);
}

#[test]
fn files_that_may_not_grow_end_the_run_with_one_error() {
    let lab = Lab::new();
    lab.manifest("small", &body());
    // Enough for the checkpoints of the first stage, not for those of the second.
    let ran = within(&lab, "trap '' XFSZ; exec prlimit --fsize=150000", &["run", "--quiet", "small.toml"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let first = ran.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: ") && first.contains(".checkpoint: File too large"), "{}", ran.err);
    assert!(ran.err.contains("the last checkpoint is in ") && ran.err.contains("go on with `--resume`"), "{}", ran.err);
    assert_eq!(ran.err.matches("error").count(), 2, "one error, and what the system calls it: {}", ran.err);
    let folder = lab.seed_folder("small", 0).join("checkpoints");
    let names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| name.ends_with(".checkpoint")), "nothing half written is left: {names:?}");
    goes_on(&lab, "small", &body());
}

/// A file system of so many bytes; none where the system does not let us.
struct Disk<'l>(&'l Path);

impl Disk<'_> {
    fn mount<'l>(at: &'l Path, options: &str) -> Option<Disk<'l>> {
        fs::create_dir_all(at).expect("is made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Disk(at))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn full_disk_ends_the_run_with_one_error() {
    let lab = Lab::new();
    let runs = lab.path().join("runs");
    let Some(disk) = Disk::mount(&runs, "size=600k") else {
        println!("no file system may be mounted here");
        return;
    };
    // What would be told before the run is told in the middle.
    let ran = lab.run_with("full", &body(), &["--no-preflight"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("No space left on device"), "{}", ran.err);
    assert!(ran.err.contains("hint: make room on the disk, or give the run another `dir`"), "{}", ran.err);
    assert!(ran.err.contains("the last checkpoint is in "), "{}", ran.err);
    let larger = Command::new("mount").args(["-o", "remount,size=20m"]).arg(&runs).output().expect("mount runs");
    assert!(larger.status.success());
    goes_on(&lab, "full", &body());
    drop(disk);
}

#[test]
fn folder_that_cannot_be_written_is_told_before_any_training() {
    let lab = Lab::new();
    // A file stands where the folder should be.
    fs::write(lab.path().join("runs"), "no folder").expect("is written");
    let ran = lab.run("a", &body());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.starts_with("error: ") && ran.err.contains("runs/a: Not a directory"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    fs::remove_file(lab.path().join("runs")).expect("is removed");
    let runs = lab.path().join("runs");
    let Some(disk) = Disk::mount(&runs, "ro,size=20m") else { return };
    let ran = lab.run("a", &body());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.starts_with("error: ") && ran.err.contains("runs/a: Read-only file system"), "{}", ran.err);
    drop(disk);
}

/// A folder that may be written no more, in the middle of a run.
#[test]
fn folder_that_becomes_read_only_ends_the_run_with_one_error() {
    let lab = Lab::new();
    let runs = lab.path().join("runs");
    let Some(disk) = Disk::mount(&runs, "size=20m") else { return };
    lab.run_and_kill("a", &body(), 2);
    let remount = |how: &str| {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&runs).output().expect("mount runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    remount("ro");
    let ran = lab.run_with("a", &body(), &["--resume"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.starts_with("error: ") && ran.err.contains("Read-only file system"), "{}", ran.err);
    remount("rw");
    goes_on(&lab, "a", &body());
    drop(disk);
}

/// Data that a run goes on with are read anew: what became of them is told at their line, and nothing else is touched.
#[test]
fn data_that_was_damaged_since_is_told_and_the_checkpoint_stays() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    for (part, count) in [("train", 40), ("test", 20)] {
        for class in ["a", "b"] {
            let folder = pictures.join(part).join(class);
            fs::create_dir_all(&folder).expect("is made");
            for at in 0..count / 2 {
                let shade =
                    |x: u32, y: u32| [((x * 31 + y * 17 + at * 7) % 128 + if class == "a" { 0 } else { 100 }) as u8];
                let picture = image::GrayImage::from_fn(6, 6, |x, y| image::Luma(shade(x, y)));
                picture.save(folder.join(format!("{at}.png"))).expect("is written");
            }
        }
    }
    let body = body().replace("use = \"digits\"\nsplit = { val = 0.1, seed = 1 }", "use = \"folder:pictures\"");
    let body = body.replace("batch = 32", "batch = 8");
    lab.run_and_kill("a", &body, 2);
    let kept: Vec<Vec<u8>> = lab.checkpoints("a", 0).iter().map(|file| fs::read(file).expect("reads")).collect();
    assert!(!kept.is_empty());
    let victim = pictures.join("train/b/3.png");
    let whole = fs::read(&victim).expect("reads");
    let damages: [(&str, &[u8]); 3] =
        [("cut", &whole[..whole.len() / 2]), ("empty", b""), ("text", b"no picture at all")];
    for (what, bytes) in damages {
        fs::write(&victim, bytes).expect("is written");
        let ran = lab.run_with("a", &body, &["--resume"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{what}: {}", ran.err);
        assert!(
            ran.err.contains("3.png` is not a readable picture") && ran.err.contains("a.toml:"),
            "{what}: {}",
            ran.err
        );
        assert!(ran.err.contains("hint: remove or replace the file"), "{what}: {}", ran.err);
        let now: Vec<Vec<u8>> = lab.checkpoints("a", 0).iter().map(|file| fs::read(file).expect("reads")).collect();
        assert_eq!(now, kept, "{what}");
    }
    fs::write(&victim, whole).expect("is written");
    goes_on(&lab, "a", &body);
}
