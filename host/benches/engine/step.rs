//! Our side: the step of a real run.

use super::Outcome;
use super::frames::{Clip, Frames};
use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};
use std::time::Instant;
use stillhouse::data::{DataSet, Field, IMAGE, LABEL, Samples, Values};
use stillhouse::exec::PassSpec;
use stillhouse::graph::Source;
use stillhouse::manifest;
use stillhouse::ops::Moment;
use stillhouse::plugin::{Registry, SearchPaths};
use stillhouse::train::{Fields, RunPlan, Setup, StageRunner, Stepper, plan, view_field};

pub const CLASSES: usize = 100;

/// The optimizer of all works.
pub const SGD: &str = "{ kind = \"sgd\", lr = 0.05, momentum = 0.9, weight_decay = 5e-4, nesterov = true }";

/// What is measured.
pub struct Work<'a> {
    /// `-` for none.
    pub teacher: &'a str,
    /// `-` for none: the teacher's forward is measured.
    pub student: &'a str,
    pub batch: usize,
    /// Layers that a mean squared error compares beside the softened logits: behind a 1x1 convolution, batch norm and ReLU.
    pub features: Vec<&'a str>,
    /// How the frozen teacher computes.
    pub frozen: &'a str,
}

impl<'a> Work<'a> {
    /// `teacher student batch [features or -] [bf16]`.
    pub fn parse(text: &'a str) -> Outcome<Work<'a>> {
        let words: Vec<&str> = text.split(' ').collect();
        let [teacher, student, batch, rest @ ..] = words.as_slice() else { return Err("no such work".into()) };
        let features = rest.first().filter(|features| **features != "-");
        Ok(Work {
            teacher,
            student,
            batch: batch.parse()?,
            features: features.map_or(vec![], |features| features.split(',').collect()),
            frozen: rest.get(1).unwrap_or(&"f32"),
        })
    }

    fn manifest(&self) -> String {
        let stage = |name: &str, train: &str, terms: &str| {
            let length = format!("epochs = 1\nbatch = {}\noptimizer = {SGD}\n", self.batch);
            format!("[stage.{name}]\ntrain = \"{train}\"\n{length}{terms}\n")
        };
        let task = "terms.task = { use = \"cross_entropy\" }";
        let mut both = "terms.task = { use = \"cross_entropy\", weight = 0.1 }\n\
                        terms.kd = { use = \"kd\", temperature = 4.0, weight = 0.9 }"
            .to_owned();
        for (at, layer) in self.features.iter().enumerate() {
            if *layer == "rkd" {
                both += "\nterms.rkd = { use = \"rkd\", student = \"avgpool\", teacher = \"avgpool\" }";
                continue;
            }
            let ends = format!("student = \"{layer}\", teacher = \"{layer}\", connector = \"conv_regressor\"");
            both += &format!("\nterms.feature{at} = {{ use = \"mse\", {ends} }}");
        }
        let mut text = "manifest = 1\n[data]\nuse = \"digits\"\n".to_owned();
        if self.teacher != "-" {
            let frozen = if self.frozen == "bf16" { "frozen = \"bf16\"\n" } else { "" };
            text += &format!("[models.teacher]\narch = {}\n{frozen}", arch(self.teacher));
            text += &stage("teacher", "teacher", task);
        }
        if self.student != "-" {
            let terms = if self.teacher == "-" { task } else { &both };
            text += &format!("[models.student]\narch = {}\n", arch(self.student));
            text += &stage("distil", "student", terms);
        }
        text
    }
}

fn arch(name: &str) -> String {
    match name.trim_start_matches("resnet").split_once('x') {
        _ if name == "mobile" => "\"MobileNetV2\"".to_owned(),
        _ if name == "shuffle" => "\"ShuffleV2\"".to_owned(),
        Some((depth, factor)) => format!("{{ kind = \"resnet\", depth = {depth}, factor = {factor}, stem = 32 }}"),
        None => format!("\"{name}\""),
    }
}

/// A batch of random pictures and classes, in every view that a stage reads.
pub fn batch_of(run: &RunPlan, x: &Tensor, labels: &Tensor) -> Fields {
    let stage = run.stages.last();
    let views = stage.iter().flat_map(|stage| stage.passes.values()).map(|pass| (view_field(&pass.view), x.clone()));
    views.chain([(LABEL.to_owned(), labels.clone())]).collect()
}

pub fn pictures(work: &Work<'_>, batches: usize) -> Outcome<(Tensor, Tensor)> {
    let count = batches * work.batch;
    let x = Tensor::randn(0f32, 1.0, (count, 3, 32, 32), &Device::Cpu)?;
    let labels = (0..count).map(|at| (at * 7 % CLASSES) as i64).collect();
    Ok((x, Tensor::from_vec(labels, count, &Device::Cpu)?))
}

pub fn serve(work: &Work<'_>, steps: usize) -> Outcome<()> {
    if let Some(clip) = Clip::of(work.student) {
        let frames = Frames::new(clip, work.batch, &registry()?)?;
        return rounds(steps, || frames.step().map(drop));
    }
    let setup = setup(work)?;
    let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
    let (x, labels) = pictures(work, 1)?;
    if work.student == "-" {
        let network = run.models.get("teacher").ok_or("no model")?.network.clone();
        let spec = PassSpec {
            want: vec![Source::Layer(network.graph.output)],
            bf16: work.frozen == "bf16",
            ..PassSpec::default()
        };
        return rounds(steps, || Ok(network.forward(&x, &spec, &Moment::default()).map(drop)?));
    }
    let stage = run.stages.last().ok_or("no stage")?;
    let runner = StageRunner { setup: &setup, run: &run, folder: Path::new("nowhere").into() };
    let mut optimizers = runner.optimizers(run.stages.len() - 1, vec![]);
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let fields = batch_of(&run, &x, &labels);
    let mut done = 0;
    rounds(steps, || {
        stepper.step(&fields, &moment(done), 1.0, false)?;
        done += 1;
        Ok(())
    })
}

pub fn moment(step: u64) -> Moment {
    Moment { step, steps_per_epoch: 1000, training: true, ..Moment::default() }
}

/// A round of steps for each line.
fn rounds(steps: usize, mut step: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    (0..3).try_for_each(|_| step())?;
    println!("ready");
    for line in std::io::stdin().lines() {
        if line? == "memory" {
            println!("{}", peak_memory()?);
            continue;
        }
        let started = Instant::now();
        (0..steps).try_for_each(|_| step())?;
        println!("{}", started.elapsed().as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}

/// Megabytes, as the kernel counts the process.
pub fn peak_memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Samples of zeros give the shapes: the step's own data are random.
pub fn setup(work: &Work<'_>) -> Outcome<Setup> {
    let text = work.manifest();
    let (manifest, sources) =
        manifest::load_str(Path::new("engine.toml"), &text, &[]).map_err(|error| error.to_string())?;
    let part = || -> Outcome<Samples> {
        let pictures = Field::new(vec![3, 32, 32], Values::F32(vec![0.0; CLASSES * 3 * 32 * 32]))?;
        let labels = Field::new(vec![], Values::I64((0..CLASSES as i64).collect()))?;
        Ok(Samples::new([(IMAGE.to_owned(), pictures), (LABEL.to_owned(), labels)].into())?)
    };
    let set = DataSet::new("zeros", (part()?, None, part()?), None)?;
    let registry = registry()?;
    let name = manifest.data.keys().next().cloned().unwrap_or_default();
    Ok(Setup { manifest, sources, registry, data: [(name, set)].into(), device: Device::Cpu, float: DType::F32 })
}

/// Where the plugins are that were built beside the benchmark.
pub fn built() -> Outcome<PathBuf> {
    let exe = std::env::current_exe()?;
    Ok(exe.parent().and_then(Path::parent).ok_or("no folder of the benchmark")?.to_path_buf())
}

pub fn registry() -> Outcome<Registry> {
    Ok(Registry::discover(&SearchPaths::usual(&[built()?]), false, manifest::RESERVED_TERM_KEYS))
}
