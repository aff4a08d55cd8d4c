//! Every shipped method in a training by the real binary: its term falls, and both executors find the same values.
#![allow(missing_docs)]

mod support;

use object::{Object, ObjectSection, SectionFlags, SectionKind};
use std::path::Path;
use support::lab::{Lab, plugin};

const SHIPPED: [&str; 15] = [
    "stillhouse-activation",
    "stillhouse-afd",
    "stillhouse-basics",
    "stillhouse-crd",
    "stillhouse-crkd",
    "stillhouse-dense",
    "stillhouse-fitnet",
    "stillhouse-ft",
    "stillhouse-kd",
    "stillhouse-logits",
    "stillhouse-maps",
    "stillhouse-rkd",
    "stillhouse-similarity",
    "stillhouse-skd",
    "stillhouse-tmu",
];

const HEAD: &str = r#"
[run]
executor = "EXECUTOR"
baseline = false

[data]
use = "digits"
limit = 256

[models.teacher]
arch = { kind = "resnet", depth = 8, width = 8 }

[models.student]
arch = { kind = "resnet", depth = 8, width = 4 }

[stage.teacher]
train = "teacher"
epochs = 2
batch = 32
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = "student"
epochs = EPOCHS
batch = 32
optimizer = { kind = "adam", lr = 3e-3 }
"#;

/// Losses, each by its name.
const LOSSES: [(&str, &str); 23] = [
    ("ab", r#"student = "layer2.0.relu2:in", teacher = "layer2.0.relu2:in", connector = "conv_regressor""#),
    ("at", r#"student = ["layer1", "layer2"], teacher = ["layer1", "layer2"]"#),
    ("cc", r#"student = "avgpool", teacher = "avgpool", embed_dim = 16"#),
    ("cosine", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crd", r#"student = "avgpool", teacher = "avgpool", feat_dim = 32, negatives = 256"#),
    ("crkd_mmd", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crkd_pair", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crkd_rad", ""),
    ("cwd", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("dist", ""),
    ("fsp", r#"student = ["layer1", "layer2"], teacher = ["layer1", "layer2"], connector = "linear""#),
    ("ft_factor", r#"student = "layer2", teacher = "layer2""#),
    ("l1", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("nst", r#"student = "layer2", teacher = "layer2""#),
    (
        "ofd",
        r#"student = "layer3.0.bn2", teacher = "layer3.0.bn2", connector = { use = "conv_regressor", relu = false },
        ports = { scale = "layer3.0.bn2.weight", shift = "layer3.0.bn2.bias" }"#,
    ),
    ("pkd", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("pkt", r#"student = "avgpool", teacher = "avgpool""#),
    ("reviewkd_hcl", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("rkd_angle", r#"student = "avgpool", teacher = "avgpool""#),
    ("rkd_distance", r#"student = "avgpool", teacher = "avgpool""#),
    ("sp", r#"student = "layer3", teacher = "layer3""#),
    ("vid", r#"student = "layer2", teacher = "layer2""#),
    ("wsld", ""),
];

/// Whole methods, with the stage and the term that is to fall.
const METHODS: [(&str, &str, &str, &str); 4] = [
    ("afd", r#"student = ["layer*"], teacher = ["layer*"], qk_dim = 16"#, "distil", "method.afd"),
    ("crkd", r#"student = "avgpool", teacher = "avgpool", connector = "linear", hidden = 16"#, "distil", "method.pair"),
    (
        "ft",
        r#"student = "layer2", teacher = "layer2", paraphraser_epochs = 6"#,
        "distil.paraphraser",
        "method.paraphrase",
    ),
    ("ft", r#"student = "layer2", teacher = "layer2", paraphraser_epochs = 1"#, "distil.translator", "method.factor"),
];

fn lab() -> Lab {
    Lab::with(SHIPPED.map(plugin))
}

fn body(executor: &str, epochs: usize, terms: &str) -> String {
    // What a method's taps do not reach trains for the task.
    let head = HEAD.replace("EXECUTOR", executor).replace("EPOCHS", &epochs.to_string());
    format!("{head}terms.task = {{ use = \"cross_entropy\", weight = 1e-6 }}\n{terms}\n")
}

fn term(name: &str, use_: &str, settings: &str) -> String {
    let settings = settings.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let comma = if settings.is_empty() { "" } else { ", " };
    format!("terms.{name} = {{ use = \"{use_}\"{comma}{settings} }}\n")
}

#[test]
fn every_loss_falls_when_it_is_trained_alone() {
    let lab = lab();
    for (name, settings) in LOSSES {
        lab.run(name, &body("auto", 6, &term("method", name, settings))).table();
        let values = lab.term(name, "distil", "method");
        assert!(values.len() == 6 && values[5] < 0.97 * values[0], "{name}: {values:?}");
    }
}

/// Bytes of a file without symbols and debug information.
fn stripped(file: &Path) -> u64 {
    let bytes = std::fs::read(file).expect("reads");
    let object = object::File::parse(&*bytes).expect("a library");
    let kept = |section: &object::Section| match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.0 & object::elf::SHF_ALLOC.0 != 0,
        _ => !matches!(section.kind(), SectionKind::Debug),
    };
    object
        .sections()
        .filter(|section| kept(section) && section.file_range().is_some())
        .map(|section| section.size())
        .sum()
}

#[test]
fn every_shipped_plugin_is_small() {
    for package in SHIPPED {
        let size = stripped(plugin(package));
        assert!(size > 100_000, "{package}: {size} bytes are not a plugin");
        assert!(size < 995_000, "{package}: {size} bytes, with what holds them together above a megabyte");
    }
}

#[test]
fn every_method_falls_when_it_is_trained_alone() {
    let lab = lab();
    for (at, (name, settings, stage, inner)) in METHODS.into_iter().enumerate() {
        let run = format!("{name}{at}");
        lab.run(&run, &body("auto", 6, &term("method", name, settings))).table();
        let values = lab.term(&run, stage, inner);
        assert!(values.len() == 6 && values[5] < 0.97 * values[0], "{name}: {values:?}");
    }
}

#[test]
fn matrices_that_a_method_reports_are_tables_and_pictures() {
    let lab = lab();
    let (name, settings, ..) = METHODS[0];
    lab.run("tables", &body("auto", 3, &term("method", name, settings))).table();
    let folder = lab.seed_folder("tables", 0).join("distil");
    let table = std::fs::read_to_string(folder.join("method.mean_attention.csv")).expect("the table");
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    assert_eq!(head[..2], ["epoch", "teacher"]);
    assert_eq!(head[2..], ["layer1", "layer2", "layer3"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3 * (head.len() - 2), "as many teacher layers as student layers, three epochs");
    for row in &rows {
        let sum: f64 = row[2..].iter().map(|value| value.parse::<f64>().expect("a number")).sum();
        assert!((sum - 1.0).abs() < 1e-3, "attention sums to 1 over the student's layers: {row:?}");
    }
    let picture = std::fs::read_to_string(folder.join("method.mean_attention.svg")).expect("the picture");
    assert_eq!(picture.matches("<rect x=").count(), (head.len() - 2) * (head.len() - 2));
    // The log has the same.
    let last = lab.epochs("tables", "distil").pop().expect("epochs");
    assert_eq!(last["tables"][0]["name"], "mean_attention");
    assert_eq!(last["tables"][0]["axes"], serde_json::json!(["teacher", "student"]));
}

#[test]
fn all_losses_together_are_the_same_on_both_executors() {
    let lab = lab();
    let terms: String = LOSSES.iter().map(|(name, settings)| term(name, name, settings)).collect();
    // One short epoch: what differs in the last bits has no time to grow.
    for executor in ["fast", "candle"] {
        let one = body(executor, 1, &terms).replace("limit = 256", "limit = 64").replace("lr = 3e-3", "lr = 1e-5");
        lab.run(executor, &one).table();
    }
    for (name, _) in LOSSES {
        let [fast, candle] = ["fast", "candle"].map(|run| lab.term(run, "distil", name)[0]);
        assert!((fast - candle).abs() <= 2e-3 * candle.abs(), "{name}: {fast} and {candle}");
    }
}
