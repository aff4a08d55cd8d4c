//! What is refused before any code of a plugin runs: whole files of real plugins, cut, patched and mutated.
#![allow(missing_docs)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use stillhouse::plugin::{PluginError, verify};
use support::{copied, folder, hostile, library, patched, text, written};

fn refused(path: &Path) -> PluginError {
    verify(path, false).expect_err("the file is refused")
}

#[test]
fn verify_good_plugin_tells_what_it_is() {
    let verified = verify(hostile("parts"), false).expect("a plugin");
    assert_eq!((verified.name.as_str(), verified.version.as_str()), ("hostile-parts", env!("CARGO_PKG_VERSION")));
    assert_eq!(verified.abi, (stillhouse_plugin::abi::ABI_MAJOR, stillhouse_plugin::abi::ABI_MINOR));
    assert!(verified.unwinds && verified.built_with.starts_with("rustc "), "{verified:?}");
}

#[test]
fn verify_missing_file_is_refused() {
    let dir = folder();
    let error = refused(&dir.path().join("libnobody.so"));
    assert_eq!(text(&error, dir.path()), "`libnobody.so` does not exist");
}

#[test]
fn verify_folder_is_refused() {
    let dir = folder();
    let path = dir.path().join(library("dir"));
    fs::create_dir(&path).expect("a folder");
    assert_eq!(text(&refused(&path), dir.path()), format!("`{}` is a folder, not a library", library("dir")));
}

#[test]
fn verify_empty_and_text_files_are_refused() {
    let dir = folder();
    let empty = text(&refused(&written(dir.path(), "a", b"")), dir.path());
    assert_eq!(empty, format!("`{}` is not a shared library: it is empty", library("a")));
    let script = text(&refused(&written(dir.path(), "a", b"hello, world, how are you")), dir.path());
    let wanted =
        format!("`{}` is not a shared library: it is text that begins with \"hello, world, ho\"", library("a"));
    assert_eq!(script, wanted);
    let archive = text(&refused(&written(dir.path(), "a", b"!<arch>\n/               0")), dir.path());
    assert!(archive.contains("is not a shared library"), "{archive}");
}

#[cfg(unix)]
#[test]
fn verify_unreadable_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let path = copied("parts", dir.path(), "secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions change");
    // The superuser reads it all the same.
    if fs::File::open(&path).is_err() {
        assert_eq!(text(&refused(&path), dir.path()), "`libsecret.so` cannot be read: permission denied");
    }
}

#[cfg(unix)]
#[test]
fn verify_device_is_refused() {
    assert_eq!(refused(Path::new("/dev/null")).to_string(), "`/dev/null` is a device or a pipe, not a library");
}

#[cfg(target_os = "linux")]
#[test]
fn verify_cut_file_is_refused() {
    let dir = folder();
    let whole = fs::read(hostile("parts")).expect("the plugin is read");
    let path = written(dir.path(), "cut", &whole[..4096]);
    let wanted = format!("`libcut.so` is cut off: its headers describe {} bytes, the file has 4096", whole.len());
    assert_eq!(text(&refused(&path), dir.path()), wanted);
    assert_eq!(refused(&path).hint().as_deref(), Some("build the plugin or copy it again"));
}

#[test]
fn verify_file_cut_anywhere_is_refused() {
    let dir = folder();
    let path = copied("major", dir.path(), "cut");
    let file = OpenOptions::new().write(true).open(&path).expect("the copy is opened");
    let len = file.metadata().expect("the copy is there").len();
    let early = (0..512).rev();
    let lengths = [len - 1, len - 64, len - 5000].into_iter().chain((1..200).rev().map(|i| len * i / 200)).chain(early);
    for length in lengths {
        file.set_len(length).expect("the copy is cut");
        let error = refused(&path);
        let known =
            matches!(error, PluginError::CutOff { .. } | PluginError::NotLibrary { .. } | PluginError::Damaged { .. });
        assert!(known, "at {length}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn verify_other_machine_is_refused() {
    let dir = folder();
    let mut image = fs::read(hostile("major")).expect("the plugin is read");
    let here = format!("this host runs on {} linux", std::env::consts::ARCH);
    let (other, name) = if cfg!(target_arch = "x86_64") { (183, "aarch64") } else { (62, "x86_64") };
    image[18] = other;
    let error = refused(&written(dir.path(), "other", &image));
    assert_eq!(text(&error, dir.path()), format!("`libother.so` is built for {name}, {here}"));
    assert_eq!(error.hint(), Some(format!("build the plugin for {} linux", std::env::consts::ARCH)));
    image[4] = 1;
    let error = refused(&written(dir.path(), "narrow", &image));
    assert_eq!(text(&error, dir.path()), format!("`libnarrow.so` is built for a 32-bit machine, {here}"));
    image[..4].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe]);
    let error = refused(&written(dir.path(), "apple", &image));
    assert_eq!(text(&error, dir.path()), format!("`libapple.so` is built for macOS, {here}"));
}

#[test]
fn verify_library_without_preamble_is_refused() {
    let dir = folder();
    let error = refused(&copied("plain", dir.path(), "plain"));
    let wanted = format!("`{}` is not a plugin; was `export_plugin!` forgotten?", library("plain"));
    assert_eq!(text(&error, dir.path()), wanted);
}

#[test]
fn verify_other_major_is_refused() {
    let dir = folder();
    let error = refused(&copied("major", dir.path(), "major"));
    let wanted = format!(
        "plugin `hostile-major` speaks version 99.7 of the plugin interface, this host speaks {}.{}: `{}`",
        stillhouse_plugin::abi::ABI_MAJOR,
        stillhouse_plugin::abi::ABI_MINOR,
        library("major")
    );
    assert_eq!(text(&error, dir.path()), wanted);
    assert!(error.hint().is_some_and(|hint| hint.starts_with("build it with a `stillhouse-plugin` of interface ")));
}

#[test]
fn verify_preamble_without_header_is_refused() {
    let dir = folder();
    let path = patched("major", dir.path(), "lone", 8, &stillhouse_plugin::abi::ABI_MAJOR.to_ne_bytes());
    let wanted = format!("plugin `hostile-major` has no usable header: it is not exported: `{}`", library("lone"));
    assert_eq!(text(&refused(&path), dir.path()), wanted);
}

#[test]
fn verify_aborting_plugin_is_refused_unless_allowed() {
    let dir = folder();
    let path = copied("abort", dir.path(), "abort");
    let error = refused(&path);
    let wanted = format!(
        "plugin `hostile-abort` is built with `panic = \"abort\"`, so that a panic in it would end the host: `{}`",
        library("abort")
    );
    assert_eq!(text(&error, dir.path()), wanted);
    let hint = "build it with `panic = \"unwind\"`, or allow it with `--allow-abort`";
    assert_eq!(error.hint().as_deref(), Some(hint));
    assert!(!verify(&path, true).expect("allowed").unwinds);
}

#[test]
fn verify_senseless_preamble_is_refused() {
    let dir = folder();
    let said = |offset: usize, bytes: &[u8]| {
        let error = refused(&patched("parts", dir.path(), "odd", offset, bytes));
        text(&error, dir.path()).replace(&library("odd"), "FILE")
    };
    let start = "`FILE` has a preamble that makes no sense: ";
    assert_eq!(said(0, b"X"), format!("{start}it does not begin with the mark of Stillhouse"));
    assert_eq!(said(24, b"a/b\0"), format!("{start}its name is not that of a crate"));
    assert_eq!(said(24, b"\0"), format!("{start}its name is not that of a crate"));
    let wide = said(16, &[17]);
    assert!(wide.starts_with("`FILE` is built for pointers of 17 bits, this host runs on "), "{wide}");
}

/// A small generator (SplitMix64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }

    /// Mostly in the tables at both ends of the file, which all the rest is found by.
    fn place(&mut self, len: u64) -> u64 {
        let near = self.below(4096).min(len - 1);
        match self.below(8) {
            0..4 => self.below(64 + 13 * 56),
            4 => near,
            5 | 6 => len - 1 - near,
            _ => self.below(len),
        }
    }
}

#[test]
fn verify_mutated_file_never_panics() {
    let dir = folder();
    let whole = fs::read(hostile("parts")).expect("the plugin is read");
    let path = written(dir.path(), "mutated", &whole);
    let mut file = OpenOptions::new().write(true).open(&path).expect("the copy is opened");
    let mut put = |at: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).expect("the copy is written");
    };
    let mut dice = Dice(2024);
    let (mut taken, rounds) = (0, 5000);
    for _ in 0..rounds {
        let count = 1 + dice.below(4);
        let places: Vec<u64> = (0..count).map(|_| dice.place(whole.len() as u64)).collect();
        for at in &places {
            let byte = [[0, 0xff, 0x7f, 0x80][dice.below(4) as usize], dice.below(256) as u8][dice.below(2) as usize];
            put(*at, &[byte]);
        }
        taken += usize::from(verify(&path, false).is_ok());
        places.iter().for_each(|at| put(*at, &whole[*at as usize..=*at as usize]));
    }
    assert!((1..rounds).contains(&taken), "{taken} of {rounds} were taken");
    assert!(verify(&path, false).is_ok(), "the copy is as it was");
}
