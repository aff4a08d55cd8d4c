//! Recordings: values of models at taps, kept on disk by sample, so that the models are not needed any more.

mod file;
mod make;

use super::batch::Fields;
use super::binding::Scene;
use super::error::TrainError;
use super::models::Model;
use super::plan::{RunPlan, StagePlan};
use super::problem::{Problem, known_hint};
use super::selector::Selector;
use super::setup::Setup;
use super::term::{Found, Read};
use crate::data::{INDEX, Samples};
use crate::graph::Source;
use crate::manifest::{Diagnostics, ManifestPath, Part};
use candle_core::{DType, Tensor};
use file::Recording;
use indexmap::IndexMap;
use std::cell::OnceCell;
use std::path::PathBuf;
use std::rc::Rc;

pub use file::verify_recording;
pub(super) use make::{prepare, rehearse};

/// A recording of the manifest.
#[derive(Debug)]
pub struct RecordingPlan {
    name: String,
    /// Whose samples are recorded.
    data: String,
    /// Names (`<recording>.<tap>`, `<recording>.<tap>.reversed`) and shapes of what is kept of a sample.
    arrays: Vec<(String, Vec<usize>)>,
    /// Models and points, in the order of the arrays that they fill: forward, then reversed.
    taps: Vec<(String, Source)>,
    reversed: bool,
    batch: usize,
    /// Where it is kept; in the folder of the seed unless the manifest says so.
    file: Option<PathBuf>,
    open: OnceCell<Recording>,
}

/// Plans the recordings of a manifest: those without taps must be there.
pub(super) fn plan_all(setup: &Setup, run: &mut RunPlan, found: &mut Diagnostics) {
    for name in setup.manifest.recordings.keys() {
        match plan(setup, &run.models, name) {
            Ok(planned) => {
                run.recordings.insert(name.clone(), planned);
            }
            Err(problem) => found.extend(Diagnostics::from(problem)),
        }
    }
}

fn plan(setup: &Setup, models: &IndexMap<String, Rc<Model>>, name: &str) -> Found<RecordingPlan> {
    let (entry, path) = (&setup.manifest.recordings[name], ManifestPath::of(["recordings", name]));
    let data = entry.data.clone().or_else(|| setup.data.keys().next().cloned()).unwrap_or_default();
    let Some(set) = setup.data.get(&data) else {
        let hint = known_hint(&data, setup.data.keys().map(String::as_str), "there are");
        return Err(Problem::new(format!("there is no data set `{data}`"))
            .at(&path.key("data"), Part::Value)
            .hint(hint));
    };
    let file = entry.file.as_ref().map(|file| setup.sources.resolve(&path.key("file"), file));
    let (mut arrays, mut taps, open) = (vec![], vec![], OnceCell::new());
    if entry.taps.is_empty() {
        let Some(file) = &file else {
            return Err(
                Problem::new(format!("recording `{name}` has neither `taps` nor a `file`")).at(&path, Part::Key)
            );
        };
        let read = Recording::open(file).map_err(|message| Problem::new(message).at(&path.key("file"), Part::Value))?;
        if read.header.data != set.train.number() {
            let message = format!("`{}` is a recording of other samples than `{data}`", file.display());
            return Err(Problem::new(message).at(&path.key("file"), Part::Value));
        }
        arrays.clone_from(&read.header.arrays);
        // Named by where it was made: here it has another name, perhaps.
        for (array, _) in &mut arrays {
            *array = format!("{name}.{}", array.split_once('.').map_or(array.as_str(), |(_, rest)| rest));
        }
        let _ = open.set(read);
    }
    for (at, text) in entry.taps.iter().enumerate() {
        let here = path.key("taps").index(at);
        let (model, point, shape) = tap(models, text, &set.train, &here)?;
        arrays.push((format!("{name}.{at}"), shape.clone()));
        if entry.reversed {
            arrays.push((format!("{name}.{at}.reversed"), shape));
        }
        taps.push((model, point));
    }
    let (reversed, batch) = (entry.reversed, entry.batch.max(1));
    Ok(RecordingPlan { name: name.into(), data, arrays, taps, reversed, batch, file, open })
}

/// A tap's model, its point, and what is kept of a sample: its value at every frame.
fn tap(
    models: &IndexMap<String, Rc<Model>>,
    text: &str,
    samples: &Samples,
    here: &ManifestPath,
) -> Found<(String, Source, Vec<usize>)> {
    let wrong = |message: String| Problem::new(message).at(here, Part::Value);
    let selector = Selector::parse(text).map_err(wrong)?;
    let name = selector.pass.clone().unwrap_or_default();
    let Some(model) = models.get(&name) else {
        let hint = known_hint(&name, models.keys().map(String::as_str), "there are");
        return Err(wrong(format!("`{text}` names no model")).hint(hint));
    };
    let network = &model.network;
    let point = network.graph.tap(&selector.tap()).filter(|point| network.shape(point).is_some());
    let (Some(point), Some((_, field))) = (point, samples.main_field()) else {
        return Err(wrong(format!("`{name}` has no tap `{}`", selector.tap())));
    };
    let mut shape = network.shape(&point).unwrap_or_default();
    if network.over_time {
        let frames = field.shape().first().copied().unwrap_or(1);
        shape.insert(0, frames - usize::from(network.graph.given().is_some() && frames > 1));
    }
    Ok((name, point, shape))
}

impl RecordingPlan {
    /// Bytes of the file that is still to be made; 0 where it is there.
    pub(super) fn bytes(&self, setup: &Setup) -> u64 {
        if self.open.get().is_some() {
            return 0;
        }
        let row: u64 = self.arrays.iter().filter_map(|(_, shape)| file::bytes_of(shape)).sum();
        row * setup.data.get(&self.data).map_or(0, |set| set.train.len()) as u64
    }

    fn array(&self, name: &str) -> Option<usize> {
        self.arrays.iter().position(|(known, _)| known == name)
    }
}

impl RunPlan {
    /// The recording that keeps a field, and which of its arrays it is.
    fn recorded(&self, field: &str) -> Option<(&RecordingPlan, usize)> {
        self.recordings.values().find_map(|plan| Some((plan, plan.array(field)?)))
    }
}

impl Scene<'_> {
    /// Shape of a recorded field for one sample.
    pub(super) fn recorded(&self, field: &str) -> Option<&[usize]> {
        let plan = self.recordings.values().find(|plan| plan.array(field).is_some())?;
        plan.arrays.get(plan.array(field)?).map(|(_, shape)| shape.as_slice())
    }

    /// A recorded field is of this stage's samples, as they are.
    pub(super) fn check_recorded(&self, field: &str, at: &ManifestPath) -> Found<()> {
        let Some(plan) = self.recordings.values().find(|plan| plan.array(field).is_some()) else { return Ok(()) };
        let wrong = |message: String| Err(Problem::new(message).at(at, Part::Value));
        if plan.data != self.data {
            return wrong(format!(
                "recording `{}` is of the data `{}`, and this stage learns from `{}`",
                plan.name, plan.data, self.data
            ));
        }
        if self.setup.manifest.data.get(self.data).is_some_and(|data| !data.augment.is_empty()) {
            return wrong(format!(
                "recording `{}` is of samples as they are, and this stage's are augmented",
                plan.name
            ));
        }
        Ok(())
    }

    pub(super) fn recorded_names(&self) -> impl Iterator<Item = &str> {
        self.recordings.values().flat_map(|plan| plan.arrays.iter().map(|(name, _)| name.as_str()))
    }
}

/// Fields of recordings that a stage reads.
fn fields_of(stage: &StagePlan) -> Vec<&str> {
    let reads = stage.terms().into_iter().flat_map(|term| term.ports.iter().flat_map(|port| &port.reads));
    reads.filter_map(|read| if let Read::Field(name) = read { Some(name.as_str()) } else { None }).collect()
}

/// Adds what a stage reads of recordings to a batch.
///
/// # Errors
/// A sample that was not recorded, or a file that cannot be read.
pub(super) fn add_fields(
    run: &RunPlan,
    stage: &StagePlan,
    fields: &mut Fields,
    float: DType,
) -> Result<(), TrainError> {
    for name in fields_of(stage) {
        let Some((plan, array)) = run.recorded(name) else { continue };
        let (Some(index), Some(open)) = (fields.get(INDEX), plan.open.get()) else { continue };
        let device = index.device().clone();
        let (index, shape) = (index.to_vec1::<i64>()?, &plan.arrays[array].1);
        let values = open.read(array, &index).map_err(|message| TrainError::Recording(plan.name.clone(), message))?;
        let shape = [vec![index.len()], shape.clone()].concat();
        fields.insert(name.to_owned(), Tensor::from_vec(values, shape, &device)?.to_dtype(float)?);
    }
    Ok(())
}
