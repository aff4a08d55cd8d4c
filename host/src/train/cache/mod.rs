//! What frozen models gave for a sample, kept on disk and read in place of another forward.
//!
//! Values are found by what they follow from: the model to the bit, and the input to the bit (`key.rs`). A stage goes on with what
//! was kept whether it was read or just computed, so that the numbers of a run do not depend on what the folder holds. A folder that
//! is full, gone, damaged or another's ends no run: without it models compute.

mod folder;
mod key;
mod layout;
mod mapped;
mod store;
#[cfg(test)]
mod tests;

use super::binding::PassPlan;
use super::error::TrainError;
use super::events::Observer;
use super::models::Model;
use super::needs::Needs;
use super::plan::{RunPlan, StagePlan};
use super::setup::Setup;
use super::step::wanted;
use crate::exec::{Forward, PassSpec};
use crate::graph::Source;
use crate::manifest::ManifestPath;
use crate::ops::Moment;
use candle_core::{Device, Tensor};
use folder::Folder;
use layout::{KeepError, Layout};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use store::{Header, Key, Store};

/// The caches of a stage, by pass.
#[derive(Debug, Default)]
pub struct Caches(BTreeMap<String, RefCell<Cache>>);

/// What one frozen pass gave.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Folder,
    context: String,
    store: Option<Store>,
    read: u64,
    computed: u64,
    /// Nothing more is kept.
    ended: bool,
    /// Why, until it was told.
    untold: Option<String>,
}

impl Caches {
    /// Opens what is there for the passes of a stage whose models keep their values. Weights are those of this moment: they
    /// stay as long as the stage runs.
    ///
    /// # Errors
    /// Weights cannot be read.
    pub(super) fn open(setup: &Setup, run: &RunPlan, stage: &StagePlan) -> Result<Caches, TrainError> {
        let mut caches = Caches::default();
        for (name, pass) in &stage.passes {
            let Some(model) = kept(run, stage, pass) else { continue };
            let (reverse_time, want) = (pass.reverse_time, sorted(wanted(stage, name)));
            let spec = PassSpec { reverse_time, want, bf16: model.bf16, ..PassSpec::default() };
            caches.0.insert(name.clone(), RefCell::new(Cache::open(folder_of(setup, run), model, &spec)?));
        }
        Ok(caches)
    }

    /// The cache of a pass.
    pub(super) fn of(&self, pass: &str) -> Option<&RefCell<Cache>> {
        self.0.get(pass)
    }

    /// Tells why caches take nothing more, once.
    pub(super) fn warn(&self, observer: &mut dyn Observer) {
        self.0.values().filter_map(|cache| cache.borrow_mut().untold.take()).for_each(|why| observer.warned(&why));
    }

    /// Tells what the caches of a stage did.
    pub(super) fn tell(&self, observer: &mut dyn Observer) {
        for (pass, cache) in &self.0 {
            let Cache { read, computed, store, .. } = &*cache.borrow();
            let bytes = store.as_ref().map_or(0, Store::bytes);
            let size = bytes as f64 / 1e6;
            observer.noted(&format!("{pass}: {computed} samples computed, {read} read from the cache ({size:.1} MB)"));
        }
    }
}

/// The model of a pass whose values are kept: the manifest wants it, and nothing in the stage trains it.
pub fn kept<'r>(run: &'r RunPlan, stage: &StagePlan, pass: &PassPlan) -> Option<&'r Rc<Model>> {
    let is_frozen = !pass.track && !pass.training && !stage.trained.contains(&pass.model);
    run.models.get(&pass.model).filter(|model| is_frozen && model.keep.numbers.is_some())
}

/// Where a manifest keeps values.
fn folder_of(setup: &Setup, plan: &RunPlan) -> Folder {
    let (run, cache) = (&setup.manifest.run, &setup.manifest.cache);
    let path = match &cache.dir {
        Some(dir) => setup.sources.resolve(&ManifestPath::of(["cache", "dir"]), dir),
        None => setup.sources.resolve(&ManifestPath::of(["run", "dir"]), &run.dir).join("cache"),
    };
    Folder { path, limit: (cache.limit_gb * 1e9) as u64, reserve: Needs::of(setup, plan).total() }
}

/// The points without the order of the terms that read them.
fn sorted(mut points: Vec<Source>) -> Vec<Source> {
    points.sort();
    points
}

impl Cache {
    fn open(folder: Folder, model: &Model, spec: &PassSpec) -> Result<Cache, TrainError> {
        let context = key::context(model, spec)?;
        let opened = fs::create_dir_all(&folder.path).and_then(|()| Store::open(&folder.file(&context), &context));
        let mut cache = Cache { folder, context, store: None, read: 0, computed: 0, ended: false, untold: None };
        match opened {
            Ok(store) => cache.store = store,
            Err(error) => cache.end(&error.to_string()),
        }
        Ok(cache)
    }

    /// As [`crate::exec::Network::forward`], of a frozen pass.
    ///
    /// # Errors
    /// The network fails, or a value does not fit the numbers that it is to be kept in.
    pub(super) fn forward(
        &mut self,
        model: &Model,
        input: &Tensor,
        spec: &PassSpec,
        moment: &Moment,
    ) -> Result<Forward, TrainError> {
        let spec = &PassSpec { want: sorted(spec.want.clone()), ..spec.clone() };
        let keys = key::samples(input)?;
        let mut rows: Vec<Option<Vec<u8>>> =
            keys.iter().map(|key| self.store.as_mut().and_then(|store| store.read(key))).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|at| rows[*at].is_none()).collect();
        self.read += (keys.len() - missing.len()) as u64;
        self.computed += missing.len() as u64;
        let mut layout = self.store.as_ref().map(|store| store.header.layout.clone());
        if !missing.is_empty() {
            let found = model.network.forward(&part(input, &missing)?, spec, moment)?;
            let fresh = Layout::of(&found, &spec.want, model.keep, &Source::Layer(model.network.graph.output))?;
            let Some(fresh) = fresh else { return Ok(found) };
            let told = |error| match error {
                KeepError::Candle(error) => TrainError::Candle(error),
                KeepError::Overflow(_) => TrainError::Cache(model.name.clone(), error.to_string()),
            };
            let encoded = fresh.encode(&spec.want, &found).map_err(told)?;
            self.keep(model, &fresh, missing.iter().map(|at| keys[*at]).zip(encoded.iter().map(Vec::as_slice)));
            missing.into_iter().zip(encoded).for_each(|(at, row)| rows[at] = Some(row));
            layout = Some(fresh);
        }
        let Some(layout) = layout else { return Ok(model.network.forward(input, spec, moment)?) };
        let rows: Vec<Vec<u8>> = rows.into_iter().flatten().collect();
        Ok(Forward { taps: layout.decode(&spec.want, &rows, input.device())?, ..Forward::default() })
    }

    fn keep<'r>(&mut self, model: &Model, layout: &Layout, rows: impl Iterator<Item = (Key, &'r [u8])>) {
        if self.ended {
            return;
        }
        if self.store.is_none() {
            let header = Header { context: self.context.clone(), model: model.origin.clone(), layout: layout.clone() };
            match Store::create(&self.folder.file(&self.context), header) {
                Ok(Some(store)) => self.store = Some(store),
                Ok(None) => return self.end("another process has its file"),
                Err(error) => return self.end(&error.to_string()),
            }
        }
        let Some(store) = self.store.as_mut().filter(|store| store.writes && store.header.layout == *layout) else {
            return;
        };
        let mut seen = HashSet::new();
        let rows: Vec<(Key, &[u8])> = rows.filter(|(key, _)| seen.insert(*key)).collect();
        match store.append(&rows, &self.folder) {
            Ok(true) => {}
            Ok(false) => self.end(&format!("it has its {} GB (`cache.limit_gb`)", self.folder.limit as f64 / 1e9)),
            Err(error) => self.end(&error.to_string()),
        }
    }

    /// Nothing more is kept; what is there is read.
    fn end(&mut self, why: &str) {
        self.ended = true;
        self.untold = Some(format!("the cache in {} takes nothing more: {why}", self.folder.path.display()));
    }
}

/// A key, and the bytes that are kept under it.
pub type KeptRecord = ([u8; 16], Vec<u8>);

/// Reads every record of a file of kept values and decodes it; gives keys and bytes of those that are whole.
///
/// # Errors
/// It is no such file, not one of this context, or cannot be read.
pub fn verify_cache(path: &Path, context: &str) -> Result<Vec<KeptRecord>, String> {
    let store = Store::open(path, context).map_err(|error| error.to_string())?;
    let mut store = store.ok_or_else(|| format!("`{}` holds no kept values of this context", path.display()))?;
    let points: Vec<Source> = (0..store.header.layout.taps.len()).map(Source::Layer).collect();
    let mut found = vec![];
    for key in store.keys() {
        let Some(values) = store.read(&key) else { continue };
        let rows = [values];
        store.header.layout.decode(&points, &rows, &Device::Cpu).map_err(|error| error.to_string())?;
        found.extend(rows.map(|values| (key, values)));
    }
    Ok(found)
}

/// Some samples of an input.
fn part(input: &Tensor, samples: &[usize]) -> candle_core::Result<Tensor> {
    if samples.len() == input.dim(0)? {
        return Ok(input.clone());
    }
    let samples: Vec<u32> = samples.iter().map(|at| *at as u32).collect();
    input.index_select(&Tensor::from_slice(&samples, samples.len(), input.device())?, 0)
}
