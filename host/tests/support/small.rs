//! Small trainings whose batches a test makes itself: a manifest without data files, and teachers that say what they are given.

use super::{folder, plugins};
use candle_core::{DType, Device, Tensor};
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use stillhouse::data::{DataSet, FRAMES, Field, IMAGE, LABEL, Samples, Values};
use stillhouse::exec::Network;
use stillhouse::manifest::{self, Layer};
use stillhouse::model::{build_inline, write_weights};
use stillhouse::ops::{Moment, ParamSet};
use stillhouse::train::{Fields, Model, RunPlan, Setup, StagePlan, StageRunner, Stepper, plan, view_field};

/// A teacher and a student, the teacher's stage, and the head of the student's: terms and optimizers are to follow.
pub const PAIR: &str = r#"
manifest = 1
[data]
use = "digits"
[models.teacher]
arch = { kind = "resnet", depth = 8, width = 8 }
[models.student]
arch = { kind = "resnet", depth = 8, width = 4 }
[stage.teacher]
train = "teacher"
epochs = 1
batch = 16
optimizer = { kind = "sgd", lr = 0.05 }
terms.task = { use = "cross_entropy" }
[stage.distil]
train = "student"
epochs = 1
batch = 16
"#;

/// What the manifest stands on: samples (clips, where the shape is theirs) of zeros of this shape with labels of this many classes, and weights of zeros for the
/// teacher.
pub fn setup(text: &str, image: &[usize], classes: i64, weights: &[(&str, &[usize])], float: DType) -> Setup {
    let folder = folder();
    let zero = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("small");
    let tensors: HashMap<String, Tensor> =
        weights.iter().map(|(name, shape)| ((*name).to_owned(), zero(shape))).collect();
    write_weights(&folder.path().join("teacher.safetensors"), &tensors).expect("are written");
    let path = folder.keep().join("manifest.toml");
    let (manifest, sources) = manifest::load_str(&path, text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let part = || {
        let pictures =
            Field::new(image.to_vec(), Values::F32(vec![0.0; image.iter().product::<usize>() * classes as usize]));
        let labels = Field::new(vec![], Values::I64((0..classes).collect()));
        let name = if image.len() == 4 { FRAMES } else { IMAGE };
        let fields = [(name.to_owned(), pictures.expect("fits")), (LABEL.to_owned(), labels.expect("fits"))];
        Samples::new(fields.into()).expect("fit")
    };
    let set = DataSet::new("small", (part(), None, part()), None).expect("fits");
    let name = manifest.data.keys().next().expect("has data").clone();
    let data = [(name, set)].into();
    Setup {
        manifest,
        sources,
        registry: plugins(&["basics", "kd", "fitnet", "afd", "crkd", "maps", "tmu"]),
        data,
        device: Device::Cpu,
        float,
    }
}

/// The plan of a setup.
pub fn planned(setup: &Setup) -> RunPlan {
    let seed = setup.manifest.run.seeds.first().copied().unwrap_or(1);
    match plan(setup, seed) {
        Ok((run, _)) => run,
        Err(found) => panic!("{}", found.render(&setup.sources, false)),
    }
}

/// The models of a plan, the teacher replaced by one of layers of these kinds on inputs of this shape.
pub fn with_teacher(
    run: &RunPlan,
    kinds: &[(&str, serde_json::Value)],
    input: &[usize],
    float: DType,
) -> IndexMap<String, Rc<Model>> {
    let layer = |(at, (kind, options)): (usize, &(&str, serde_json::Value))| Layer {
        name: format!("layer{at}"),
        kind: (*kind).to_owned(),
        from: None,
        options: options.as_object().cloned().unwrap_or_default(),
    };
    let layers: Vec<Layer> = kinds.iter().enumerate().map(layer).collect();
    with_teacher_of(run, &layers, input, float)
}

/// The models of a plan, the teacher replaced by one of these layers on inputs of this shape.
pub fn with_teacher_of(run: &RunPlan, layers: &[Layer], input: &[usize], float: DType) -> IndexMap<String, Rc<Model>> {
    let graph = build_inline(layers, input).unwrap_or_else(|error| panic!("{}", error.message));
    let params = Rc::new(ParamSet::new("teacher", 1, float, &Device::Cpu));
    let network = Network::new("teacher", graph, params, false, BTreeMap::new()).expect("fits");
    let old = &run.models["teacher"];
    let (data, view) = (old.data.clone(), old.view.clone());
    let (name, network) = ("teacher".to_owned(), Rc::new(network));
    let model = Model { name: name.clone(), origin: name, network, data, view, bf16: false, keep: Default::default() };
    let mut models = run.models.clone();
    models.insert("teacher".into(), Rc::new(model));
    models
}

/// Optimizers of a stage that have not moved.
pub fn optimizers(setup: &Setup, run: &RunPlan, stage: usize) -> Vec<stillhouse::train::Optimizer> {
    StageRunner { setup, run, folder: Path::new("nowhere").into() }.optimizers(stage, vec![])
}

/// A batch by model: what each one sees, and the labels.
pub fn batch(stage: &StagePlan, views: &[(&str, &Tensor)], label: &Tensor) -> Fields {
    let view = |(pass, tensor): &(&str, &Tensor)| (view_field(&stage.passes[*pass].view), (*tensor).clone());
    views.iter().map(view).chain([(LABEL.to_owned(), label.clone())]).collect()
}

/// Where a step stands.
pub fn moment(stage: &StagePlan, step: usize) -> Moment {
    Moment {
        step: step as u64,
        steps_per_epoch: 1000,
        training: true,
        stage: stage.inner.as_str().into(),
        ..Moment::default()
    }
}

/// Steps of a stage; gives the total before each update.
pub fn steps(
    setup: &Setup,
    run: &RunPlan,
    stage: usize,
    models: &IndexMap<String, Rc<Model>>,
    batches: &[Fields],
) -> Vec<f64> {
    let plan = &run.stages[stage];
    let mut optimizers = optimizers(setup, run, stage);
    let mut stepper = Stepper::new(plan, models, &mut optimizers);
    let step =
        |(at, fields): (usize, &Fields)| stepper.step(fields, &moment(plan, at), 1.0, false).expect("steps").total;
    batches.iter().enumerate().map(step).collect()
}
