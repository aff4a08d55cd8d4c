//! Golden trainings through the trainer: its plan, its steps, its optimizers.

mod support;

use candle_core::{DType, Tensor};
use serde_json::json;
use std::path::Path;
use stillhouse::eval::Case;
use stillhouse::ops::ParamSet;
use stillhouse::train::Fields;
use support::close::{assert_close, values};
use support::small::{batch, planned, setup, steps, with_teacher, with_teacher_of};

/// Relative errors that add up over the steps, in double and in single precision.
const PRECISIONS: [(DType, f64); 2] = [(DType::F64, 1e-8), (DType::F32, 1e-5)];

fn case(name: &str) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases");
    Case::open(&folder.join(name).with_extension("json")).expect("the case is read")
}

fn tensor(case: &Case, name: &str, float: DType) -> Tensor {
    let tensor = case.tensors.get(name).unwrap_or_else(|| panic!("no tensor `{name}`"));
    if tensor.dtype().is_float() { tensor.to_dtype(float).expect("casts") } else { tensor.clone() }
}

/// Entry `at` of a tensor with one entry for each step.
fn at_step(case: &Case, name: &str, at: usize, float: DType) -> Tensor {
    tensor(case, name, float).get(at).expect("has the step").contiguous().expect("copies")
}

#[track_caller]
fn assert_after(case: &Case, set: &ParamSet, pairs: &[(&str, &str)], tolerance: f64) {
    for (own, name) in pairs {
        let wanted = tensor(case, &format!("param_after.{name}"), DType::F64);
        assert_close(name, &values(&set.value(own).expect("exists")), &values(&wanted), tolerance);
    }
}

fn start(case: &Case, set: &ParamSet, pairs: &[(&str, &str)]) {
    for (own, name) in pairs {
        set.assign(own, &tensor(case, &format!("param.{name}"), DType::F64)).expect("fits");
    }
}

const KD: &str = r#"
manifest = 1
run = { name = "trace", seeds = [1] }
data = { use = "npz:none.npz" }
models.teacher = { layers = [{ name = "fc", kind = "linear", out = 7 }], weights = "teacher.safetensors" }
models.student = { layers = [{ name = "fc", kind = "linear", out = 7 }] }

[stage.distil]
train = "student"
steps = 6
batch = 8
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
terms.task = { use = "cross_entropy", weight = 0.1 }
terms.kd = { use = "kd", temperature = 4.0, weight = 0.9 }
"#;

#[test]
fn golden_trace_kd_sgd() {
    let case = case("trace_kd_sgd");
    for (float, tolerance) in PRECISIONS {
        let setup = setup(KD, &[5], 7, &[("fc.weight", &[7, 5]), ("fc.bias", &[7])], float);
        let run = planned(&setup);
        let models = with_teacher(&run, &[("identity", json!({}))], &[7], float);
        let (student, pairs) = (&run.models["student"].network.params, [("fc.weight", "weight"), ("fc.bias", "bias")]);
        start(&case, student, &pairs);
        let fields = |at| {
            let (x, teacher) = (at_step(&case, "input.x", at, float), at_step(&case, "input.teacher.0", at, float));
            batch(&run.stages[0], &[("student", &x), ("teacher", &teacher)], &at_step(&case, "input.target", at, float))
        };
        let batches: Vec<Fields> = (0..6).map(fields).collect();
        let losses = steps(&setup, &run, 0, &models, &batches);
        assert_close("losses", &losses, &values(&tensor(&case, "out.losses", DType::F64)), tolerance);
        assert_after(&case, student, &pairs, tolerance);
    }
}

const FITNET: &str = r#"
manifest = 1
run = { name = "trace", seeds = [1] }
data = { use = "npz:none.npz" }

[models.teacher]
layers = [
    { name = "hint", kind = "conv", out = 6, kernel = 3, padding = 1 },
    { name = "flat", kind = "flatten" },
    { name = "fc", kind = "linear", out = 5 },
]
weights = "teacher.safetensors"

[models.student]
layers = [
    { name = "conv1", kind = "conv", out = 4, kernel = 3, padding = 1, bias = false },
    { name = "guided", kind = "relu" },
    { name = "conv2", kind = "conv", out = 4, kernel = 3, padding = 1, bias = false },
    { name = "relu2", kind = "relu" },
    { name = "mean", kind = "global_avg_pool" },
    { name = "fc", kind = "linear", out = 5 },
]

[stage.distil]
train = "student"
epochs = 1
batch = 4
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
terms.task = { use = "cross_entropy" }

[stage.distil.terms.fitnet]
use = "fitnet"
student = "guided"
teacher = "hint"
hint_reduction = "mean"
regressor = { kind = "conv", bias = false, batch_norm = false, relu = false }
temperature = 3.0
lambda = { initial = 4.0, final = 1.0, start = 1, saturate = 3, unit = "steps" }
"#;

/// Weights of the planned teacher, which stand for its shapes alone.
const FITNET_TEACHER: [(&str, &[usize]); 4] =
    [("hint.weight", &[6, 3, 3, 3]), ("hint.bias", &[6]), ("fc.weight", &[5, 216]), ("fc.bias", &[5])];

#[test]
fn golden_trace_fitnet_two_stage() {
    let case = case("trace_fitnet_two_stage");
    let pairs = ["conv1.weight", "conv2.weight", "fc.weight", "fc.bias"].map(|name| (name, format!("student.{name}")));
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(own, name)| (*own, name.as_str())).collect();
    let regressor = [("regressor.conv.weight", "regressor.weight")];
    for (float, tolerance) in PRECISIONS {
        let setup = setup(FITNET, &[3, 6, 6], 5, &FITNET_TEACHER, float);
        let run = planned(&setup);
        assert_eq!(
            run.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(),
            ["distil.hint", "distil.kd"]
        );
        let student = &run.models["student"].network.params;
        let terms = run.stages[0].terms();
        let term = terms.iter().find(|term| term.name == "fitnet").expect("is active");
        start(&case, student, &pairs);
        start(&case, term.part.params(), &regressor);
        let fields = |stage: usize, teacher: &str, at| {
            let (x, teacher) = (at_step(&case, "input.x", at, float), at_step(&case, teacher, at, float));
            batch(
                &run.stages[stage],
                &[("student", &x), ("teacher", &teacher)],
                &at_step(&case, "input.target", at, float),
            )
        };
        let none = || json!({});
        let hint = [("identity", none()), ("flatten", none()), ("linear", json!({ "out": 5 }))];
        let batches: Vec<Fields> = (0..3).map(|at| fields(0, "input.teacher.0", at)).collect();
        let mut losses = steps(&setup, &run, 0, &with_teacher(&run, &hint, &[6, 6, 6], float), &batches);
        let logits = [("identity", none()), ("identity", none()), ("identity", none())];
        let batches: Vec<Fields> = (3..6).map(|at| fields(1, "input.teacher.logits", at)).collect();
        losses.extend(steps(&setup, &run, 1, &with_teacher(&run, &logits, &[5], float), &batches));
        assert_close("losses", &losses, &values(&tensor(&case, "out.losses", DType::F64)), tolerance);
        assert_after(&case, student, &pairs, tolerance);
        assert_after(&case, term.part.params(), &regressor, tolerance);
    }
}

/// Tensors of a step side by side, each sample in one row: what a teacher hands on in slices.
fn side_by_side(case: &Case, names: &[&str], at: usize, float: DType) -> Tensor {
    let rows = names.iter().map(|name| at_step(case, name, at, float).flatten_from(1).expect("is a batch"));
    Tensor::cat(&rows.collect::<Vec<_>>(), 1).expect("are of one batch")
}

const AFD: &str = r#"
manifest = 1
run = { name = "trace", seeds = [1] }
data = { use = "npz:none.npz" }

[models.teacher]
layers = [
    { name = "flat", kind = "flatten" },
    { name = "first", kind = "slice", from = "flat", start = 0, len = 80 },
    { name = "map0", kind = "reshape", shape = [5, 4, 4] },
    { name = "second", kind = "slice", from = "flat", start = 80, len = 24 },
    { name = "map1", kind = "reshape", shape = [6, 2, 2] },
    { name = "last", kind = "slice", from = "flat", start = 104, len = 5 },
]
weights = "teacher.safetensors"

[models.student]
layers = [
    { name = "conv1", kind = "conv", out = 4, kernel = 3, padding = 1, bias = false },
    { name = "relu1", kind = "relu" },
    { name = "conv2", kind = "conv", out = 6, kernel = 3, stride = 2, padding = 1, bias = false },
    { name = "relu2", kind = "relu" },
    { name = "mean", kind = "global_avg_pool" },
    { name = "fc", kind = "linear", out = 5 },
]

[stage.distil]
train = "student"
steps = 3
batch = 4
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
terms.task = { use = "cross_entropy" }
terms.kd = { use = "kd", temperature = 4.0, weight = 0.9 }
terms.afd = { use = "afd", student = ["relu1", "relu2"], teacher = ["map0", "map1"], qk_dim = 8, weight = 20.0 }
"#;

/// The official name of a parameter of the attention.
fn official_afd(own: &str) -> String {
    let renamed = [("position_student", "p_s"), ("position_teacher", "p_t")];
    if let Some((_, name)) = renamed.iter().find(|(known, _)| *known == own) {
        return format!("afd.attention.{name}");
    }
    let side = own.replace("key.", "linear_trans_s.key_layer.").replace("query.", "linear_trans_t.query_layer.");
    format!("afd.attention.{}", side.replace("bilinear.", "linear_trans_s.bilinear."))
}

#[test]
fn golden_trace_afd_sgd() {
    let case = case("trace_afd_sgd");
    let student =
        ["conv1.weight", "conv2.weight", "fc.weight", "fc.bias"].map(|name| (name, format!("student.{name}")));
    let student: Vec<(&str, &str)> = student.iter().map(|(own, name)| (*own, name.as_str())).collect();
    for (float, tolerance) in PRECISIONS {
        let setup = setup(AFD, &[3, 8, 8], 5, &[], float);
        let run = planned(&setup);
        let layers = setup.manifest.models["teacher"].layers.clone().expect("are listed");
        let models = with_teacher_of(&run, &layers, &[109], float);
        let term = run.stages[0].terms().into_iter().find(|term| term.name == "afd").expect("is active");
        let attention = term.part.params();
        let own: Vec<(String, String)> =
            attention.entries().into_iter().map(|(name, _)| (name.to_string(), official_afd(&name))).collect();
        let (buffers, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|(own, _)| own.contains("running_"));
        let own: Vec<(&str, &str)> = own.iter().map(|(own, name)| (own.as_str(), name.as_str())).collect();
        start(&case, &run.models["student"].network.params, &student);
        start(&case, attention, &own);
        for (own, name) in &buffers {
            attention.assign(own, &tensor(&case, &format!("buffer.{name}"), DType::F64)).expect("fits");
        }
        let fields = |at| {
            let teacher = ["input.teacher.0", "input.teacher.1", "input.teacher.logits"];
            let (x, teacher) = (at_step(&case, "input.x", at, float), side_by_side(&case, &teacher, at, float));
            batch(&run.stages[0], &[("student", &x), ("teacher", &teacher)], &at_step(&case, "input.target", at, float))
        };
        let losses = steps(&setup, &run, 0, &models, &(0..3).map(fields).collect::<Vec<_>>());
        assert_close("losses", &losses, &values(&tensor(&case, "out.losses", DType::F64)), tolerance);
        assert_after(&case, &run.models["student"].network.params, &student, tolerance);
        // Of a bias before a normalisation the gradient is rounding noise; beside the largest number it is none.
        assert_after(&case, attention, &own, tolerance);
        for (own, name) in buffers {
            let wanted = tensor(&case, &format!("buffer_after.{name}"), DType::F64);
            assert_close(&name, &values(&attention.value(&own).expect("exists")), &values(&wanted), tolerance);
        }
    }
}

const CRKD: &str = r#"
manifest = 1
run = { name = "trace", seeds = [1] }
data = { use = "npz:none.npz" }

[models.teacher]
layers = [
    { name = "wide", kind = "linear", out = 10 },
    { name = "features", kind = "slice", from = "wide", start = 0, len = 4 },
    { name = "last", kind = "slice", from = "wide", start = 4, len = 6 },
]
weights = "teacher.safetensors"

[models.student]
layers = [{ name = "embed", kind = "linear", out = 4, bias = false }, { name = "fc", kind = "linear", out = 6 }]

[stage.distil]
train = "student"
steps = 4
batch = 8
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
terms.task = { use = "cross_entropy" }
terms.crkd = { use = "crkd", student = "embed", teacher = "features", hidden = 5 }
"#;

#[test]
fn golden_trace_crkd_alternating() {
    let case = case("trace_crkd_alternating");
    let student = ["embed.weight", "fc.weight", "fc.bias"].map(|name| (name, format!("student.{name}")));
    let student: Vec<(&str, &str)> = student.iter().map(|(own, name)| (*own, name.as_str())).collect();
    let discriminator = [
        ("discriminator.hidden.weight", "disc.0.weight"),
        ("discriminator.hidden.bias", "disc.0.bias"),
        ("discriminator.out.weight", "disc.1.weight"),
        ("discriminator.out.bias", "disc.1.bias"),
    ];
    for (float, tolerance) in PRECISIONS {
        let setup = setup(CRKD, &[5], 6, &[("wide.weight", &[10, 5]), ("wide.bias", &[10])], float);
        let run = planned(&setup);
        let mut layers = setup.manifest.models["teacher"].layers.clone().expect("are listed");
        // The teacher says what it is given.
        layers[0].kind = "identity".into();
        layers[0].options.clear();
        let models = with_teacher_of(&run, &layers, &[10], float);
        let term = run.stages[0].terms().into_iter().find(|term| term.name == "crkd").expect("is active");
        start(&case, &run.models["student"].network.params, &student);
        start(&case, term.part.params(), &discriminator);
        let fields = |at| {
            let teacher = ["input.teacher.0", "input.teacher.1"];
            let (x, teacher) = (at_step(&case, "input.x", at, float), side_by_side(&case, &teacher, at, float));
            batch(&run.stages[0], &[("student", &x), ("teacher", &teacher)], &at_step(&case, "input.target", at, float))
        };
        let losses = steps(&setup, &run, 0, &models, &(0..4).map(fields).collect::<Vec<_>>());
        // A step reports both phases.
        let of = |name: &str| values(&tensor(&case, name, DType::F64));
        let wanted =
            of("out.losses").iter().zip(of("out.losses.discriminator")).map(|(a, b)| a + b).collect::<Vec<_>>();
        assert_close("losses", &losses, &wanted, tolerance);
        assert_after(&case, &run.models["student"].network.params, &student, tolerance);
        assert_after(&case, term.part.params(), &discriminator, tolerance);
    }
}
