//! The way of a plugin's author, by the real binary: a new crate that builds alone, its tests, a training with it.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::command::Place;
use support::library;

/// Runs cargo in a crate outside the workspace, with this workspace's versions of dependencies and a target that stays.
fn cargo(folder: &Path, arguments: &[&str]) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author");
    let mut cargo = Command::new(env!("CARGO"));
    let done = cargo.current_dir(folder).args(arguments).env("CARGO_TARGET_DIR", &target).output().expect("cargo runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{arguments:?}\n{}{}", text(&done.stdout), text(&done.stderr));
}

/// A new crate of a kind, built; gives the library.
fn built(place: &Place, name: &str, kind: &str, more: &[&str]) -> PathBuf {
    let said = place.succeed(&[&["plugin", "new", name, "--kind", kind], more].concat());
    let part = name.replace('-', "_");
    assert!(said.out.starts_with(&format!("wrote the {kind} `{part}` to `{name}`, with `stillhouse-plugin` of `")));
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, place.path(name).join("Cargo.lock")).expect("copied");
    cargo(&place.path(name), &["build", "--release", "--offline"]);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author/release").join(library(&part))
}

/// The crate is well formatted, free of warnings and passes its tests; the real binary trains with its library.
fn every_step_works(name: &str, kind: &str, more: &[&str], part_in_log: Option<&str>) {
    let place = Place::new();
    let file = built(&place, name, kind, more);
    cargo(&place.path(name), &["fmt", "--check"]);
    cargo(&place.path(name), &["test", "--release", "--offline"]);
    let part = name.replace('-', "_");
    let file = file.to_str().expect("a path in UTF-8");
    let described = place.succeed(&["describe", &format!("{kind}/{part}"), "--plugins", file]);
    assert!(described.out.starts_with(&format!("{kind} {name}::{part}\n")), "{}", described.out);
    let checked = place.succeed(&["plugin", "check", file]);
    assert!(checked.out.ends_with("\n1 part: 11 ok, 0 failed, 1 not applicable\n"), "{}", checked.out);
    let (example, paths) = (format!("{name}/example.toml"), format!("plugins.paths=[{file:?}]"));
    let faster = ["--set", "stage.teacher.epochs=1", "--set", "stage.distil.epochs=1"];
    let run = [&["run", &example, "--quiet", "--json", "--set", &paths], &faster[..]].concat();
    let table: serde_json::Value = serde_json::from_str(&place.succeed(&run).out).expect("a table");
    assert!(table["rows"].as_array().is_some_and(|rows| rows.len() >= 2), "{table:#}");
    let log = place.read(&format!("{name}/runs/{name}/seed-1/metrics.jsonl"));
    assert!(part_in_log.is_none_or(|part| log.contains(&format!("\"{part}\""))), "{log}");
}

#[test]
fn new_loss_builds_alone_and_trains() {
    every_step_works("soft-rank", "loss", &[], Some("own"));
}

#[test]
fn new_loss_on_labels_builds_alone_and_trains() {
    every_step_works("other-classes", "loss", &["--reads", "labels"], Some("own"));
}

#[test]
fn new_loss_on_features_builds_alone_and_trains() {
    every_step_works("same-way", "loss", &["--reads", "features"], Some("own"));
}

#[test]
fn new_connector_builds_alone_and_trains() {
    every_step_works("narrow-map", "connector", &[], Some("own"));
}

#[test]
fn new_module_builds_alone_and_trains() {
    every_step_works("low-rank", "module", &[], None);
}

#[test]
fn new_distiller_builds_alone_and_trains() {
    every_step_works("falling-features", "distiller", &[], Some("own.features"));
}

#[test]
fn new_plugin_depends_on_the_version_that_is_asked_for() {
    let place = Place::new();
    place.succeed(&["plugin", "new", "mine", "--kind", "loss", "--path", "deep/folder", "--api", "0.1"]);
    let manifest = place.read("deep/folder/Cargo.toml");
    assert!(manifest.contains("\nstillhouse-plugin = \"0.1\"\n"), "{manifest}");
    assert!(manifest.ends_with("\n[workspace]\n"), "{manifest}");
}

#[test]
fn new_plugin_is_told_of_a_namesake_and_of_where_cargo_builds() {
    let place = Place::new();
    let said = place.succeed(&["plugin", "new", "kd", "--kind", "loss"]);
    let note =
        "note: plugin `stillhouse-kd` has a loss `kd`, too: write `use = \"kd::kd\"`, or give yours another name\n";
    assert!(said.out.contains(note), "{}", said.out);
    assert!(said.out.contains(&format!("check target/release/{}\n", library("kd"))), "{}", said.out);
    assert!(said.out.ends_with("\n  stillhouse run example.toml\n"), "{}", said.out);
    let said = place.succeed(&["plugin", "new", "short", "--reads", "labels"]);
    assert!(said.out.starts_with("wrote the loss `short` to `short`, "), "{}", said.out);
    let mut command = place.command(&["plugin", "new", "mine", "--kind", "loss"]);
    let out = command.env("CARGO_TARGET_DIR", "/shared").output().expect("runs").stdout;
    let (said, file) = (String::from_utf8(out).expect("text"), format!("/shared/release/{}", library("mine")));
    assert!(said.contains(&format!("\n  stillhouse plugin check {file}\n")), "{said}");
    assert!(said.ends_with(&format!("\n  stillhouse run example.toml --set 'plugins.paths=[\"{file}\"]'\n")), "{said}");
}

#[test]
fn new_plugin_that_cannot_be_is_an_error() {
    let place = Place::new();
    place.write("full/a.txt", "mine");
    for (arguments, wanted) in [
        (
            &["plugin", "new", "Soft Rank", "--kind", "loss"][..],
            "error: `Soft Rank` is no name for a plugin: it wants lower-case letters, digits, `-` and `_`, a letter first\n\nhint: try `soft-rank`\n",
        ),
        (
            &["plugin", "new", "full", "--kind", "loss"],
            "error: `full` exists and is not empty\n\nhint: name another folder with `--path`\n",
        ),
        (
            &["plugin", "new", "mine", "--kind", "module", "--reads", "labels"],
            "error: `--reads` is for a loss: a module reads what it is put at\n",
        ),
        (
            &["plugin", "new", "mine", "--kind", "loss", "--api", "newest"],
            "error: `--api newest` is neither a version nor the folder of `stillhouse-plugin`\n\nhint: write a version such as `0.1`, \
             or the folder `plugin-api` of a checkout\n",
        ),
    ] {
        let said = place.run(arguments);
        assert_eq!((said.code, said.err.as_str()), (2, wanted));
    }
    assert_eq!(place.read("full/a.txt"), "mine");
    assert!(!place.path("mine").exists());
}
