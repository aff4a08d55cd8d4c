//! Where each point of a sweep runs, and how far it is.

use super::Args;
use crate::cli::ManifestArgs;
use crate::cli::load::{open, plan_seed};
use crate::manifest::{Manifest, ManifestPath, Sources, load_with, wants_color};
use crate::receipt;
use crate::report::{changed_since, same_run, tell, tidy};
use crate::sweep::{Point, Sweep};
use serde_json::{Value, json};
use std::path::{Path, PathBuf, absolute};

/// How far a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has a receipt of the same manifest.
    Finished,
    /// It began and was left.
    Begun,
    /// Nothing of it is there, or only what another manifest left.
    New,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Finished => "finished",
            State::Begun => "begun",
            State::New => "to run",
        }
    }
}

/// A point with its folder.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) name: String,
    /// What the sweep's file sets.
    pub(super) overrides: Vec<String>,
    /// Folder of the run.
    pub(super) folder: PathBuf,
    pub(super) state: State,
    /// Threads that the manifest asks for.
    pub(super) threads: Option<usize>,
    /// How to run it.
    pub(super) manifest: ManifestArgs,
}

impl Placed {
    pub(super) fn json(&self, state: &str) -> Value {
        json!({ "name": self.name, "state": state, "folder": near(&self.folder), "overrides": self.overrides })
    }
}

/// All points; each that is still to run can be planned. What cannot was told.
pub(super) fn all(sweep: &Sweep, args: &Args) -> Result<Vec<Placed>, ()> {
    sweep.points.iter().map(|point| place(sweep, point, args)).collect()
}

fn place(sweep: &Sweep, point: &Point, args: &Args) -> Result<Placed, ()> {
    let refused = |text: &str| {
        let file = args.file.display();
        tell(&format!("{text}\n\nerror: point `{}` of `{file}` cannot run, so none was begun", point.name));
    };
    let read = |set: &[String]| {
        load_with(&sweep.manifest, set, &sweep.folder).map_err(|error| refused(&error.render(wants_color())))
    };
    let (manifest, sources) = read(&point.overrides)?;
    let base = sources.resolve(&ManifestPath::of(["run", "dir"]), &manifest.run.dir);
    let runs = tidy(&absolute(&base).unwrap_or(base)).join(&sweep.name);
    let text = |text: &str| toml::Value::String(text.into()).to_string();
    let own = [format!("run.name={}", text(&point.name)), format!("run.dir={}", text(&runs.to_string_lossy()))];
    let set = [&point.overrides[..], &own].concat();
    let (manifest, sources) = read(&set)?;
    let folder = runs.join(&point.name);
    let state = state(&folder, &manifest, &sources);
    let manifest_args = ManifestArgs {
        manifest: sweep.manifest.clone(),
        set,
        // Here, where it is empty.
        set_from: Some(sweep.folder.clone()).filter(|folder| !folder.as_os_str().is_empty()),
        allow_abort: args.allow_abort,
        ignore_lock: args.ignore_lock,
    };
    if state != State::Finished {
        let seed = manifest.run.seeds.first().copied().unwrap_or_default();
        let planned = open(&manifest_args).and_then(|setup| plan_seed(&setup, seed).map(|_| ()));
        planned.map_err(|wrong| refused(&wrong.found.render(&wrong.sources, wants_color())))?;
    }
    let (name, overrides) = (point.name.clone(), point.overrides.clone());
    Ok(Placed { name, overrides, folder, state, threads: manifest.run.threads, manifest: manifest_args })
}

fn state(folder: &Path, manifest: &Manifest, sources: &Sources) -> State {
    let resolved = sources.resolved_toml(folder);
    let done = receipt::given(&folder.join(receipt::NAME)).ok().flatten();
    if done.is_some_and(|done| same_run(&done.receipt.manifest.text, &resolved)) {
        return State::Finished;
    }
    let is_same = folder.is_dir() && changed_since(folder, &resolved, &manifest.stage_order()).is_empty();
    if is_same { State::Begun } else { State::New }
}

/// A path as seen from here, where it lies below.
pub(super) fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
