//! Where each point of a sweep runs, and how far it is.

use super::Args;
use crate::cli::ManifestArgs;
use crate::cli::load::{open, plan_seed};
use crate::manifest::{Manifest, ManifestPath, Sources, load_with, wants_color};
use crate::receipt::{self, Present};
use crate::report::{changed_since, same_run, tell, tidy};
use crate::sweep::{Point, Sweep};
use crate::train::{Lock, lock_path};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::path::{Path, PathBuf, absolute};

/// How far a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has a receipt of the same manifest, and what that attests is there still.
    Finished,
    /// It began and was left.
    Begun,
    /// Nothing of it is there, or only what another manifest, plugin, file or host left.
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
    /// What is not as it was when the point was finished, a line each.
    pub(super) changed: Vec<String>,
    /// Threads that the manifest asks for.
    pub(super) threads: Option<usize>,
    /// How to run it.
    pub(super) manifest: ManifestArgs,
}

impl Placed {
    pub(super) fn json(&self, state: &str) -> Value {
        let mut value =
            json!({ "name": self.name, "state": state, "folder": near(&self.folder), "overrides": self.overrides });
        if !self.changed.is_empty() {
            value["changed"] = json!(self.changed);
        }
        value
    }
}

/// All points; each that is still to run can be planned. What cannot was told.
pub(super) fn all(sweep: &Sweep, args: &Args) -> Result<Vec<Placed>, ()> {
    // A lock that cannot be read is told when a point is planned.
    let lock = || Lock::read(&lock_path(&sweep.manifest)).ok().flatten();
    let mut present = (!args.ignore_lock).then(|| Present::new(lock(), args.allow_abort));
    sweep.points.iter().map(|point| place(sweep, point, args, present.as_mut())).collect()
}

fn place(sweep: &Sweep, point: &Point, args: &Args, present: Option<&mut Present>) -> Result<Placed, ()> {
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
    let (state, changed) = state(&folder, &manifest, &sources, present);
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
        planned.map_err(|wrong| {
            let was = changed.iter().map(|line| format!("\n\nnote: the point was finished, and changed: {line}"));
            refused(&(wrong.found.render(&wrong.sources, wants_color()) + &was.collect::<String>()));
        })?;
    }
    let (name, overrides) = (point.name.clone(), point.overrides.clone());
    Ok(Placed { name, overrides, folder, state, changed, threads: manifest.run.threads, manifest: manifest_args })
}

/// How far a point is, and what is not as it was where it was finished. Without `present` the manifest alone counts.
fn state(folder: &Path, manifest: &Manifest, sources: &Sources, present: Option<&mut Present>) -> (State, Vec<String>) {
    let (resolved, path) = (sources.resolved_toml(folder), folder.join(receipt::NAME));
    let done = receipt::given(&path).ok().flatten().filter(|done| same_run(&done.receipt.manifest.text, &resolved));
    if let Some(done) = done {
        let changed = present.map_or(vec![], |present| present.changes(&done.receipt, &path, manifest, sources));
        // What is there is whole: there is nothing to go on with.
        return (if changed.is_empty() { State::Finished } else { State::New }, changed);
    }
    let is_same = folder.is_dir() && changed_since(folder, &resolved, &manifest.stage_order()).is_empty();
    (if is_same { State::Begun } else { State::New }, vec![])
}

/// Why points that were finished run again, those of one reason together.
pub(super) fn told(placed: &[Placed]) -> Vec<String> {
    let mut all: IndexMap<&[String], Vec<String>> = IndexMap::new();
    for point in placed.iter().filter(|point| !point.changed.is_empty()) {
        all.entry(&point.changed).or_default().push(format!("`{}`", point.name));
    }
    let one = |(changed, names): (&[String], Vec<String>)| {
        let lines: Vec<String> = changed.iter().map(|line| format!("\n  {line}")).collect();
        format!("finished with something else, so moved aside and run again: {}{}", names.join(", "), lines.concat())
    };
    all.into_iter().map(one).collect()
}

/// A path as seen from here, where it lies below.
pub(super) fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
