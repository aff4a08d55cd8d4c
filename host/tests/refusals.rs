//! Refusals that need more than a file: a file that may not be read, a file system on which nothing is run, a destructor that panics;
//! by the real binary. Both of the first need rights to make the case: a superuser's, or those of an own name space.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::lab::{DIGITS, DISTIL, Lab, plugin};
use support::{copied, hostile};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions change");
}

/// What a program that runs the binary says; none where the system does not let it.
fn said(lab: &Lab, program: &[&str], arguments: &[&str]) -> Option<String> {
    let allowed = Command::new(program[0]).args(&program[1..]).arg("true").output().ok()?.status.success();
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(arguments).current_dir(lab.path()).env("HOME", lab.path()).env("NO_COLOR", "1");
    let output = command.env_remove("STILLHOUSE_PLUGINS").env_remove("XDG_DATA_HOME").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    allowed.then(|| text.replace(lab.path().to_str().unwrap_or_default(), "DIR"))
}

#[test]
fn plugin_that_may_not_be_read_is_refused() {
    let none: [&Path; 0] = [];
    let lab = Lab::with(none);
    let file = copied("parts", lab.path(), "secret");
    mode(lab.path(), 0o755);
    mode(&file, 0o000);
    let wanted = "refused: `libsecret.so` cannot be read: permission denied\n";
    let alone = ["./stillhouse", "plugins", "libsecret.so"];
    if fs::File::open(&file).is_err() {
        assert!(lab.ask(&alone[1..]).out.contains(wanted));
    } else if let Some(text) = said(&lab, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], &alone) {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn plugin_on_a_file_system_without_execution_is_refused() {
    let none: [&Path; 0] = [];
    let lab = Lab::with(none);
    copied("parts", lab.path(), "parts");
    fs::create_dir(lab.path().join("mount")).expect("made");
    let script =
        "mount -t tmpfs -o noexec tmpfs mount && cp libparts.so mount && ./stillhouse plugins mount/libparts.so";
    let Some(text) = said(&lab, &["unshare", "-rm"], &["sh", "-c", script]) else { return };
    let wanted = "refused: plugin `hostile-parts` cannot be opened: dlopen failed: DIR/mount/libparts.so: failed to map segment from \
                  shared object\n  hint: its file system may be mounted with `noexec`; put it elsewhere\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn panic_in_a_destructor_is_told_and_harms_nobody() {
    let lab = Lab::with([plugin("stillhouse-basics"), hostile("parts")]);
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.bad = { use = \"panics_in_drop\", weight = 0.01 }\n";
    let ran = lab.run("a", &format!("{DIGITS}{DISTIL}{terms}"));
    assert!(ran.accuracy("student") > 0.8, "{}", ran.err);
    let line = ran.err.lines().find(|line| line.starts_with("warning: `panics_in_drop` panicked at "));
    let line = line.unwrap_or_else(|| panic!("it is not told: {}", ran.err));
    assert!(line.contains("endings.rs:") && line.ends_with(": boom in drop, when it was dropped"), "{line}");
}
