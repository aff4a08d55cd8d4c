//! Making a recording: models run over samples, batch by batch, and what they hold goes to disk at once.

use super::file::{Header, Recording, Writer};
use super::{RecordingPlan, fields_of};
use crate::data::{Loader, LoaderSpec, Samples, ViewSpec};
use crate::exec::{PassSpec, Sampling};
use crate::graph::Source;
use crate::ops::Moment;
use crate::train::batch::{fields, view_field};
use crate::train::error::TrainError;
use crate::train::events::Observer;
use crate::train::models::Model;
use crate::train::optim::Optimizer;
use crate::train::plan::RunPlan;
use crate::train::setup::Setup;
use crate::train::stage::{Progressed, StageRunner, checksum};
use crate::train::store::Store;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

/// Opens every recording that the stage reads; makes those that are not there, or of models with other weights. Without a
/// stage, those that no stage reads.
///
/// Before anything is recorded the run is written down, with what it is about to record and tell: one that goes on from there
/// finds a whole file as its own. One that goes on behind it takes the file of that time, though a recorded model may have
/// been trained since.
///
/// # Errors
/// A model fails, a file cannot be written or read, or the run was asked to stop.
pub(in crate::train) fn prepare(
    runner: &StageRunner<'_>,
    stage: Option<usize>,
    state: &mut Progressed,
    optimizers: &[Optimizer],
    store: &mut Store,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let mut missing = false;
    let mut all: Vec<(&RecordingPlan, Header, Option<Recording>)> = vec![];
    for plan in due(runner.run, stage) {
        let now = models(runner.run, plan)?;
        let begun = state.position.recordings.get(&plan.name).copied();
        let header = header(runner.setup, plan, begun.unwrap_or(now));
        let known = Recording::open(&path(runner, plan)).ok().filter(|known| known.header == header);
        if known.is_none() && begun.is_some_and(|begun| begun != now) {
            let message = "its file is not the one that this run made, and the models were trained since".to_owned();
            return Err(TrainError::Recording(plan.name.clone(), message));
        }
        if begun.is_none() {
            state.position.recordings.insert(plan.name.clone(), now);
            if known.is_none() {
                state.position.untold.push(plan.name.clone());
            }
        }
        missing |= known.is_none();
        all.push((plan, header, known));
    }
    if missing {
        runner.save(store, optimizers, state, observer)?;
    }
    for (plan, header, known) in all {
        let path = path(runner, plan);
        let open = match known {
            Some(known) => known,
            None => {
                let samples = &runner.setup.data[&plan.data].train;
                let mut stops = || observer.wants_to_stop().then(|| state.stopped());
                // One at a time: another run that makes the same has made it for both.
                let _turn = turn(&path, &mut stops)?;
                if !Recording::open(&path).is_ok_and(|made| made.header == header) {
                    record(runner, plan, (&header, samples), &path, &mut stops)?;
                }
                Recording::open(&path).map_err(|message| TrainError::Recording(plan.name.clone(), message))?
            }
        };
        if state.position.untold.contains(&plan.name) {
            let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
            let line = format!("recorded {} samples, {} MB", header.index.len(), bytes.div_ceil(1_000_000));
            observer.said(3, &plan.name, &line);
        }
        let _ = plan.open.set(open);
    }
    Ok(())
}

/// Makes those recordings that the stage reads and that are not open, of these samples of it alone, in a folder for the time being.
///
/// # Errors
/// A model fails, or a file cannot be written or read.
pub(in crate::train) fn rehearse(
    runner: &StageRunner<'_>,
    stage: usize,
    samples: &[usize],
    folder: &Path,
) -> Result<(), TrainError> {
    for plan in due(runner.run, Some(stage)) {
        let all = &runner.setup.data[&plan.data].train;
        let is_meant = |position: &usize| samples.contains(&all.indices()[*position]);
        let some = all.select(&(0..all.len()).filter(is_meant).collect::<Vec<_>>());
        let header = Header { index: some.indices().to_vec(), ..header(runner.setup, plan, 0) };
        let path = folder.join(format!("{}.rec", plan.name));
        record(runner, plan, (&header, &some), &path, &mut || None)?;
        let open = Recording::open(&path).map_err(|message| TrainError::Recording(plan.name.clone(), message))?;
        let _ = plan.open.set(open);
    }
    Ok(())
}

/// Recordings that are not open yet and that a stage reads; without one, those that no stage reads.
fn due(run: &RunPlan, stage: Option<usize>) -> impl Iterator<Item = &RecordingPlan> {
    let is_due = move |plan: &&RecordingPlan| {
        let reads = |index: usize| fields_of(&run.stages[index]).iter().any(|field| plan.array(field).is_some());
        stage.map_or_else(|| !(0..run.stages.len()).any(reads), reads)
    };
    run.recordings.values().filter(|plan| plan.open.get().is_none()).filter(is_due)
}

fn path(runner: &StageRunner<'_>, plan: &RecordingPlan) -> PathBuf {
    let own = || runner.folder.join("recordings").join(format!("{}.rec", plan.name));
    plan.file.clone().unwrap_or_else(own)
}

fn header(setup: &Setup, plan: &RecordingPlan, models: u64) -> Header {
    let samples = &setup.data[&plan.data].train;
    Header { arrays: plan.arrays.clone(), index: samples.indices().to_vec(), data: samples.number(), models }
}

/// A number that follows from all that the recorded values do, but the samples: what each model sees of a sample, its graph and
/// weights, and the points.
fn models(run: &RunPlan, plan: &RecordingPlan) -> Result<u64, TrainError> {
    let mut hash = blake3::Hasher::new();
    for (name, point) in &plan.taps {
        let Some(model) = run.models.get(name) else { continue };
        let view = ViewSpec { augment: false, ..model.view.clone() };
        let told = format!("{point:?} {view:?} {} {:?}", model.network.over_time, model.network.graph);
        hash.update(&(told.len() as u64).to_le_bytes());
        hash.update(told.as_bytes());
        hash.update(&checksum(model)?.to_le_bytes());
    }
    Ok(hash.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// Waits until no other process makes a recording in the folder of this one; it has its turn as long as the value lives.
fn turn(path: &Path, stops: &mut dyn FnMut() -> Option<TrainError>) -> Result<Option<File>, TrainError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| TrainError::file(folder, error))?;
    // Where a folder cannot be locked, nobody waits.
    let Ok(held) = File::open(folder) else { return Ok(None) };
    while matches!(held.try_lock(), Err(TryLockError::WouldBlock)) {
        if let Some(stopped) = stops() {
            return Err(stopped);
        }
        sleep(Duration::from_millis(100));
    }
    Ok(Some(held))
}

fn record(
    runner: &StageRunner<'_>,
    plan: &RecordingPlan,
    (header, samples): (&Header, &Samples),
    path: &Path,
    stops: &mut dyn FnMut() -> Option<TrainError>,
) -> Result<(), TrainError> {
    let StageRunner { setup, run, .. } = runner;
    let mut names: Vec<&String> = vec![];
    plan.taps.iter().for_each(|(name, _)| {
        if !names.contains(&name) {
            names.push(name)
        }
    });
    let models: Vec<&Rc<Model>> = names.iter().filter_map(|name| run.models.get(*name)).collect();
    let views = models.iter().map(|model| ViewSpec { augment: false, ..model.view.clone() }).collect();
    let file = |error| TrainError::file(path, error);
    let mut writer = Writer::new(path, header).map_err(file)?;
    let mut seen = 0;
    // One thread, no batch ahead: what is in memory is one batch and what models hold of it.
    let spec = LoaderSpec { views, workers: 0, fields: Some(vec![]), ..LoaderSpec::new(plan.batch) };
    for served in Loader::new(samples, spec)? {
        if let Some(stopped) = stops() {
            return Err(stopped);
        }
        let served = served?;
        let count = served.len();
        if count == 0 {
            continue;
        }
        seen += count;
        let tensors = fields(served, setup.float, &setup.device)?;
        let mut held: BTreeMap<(usize, bool), Vec<Vec<Vec<f32>>>> = BTreeMap::new();
        for model in &models {
            let Some(input) = tensors.get(&view_field(&model.view.name)) else { continue };
            let own = |tap: &(String, Source)| tap.0 == model.name;
            for reversed in [false, true].into_iter().filter(|reversed| plan.reversed || !reversed) {
                let want = plan.taps.iter().filter(|tap| own(tap)).map(|(_, point)| point.clone()).collect();
                // True frames alone.
                let sampling = match model.network.graph.given() {
                    Some(_) => Some(Sampling::new(&Tensor::ones((count, input.dim(1)?), DType::F32, &setup.device)?)?),
                    None => None,
                };
                let pass = PassSpec { reverse_time: reversed, want, sampling, ..PassSpec::default() };
                let found = model.network.forward(input, &pass, &Moment::default())?;
                for (at, (_, point)) in plan.taps.iter().enumerate().filter(|(_, tap)| own(tap)) {
                    let frames = found.taps.get(point).map(Vec::as_slice).unwrap_or_default();
                    let rows = |frame: &Tensor| frame.contiguous()?.to_dtype(DType::F32)?.flatten_from(1)?.to_vec2();
                    held.insert((at, reversed), frames.iter().map(rows).collect::<candle_core::Result<_>>()?);
                }
            }
        }
        // In the order of the arrays: each tap, forward and reversed.
        for sample in 0..count {
            for frame in held.values().flatten() {
                writer.write(&frame[sample]).map_err(file)?;
            }
        }
    }
    if seen < header.index.len() {
        let message =
            format!("{} samples of `{}` cannot be read, and it holds every one", header.index.len() - seen, plan.data);
        return Err(TrainError::Recording(plan.name.clone(), message));
    }
    writer.finish().map_err(file)
}
