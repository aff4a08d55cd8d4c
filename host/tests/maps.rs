//! Networks that predict maps: what is measured of them, and spatiotemporal distillation by the real binary.
#![allow(missing_docs)]

mod support;

use candle_core::{DType, Device};
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse::data::{Field, Samples, Values, ViewSpec};
use stillhouse::exec::Network;
use stillhouse::manifest::Layer;
use stillhouse::model::build_inline;
use stillhouse::ops::ParamSet;
use stillhouse::train::{Metrics, Model, evaluate};
use support::lab::{Lab, plugin};
use support::spots::{FROZEN, NETWORKS, spatiotemporal, stage, write_clips};

/// A model of one layer without parameters.
fn model(input: &[usize], layer: serde_json::Value) -> Model {
    let layers: Vec<Layer> = serde_json::from_value(serde_json::json!([layer])).expect("a layer");
    let graph = build_inline(&layers, input).expect("builds");
    let params = Rc::new(ParamSet::new("m", 0, DType::F32, &Device::Cpu));
    let network = Network::new("m", graph, params, false, BTreeMap::new()).expect("fits");
    let view = ViewSpec::new("m");
    let (network, keep) = (Rc::new(network), Default::default());
    Model { name: "m".into(), origin: "m".into(), network, data: "main".into(), view, bf16: false, keep }
}

fn samples(fields: &[(&str, &[usize], &[f32])]) -> Samples {
    let field = |(name, shape, values): &(&str, &[usize], &[f32])| {
        ((*name).to_owned(), Field::new(shape.to_vec(), Values::F32(values.to_vec())).expect("fits"))
    };
    Samples::new(fields.iter().map(field).collect()).expect("fits")
}

fn measured(model: &Model, samples: &Samples) -> Metrics {
    evaluate(model, samples, 2, DType::F32, &Device::Cpu).expect("runs")
}

fn near(found: Option<f64>, wanted: f64) {
    assert!(found.is_some_and(|found| (found - wanted).abs() < 1e-6), "{found:?}, not {wanted}");
}

fn identity() -> serde_json::Value {
    serde_json::json!({ "name": "same", "kind": "identity" })
}

#[test]
fn maps_are_measured_sample_by_sample() {
    // Three samples: one that is right, one that is the other way round, and one without any place, which leaves all but the
    // error open.
    let images = [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.5, 0.0, 0.0];
    let maps = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
    let found = measured(
        &model(&[1, 1, 3], identity()),
        &samples(&[("image", &[1, 1, 3], &images), ("map", &[1, 1, 3], &maps)]),
    );
    near(found.get("mse"), ((1.0 + 4.0 + 4.0) / 3.0 + (9.0 + 4.0) / 3.0 + 0.25 / 3.0) / 3.0);
    // Deviations (-1, 0, 1) and (-1, -1, 2) / 3: sqrt(3) / 2; then its opposite.
    near(found.get("cc"), 0.0);
    // (0, 1, 2) / 3 and (2, 1, 0) / 3 beside (0, 0, 1).
    near(found.get("sim"), (2.0 / 3.0) / 2.0);
    near(found.get("nss"), 0.0);
    // One threshold each: (0, 1), and (1, 1).
    near(found.get("auc"), (1.0 + 0.5) / 2.0);
    assert_eq!((found.samples, found.accuracy, found.nll), (3, None, None));
}

#[test]
fn maps_with_fixations_are_measured_at_these() {
    let fields: [(&str, &[usize], &[f32]); 3] = [
        ("image", &[1, 1, 3], &[1.0, 2.0, 3.0]),
        ("map", &[1, 1, 3], &[0.1, 0.3, 0.2]),
        ("fixations", &[1, 1, 3], &[2.0, 0.0, 1.0]),
    ];
    let model = model(&[1, 1, 3], identity());
    let found = measured(&model, &samples(&fields));
    near(found.get("cc"), 0.5);
    near(found.get("nss"), 0.0);
    // Thresholds 3 and 1: (0, 1/2), (1, 1).
    near(found.get("auc"), 0.75);
    let bare = measured(&model, &samples(&fields[..2]));
    assert_eq!((bare.get("nss"), bare.get("auc")), (None, None), "no place of the map is above one half");
}

#[test]
fn maps_of_another_size_are_brought_to_the_true_one() {
    // Doubled: quarters between the centres.
    let image = ("image", &[1, 1, 2][..], &[0.0, 4.0][..]);
    let model = model(&[1, 1, 2], identity());
    let found = measured(&model, &samples(&[image, ("map", &[1, 1, 4], &[0.0, 1.0, 3.0, 4.0])]));
    near(found.get("mse"), 0.0);
    near(found.get("cc"), 1.0);
    let channels = measured(&model, &samples(&[image, ("map", &[2, 1, 1], &[0.0, 1.0])]));
    assert_eq!(channels, Metrics { samples: 1, ..Metrics::default() });
}

fn lab() -> Lab {
    let lab = Lab::with([plugin("stillhouse-skd")]);
    write_clips(&lab.path().join("clips.npz"));
    lab
}

#[test]
fn fusion_learns_on_encoders_that_rest() {
    let lab = lab();
    for executor in ["fast", "candle"] {
        let ran = lab.run(executor, &spatiotemporal(executor, FROZEN));
        let fused = lab.weights(executor, "fusion", "last");
        for branch in ["spatial", "temporal"] {
            let prefix = format!("{branch}.");
            let (student, encoder) = (lab.weights(executor, branch, "best"), fused.under(&prefix));
            // Six convolutions with scale, shift and running statistics each.
            assert_eq!(encoder.names().len(), 30);
            assert!(encoder.names().contains(&"bn5.running_var"));
            assert_eq!(encoder.differing(&student.under(&prefix)), Vec::<String>::new(), "{executor} {branch}");
            let terms = ["skd.soft", "skd.hard"].map(|term| lab.term(executor, branch, term));
            assert!(terms.iter().all(|values| values.len() == 6 && values[5] < 0.9 * values[0]), "{terms:?}");
        }
        let losses = lab.term(executor, "fusion", "map");
        assert!(losses.len() == 6 && losses[5] < 0.9 * losses[0], "{losses:?}");
        let of = |model: &str, metric: &str| ran.row(model)["maps"][metric]["mean"].as_f64().expect("was measured");
        assert!(
            of("fusion", "cc") > 0.4 && of("fusion", "auc") > 0.8 && of("fusion", "nss") > 1.0,
            "{:#}",
            ran.table()
        );
        assert!(ran.row("fusion")["accuracy"].is_null());
    }
}

#[test]
fn fusion_without_rest_moves_its_encoders() {
    let lab = lab();
    lab.run("moved", &spatiotemporal("fast", "")).table();
    let fused = lab.weights("moved", "fusion", "last").under("spatial.");
    let differing = fused.differing(&lab.weights("moved", "spatial", "best").under("spatial."));
    assert_eq!(differing.len(), 30, "{differing:?}");
}

#[test]
fn eval_tells_the_metrics_of_maps() {
    let lab = lab();
    let ran = lab.run("whole", &spatiotemporal("auto", FROZEN));
    let weights = lab.seed_folder("whole", 0).join("fusion/best.safetensors");
    let file = weights.to_str().expect("a path");
    let said = lab.ask(&["eval", "whole.toml", "--model", "fusion", "--weights", file, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    for metric in Metrics::OF_MAPS {
        let (alone, table) = (&told["metrics"]["maps"][metric], &ran.row("fusion")["maps"][metric]["mean"]);
        assert!(alone.is_f64() && alone == table, "{metric}: {alone} and {table}");
    }
    let said = lab.ask(&["eval", "whole.toml", "--model", "fusion", "--weights", file]).out;
    assert!(said.starts_with("fusion: 48 samples, mse 0."), "{said}");
    assert!(said.contains("; persistence: mse 0."), "{said}");
    assert!([", cc ", ", sim ", ", nss ", ", auc "].iter().all(|name| said.contains(name)), "{said}");
}

#[test]
fn best_weights_of_maps_are_chosen_by_correlation() {
    let lab = lab();
    let chosen = |name: &str, best: &str| {
        let one = NETWORKS.replace("EXECUTOR", "auto");
        let stage = stage("seen", "seen", &format!("terms.map = {{ use = \"skd_map\" }}\n{best}"));
        let only = one.split("[models.moving]").next().expect("a head").to_owned();
        lab.run(name, &format!("{only}{stage}")).table();
        let epochs = lab.epochs(name, "seen");
        let of =
            |metric: &str| epochs.iter().filter_map(|one| one["metrics"]["maps"][metric].as_f64()).collect::<Vec<_>>();
        (of("cc"), of("mse"), epochs.iter().map(|one| one["best"] == true).collect::<Vec<_>>())
    };
    let first = |values: &[f64], better: fn(f64, f64) -> bool| {
        let is_best = |at: usize| values[..at].iter().all(|before| better(values[at], *before));
        (0..values.len()).map(is_best).collect::<Vec<_>>()
    };
    let (cc, _, best) = chosen("plain", "");
    assert_eq!(best, first(&cc, |value, before| value > before));
    let (_, mse, best) = chosen("errors", "best = { metric = \"mse\" }");
    assert_eq!(best, first(&mse, |value, before| value < before));
}

#[test]
fn wrong_maps_are_told() {
    let lab = lab();
    let body = spatiotemporal("auto", FROZEN);
    let (message, hint) = lab.refusal(&body.replace("frames = 2, above", "frames = 3, above"));
    assert_eq!(message, "`frames` has samples of shape [3, 1, 16, 16]");
    assert!(hint.contains("the frames that are seen, and one more"), "{hint}");
    let (message, _) = lab.refusal(&body.replace("\"seen:logits\"", "\"seen:decoder.conv1\""));
    assert!(message.contains("`skd` got maps that differ in samples or channels"), "{message}");
    let labels = body.replace("map = { frames = 2, above = 0.4 }", "").replace("augment = [\"flip\"]", "");
    assert!(!lab.check(&labels).is_empty());
    let (message, _) =
        lab.refusal(&body.replace("batch = 24\n", "batch = 24\nbest = { metric = \"ccs\" }\n").replacen(
            "best = { metric = \"ccs\" }\n",
            "",
            4,
        ));
    assert_eq!(message, "unknown metric `ccs`");
}
