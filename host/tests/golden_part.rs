//! One part on given tensors: the same numbers as a training step, and errors that say what to do.

mod support;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use stillhouse::eval::{EvalError, EvalReport, Float, PartEval, run_part};
use stillhouse::exec::PassSpec;
use stillhouse::plugin::Registry;
use stillhouse::train::{Stepper, TermValue};
use stillhouse_plugin::desc::Kind;
use support::small::{batch, moment, optimizers, planned, setup, with_teacher};

/// Values in -1..1 that look random.
fn noise(shape: &[usize], seed: usize, dtype: DType) -> Tensor {
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|at: usize| ((at * 37 + seed * 101) as f64 * 0.7).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).and_then(|tensor| tensor.to_dtype(dtype)).expect("small")
}

fn evaluated(
    registry: &Registry,
    folder: &Path,
    part: (Kind, &str, &str),
    dtype: Float,
    tensors: &[(&str, &Tensor)],
) -> Result<EvalReport, EvalError> {
    let (input, output) = (folder.join("in.safetensors"), Some(folder.join("out.safetensors")));
    let all: HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect();
    candle_core::safetensors::save(&all, &input).expect("is written");
    let (kind, name, config) = (part.0, part.1.to_owned(), part.2.to_owned());
    let (stage, phase) = (String::new(), String::new());
    run_part(registry, PartEval { kind, name, config_json: config, input, output, dtype, training: true, stage, phase })
}

const MANIFEST: &str = r#"
manifest = 1
run = { name = "step", seeds = [1] }
data = { use = "npz:none.npz" }
models.teacher = { layers = [{ name = "fc", kind = "linear", out = 7 }], weights = "teacher.safetensors" }
models.student = { layers = [{ name = "fc", kind = "linear", out = 7 }] }

[stage.distil]
train = "student"
steps = 1
batch = 8
optimizer = { kind = "sgd", lr = 0.05 }
terms.task = { use = "cross_entropy", weight = 0.1 }
terms.kd = { use = "kd", temperature = 2.5, weight = 0.9 }
terms.hint = { use = "hint", at = "logits", weight = 3.0 }
"#;

#[test]
fn run_part_equals_the_term_of_a_training_step() {
    for (float, dtype) in [(Float::F32, DType::F32), (Float::F64, DType::F64)] {
        let setup = setup(MANIFEST, &[5], 7, &[("fc.weight", &[7, 5]), ("fc.bias", &[7])], dtype);
        let run = planned(&setup);
        let (stage, models) = (&run.stages[0], with_teacher(&run, &[("identity", json!({}))], &[7], dtype));
        let (x, teacher) = (noise(&[8, 5], 1, dtype), noise(&[8, 7], 2, dtype));
        let label = Tensor::new(&[0i64, 1, 2, 3, 4, 5, 6, 0], &Device::Cpu).expect("small");
        let fields = batch(stage, &[("student", &x), ("teacher", &teacher)], &label);
        let point = run.models["student"].network.graph.tap("logits").expect("exists");
        let spec = PassSpec { training: true, track: true, want: vec![point.clone()], ..PassSpec::default() };
        let forward = run.models["student"].network.forward(&x, &spec, &moment(stage, 0)).expect("runs");
        let student = forward.taps[&point][0].clone();
        let mut optimizers = optimizers(&setup, &run, 0);
        let report =
            Stepper::new(stage, &models, &mut optimizers).step(&fields, &moment(stage, 0), 1.0, false).expect("steps");
        let folder = support::folder();
        let named = [("input.student.0", &student), ("input.teacher.0", &teacher), ("input.target", &label)];
        let parts = [
            ("task", "cross_entropy", "{}", [0, 2]),
            ("kd", "kd", r#"{"temperature": 2.5}"#, [0, 1]),
            ("hint", "hint", "", [0, 1]),
        ];
        for (term, name, config, inputs) in parts {
            let tensors = inputs.map(|at| named[at]);
            let report_of =
                evaluated(&setup.registry, folder.path(), (Kind::Loss, name, config), float, &tensors).expect("runs");
            let raw = |value: &&TermValue| value.name == term;
            let step = report.terms.iter().find(raw).expect("was reported").raw;
            assert_eq!(report_of.loss().expect("is there").to_bits(), step.to_bits(), "{term} {dtype:?}");
        }
    }
}

fn written(folder: &Path, name: &str) -> Vec<f64> {
    let all = stillhouse::eval::Tensors::read(&folder.join("out.safetensors")).expect("is read");
    let tensor = all.get(name).unwrap_or_else(|| panic!("no `{name}`"));
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("are doubles")
}

fn given(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).expect("small")
}

#[test]
fn run_part_weights_the_output_of_a_connector() {
    let (registry, folder) = (support::plugins(&["fitnet"]), support::folder());
    let (x, to) = (given(&[1, 2], &[1.0, 2.0]), given(&[1, 1], &[0.0]));
    let (weight, bias, cotangent) = (given(&[1, 2], &[3.0, 4.0]), given(&[1], &[0.5]), given(&[1, 1], &[2.0]));
    let mut tensors = vec![("input.from", &x), ("input.to", &to), ("param.weight", &weight), ("frozen.bias", &bias)];
    let part = (Kind::Connector, "linear", "{}");
    evaluated(&registry, folder.path(), part, Float::F64, &tensors).expect("runs");
    assert_eq!((written(folder.path(), "out.output"), written(folder.path(), "out.loss")), (vec![11.5], vec![11.5]));
    tensors.push(("cotangent.output", &cotangent));
    let report = evaluated(&registry, folder.path(), part, Float::F64, &tensors).expect("runs");
    assert_eq!(report.loss(), Some(23.0));
    assert_eq!(written(folder.path(), "grad.input.from"), [6.0, 8.0]);
    assert_eq!(written(folder.path(), "grad.param.weight"), [2.0, 4.0]);
    let names: Vec<&str> = report.tensors.names().collect();
    assert_eq!(names, ["grad.input.from", "grad.param.weight", "out.loss", "out.output"]);
}

#[test]
fn run_part_of_a_distiller_gives_its_first_stage() {
    let (registry, folder) = (support::plugins(&["fitnet"]), support::folder());
    let (student, teacher) = (given(&[1, 1], &[3.0]), given(&[1, 1], &[1.0]));
    let (weight, logits) = (given(&[1, 1], &[2.0]), given(&[1, 2], &[0.0, 1.0]));
    let tensors = [
        ("input.student.0", &student),
        ("input.teacher.0", &teacher),
        ("input.student_logits", &logits),
        ("input.teacher_logits", &logits),
        ("param.regressor.conv.weight", &weight),
    ];
    let config = r#"{"regressor": {"bias": false}}"#;
    evaluated(&registry, folder.path(), (Kind::Distiller, "fitnet", config), Float::F64, &tensors).expect("runs");
    assert_eq!((written(folder.path(), "out.hint"), written(folder.path(), "out.loss")), (vec![12.5], vec![12.5]));
    assert_eq!(written(folder.path(), "grad.input.student.0"), [10.0]);
    assert_eq!(written(folder.path(), "grad.param.regressor.conv.weight"), [15.0]);
}

#[test]
fn run_part_errors_say_what_to_do() {
    let (registry, folder) = (support::plugins(&["basics", "kd", "fitnet"]), support::folder());
    let (logits, label) = (given(&[1, 2], &[0.0, 1.0]), Tensor::new(&[1i64], &Device::Cpu).expect("small"));
    let path = folder.path();
    let fails = |part: (Kind, &str, &str), tensors: &[(&str, &Tensor)]| {
        let error = evaluated(&registry, path, part, Float::F64, tensors).expect_err("is refused").with_hint();
        error.replace(&format!("{}/", path.display()), "")
    };
    let (student, teacher) = (("input.student.0", &logits), ("input.teacher.0", &logits));
    let kd = (Kind::Loss, "kd", "{}");
    assert!(fails((Kind::Loss, "kdd", "{}"), &[student]).starts_with("no plugin has a loss `kdd`"));
    assert_eq!(fails(kd, &[student]), "in.safetensors has no tensor `input.teacher`, which `kd` needs");
    let extra = fails(kd, &[student, teacher, ("input.target", &label)]);
    assert_eq!(
        extra,
        "`input.target` of in.safetensors is nobody's: `kd` has no such port\n\nhint: it has student, teacher"
    );
    let several = fails(kd, &[student, ("input.student.1", &logits), teacher]);
    assert_eq!(several, "`input.student.1` of in.safetensors is nobody's: port `student` of `kd` takes one value");
    let config = fails((Kind::Loss, "kd", "[1]"), &[student, teacher]);
    assert_eq!(config, "the settings are no JSON object: got [1]\n\nhint: write them like `{\"temperature\": 4.0}`");
    assert!(
        fails((Kind::Loss, "kd", r#"{"temprature": 2}"#), &[student, teacher]).contains("did you mean `temperature`?")
    );
}

#[test]
fn run_part_of_wrong_tensors_is_error() {
    let (registry, folder) = (support::plugins(&["basics", "kd", "fitnet"]), support::folder());
    let (logits, path) = (given(&[1, 2], &[0.0, 1.0]), folder.path());
    let fails = |part: (Kind, &str, &str), tensors: &[(&str, &Tensor)]| {
        let error = evaluated(&registry, path, part, Float::F64, tensors).expect_err("is refused").with_hint();
        error.replace(&format!("{}/", path.display()), "")
    };
    let (student, teacher) = (("input.student.0", &logits), ("input.teacher.0", &logits));
    let (kd, linear) = ((Kind::Loss, "kd", "{}"), (Kind::Connector, "linear", "{}"));
    let (from, to) = (("input.from", &logits), ("input.to", &logits));
    let unknown = fails(linear, &[from, to, ("param.wieght", &logits)]);
    let reason = "`param.wieght` of in.safetensors is nobody's: `linear` has no such parameter or buffer";
    assert_eq!(unknown, format!("{reason}\n\nhint: did you mean `param.weight`?"));
    assert_eq!(fails(linear, &[from, to, ("param.weight", &logits)]), "`param.weight` must be [2, 2], got [1, 2]");
    let cotangent = fails(kd, &[student, teacher, ("cotangent.x", &logits)]);
    assert!(cotangent.starts_with("`cotangent.x` of in.safetensors is nobody's: `kd` gives"), "{cotangent}");
    let half = logits.to_dtype(DType::F16).expect("small");
    assert_eq!(
        fails(kd, &[("input.student.0", &half), teacher]),
        "`input.student.0` must be F64, F32 or whole numbers of up to 64 bits, got F16"
    );
    let typo = fails(kd, &[student, teacher, ("inputs.student", &logits)]);
    let names = "names begin with `input.`, `param.`, `frozen.`, `buffer.` or `cotangent.`";
    let wanted =
        format!("`inputs.student` of in.safetensors is nobody's: {names}\n\nhint: did you mean `input.student`?");
    assert_eq!(typo, wanted);
    let labels = [0_i64, 1].map(|label| Tensor::new(&[label], &Device::Cpu).expect("small"));
    let bytes = labels[1].to_dtype(DType::U8).expect("small");
    let loss = |label: &Tensor| {
        let part = (Kind::Loss, "cross_entropy", "{}");
        evaluated(&registry, path, part, Float::F64, &[student, ("input.label", label)]).expect("runs").loss()
    };
    assert_eq!(loss(&bytes), loss(&labels[1]), "whole numbers of any size are labels");
    assert_ne!(loss(&bytes), loss(&labels[0]));
    assert!(
        fails((Kind::Loss, "cross_entropy", "{}"), &[student, ("input.target", &logits)])
            .starts_with("`cross_entropy`: ")
    );
    std::fs::write(path.join("cut.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0, b'{']).expect("is written");
    assert!(stillhouse::eval::Tensors::read(&path.join("cut.safetensors")).is_err());
}
