//! Every shipped method in a training by the real binary: its term falls, and both executors find the same values.
#![allow(missing_docs)]

mod support;

use object::{Object, ObjectSection, SectionFlags, SectionKind};
use std::path::Path;
use support::lab::{Lab, plugin};
use support::shipped::{LOSSES, METHODS, SHIPPED, body, term};

fn lab() -> Lab {
    Lab::with(SHIPPED.map(plugin))
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

/// One manifest with logits, relations, attention and a hint: each term is logged by itself, and all of them fall.
#[test]
fn four_methods_in_one_stage_are_logged_by_value_weight_and_gradient() {
    let lab = lab();
    let terms = [
        term("kd", "kd", "temperature = 4.0, weight = 0.9"),
        term("rkd", "rkd", "student = \"avgpool\", teacher = \"avgpool\", weight = 25.0"),
        term("afd", "afd", "student = [\"layer*\"], teacher = [\"layer*\"], qk_dim = 16, weight = 2.0"),
        term(
            "hint",
            "hint",
            "student = \"layer2\", teacher = \"layer2\", connector = \"conv_regressor\", weight = 0.5",
        ),
    ];
    lab.run("four", &body("auto", 4, &format!("{}gradient_norms = true\nlog_every = 4", terms.concat()))).table();
    let epochs = lab.epochs("four", "distil");
    let of = |epoch: &serde_json::Value, name: &str, key: &str| {
        let all = epoch["terms"].as_array().expect("terms");
        let found = all.iter().find(|one| one["name"].as_str().is_some_and(|own| own.starts_with(name)));
        found.and_then(|one| one[key].as_f64()).unwrap_or_else(|| panic!("no {key} of {name}: {epoch:#}"))
    };
    let weights = [("task", 1e-6), ("kd", 0.9), ("rkd", 25.0), ("afd", 2.0), ("hint", 0.5)];
    for (name, weight) in weights {
        let raw: Vec<f64> = epochs.iter().map(|epoch| of(epoch, name, "raw")).collect();
        assert!(raw[3] < raw[0], "{name}: {raw:?}");
        for epoch in &epochs {
            let (written, norm) = (of(epoch, name, "weight"), of(epoch, name, "gradient_norm"));
            assert!((written - weight).abs() < 1e-12, "{name} weighs {written}");
            assert!(norm.is_finite() && norm > 0.0, "{name}: {norm}");
        }
    }
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
