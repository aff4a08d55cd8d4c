//! Real plugin files, found, loaded, refused and looked up.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use stillhouse::plugin::{Component, PluginError, Registry, SearchPaths, Surroundings, install};
use stillhouse_plugin::abi::{ABI_MINOR, code};
use stillhouse_plugin::desc::Kind;
use support::table::table;
use support::{RESERVED, copied, discover, folder, hostile, library, patched, refusal, text, written};

fn names(registry: &Registry) -> Vec<&str> {
    registry.plugins().iter().map(|plugin| plugin.name.as_str()).collect()
}

fn parts() -> Registry {
    discover(&[hostile("parts")])
}

fn part<'r>(registry: &'r Registry, name: &str) -> &'r Component {
    registry.find(None, name).expect("the component is there")
}

/// The error of making a component with these settings.
fn refused_config(name: &str, config: &str) -> PluginError {
    let registry = parts();
    match part(&registry, name).create(config, table()) {
        Ok(_) => panic!("`{name}` took {config}"),
        Err(error) => error,
    }
}

#[test]
fn discover_plugin_knows_where_it_comes_from() {
    let registry = parts();
    let plugin = &registry.plugins()[0];
    assert_eq!((plugin.name.as_str(), plugin.path.as_path()), ("hostile-parts", hostile("parts")));
    assert_eq!(plugin.sha256.len(), 64);
    assert!(plugin.built_with.starts_with("rustc ") && plugin.notes.is_empty());
    let settings = registry.find(Some(Kind::Loss), "settings").expect("a loss");
    assert_eq!(settings.full_name(), "hostile-parts::settings");
    assert_eq!((settings.desc.doc.as_str(), settings.desc.ports.len()), ("A loss with nested settings", 1));
    assert!(settings.desc.schema["properties"]["inner"].is_object());
}

#[test]
fn discover_broken_file_in_folder_stops_nobody() {
    let dir = folder();
    copied("parts", dir.path(), "b_parts");
    written(dir.path(), "a_text", b"no library");
    fs::write(dir.path().join("notes.txt"), "not looked at").expect("the file is written");
    let registry = discover(&[dir.path()]);
    assert_eq!(names(&registry), ["hostile-parts"]);
    assert_eq!(registry.refused().len(), 1);
    assert!(registry.check_named().is_ok());
}

/// A plugin that opens only where `needed.lib` lies beside it: of two entries that a library can do without, a name becomes that of the file,
/// and a count of relocations the wish for it.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn needing(name: &str) -> Vec<u8> {
    const NEEDED: &[u8] = b"$ORIGIN/needed.lib\0";
    let mut image = fs::read(hostile(name)).expect("the plugin is read");
    let find =
        |wanted: &[u8]| image.windows(wanted.len()).position(|bytes| bytes == wanted).expect("it is in the file");
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
    let (spare, count) = (find(b"_ITM_deregisterTMCloneTable\0"), find(&0x6fff_fff9_u64.to_le_bytes()));
    let strings = (count..image.len() - 16).step_by(16).find(|at| word(*at) == 5).map(|at| word(at + 8));
    let place = spare as u64 - strings.expect("a table of strings");
    image[spare..spare + NEEDED.len()].copy_from_slice(NEEDED);
    image[count..count + 16].copy_from_slice(&[1_u64.to_le_bytes(), place.to_le_bytes()].concat());
    image
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn discover_file_that_opens_in_a_later_place_is_taken_there() {
    let (first, second) = (folder(), folder());
    let image = needing("parts");
    written(first.path(), "parts", &image);
    let good = written(second.path(), "parts", &image);
    fs::copy(hostile("plain"), second.path().join("needed.lib")).expect("the copy is written");
    let registry = discover(&[first.path(), second.path()]);
    let [refused] = registry.refused() else { panic!("{:?}", registry.refused()) };
    assert!(refused.error.to_string().contains("cannot be opened: "), "{}", refused.error);
    assert_eq!(names(&registry), ["hostile-parts"]);
    assert_eq!(registry.plugins()[0].path, good);
}

#[test]
fn discover_broken_file_that_manifest_names_is_error() {
    let dir = folder();
    let path = written(dir.path(), "text", b"no library");
    let registry = discover(&[hostile("parts"), &path]);
    let wanted = format!("`{}` is not a shared library: it is text that begins with \"no library\"", library("text"));
    assert_eq!(text(registry.check_named().expect_err("an error"), dir.path()), wanted);
    let registry = discover(&[&dir.path().join("nowhere")]);
    assert_eq!(text(registry.check_named().expect_err("an error"), dir.path()), "`nowhere` does not exist");
}

#[test]
fn discover_folder_named_like_library_is_refused() {
    let dir = folder();
    let path = dir.path().join(library("folder"));
    fs::create_dir(&path).expect("a folder");
    let wanted = format!("`{}` is a folder, not a library", library("folder"));
    assert_eq!(text(&refusal(&path), dir.path()), wanted);
    assert_eq!(text(&discover(&[dir.path()]).refused()[0].error, dir.path()), wanted);
}

#[cfg(target_os = "linux")]
#[test]
fn load_undefined_symbol_is_refused_in_one_line() {
    let dir = folder();
    let error = refusal(&copied("undefined", dir.path(), "undefined"));
    let wanted = "plugin `hostile-undefined` cannot be opened: dlopen failed: libundefined.so: undefined symbol: \
                  stillhouse_symbol_that_nobody_has";
    assert_eq!(text(&error, dir.path()), wanted);
}

#[test]
fn load_changed_signature_is_refused_with_path() {
    let dir = folder();
    let error = refusal(&copied("signature", dir.path(), "signature"));
    let wanted = format!(
        "plugin `hostile-signature` was built against another interface: create > param_2: expected RStr<'a>, found f64: `{}`",
        library("signature")
    );
    assert_eq!(text(&error, dir.path()), wanted);
    assert_eq!(error.hint().as_deref(), Some("build it with the `stillhouse-plugin` that belongs to this host"));
    assert!(error.detail().is_some_and(|report| report.len() > 2000), "the whole report is kept");
}

#[test]
fn load_forked_suffix_is_refused_with_path() {
    let dir = folder();
    let error = refusal(&copied("forked", dir.path(), "forked"));
    let wanted = format!(
        "plugin `hostile-forked` was built against another interface: the module: expected 2 fields, found 3: `{}`",
        library("forked")
    );
    assert_eq!(text(&error, dir.path()), wanted);
}

#[test]
fn load_newer_minor_with_more_at_the_end_is_taken() {
    let dir = folder();
    let path = patched("forked", dir.path(), "newer", 12, &(ABI_MINOR + 1).to_ne_bytes());
    let registry = discover(&[&path]);
    assert_eq!(registry.check_named(), Ok(()));
    let plugin = &registry.plugins()[0];
    assert_eq!(plugin.abi.1, ABI_MINOR + 1);
    let note = "`from_the_future` is left out, since this host does not understand it: unknown variant `sampler`";
    assert!(plugin.notes.len() == 1 && plugin.notes[0].starts_with(note), "{:?}", plugin.notes);
    let error = part(&registry, "of_fork").create("{}", table()).err().expect("it makes nothing");
    assert_eq!(error.to_string(), "plugin `hostile-forked`, loss `of_fork`: a fork makes nothing");
}

#[test]
fn load_foreign_bytes_as_header_are_refused() {
    let dir = folder();
    let path = hostile("undefined");
    let mut image = fs::read(path).expect("the plugin is read");
    // With the missing function renamed to one that exists, the library opens, and its header is no header.
    let missing = b"stillhouse_symbol_that_nobody_has\0";
    let at = image.windows(missing.len()).position(|window| window == missing).expect("the name is in the file");
    image[at..at + 7].copy_from_slice(b"getpid\0");
    let error = text(&refusal(&written(dir.path(), "header", &image)), dir.path());
    assert!(error.starts_with("plugin `hostile-undefined` has no usable header: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn discover_reserved_key_is_refused() {
    let dir = folder();
    let error = refusal(&copied("reserved", dir.path(), "reserved"));
    let wanted =
        "plugin `hostile-reserved`: the loss `greedy` has a setting `weight`, a key that the host reads itself";
    assert_eq!(error.to_string(), wanted);
    let hint = error.hint().unwrap_or_default();
    assert!(hint.starts_with("rename the setting in the plugin; names that are taken: `use`, `weight`, "), "{hint}");
    let paths = SearchPaths::new(&[hostile("reserved").to_owned()], &Surroundings::default());
    assert_eq!(names(&Registry::discover(&paths, false, &["use"])), ["hostile-reserved"]);
}

#[test]
fn discover_aborting_plugin_is_taken_when_allowed() {
    let paths = SearchPaths::new(&[hostile("abort").to_owned()], &Surroundings::default());
    assert_eq!(names(&Registry::discover(&paths, true, RESERVED)), ["hostile-abort"]);
    assert!(Registry::discover(&paths, false, RESERVED).plugins().is_empty());
}

#[test]
fn find_name_of_two_plugins_is_error_when_used() {
    let (parts, twin) = (hostile("parts"), hostile("twin"));
    let registry = discover(&[parts, twin]);
    assert!(registry.check_named().is_ok() && registry.find(Some(Kind::Loss), "good").is_ok());
    let error = registry.find(Some(Kind::Loss), "twin").expect_err("two plugins have it");
    let wanted = format!(
        "2 plugins offer the loss `twin`: `hostile-parts` (`{}`) and `hostile-twin` (`{}`)",
        parts.display(),
        twin.display()
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(error.hint().as_deref(), Some("write `hostile-parts::twin` or `hostile-twin::twin`"));
    let ours = registry.find(Some(Kind::Loss), "hostile-twin::twin").expect("one plugin has it");
    assert_eq!(ours.plugin.path, twin);
    assert!(registry.find(Some(Kind::Loss), "hostile_parts::twin").is_ok());
    assert!(registry.find(Some(Kind::Connector), "twin").is_ok());
}

#[test]
fn find_name_of_two_kinds_is_error_without_kind() {
    let registry = discover(&[hostile("twin")]);
    let error = registry.find(None, "twin").expect_err("two kinds have it");
    let wanted = "`twin` is the name of several parts: a connector of `hostile-twin`, a loss of `hostile-twin`";
    assert_eq!(sorted(&error.to_string()), sorted(wanted));
    assert!(registry.find_of(&[Kind::Loss, Kind::Distiller], "twin").is_ok());
}

fn sorted(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split([' ', ',']).collect();
    words.sort_unstable();
    words
}

#[test]
fn find_unknown_name_gets_nearest_one() {
    let registry = parts();
    let error = registry.find(Some(Kind::Loss), "setings").expect_err("unknown");
    assert_eq!(error.to_string(), "no plugin has a loss `setings`");
    assert_eq!(error.hint().as_deref(), Some("did you mean `settings`?"));
    let searched = format!("plugins were looked for in\n  `{}` (manifest)", hostile("parts").display());
    assert_eq!(error.detail(), Some(searched.as_str()));
    let error = registry.find_of(&[Kind::Module, Kind::Distiller], "settings").expect_err("of another kind");
    assert_eq!(error.to_string(), "no plugin has a module or distiller `settings`");
    assert_eq!(error.hint().as_deref(), Some("`settings` is a loss"));
    let error = registry.find(Some(Kind::Connector), "zzz").expect_err("unknown");
    assert_eq!(error.hint().as_deref(), Some("there are: `refuses_ends`, `wrong_shape`"));
}

#[test]
fn find_unknown_plugin_gets_nearest_one() {
    let registry = parts();
    let error = registry.find(None, "hostile-part::good").expect_err("unknown");
    assert_eq!(error.to_string(), "no plugin is named `hostile-part`");
    assert_eq!(error.hint().as_deref(), Some("did you mean `hostile-parts`?"));
    let error = registry.find(None, "hostile-parts::goood").expect_err("unknown");
    assert_eq!(error.to_string(), "no plugin has a part `hostile-parts::goood`");
    assert_eq!(error.hint().as_deref(), Some("did you mean `good`?"));
}

#[test]
fn find_without_plugins_says_what_was_refused() {
    let dir = folder();
    written(dir.path(), "text", b"no library");
    let error = discover(&[dir.path()]).find(Some(Kind::Loss), "kd").expect_err("unknown");
    assert_eq!(error.hint().as_deref(), Some("no plugin was found; name a file or folder in `plugins.paths`"));
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("\nand these were refused\n  `") && detail.contains("is text that begins with"),
        "{detail}"
    );
}

#[test]
fn discover_same_file_twice_counts_once() {
    let dir = folder();
    let first = copied("twin", dir.path(), "twin");
    copied("twin", dir.path(), "zz_copy");
    let registry = discover(&[&first, dir.path(), &dir.path().join(".")]);
    assert_eq!(names(&registry), ["hostile-twin"]);
    assert!(registry.shadowed().is_empty() && registry.refused().is_empty());
    assert_eq!(registry.plugins()[0].path, first);
}

#[test]
fn discover_later_plugin_of_same_name_is_shadowed() {
    let (early, late) = (folder(), folder());
    let first = patched("twin", early.path(), "twin", 24 + 64, b"9.9.9");
    let second = copied("twin", late.path(), "twin");
    let registry = discover(&[early.path(), late.path()]);
    assert_eq!(
        registry.plugins().iter().map(|p| (p.version.as_str(), &p.path)).collect::<Vec<_>>(),
        [("9.9.9", &first)]
    );
    let shadowed = &registry.shadowed()[0];
    assert_eq!((shadowed.name.as_str(), &shadowed.path, &shadowed.by.path), ("hostile-twin", &second, &first));
    assert!(registry.find(Some(Kind::Loss), "twin").is_ok());
}

#[test]
fn discover_searches_all_places_in_order() {
    let dir = folder();
    let place = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    };
    let user = place("data/stillhouse/plugins");
    copied("twin", &place("variable"), "twin");
    copied("raw", &user, "raw");
    copied("parts", &place("bin/plugins"), "parts");
    copied("plain", &place("bin"), "plain");
    copied("reserved", &place("bin"), "reserved");
    let around = Surroundings {
        variable: Some(std::env::join_paths([place("variable"), dir.path().join("absent")]).expect("paths")),
        data_home: Some(dir.path().join("data")),
        binary: Some(dir.path().join("bin/stillhouse")),
    };
    let registry = Registry::discover(&SearchPaths::new(&[], &around), false, &[]);
    assert_eq!(names(&registry), ["hostile-twin", "hostile-raw", "hostile-parts", "hostile-reserved"]);
    let refused: Vec<String> = registry.refused().iter().map(|refused| text(&refused.error, dir.path())).collect();
    assert_eq!(refused, ["`absent` does not exist"], "the plain library beside the binary is passed over");
    assert!(registry.check_named().is_ok());
}

#[test]
fn discover_library_without_preamble_is_refused_where_plugins_belong() {
    let dir = folder();
    copied("plain", dir.path(), "plain");
    let wanted = format!("`{}` is not a plugin; was `export_plugin!` forgotten?", library("plain"));
    assert_eq!(text(&discover(&[dir.path()]).refused()[0].error, dir.path()), wanted);
}

#[test]
fn discover_relative_path_is_taken() {
    let absolute = hostile("raw");
    let here = std::env::current_dir().expect("a folder");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(absolute.strip_prefix("/").unwrap_or(absolute));
    assert_eq!(names(&discover(&[&relative])), ["hostile-raw"]);
}

#[test]
fn install_plugin_replaces_whole_file() {
    let dir = folder();
    let target = dir.path().join("new/folder");
    let first = install(&copied("parts", dir.path(), "mine"), &target, false).expect("it is copied");
    assert_eq!(names(&discover(&[&target])), ["hostile-parts"]);
    let open = fs::File::open(&first.path).expect("it is opened");
    let length = |file: &fs::File| file.metadata().expect("it is open").len();
    let before = length(&open);
    let later = [fs::read(hostile("parts")).expect("the plugin is read"), vec![0]].concat();
    let second = install(&written(dir.path(), "mine", &later), &target, false).expect("it is replaced");
    assert_eq!((names(&discover(&[&target])), length(&open)), (vec!["hostile-parts"], before));
    assert_eq!(fs::read(&second.path).expect("the copy is read"), later);
    let files = fs::read_dir(&target).expect("a folder").count();
    assert_eq!((first.path, files), (second.path, 2), "the library and its note");
    assert_ne!(first.sha256, second.sha256);
}

#[test]
fn install_in_the_place_of_another_plugin_is_refused() {
    let dir = folder();
    let target = dir.path().join("target");
    let first = install(&copied("parts", dir.path(), "mine"), &target, false).expect("it is copied");
    let error = install(&copied("raw", dir.path(), "mine"), &target, false).expect_err("its place is taken");
    let wanted = PluginError::Occupied { path: first.path, plugin: "hostile-raw".into(), got: "hostile-parts".into() };
    assert_eq!(error, wanted);
    assert_eq!(names(&discover(&[&target])), ["hostile-parts"]);
}

#[test]
fn install_broken_file_is_refused() {
    let dir = folder();
    let target = dir.path().join("target");
    let error = install(&copied("plain", dir.path(), "plain"), &target, false).expect_err("no plugin");
    assert!(matches!(error, PluginError::NotPlugin { .. }) && !target.exists(), "{error}");
}

#[test]
fn create_unknown_nested_setting_names_its_path() {
    let error = refused_config("settings", r#"{"inner": {"angle_wieght": 1.0}}"#);
    let wanted = "component `settings`: at `inner.angle_wieght`: unknown field, expected `angle_weight`";
    assert_eq!(error.to_string(), wanted);
    assert_eq!(error.hint().as_deref(), Some("did you mean `angle_weight`?"));
    assert_eq!(error.with_hint(), format!("{wanted}\n\nhint: did you mean `angle_weight`?"));
}

#[test]
fn create_unknown_setting_that_the_type_lets_through_is_error() {
    let error = refused_config("settings", r#"{"scael": 1.0}"#);
    let wanted = "component `settings`: at `scael`: unknown field, expected `scale`, `norm`, `inner`";
    assert_eq!(sorted(&error.to_string()), sorted(wanted));
    assert_eq!(error.hint().as_deref(), Some("did you mean `scale`?"));
}

#[test]
fn create_setting_of_wrong_type_or_value_is_error() {
    let error = refused_config("settings", r#"{"inner": {"angle_weight": "big"}}"#);
    let wanted = "component `settings`: at `inner.angle_weight`: invalid type: string \"big\", expected f64";
    assert_eq!(error.to_string(), wanted);
    let error = refused_config("settings", r#"{"norm": "squard"}"#);
    let wanted = "component `settings`: at `norm`: unknown variant `squard`, expected `absolute` or `squared`";
    assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (wanted, Some("did you mean `squared`?")));
    let error = refused_config("settings", r#"{"scale": -1.0}"#);
    assert_eq!(error.to_string(), "component `settings`: `scale` must be above 0, got -1");
}

#[test]
fn create_panic_names_plugin_component_and_line() {
    let error = refused_config("panics_in_new", "{}");
    let said = error.to_string();
    let PluginError::Failed { code, message, .. } = error else { panic!("{error}") };
    assert_eq!(code, code::PANIC);
    assert!(said.starts_with("plugin `hostile-parts`, loss `panics_in_new`: panicked at "), "{said}");
    assert!(said.contains("endings.rs:13:") && said.ends_with(": boom in new"), "{message}");
}

#[test]
fn create_part_that_panics_in_drop_is_survived() {
    let registry = parts();
    let made = part(&registry, "panics_in_drop").create("{}", table());
    drop(made.expect("it is made"));
    assert!(part(&registry, "good").create("{}", table()).is_ok());
}

#[test]
fn create_every_component_but_the_broken_ones_works() {
    let registry = discover(&[hostile("parts"), hostile("raw"), hostile("twin")]);
    let failed = |c: &&Component| c.create("{}", table()).is_err();
    let broken: Vec<&str> = registry.components().iter().filter(failed).map(|c| c.desc.name.as_str()).collect();
    assert_eq!(broken, ["exits_early", "gate", "midway", "panics_in_new"], "the first three want settings");
    assert!(registry.components().len() > 25);
}

#[test]
fn registry_moves_between_threads() {
    fn movable<T: Send + Sync>(_: &T) {}
    movable(&parts());
    let dir: &Path = hostile("parts");
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || discover(&[dir]).components().len())).collect();
    let counts: Vec<usize> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert!(counts.iter().all(|count| *count == counts[0]));
}
