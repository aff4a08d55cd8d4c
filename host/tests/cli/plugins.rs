//! `plugins` and `describe`.

use super::json;
use super::support::command::Place;
use super::support::{hostile, library};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::fs;

#[test]
fn plugins_lists_components_and_places() {
    let place = Place::new();
    let said = place.succeed(&["plugins"]);
    let names: Vec<&str> = said.out.lines().filter(|line| line.starts_with("stillhouse-")).collect();
    assert_eq!(names.len(), 3, "{}", said.out);
    assert!(names[2].starts_with("stillhouse-kd 0.1.0  (ABI 1."), "{}", names[2]);
    let kd = "  loss       kd                 Soft targets: ";
    assert!(said.out.lines().any(|line| line.starts_with(kd)), "{}", said.out);
    assert!(said.out.contains("\nsearched:\n"), "{}", said.out);
    assert!(said.out.contains(" (beside the binary)\n"), "{}", said.out);
}

#[test]
fn plugins_json_has_plugins_places_and_refusals() {
    let path = hostile("reserved").to_str().expect("a path in UTF-8");
    let said = Place::new().run(&["plugins", path, "--json"]);
    assert_eq!(said.code, 1, "what was named is no plugin that can be used");
    let list = json(&said.out);
    let plugins: Vec<&str> =
        list["plugins"].as_array().expect("plugins").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(plugins, ["stillhouse-basics", "stillhouse-fitnet", "stillhouse-kd"]);
    let kd = list["plugins"][2]["components"]
        .as_array()
        .expect("components")
        .iter()
        .find(|one| one["name"] == "kd")
        .expect("kd");
    assert_eq!(kd["kind"], "loss");
    let refused = &list["refused"][0];
    assert_eq!(
        refused["reason"],
        "plugin `hostile-reserved`: the loss `greedy` has a setting `weight`, a key that the host reads itself"
    );
    let hint = "rename the setting in the plugin; names that are taken: `use`, `weight`, `at`, `student`, `teacher`, `ports`, \
                `connector`, `connector_on`, `phase`";
    assert_eq!(refused["hint"], hint);
    let again = json(&Place::new().run(&["plugins", "--plugins", path, "--json"]).out);
    assert_eq!(again["refused"], list["refused"]);
    assert_eq!(list["searched"][0]["from"], "manifest");
}

#[test]
fn describe_of_loss_shows_ports_settings_and_use() {
    let said = Place::new().succeed(&["describe", "kd"]);
    let wanted = "\
loss stillhouse-kd::kd
  Soft targets: Kullback-Leibler divergence of the student's softened classes from the teacher's
  source: Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015,
  arXiv:1503.02531

ports
  student            tap of the student, `logits` unless bound
  teacher            tap of the teacher, `logits` unless bound

settings
  temperature = 4.0        number > 0
      Softens both distributions; above 0.
  reduction = \"batchmean\"  batchmean | mean | sum | none
      How the values of all elements become one.
  t_squared = true         boolean
      Multiply by the square of the temperature, so that gradients keep their size when it changes.

in a manifest
  terms.kd = { use = \"kd\" }
";
    assert!(said.out.starts_with(wanted), "{}", said.out);
}

#[test]
fn describe_of_inner_table_opens_it() {
    let said = Place::new().succeed(&["describe", "distiller/fitnet"]);
    for line in [
        "  regressor.bias = true",
        "  hint_epochs ",
        "  regressor.kind ",
        "  terms.fitnet = { use = \"fitnet\", student = ",
    ] {
        assert!(said.out.lines().any(|own| own.starts_with(line)), "{line}\n{}", said.out);
    }
    let widest =
        said.out.lines().filter(|line| !line.contains("stillhouse_fitnet")).map(|line| line.chars().count()).max();
    assert!(widest <= Some(102), "{}", said.out);
}

#[test]
fn describe_misspelt_names_the_nearest() {
    let said = Place::new().run(&["describe", "kdd"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert_eq!(said.err, "error: no plugin has a part `kdd`\n\nhint: did you mean `kd`?\n");
    let said = Place::new().run(&["describe", "foo/kd"]);
    assert!(said.code == 2 && said.err.starts_with("error: `foo` is no kind of part\n"), "{}", said.err);
    let said = Place::new().run(&["describe", "connector/xyzzy"]);
    let end = "; `--plugins PATH` names the file or folder of another one\n";
    assert!(
        said.err.starts_with("error: no plugin has a connector `xyzzy`\n\nhint: there are: ")
            && said.err.ends_with(end),
        "{}",
        said.err
    );
    let said = Place::new().run(&["describe", "connector/kd"]);
    assert_eq!(said.err, "error: no plugin has a connector `kd`\n\nhint: `kd` is a loss\n");
}

#[test]
fn what_a_named_file_was_refused_for_is_told() {
    let path = hostile("reserved").to_str().expect("a path in UTF-8");
    let place = Place::new();
    let start = "error: plugin `hostile-reserved`: the loss `greedy` has a setting `weight`, a key that the host reads itself\n";
    for arguments in [
        &["describe", "greedy", "--plugins", path][..],
        &["plugin", "eval", "loss/greedy", "--in", "x.safetensors", "--plugins", path],
    ] {
        let said = place.run(arguments);
        assert!(said.code == 2 && said.err.starts_with(start), "{}", said.err);
    }
    // Not named, but met: beside what is not found.
    fs::create_dir(place.path("own")).expect("made");
    fs::copy(path, place.path("own").join(library("reserved"))).expect("copied");
    let said = place.run(&["describe", "greedy", "--plugins", "own"]);
    assert!(
        said.err.starts_with("error: no plugin has a part `greedy`\n  refused: plugin `hostile-reserved`: "),
        "{}",
        said.err
    );
}

#[test]
fn eval_prints_the_loss_and_what_is_small() {
    let place = Place::new();
    let tensor = |values: &[f64]| Tensor::from_slice(values, (1, 2), &Device::Cpu).expect("small");
    let given = HashMap::from([("input.student", tensor(&[0.0, 2.0])), ("input.teacher", tensor(&[1.0, 0.0]))]);
    candle_core::safetensors::save(&given, place.path("x.safetensors")).expect("written");
    let said = place.succeed(&["plugin", "eval", "loss/mse", "--in", "x.safetensors"]);
    // (1 + 4) / 2, and (s - t).
    assert!(said.out.starts_with("mse (f64)\n"), "{}", said.out);
    assert!(said.out.contains("  out.loss            2.5e0\n"), "{}", said.out);
    assert!(said.out.contains("  grad.input.student  [1, 2]  -1.000000e0  2.000000e0\n"), "{}", said.out);
    assert!(!said.out.contains("written to"), "{}", said.out);
    let before = fs::read(place.path("x.safetensors")).expect("reads");
    let said = place.run(&["plugin", "eval", "loss/mse", "--in", "x.safetensors", "--out", "./x.safetensors"]);
    assert!(said.code == 2 && said.err.starts_with("error: `--out` is the file that is read\n"), "{}", said.err);
    assert_eq!(fs::read(place.path("x.safetensors")).expect("reads"), before);
}

#[test]
fn describe_json_has_schema_and_file() {
    let component = json(&Place::new().succeed(&["describe", "kd", "--json"]).out);
    assert_eq!(component["component"]["schema"]["properties"]["temperature"]["default"], 4.0);
    assert_eq!(component["plugin"]["name"], "stillhouse-kd");
    assert_eq!(component["plugin"]["abi"], "1.0");
}

#[test]
fn describe_says_who_built_it_and_what_connectors_read() {
    let said = Place::new().succeed(&["describe", "connector/linear"]);
    assert!(said.out.contains("\nports\n  from               what the student's tap"), "{}", said.out);
    assert!(said.out.contains("\nplugin\n  stillhouse-fitnet 0.1.0, ABI 1.0, built with rustc "), "{}", said.out);
    let hash = said.out.lines().last().and_then(|line| line.strip_prefix("  sha256 ")).expect("the hash");
    assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
}
