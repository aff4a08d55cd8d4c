//! A golden training of a predictor of frames that learns from the memories of two others.
#![allow(missing_docs)]

mod support;

use candle_core::{DType, Tensor};
use std::path::Path;
use stillhouse::eval::Case;
use stillhouse::train::{Fields, SAMPLING, view_field};
use support::close::{assert_close, values};
use support::small::{planned, setup, steps};

const TMU: &str = r#"
manifest = 1
run = { name = "trace", seeds = [1], executor = "EXECUTOR" }
data = { use = "npz:none.npz" }

[models.one]
arch = { kind = "conv_lstm", hidden = [3, 2], kernel = 3, patch = 1 }
over_time = true
predict = { given = 3 }
weights = "teacher.safetensors"

[models.two]
arch = { kind = "conv_lstm", hidden = [3, 2], kernel = 3, patch = 1 }
over_time = true
predict = { given = 3 }
weights = "teacher.safetensors"

[models.student]
arch = { kind = "conv_lstm", hidden = [3, 2], kernel = 3, patch = 1 }
over_time = true
predict = { given = 3 }
modules."cell_list.0" = { use = "tmu_cell", sources = 2, kernel = 3 }

[stage.transfer]
train = "student"
steps = 2
batch = 2
optimizer = { kind = "adam", lr = 0.001 }
terms.tmu = { use = "tmu", sources = ["one", "two"] }
"#;

/// Weights of the planned sources, which stand for their shapes alone.
const SOURCE: [(&str, &[usize]); 5] = [
    ("cell_list.0.conv.0.weight", &[12, 4, 3, 3]),
    ("cell_list.0.conv.0.bias", &[12]),
    ("cell_list.1.conv.0.weight", &[8, 5, 3, 3]),
    ("cell_list.1.conv.0.bias", &[8]),
    ("conv_last.weight", &[1, 2, 1, 1]),
];

/// The name of a parameter in the case.
fn official(own: &str) -> String {
    own.replace("cell_list.", "cell.").replace("conv.0.", "conv.")
}

#[test]
fn golden_trace_tmu_adam() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases");
    let case = Case::open(&folder.join("trace_tmu_adam.json")).expect("the case is read");
    let tensor = |name: &str| case.tensors.get(name).unwrap_or_else(|| panic!("no tensor `{name}`")).clone();
    for (float, executor, tolerance) in
        [(DType::F64, "candle", 1e-8), (DType::F32, "candle", 1e-5), (DType::F32, "auto", 1e-5)]
    {
        let setup = setup(&TMU.replace("EXECUTOR", executor), &[5, 1, 4, 4], 2, &SOURCE, float);
        let run = planned(&setup);
        for (at, name) in ["one", "two"].iter().enumerate() {
            let set = &run.models[*name].network.params;
            for (own, _) in SOURCE {
                set.assign(own, &tensor(&format!("frozen.source.{at}.{}", official(own)))).expect("fits");
            }
        }
        let sets = run.models["student"].network.sets();
        let all = || {
            sets.iter().flat_map(|(prefix, set)| {
                set.entries().into_iter().map(move |(own, _)| (set, own.clone(), official(&format!("{prefix}{own}"))))
            })
        };
        assert_eq!(all().count(), 13);
        for (set, own, name) in all() {
            set.assign(&own, &tensor(&format!("param.{name}"))).expect("fits");
        }
        let stage = &run.stages[0];
        let fields = |at: usize| -> Fields {
            let frames = tensor("input.frames").get(at).and_then(|x| x.permute((0, 1, 4, 2, 3))?.contiguous());
            let frames = frames.and_then(|x| x.to_dtype(float)).expect("frames");
            // One masked position behind the three frames that are given; a mask is the same for all of a frame.
            let masked = tensor("input.mask").get(at).and_then(|x| x.flatten_from(2)?.narrow(2, 0, 1)?.squeeze(2));
            let masked = masked.expect("a mask");
            let given = Tensor::ones((2, 3), masked.dtype(), masked.device()).expect("ones");
            let mask = Tensor::cat(&[&given, &masked], 1).expect("a mask");
            let views = ["one", "two", "student"].map(|name| (view_field(&stage.passes[name].view), frames.clone()));
            views.into_iter().chain([(SAMPLING.to_owned(), mask)]).collect()
        };
        let batches: Vec<Fields> = (0..2).map(fields).collect();
        let losses = steps(&setup, &run, 0, &run.models, &batches);
        // A step reports both updates.
        let wanted: Vec<f64> = values(&tensor("out.losses")).chunks(2).map(|both| both.iter().sum()).collect();
        assert_close("losses", &losses, &wanted, tolerance);
        for (set, own, name) in all() {
            let got = values(&set.value(&own).expect("exists"));
            assert_close(&name, &got, &values(&tensor(&format!("param_after.{name}"))), tolerance);
        }
    }
}
