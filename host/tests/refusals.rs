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
use support::{copied, hostile, written};

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

/// Each in one line, and none of them keeps the command from the others.
#[test]
fn files_that_are_no_plugins_are_refused_by_name() {
    let none: [&Path; 0] = [];
    let lab = Lab::with(none);
    let folder = lab.path().join("own");
    fs::create_dir_all(folder.join("libdir.so")).expect("made");
    let whole = fs::read(hostile("parts")).expect("read");
    let mut other = whole.clone();
    other[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    for (name, bytes) in
        [("empty", &b""[..]), ("words", b"hello, world, how are you"), ("cut", &whole[..4096]), ("other", &other)]
    {
        written(&folder, name, bytes);
    }
    for name in ["plain", "undefined", "signature", "forked", "major", "parts"] {
        copied(name, &folder, name);
    }
    let machine = std::env::consts::ARCH;
    let elsewhere = if machine == "x86_64" { "aarch64" } else { "x86_64" };
    let said = lab.ask(&["plugins", "own"]);
    let out = said.out.replace(lab.path().to_str().unwrap_or_default(), "DIR");
    for wanted in [
        "`own/libempty.so` is not a shared library: it is empty".to_owned(),
        "`own/libwords.so` is not a shared library: it is text that begins with \"hello, world, ho\"".to_owned(),
        format!("`own/libcut.so` is cut off: its headers describe {} bytes, the file has 4096", whole.len()),
        format!("`own/libother.so` is built for {elsewhere}, this host runs on {machine} linux"),
        "`own/libplain.so` is not a plugin; was `export_plugin!` forgotten?".to_owned(),
        "plugin `hostile-undefined` cannot be opened: dlopen failed: DIR/own/libundefined.so: undefined symbol: \
         stillhouse_symbol_that_nobody_has"
            .to_owned(),
        "plugin `hostile-signature` was built against another interface: create > param_2: expected RStr<'a>, found f64: \
         `own/libsignature.so`"
            .to_owned(),
        "plugin `hostile-forked` was built against another interface: the module: expected 2 fields, found 3: \
         `own/libforked.so`"
            .to_owned(),
    ] {
        assert!(out.contains(&format!("refused: {wanted}\n")), "no {wanted:?} in {out}");
    }
    assert!(
        out.contains("plugin `hostile-major` speaks version 99.7 of the plugin interface, this host speaks 1.0"),
        "{out}"
    );
    assert!(out.contains("hostile-parts"), "the sound one is there: {out}");
    // Named one by one, folders and what is not there are told, too.
    for (name, wanted) in [
        ("own/libdir.so", "`own/libdir.so` is a folder, not a library"),
        ("own/libnobody.so", "`own/libnobody.so` does not exist"),
    ] {
        let said = lab.ask(&["plugin", "check", name]);
        assert!(
            said.code != Some(0) && said.err.starts_with(&format!("error: {wanted}\n")),
            "{}{}",
            said.out,
            said.err
        );
    }
}

#[test]
fn part_that_two_plugins_offer_is_told_with_both_files() {
    let lab = Lab::with([plugin("stillhouse-basics"), hostile("parts"), hostile("twin")]);
    let body = |part: &str| {
        let terms = "terms.task = { use = \"cross_entropy\" }\nterms.bad = { use = \"PART\", weight = 0.01 }\n";
        format!("{DIGITS}{DISTIL}{terms}").replace("PART", part)
    };
    let (message, hint) = lab.refusal(&body("twin"));
    assert!(
        message.starts_with("2 plugins offer the loss `twin`: `hostile-parts` (`")
            && message.contains("`hostile-twin` (`"),
        "{message}"
    );
    assert_eq!(hint, "write `hostile-parts::twin` or `hostile-twin::twin`");
    assert!(lab.check(&body("hostile-twin::twin")).iter().all(|one| one["severity"] != "error"));
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
