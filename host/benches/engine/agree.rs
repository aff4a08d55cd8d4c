//! Whether both sides do the same work: losses over many steps from the same parameters and batches.
//!
//! PyTorch's own ways measure what rounding makes of a training: those of other sums part, some networks' fast. Ours may
//! be a few times as far from its default as that is from its other ways.

use super::frames::{Clip, Frames};
use super::side::Side;
use super::step::{Work, batch_of, moment, pictures, registry, setup};
use super::{Outcome, rival};
use candle_core::{DType, Tensor};
use serde_json::{Map, json};
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use stillhouse::ops::{ParamKind, ParamSet};
use stillhouse::train::{StageRunner, Stepper, plan};

const STEPS: u64 = 50;
/// Of the usual rate: with all of it untrained networks part by rounding alone.
const RATE: f64 = 0.02;
/// Of networks over time, plain gradient descent.
const FRAMES_RATE: f64 = 0.02;
/// Batches that come in turn.
const BATCHES: usize = 4;
/// Relative differences of losses that are always allowed.
const NEAR: f64 = 1e-3;
/// Beyond that: so many times the difference between PyTorch's ways.
const SPREAD: f64 = 4.0;

/// Prints a table of the works that have losses; an error where a work's are too far apart.
pub fn table<'w>(works: impl Iterator<Item = &'w (&'w str, &'w str)>, rivals: &str) -> Outcome<()> {
    println!(
        "{:<22} {:>6} {:>9} {:>9} {:>19} {:>14} {:>9}",
        "work", "steps", "first", "last", "ours, PyTorch's", "PyTorch's ways", "allowed"
    );
    let mut apart = vec![];
    for (name, text) in works {
        if !compare(name, text, rivals)? {
            apart.push(*name);
        }
    }
    if apart.is_empty() { Ok(()) } else { Err(format!("not the same work on both sides: {}", apart.join(", ")).into()) }
}

/// Prints a line; a teacher alone has no loss, one in bf16 another, and modules equal our own cells (`tests/over_time.rs`).
fn compare(name: &str, text: &str, rivals: &str) -> Outcome<bool> {
    let work = Work::parse(text)?;
    if work.student == "-" || work.frozen != "f32" || work.student.starts_with("module") {
        return Ok(true);
    }
    let file = std::env::temp_dir().join(format!("stillhouse-{}-{name}.bin", std::process::id()));
    let path = file.to_str().ok_or("a path that is no text")?;
    // The first line of either side says that it is there.
    let ours = Side::own(&["losses", text, path], "2")?.numbers()?;
    let curve = |mode| Side::start(rival(&work, "2", mode, path))?.numbers();
    let theirs = rivals.split(',').map(curve).collect::<Outcome<Vec<_>>>()?;
    std::fs::remove_file(&file)?;
    let Some((default, others)) = theirs.split_first() else { return Err("no rival".into()) };
    if ours.len() as u64 != STEPS || theirs.iter().any(|theirs| theirs.len() != ours.len()) {
        return Err(format!("{} and {} losses", ours.len(), default.len()).into());
    }
    let (distance, at) = furthest(&ours, default);
    let own = others.iter().map(|other| furthest(other, default).0).fold(0.0, f64::max);
    let allowed = NEAR.max(SPREAD * own);
    let (first, last) = (ours[0], ours[ours.len() - 1]);
    print!("{name:<22} {STEPS:>6} {first:>9.4} {last:>9.4} {distance:>8.1e} at step {at:<2}");
    println!(" {own:>14.1e} {allowed:>9.1e}");
    Ok(distance <= allowed)
}

/// Largest relative difference of two curves, and its step.
fn furthest(ours: &[f64], theirs: &[f64]) -> (f64, usize) {
    let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs());
    // What is no number is furthest.
    let larger = |most: (f64, usize), (at, one): (usize, f64)| if one <= most.0 { most } else { (one, at) };
    differences.enumerate().fold((0.0, 0), larger)
}

/// Writes what both sides start from, then the losses of our side on one line.
pub fn losses(work: &Work<'_>, file: &str) -> Outcome<()> {
    let losses = match Clip::of(work.student) {
        Some(clip) => losses_over_time(&Frames::new(clip, work.batch, &registry()?)?, Path::new(file))?,
        None => losses_of_steps(work, Path::new(file))?,
    };
    println!("{}", losses.iter().map(|loss| format!("{loss:.9e}")).collect::<Vec<_>>().join(" "));
    Ok(())
}

fn losses_over_time(frames: &Frames, file: &Path) -> Outcome<Vec<f64>> {
    let params = &frames.network.params;
    let mut all = vec![("x".to_owned(), frames.x.clone())];
    all.extend(parameters("student", params));
    write(file, &all)?;
    println!("ready");
    let step = |_| {
        let (terms, gradients) = frames.step()?;
        for gradient in gradients {
            let value = params.value(&gradient.name).ok_or("no such parameter")?;
            params.assign(&gradient.name, &(value - gradient.value.affine(FRAMES_RATE, 0.0)?)?)?;
        }
        let values = terms.iter().map(|term| Ok(f64::from(term.to_scalar::<f32>()?)));
        values.sum::<Outcome<f64>>()
    };
    (0..STEPS).map(step).collect()
}

fn losses_of_steps(work: &Work<'_>, file: &Path) -> Outcome<Vec<f64>> {
    let setup = setup(work)?;
    let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
    let stage = run.stages.last().ok_or("no stage")?;
    let runner = StageRunner { setup: &setup, run: &run, folder: Path::new("nowhere").into() };
    let mut optimizers = runner.optimizers(run.stages.len() - 1, vec![]);
    if let Some(teacher) = run.models.get("teacher").filter(|_| !work.features.is_empty()) {
        calm(&teacher.network.params)?;
    }
    let (x, labels) = pictures(work, BATCHES)?;
    let mut all = vec![("x".to_owned(), x.clone()), ("labels".to_owned(), labels.to_dtype(DType::F32)?)];
    for (name, model) in &run.models {
        all.extend(parameters(name, &model.network.params));
    }
    let connectors = stage.groups.iter().flat_map(|group| &group.members);
    let student = run.models.get("student").ok_or("no student")?;
    for member in connectors.filter(|member| !Rc::ptr_eq(&member.set, &student.network.params)) {
        all.push((format!("connector.{}", member.full), member.set.value(&member.name).ok_or("no value")?));
    }
    write(file, &all)?;
    println!("ready");
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let step = |step: u64| {
        let start = step as usize % BATCHES * work.batch;
        let part = |all: &Tensor| all.narrow(0, start, work.batch)?.contiguous();
        let report = stepper.step(&batch_of(&run, &part(&x)?, &part(&labels)?), &moment(step), RATE, false)?;
        Ok(report.total)
    };
    (0..STEPS).map(step).collect()
}

/// Halves the scales of batch norms: with fixed statistics the sums of residual blocks that nobody trained leave all bounds, and the
/// error of features says no more of a student.
fn calm(params: &ParamSet) -> Outcome<()> {
    for name in params.names(ParamKind::Parameter) {
        let value = params.value(&name).ok_or("no value")?;
        if value.rank() == 1 && name.ends_with(".weight") {
            params.assign(&name, &value.affine(0.5, 0.0)?)?;
        }
    }
    Ok(())
}

/// In the order in which layers were built.
pub fn parameters(model: &str, params: &ParamSet) -> Vec<(String, Tensor)> {
    let value = |name: String| Some((format!("{model}.{name}"), params.value(&name)?));
    params.names(ParamKind::Parameter).into_iter().filter_map(value).collect()
}

/// A line of JSON with names and shapes in order, then the elements, `f32`.
pub fn write(path: &Path, all: &[(String, Tensor)]) -> Outcome<()> {
    let head: Map<_, _> = all.iter().map(|(name, value)| (name.clone(), json!(value.dims()))).collect();
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(out, "{}", serde_json::to_string(&head)?)?;
    for (_, value) in all {
        let elements: Vec<f32> = value.flatten_all()?.to_vec1()?;
        elements.iter().try_for_each(|element| out.write_all(&element.to_le_bytes()))?;
    }
    Ok(out.flush()?)
}
