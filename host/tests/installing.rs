//! Installed plugins, by the real binary: put in the user's folder, found there, shadowed, changed, removed.
#![allow(missing_docs)]

mod support;

use std::fs;
use support::command::{Place, Said};
use support::{hostile, library};

const FOLDER: &str = "home/stillhouse/plugins";

/// The hostile plugin whose parts misbehave is sound as a file.
fn install(place: &Place, name: &str) -> Said {
    place.run(&["plugin", "install", hostile(name).to_str().expect("a path in UTF-8")])
}

#[test]
fn installed_plugin_is_found_by_its_parts() {
    let place = Place::new();
    assert_eq!(place.run(&["describe", "good"]).code, 2);
    let said = install(&place, "parts");
    assert_eq!(said.code, 0, "{}", said.err);
    let file = format!("{FOLDER}/{}", library("hostile_parts"));
    assert!(said.out.starts_with("installed hostile-parts 0.1.0\n  file    "), "{}", said.out);
    assert!(said.out.contains("\n  loss       good "), "{}", said.out);
    let note = place.read(&format!("{file}.sha256"));
    let (hash, name) = note.trim_end().split_once("  ").expect("hash and name");
    assert!(said.out.contains(&format!("\n  sha256  {hash}\n")), "{}", said.out);
    assert_eq!(name, library("hostile_parts"));
    assert_eq!(fs::read(place.path(&file)).expect("read"), fs::read(hostile("parts")).expect("read"));
    let described = place.succeed(&["describe", "good"]);
    assert!(described.out.contains(&format!("/{file}\n")), "{}", described.out);
}

#[test]
fn file_that_is_no_plugin_is_not_installed() {
    let place = Place::new();
    for (name, wanted) in [
        ("plain", "is not a plugin; was `export_plugin!` forgotten?"),
        ("undefined", "cannot be opened"),
        ("signature", "was built against another interface"),
        ("reserved", "a key that the host reads itself"),
        ("abort", "is built with `panic = \"abort\"`"),
    ] {
        let said = install(&place, name);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{name}");
        assert!(said.err.starts_with("error: ") && said.err.contains(wanted), "{name}: {}", said.err);
    }
    let missing = place.run(&["plugin", "install", "libnobody.so"]);
    assert_eq!(missing.err, "error: `libnobody.so` does not exist\n");
    assert!(!place.path(FOLDER).exists());
}

#[test]
fn changed_plugin_is_refused_until_it_is_installed_again() {
    let place = Place::new();
    assert_eq!(install(&place, "parts").code, 0);
    let file = place.path(&format!("{FOLDER}/{}", library("hostile_parts")));
    fs::copy(hostile("raw"), &file).expect("overwritten");
    let said = place.run(&["plugins"]);
    assert!(
        said.out.contains("refused: plugin `hostile-raw` changed since it was installed: its SHA-256 is "),
        "{}",
        said.out
    );
    assert!(said.out.contains("  hint: install it again with `stillhouse plugin install`\n"), "{}", said.out);
    assert_eq!(install(&place, "parts").code, 0);
    assert!(!place.succeed(&["plugins"]).out.contains("refused: "));
}

#[test]
fn plugin_of_another_name_keeps_its_place() {
    let place = Place::new();
    assert_eq!(install(&place, "parts").code, 0);
    let file = format!("{FOLDER}/{}", library("hostile_parts"));
    fs::create_dir_all(place.path("built")).expect("made");
    let other = place.path(&format!("built/{}", library("hostile_parts")));
    fs::copy(hostile("unruly"), &other).expect("copied");
    let other = other.to_str().expect("a path in UTF-8");
    let said = place.run(&["plugin", "install", other]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(said.err.starts_with("error: plugin `hostile-unruly` cannot be installed: `"), "{}", said.err);
    let rest = format!(
        "/{file}` is plugin `hostile-parts`, not an earlier `hostile-unruly`\n\nhint: give the file another name, or take the other away \
         with `stillhouse plugin remove hostile-parts`\n"
    );
    assert!(said.err.ends_with(&rest), "{}", said.err);
    assert_eq!(fs::read(place.path(&file)).expect("read"), fs::read(hostile("parts")).expect("read"));
    place.succeed(&["plugin", "remove", "hostile-parts"]);
    assert_eq!(place.run(&["plugin", "install", other]).code, 0);
}

#[test]
fn removed_plugin_is_gone() {
    let place = Place::new();
    let said = place.run(&["plugin", "remove", "hostile-parts"]);
    assert!(said.err.starts_with("error: no plugin `hostile-parts` is installed\n\nhint: nothing is installed in `"));
    assert_eq!(install(&place, "parts").code, 0);
    let said = place.run(&["plugin", "remove", "hostile-part"]);
    assert_eq!(said.err, "error: no plugin `hostile-part` is installed\n\nhint: did you mean `hostile-parts`?\n");
    let said = place.succeed(&["plugin", "remove", "hostile_parts"]);
    assert!(said.out.starts_with("removed hostile-parts 0.1.0\n"), "{}", said.out);
    assert_eq!(fs::read_dir(place.path(FOLDER)).expect("the folder").count(), 0);
}

#[test]
fn plugins_shows_what_wins_and_what_is_shadowed() {
    let place = Place::new();
    let file = hostile("parts").to_str().expect("a path in UTF-8");
    assert_eq!(install(&place, "parts").code, 0);
    // The same bytes in two places, another plugin of the same name, and a file that is none.
    let mut other = fs::read(hostile("parts")).expect("read");
    other.push(0);
    fs::create_dir_all(place.path("more")).expect("made");
    place.write(&format!("more/{}", library("other")), &other);
    place.write(&format!("more/{}", library("text")), "hello");
    let said = place.succeed(&["plugins", file, "more"]);
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let has = |words: &[&str]| lines.iter().any(|line| line == words);
    assert!(has(&[&library("hostile_parts"), "taken:", "hostile-parts"]), "{}", said.out);
    assert!(has(&[&library("hostile_parts"), "a", "copy", "of", "hostile-parts"]), "{}", said.out);
    assert!(has(&[&library("other"), "shadowed:", "another", "file", "is", "hostile-parts"]), "{}", said.out);
    assert!(has(&[&library("text"), "refused"]), "{}", said.out);
    let list: serde_json::Value =
        serde_json::from_str(&place.succeed(&["plugins", file, "more", "--json"]).out).expect("JSON");
    let fates: Vec<&str> =
        list["files"].as_array().expect("files").iter().filter_map(|one| one["fate"].as_str()).collect();
    assert_eq!(fates, ["taken", "shadowed", "refused", "copy", "taken", "taken", "taken"]);
    // What an author installs behind a file that is found first.
    let mut again = place.command(&[
        "plugin",
        "install",
        place.path(&format!("more/{}", library("other"))).to_str().expect("UTF-8"),
    ]);
    let done = again.env("STILLHOUSE_PLUGINS", file).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        text.ends_with(&format!("note: runs find `{file}` before it\n")),
        "{text}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
