//! Several files, overrides, and what is written back.

use super::tests::{SMALL, changed, read};
use super::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Where a path was written: the file's name and the text.
fn written(sources: &Sources, path: &str, part: Part) -> (String, String) {
    let span = sources.locate(&ManifestPath::parse(path).unwrap(), part).unwrap();
    let source = &sources.all()[span.source];
    (source.path.file_name().unwrap().to_string_lossy().into_owned(), source.text[span.range].to_owned())
}

fn pair(file: &str, text: &str) -> (String, String) {
    (file.to_owned(), text.to_owned())
}

/// The problems of `a.toml` in a folder, with the folder's path left out.
fn problems_in(folder: &TempDir) -> String {
    let error = load(&folder.path().join("a.toml"), &[]).unwrap_err();
    error.render(false).replace(&format!("{}/", folder.path().display()), "")
}

fn set(overrides: &[&str]) -> Result<(Manifest, Sources), LoadError> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    load_str(Path::new("m.toml"), SMALL, &overrides)
}

fn set_problems(overrides: &[&str]) -> String {
    set(overrides).unwrap_err().render(false)
}

#[test]
fn extends_merges_tables_and_replaces_lists() {
    let child = "extends = 'base/b.toml'\nrun.seeds = [3]\nstage.one.epochs = 5\nstage.one.terms.kd.use = 'kd'\n";
    let base = changed("'mlp'", "'mlp'\nrun.seeds = [1, 2]\nrun.name = 'base'");
    let files = folder(&[("a.toml", child), ("base/b.toml", &base)]);
    let (manifest, sources) = load(&files.path().join("a.toml"), &[]).unwrap();
    assert_eq!((manifest.run.seeds.as_slice(), manifest.run.name.as_str()), ([3].as_slice(), "base"));
    let one = &manifest.stage["one"];
    assert_eq!((one.epochs, one.terms.len(), &*one.train), (Some(5.0), 2, ["s".to_owned()].as_slice()));
    assert_eq!(written(&sources, "stage.one.epochs", Part::Value), pair("a.toml", "5"));
    assert_eq!(written(&sources, "stage.one.epochs", Part::Key), pair("a.toml", "epochs"));
    assert_eq!(written(&sources, "stage.one.train", Part::Value), pair("b.toml", "'s'"));
    assert_eq!(written(&sources, "stage.one.terms.kd.temperature", Part::Value), pair("a.toml", "kd"));
}

#[test]
fn extends_chain_takes_the_last_word() {
    let files = folder(&[
        ("a.toml", "extends = 'b.toml'\nstage.one.epochs = 1"),
        ("b.toml", "extends = 'c.toml'\nstage.one.epochs = 2\nstage.one.batch = 2"),
        ("c.toml", &changed("epochs = 2", "epochs = 3\nbatch = 3\nlog_every = 3")),
    ]);
    let (manifest, sources) = load(&files.path().join("a.toml"), &[]).unwrap();
    let one = &manifest.stage["one"];
    assert_eq!((one.epochs, one.batch, one.log_every), (Some(1.0), 2, Some(3)));
    assert_eq!(manifest.extends.as_deref(), Some("b.toml"));
    assert_eq!(manifest.run.name, "a");
    assert_eq!(sources.all().len(), 3);
}

#[test]
fn extends_cycle_is_error() {
    let files = folder(&[("a.toml", "extends = 'b.toml'\n"), ("b.toml", "extends = 'a.toml'\n")]);
    assert_eq!(
        problems_in(&files),
        "\
error: `a.toml` extends itself
 --> b.toml:1:11
  |
1 | extends = 'a.toml'
  |           ^^^^^^^^
  |
  = note: by way of `a.toml`, then `b.toml`"
    );
}

#[test]
fn extends_missing_file_is_error_at_its_name() {
    let files = folder(&[("a.toml", "extends = 'b.toml'\n")]);
    let problem = problems_in(&files);
    assert!(problem.starts_with("error: cannot read `b.toml`, which this manifest extends: "), "{problem}");
    assert!(problem.contains(" --> a.toml:1:11"), "{problem}");
}

#[test]
fn error_in_the_base_is_shown_there() {
    let base = changed("lr = 0.1", "lr = 0");
    let files = folder(&[("a.toml", "extends = 'b.toml'\nstage.one.btach = 3\n"), ("b.toml", &base)]);
    assert_eq!(
        problems_in(&files),
        "\
error: `lr` must be greater than 0, got 0
 --> b.toml:8:34
  |
8 | optimizer = { kind = 'sgd', lr = 0 }
  |                                  ^

error: unknown key `btach` in `stage.one`
 --> a.toml:2:11
  |
2 | stage.one.btach = 3
  |           ^^^^^
  |
  = hint: did you mean `batch`?"
    );
}

#[test]
fn keys_in_conflict_across_files_are_both_shown() {
    let files = folder(&[("a.toml", "extends = 'b.toml'\nstage.one.steps = 3\n"), ("b.toml", SMALL)]);
    assert_eq!(
        problems_in(&files),
        "\
error: `stage.one` has both `epochs` and `steps`
 --> a.toml:2:11
  |
2 | stage.one.steps = 3
  |           ^^^^^
  |
 ::: b.toml:7:1
  |
7 | epochs = 2
  | ------ first here
  |
  = hint: keep one of them"
    );
}

#[test]
fn data_of_one_set_is_named_main() {
    let (manifest, sources) = read(SMALL);
    assert_eq!(manifest.data["main"].use_, "digits");
    assert_eq!(written(&sources, "data.main.use", Part::Value), pair("m.toml", "'digits'"));
    let files = folder(&[("a.toml", "extends = 'b.toml'\ndata.limit = 3\n"), ("b.toml", SMALL)]);
    let (manifest, _) = load(&files.path().join("a.toml"), &[]).unwrap();
    assert_eq!(manifest.data["main"].limit, Some(3));
}

#[test]
fn override_is_toml_or_a_bare_string() {
    let (manifest, sources) =
        set(&["stage.one.epochs = 7", "run.device=cuda", "run.seeds=[1, 2]", "stage.one.terms.task.name=a b"]).unwrap();
    assert_eq!((manifest.stage["one"].epochs, manifest.run.device), (Some(7.0), Device::Cuda));
    assert_eq!(manifest.run.seeds, [1, 2]);
    assert_eq!(manifest.stage["one"].terms["task"].config["name"], "a b");
    assert_eq!(written(&sources, "stage.one.epochs", Part::Value), pair("--set", "7"));
    assert_eq!(written(&sources, "stage.one.epochs", Part::Key), pair("--set", "epochs"));
    assert_eq!(written(&sources, "stage.one.terms.task.name", Part::Value), pair("--set", "a b"));
    assert_eq!(written(&sources, "stage.one.batch", Part::Value), pair("m.toml", "one"));
}

#[test]
fn override_makes_tables_that_the_schema_knows() {
    let (manifest, _) = set(&["stage.one.schedule.kind=cosine", "models.big={arch='vgg8'}"]).unwrap();
    assert_eq!(manifest.stage["one"].schedule, Schedule::Cosine { final_factor: 0.0, warmup: None });
    assert!(manifest.models.contains_key("big"));
}

#[test]
fn override_reaches_the_only_data_set_with_and_without_its_name() {
    assert_eq!(set(&["data.limit=3"]).unwrap().0.data["main"].limit, Some(3));
    assert_eq!(set(&["data.main.limit=3"]).unwrap().0.data["main"].limit, Some(3));
    assert_eq!(set(&["data.split.val=0.2"]).unwrap().0.data["main"].split, Some(Split { val: 0.2, seed: 0 }));
}

#[test]
fn override_of_unknown_parent_is_error_with_the_nearest() {
    assert_eq!(
        set_problems(&["run.threads=2", "stage.oen.epochs=3", "rnu.name=x"]),
        "\
error: there is no `oen` in `stage` to set
 --> --set:2:7
  |
2 | stage.oen.epochs=3
  |       ^^^
  |
  = hint: did you mean `one`?

error: there is no `rnu` to set
 --> --set:3:1
  |
3 | rnu.name=x
  | ^^^
  |
  = hint: did you mean `run`?"
    );
}

#[test]
fn override_malformed_is_error() {
    assert_eq!(
        set_problems(&["nothing"]),
        "\
error: an override has the form `path=value`, got `nothing`
 --> --set:1:1
  |
1 | nothing
  | ^^^^^^^"
    );
    assert!(set_problems(&["run.threads=1\nrun.dir='x'"]).starts_with("error: an override sets one value"));
    assert!(set_problems(&["run.seeds=[1,"]).starts_with("error: unclosed array, expected `]`\n --> --set:1:14"));
    assert!(set_problems(&["stage.one.batch="]).starts_with("error: `batch` must be an integer, got a string"));
    assert!(
        set_problems(&["stage.one.epochs.x=1"])
            .starts_with("error: `stage.one.epochs` is an integer, it has no key `x`\n --> --set:1:18")
    );
}

#[test]
fn override_with_wrong_value_is_shown_as_set() {
    assert_eq!(
        set_problems(&["stage.one.batch = many"]),
        "\
error: `batch` must be an integer, got a string
 --> --set:1:19
  |
1 | stage.one.batch = many
  |                   ^^^^"
    );
}

#[test]
fn path_is_resolved_beside_the_file_that_wrote_it() {
    let base = changed("'mlp'", "'mlp'\nmodels.s.weights = 'w.safetensors'\nplugins.paths = ['p']");
    let files = folder(&[("a.toml", "extends = 'base/b.toml'\nplugins.paths = ['q']\n"), ("base/b.toml", &base)]);
    let overrides = ["run.dir=elsewhere".to_owned()];
    let (_, sources) = load(&files.path().join("a.toml"), &overrides).unwrap();
    let resolve = |path: ManifestPath, value: &str| sources.resolve(&path, value);
    let weights = ManifestPath::of(["models", "s", "weights"]);
    assert_eq!(resolve(weights.clone(), "w.safetensors"), files.path().join("base/w.safetensors"));
    assert_eq!(resolve(weights, "/w.safetensors"), PathBuf::from("/w.safetensors"));
    assert_eq!(resolve(ManifestPath::of(["plugins", "paths"]).index(0), "q"), files.path().join("q"));
    assert_eq!(resolve(ManifestPath::of(["run", "dir"]), "elsewhere"), PathBuf::from("elsewhere"));
    assert_eq!(resolve(ManifestPath::of(["run", "other"]), "runs"), files.path().join("runs"));
}

#[test]
fn resolved_toml_means_the_same_in_another_folder() {
    let base = changed("'mlp'", "'mlp'\nmodels.s.weights = 'w.safetensors'").replace("'digits'", "'idx:d'");
    let child = "extends = 'base/b.toml'\n[sweep]\n'stage.one.epochs' = [1, 2]\n";
    let files = folder(&[("a.toml", child), ("base/b.toml", &base)]);
    let overrides = ["stage.one.terms.task.weight=0.5".to_owned(), "stage.one.terms.task.n=3".to_owned()];
    let (before, sources) = load(&files.path().join("a.toml"), &overrides).unwrap();
    let text = sources.resolved_toml(&files.path().join("runs/a"));
    assert_eq!(
        text,
        "\
manifest = 1

[data.main]
use = \"idx:../../base/d\"

[models.s]
arch = \"mlp\"
weights = \"../../base/w.safetensors\"

[stage.one]
train = \"s\"
epochs = 2

[stage.one.optimizer]
kind = \"sgd\"
lr = 0.1

[stage.one.terms.task]
use = \"ce\"
weight = 0.5
n = 3

[run]
name = \"a\"
"
    );
    let (after, _) = load_str(Path::new("runs/a/manifest.toml"), &text, &[]).unwrap();
    assert_eq!((after.stage, after.run), (before.stage, before.run));
}

#[test]
fn resolved_toml_means_the_same_for_moving_pictures() {
    for (written, wanted) in [
        ("moving:digits?digits=1", "moving:digits?digits=1"),
        ("moving:mnist", "moving:mnist"),
        ("moving:idx:../d?size=8", "moving:idx:../../../d?size=8"),
        ("moving:npz:a.npz", "moving:npz:../../a.npz"),
        ("clips:a.npy", "clips:../../a.npy"),
    ] {
        let (_, sources) = read(&SMALL.replace("'digits'", &format!("'{written}'")));
        let text = sources.resolved_toml(Path::new("runs/a"));
        assert!(text.contains(&format!("use = \"{wanted}\"\n")), "{written}: {text}");
    }
}

#[test]
fn resolved_toml_means_the_same_for_recordings_and_the_cache() {
    let (_, sources) = read(&format!("{SMALL}[recordings.bank]\nfile = 'bank.rec'\n[cache]\ndir = 'kept'\n"));
    let text = sources.resolved_toml(Path::new("runs/a"));
    assert!(text.contains("file = \"../../bank.rec\"\n") && text.contains("dir = \"../../kept\"\n"), "{text}");
}

#[test]
fn sweep_is_a_grid_of_overrides() {
    let text = format!("{SMALL}[sweep]\n'stage.one.epochs' = [1, 2]\n'stage.one.terms.task.mode' = ['a', [1, 2.5]]\n");
    let (manifest, _) = read(&text);
    let points = manifest.sweep_points();
    assert_eq!(points.len(), 4);
    assert_eq!(points[0], ["stage.one.epochs=1", "stage.one.terms.task.mode=\"a\""]);
    assert_eq!(points[3], ["stage.one.epochs=2", "stage.one.terms.task.mode=[1, 2.5]"]);
    for point in points {
        load_str(Path::new("m.toml"), &text, &point).unwrap();
    }
    assert_eq!(read(SMALL).0.sweep_points(), [Vec::<String>::new()]);
}

#[test]
fn sweep_of_unknown_path_is_error() {
    let text = format!("{SMALL}[sweep]\n'stage.oen.epochs' = [1]\n'stage.one.epochs' = []\n");
    assert_eq!(
        super::tests::problems(&text),
        "\
error: there is no `oen` in `stage` to set
  --> m.toml:11:1
   |
11 | 'stage.oen.epochs' = [1]
   | ^^^^^^^^^^^^^^^^^^
   |
   = hint: did you mean `one`?

error: `stage.one.epochs` has no values to sweep over
  --> m.toml:12:22
   |
12 | 'stage.one.epochs' = []
   |                      ^^"
    );
}
