//! What the tests of this room share; the example; the schema.

use super::check::check_part;
use super::node::{Node, Reader};
use super::schema::checked;
use super::*;
use serde_json::{Value, json};
use std::path::Path;

/// The smallest manifest that runs; nine lines.
pub(super) const SMALL: &str = "\
manifest = 1
data.use = 'digits'
models.s.arch = 'mlp'

[stage.one]
train = 's'
epochs = 2
optimizer = { kind = 'sgd', lr = 0.1 }
terms.task.use = 'ce'
";

/// All there is, in one manifest.
const FULL: &str = r#"
manifest = 1

[run]
name = "fashion-r32-r8"
seeds = [7, 8]
device = "cuda"
baseline = true
threads = 4
dir = "out"
executor = "candle"
checkpoint = { every = "500 steps", keep = 3 }

[plugins]
paths = ["./my-plugins"]

[data.source]
use = "idx:mnist"
split = { val = 0.1, seed = 1 }
augment = [{ crop = 4 }, "flip", { cutout = 8 }, { noise = 0.1 }]
limit = 1000
test_limit = 100

[data.target]
use = "digits"

[views.small]
size = [14, 28]
filter = "area"
data = "target"
augment = false

[models.teacher]
arch = { kind = "resnet", depth = 20, width = 1.5 }
weights = "runs/teacher/best.safetensors"
input = { mean = 0.286, std = [0.353, 0.3], view = "small", channels = 2 }

[models.student]
over_time = true
seed = 3
modules."b.conv" = { use = "blur", sigma = 2 }
layers = [
    { name = "a", kind = "conv", channels = 8 },
    { name = "b", kind = "add", from = ["a", "input"] },
    { name = "c", kind = "linear", from = "b", bias = false },
]

[models.grown]
arch = "vgg8"
stage = "warm"

[stage.warm]
train = "student"
data = "source"
steps = 500
optimizer = { kind = "adam", lr = 1e-3 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = ["student", "grown"]
epochs = 30.5
batch = 128
eval_batch = 256
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9, weight_decay = 5e-4, nesterov = true }
schedule = { kind = "cosine", warmup = "1 epoch" }
groups.slow = { params = "a.*", lr_scale = 0.1 }
freeze = ["a.*"]
init = { "a." = "stage:warm:a.", "b." = "model:teacher:" }
after = ["warm"]
best = { metric = "loss", mode = "min" }
baseline = false
patience = 5
clip_norm = 1.0
log_every = 10
gradient_norms = true
accumulate = 2
terms.kd = { use = "kd", temperature = 4.0, steps = 3, weight = 0.9 }
terms.hint = { use = "mse", student = "a", teacher = ["layer2"], connector = "conv", connector_on = "teacher", weight = { from = 100, to = 0, over = "10 epochs" } }
terms.afd = { use = "afd", at = ["layer*"], phase = "second", connector = ["pool", { use = "conv", kernel = 1 }] }
terms.adv = { use = "crkd", ports = { labels = "label", features = ["a", "b"] } }

[stage.distil.phases.first]
terms = ["adv.discriminator"]
updates = ["slow"]
every = 2
passes.back = { model = "student", view = "small", mode = "eval", reverse_time = true }

[stage.distil.phases.second]

[sweep]
"stage.distil.terms.kd.temperature" = [1, 2.5]
"#;

/// The text of [`SMALL`] with one change.
pub(super) fn changed(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replace(from, to)
}

/// Loads a text as `m.toml`.
pub(super) fn read(text: &str) -> (Manifest, Sources) {
    load_str(Path::new("m.toml"), text, &[]).unwrap()
}

/// The first problems of a text, rendered.
pub(super) fn problems(text: &str) -> String {
    load_str(Path::new("m.toml"), text, &[]).unwrap_err().render(false)
}

/// A stage's term.
pub(super) fn term<'m>(manifest: &'m Manifest, name: &str) -> &'m Term {
    manifest.stage.values().find_map(|stage| stage.terms.get(name)).unwrap()
}

#[test]
fn manifest_full_is_read() {
    let (manifest, sources) = read(FULL);
    assert!(sources.warnings().is_empty());
    assert_eq!(manifest.run.seeds, [7, 8]);
    assert_eq!(manifest.run.device, Device::Cuda);
    assert_eq!(manifest.data["source"].augment[0], Augment::Crop(4));
    assert_eq!(manifest.data["source"].format_and_path(), Some(("idx", "mnist")));
    assert_eq!(manifest.views["small"].size, Some(Size { height: 14, width: 28 }));
    assert_eq!(manifest.models["teacher"].arch.as_ref().unwrap().options["depth"], json!(20));
    assert_eq!(manifest.models["student"].modules["b.conv"].config["sigma"], json!(2));
    let distil = &manifest.stage["distil"];
    assert_eq!(distil.epochs, Some(30.5));
    assert_eq!(distil.best, Best { metric: "loss".to_owned(), mode: Some(Goal::Min) });
    assert_eq!(distil.phases["first"].passes["back"].mode, Some(PassMode::Eval));
    assert_eq!(manifest.stage_order(), ["warm", "distil"]);
}

#[test]
fn manifest_small_takes_defaults() {
    let (manifest, _) = read(SMALL);
    assert_eq!(manifest.run, Run { name: "m".to_owned(), ..Run::default() });
    assert_eq!((manifest.run.seeds.as_slice(), manifest.run.dir.as_str()), ([0].as_slice(), "runs"));
    let stage = &manifest.stage["one"];
    assert_eq!((stage.batch, stage.eval_batch(), stage.accumulate), (64, 64, 1));
    assert_eq!(stage.schedule, Schedule::Constant { warmup: None });
    assert_eq!(stage.best, Best::default());
    assert_eq!(manifest.data_of(stage).unwrap().0, "main");
    let task = term(&manifest, "task");
    assert_eq!(
        (task.weight.clone(), task.connector.len(), task.connector_on),
        (Weight::Constant(1.0), 0, Side::Student)
    );
}

#[test]
fn term_config_keeps_what_is_not_reserved() {
    let (manifest, _) = read(FULL);
    assert_eq!(Value::Object(term(&manifest, "kd").config.clone()), json!({ "temperature": 4.0, "steps": 3 }));
    assert!(term(&manifest, "kd").config["steps"].is_u64());
    assert!(term(&manifest, "afd").config.is_empty());
}

#[test]
fn term_reserved_keys_are_those_of_the_schema() {
    let named: Vec<&String> = checked()["$defs"]["Term"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(named, RESERVED_TERM_KEYS);
}

#[test]
fn schema_accepts_the_full_example() {
    let document = toml_edit::Document::parse(FULL).unwrap();
    let mut unread = Diagnostics::default();
    let kind = Reader { source: 0, offset: 0, problems: &mut unread }.table(document.as_table());
    let node = Node { kind, ..Node::empty() };
    let found = check_part(&node, &ManifestPath::root(), &schema(), &[]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn schema_takes_data_with_and_without_names() {
    let schema = schema();
    for (file, name) in [(&schema["$defs"]["Whole"], "#/$defs/Data"), (&schema, "#/$defs/DataPart")] {
        let forms = file["properties"]["data"]["anyOf"].as_array().unwrap();
        assert_eq!(forms[0], json!({ "$ref": name }));
        assert_eq!(forms[1]["additionalProperties"], json!({ "$ref": name }));
    }
}

#[test]
fn schema_describes_every_key_and_has_no_null() {
    let schema = schema();
    assert!(!schema.to_string().contains("null"));
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for properties in tables.filter_map(|table| table.get("properties")?.as_object()) {
        for (name, property) in properties {
            assert!(property.get("description").is_some(), "{name}: {property}");
        }
    }
}

#[test]
fn schema_leaves_the_keys_of_terms_open_and_no_others() {
    let schema = schema();
    assert_eq!(schema["$defs"]["Term"]["additionalProperties"], json!(true));
    assert_eq!(schema["$defs"]["Stage"]["additionalProperties"], json!(false));
    assert_eq!(schema["$defs"]["Optimizer"]["oneOf"][0]["additionalProperties"], json!(false));
}
