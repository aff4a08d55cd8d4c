//! The host knows no method by name.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{DIGITS, DISTIL, Lab};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// Renames every component: `const NAME: &'static str = "kd"` becomes `"zz_kd"`.
fn renamed(text: &str) -> String {
    const MARK: &str = "const NAME: &'static str = \"";
    text.replace(MARK, &format!("{MARK}zz_"))
}

/// A copy of a plugin in which every component has another name, built against this workspace's lock file and target.
fn build_renamed(plugins: &[&str], folder: &Path) -> Vec<PathBuf> {
    let api = root().join("plugin-api").canonicalize().expect("the interface is there");
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("a workspace");
    let workspace = workspace.replace("path = \"plugin-api\"", &format!("path = {api:?}"));
    // The lists of members take several lines.
    let workspace = ["\nmembers = [", "\ndefault-members = ["].into_iter().fold(workspace, |text, list| {
        let (before, rest) = text.split_once(list).expect("members");
        let (_, after) = rest.split_once(']').expect("the end of a list");
        format!("{before}{after}")
    });
    let kept = |line: &&str| !line.starts_with("stillhouse-kernels");
    let workspace: Vec<&str> = workspace.lines().filter(kept).collect();
    let (head, tail) = workspace.split_first().expect("a first line");
    assert_eq!(*head, "[workspace]");
    let text = format!("{head}\nmembers = {plugins:?}\n{}\n", tail.join("\n"));
    let text = text.replace("[profile.release.package.stillhouse-kernels]\noverflow-checks = false\n", "");
    fs::write(folder.join("Cargo.toml"), text).expect("written");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
    for plugin in plugins {
        let (from, to) = (root().join("plugins").join(plugin), folder.join(plugin));
        fs::create_dir_all(to.join("src")).expect("made");
        fs::copy(from.join("Cargo.toml"), to.join("Cargo.toml")).expect("copied");
        for file in rust_files(&from.join("src")) {
            let inner = file.strip_prefix(from.join("src")).expect("inside");
            let (text, place) = (fs::read_to_string(&file).expect("read"), to.join("src").join(inner));
            fs::create_dir_all(place.parent().expect("a folder")).expect("made");
            fs::write(place, renamed(&text)).expect("written");
        }
    }
    // A target of their own, kept between runs: the files must not take the place of the plugins that ship.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("renamed");
    let mut cargo = Command::new(env!("CARGO"));
    let built = cargo
        .current_dir(folder)
        .args(["build", "--release", "--offline", "--lib"])
        .env("CARGO_TARGET_DIR", &target)
        .output();
    let built = built.expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    plugins
        .iter()
        .map(|plugin| target.join("release").join(support::library(&format!("stillhouse_{plugin}"))))
        .collect()
}

#[test]
fn build_with_every_component_renamed_trains() {
    let folder = support::folder();
    let lab = Lab::with(build_renamed(&["basics", "kd", "fitnet"], folder.path()));
    let terms = r#"terms.task = { use = "zz_cross_entropy", weight = 0.5 }
terms.kd = { use = "zz_kd", weight = 0.5 }
terms.method = { use = "zz_fitnet", student = "relu1", teacher = "relu1", hint_epochs = 1, hint_reduction = "mean" }
"#;
    let digits = DIGITS.replace("use = \"cross_entropy\"", "use = \"zz_cross_entropy\"");
    let ran = lab.run("a", &format!("{digits}\n{DISTIL}\nbaseline = true\n{terms}"));
    assert!(ran.accuracy("student") > 0.8, "{:#}", ran.table());
    let (message, _) = lab.refusal(&format!("{DIGITS}\n{DISTIL}\n{terms}"));
    assert!(message.contains("cross_entropy"), "{message}");
    // The names change nothing else: the same numbers as with the plugins that ship.
    let shipped = Lab::new();
    shipped.run("a", &format!("{digits}\n{DISTIL}\nbaseline = true\n{terms}").replace("zz_", "")).table();
    assert_eq!(
        lab.weights("a", "distil.kd", "last").differing(&shipped.weights("a", "distil.kd", "last")),
        Vec::<String>::new()
    );
}

/// Names of methods, as whole words of code.
const METHODS: &[&str] = &[
    "kd",
    "dkd",
    "fitnet",
    "fitnets",
    "rkd",
    "crkd",
    "afd",
    "tmu",
    "skd",
    "crd",
    "ofd",
    "vid",
    "fsp",
    "nst",
    "hint_loss",
    "rkd_distance",
    "rkd_angle",
];

/// Code without comments and test modules; strings stay.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let bare = |line: &str| {
        let line = line.trim_start();
        let cut =
            line.match_indices("//").map(|(at, _)| at).find(|at| line[..*at].matches('"').count().is_multiple_of(2));
        line[..cut.unwrap_or(line.len())].to_owned()
    };
    text.lines().map(bare).collect::<Vec<_>>().join("\n")
}

#[test]
fn host_names_no_method_outside_comments() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut named = vec![];
    for file in rust_files(&source) {
        let inner = file.strip_prefix(&source).expect("inside").to_owned();
        let is_test = inner.components().any(|part| part.as_os_str() == "tests")
            || inner.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tests"));
        if is_test {
            continue;
        }
        let text = code(&fs::read_to_string(&file).expect("read"));
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase);
            named.extend(
                words
                    .filter(|word| METHODS.contains(&word.as_str()))
                    .map(|word| format!("{}:{}: {word}", inner.display(), number + 1)),
            );
        }
    }
    assert_eq!(named, Vec::<String>::new());
}

#[test]
fn host_depends_on_no_plugin() {
    for file in ["Cargo.toml", "kernels/Cargo.toml", "../plugin-api/Cargo.toml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("read");
        let names = ["stillhouse-basics", "stillhouse-kd", "stillhouse-fitnet", "general", "hostile"];
        assert!(names.iter().all(|name| !text.contains(name)), "{file}");
    }
}

/// Files outside of the rooms where code may be `unsafe`; the macro that exports a plugin writes an attribute of that name.
#[test]
fn unsafe_code_stands_in_its_rooms() {
    let host = ["host/src/plugin", "host/src/exec/memory.rs", "host/src/train/cache/mapped.rs", "host/kernels"];
    let rooms: Vec<PathBuf> = host.into_iter().chain(["plugin-api/src/abi"]).map(|room| root().join(room)).collect();
    let sources = ["host", "plugin-api", "plugins"].into_iter().flat_map(|folder| rust_files(&root().join(folder)));
    let outside = sources.filter(|file| !rooms.iter().any(|room| file.starts_with(room)));
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default().replace("#[unsafe(no_mangle)]", "");
        ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|mark| code.contains(mark))
    };
    let here = Path::new(file!()).file_name();
    let mut guilty = vec![];
    for file in outside.filter(|file| file.file_name() != here) {
        let text = fs::read_to_string(&file).expect("read");
        guilty.extend(text.lines().filter(|line| is_unsafe(line)).map(|line| format!("{}: {line}", file.display())));
    }
    assert!(guilty.is_empty(), "{guilty:#?}");
}

#[test]
fn plugins_and_their_interface_are_built_without_candle() {
    for package in ["stillhouse-plugin", "stillhouse-kd", "stillhouse-fitnet", "stillhouse-basics"] {
        let tree = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["tree", "--offline", "--prefix", "none", "--edges", "normal,build", "-p", package])
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
        assert!(tree.starts_with(package), "{tree}");
        assert!(!tree.contains("candle"), "{tree}");
    }
}
