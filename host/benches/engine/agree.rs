//! Whether both sides do the same work: losses over many steps from the same parameters and batches.

use super::frames::Clip;
use super::side::Side;
use super::step::{Work, batch_of, moment, pictures, setup};
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
/// Batches that come in turn.
const BATCHES: usize = 4;

/// Prints a line of the table; works without a loss, over time or in bf16 have none.
pub fn compare(name: &str, text: &str) -> Outcome<()> {
    let work = Work::parse(text)?;
    if work.student == "-" || work.frozen != "f32" || Clip::of(work.student).is_some() {
        return Ok(());
    }
    let file = std::env::temp_dir().join(format!("stillhouse-{}-{name}.bin", std::process::id()));
    let path = file.to_str().ok_or("a path that is no text")?;
    // The first line of either side says that it is there.
    let ours = Side::own(&["losses", text, path], "2")?.numbers()?;
    let theirs = Side::start(rival(&work, "2", "default", path))?.numbers()?;
    std::fs::remove_file(&file)?;
    if ours.len() != theirs.len() || ours.is_empty() {
        return Err(format!("{} and {} losses", ours.len(), theirs.len()).into());
    }
    let differences: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b.abs()).collect();
    let at = (0..differences.len()).max_by(|a, b| differences[*a].total_cmp(&differences[*b])).unwrap_or(0);
    let (first, last, steps) = (ours[0], ours[ours.len() - 1], ours.len());
    println!("{name:<22} {steps:>8} {first:>10.4} {last:>10.4} {:>12.1e} at step {at}", differences[at]);
    Ok(())
}

/// Writes what both sides start from, then the losses of our side on one line.
pub fn losses(work: &Work<'_>, file: &str) -> Outcome<()> {
    let setup = setup(work)?;
    let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
    let stage = run.stages.last().ok_or("no stage")?;
    let runner = StageRunner { setup: &setup, run: &run, folder: Path::new("nowhere").into() };
    let mut optimizers = runner.optimizers(run.stages.len() - 1, vec![]);
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
    write(Path::new(file), &all)?;
    println!("ready");
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let mut line = String::new();
    for step in 0..STEPS {
        let start = step as usize % BATCHES * work.batch;
        let part = |all: &Tensor| all.narrow(0, start, work.batch)?.contiguous();
        let report = stepper.step(&batch_of(&run, &part(&x)?, &part(&labels)?), &moment(step), RATE, false)?;
        line += &format!("{:.9e} ", report.total);
    }
    println!("{line}");
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
