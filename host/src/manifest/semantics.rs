//! Checks what the schema cannot say: what refers to what, and what excludes what.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::document::Manifest;
use super::duration::Duration;
use super::model::Model;
use super::nearest::{hint_for, quoted};
use super::node::Node;
use super::origin::Origin;
use super::overrides::check_place;
use super::path::{ManifestPath, Part};
use super::schedule::Schedule;
use super::stage::{Phase, Stage};
use super::term::Term;
use super::weight::Weight;
use indexmap::IndexMap;

/// Checks a manifest whose values are each well formed; `root` is the tree it was read from.
pub(super) fn check_references(manifest: &Manifest, root: &Node) -> Diagnostics {
    let mut checker = Checker { manifest, problems: Diagnostics::default() };
    checker.run_name();
    for (name, view) in &manifest.views {
        let path = ManifestPath::of(["views", name, "data"]);
        checker.refers_to(view.data.iter(), &manifest.data, "data set", &path);
    }
    for (name, model) in &manifest.models {
        checker.model(model, &ManifestPath::of(["models", name]));
    }
    for (name, stage) in &manifest.stage {
        checker.stage(stage, &ManifestPath::of(["stage", name]));
    }
    checker.order();
    checker.sweep(root);
    checker.problems
}

struct Checker<'m> {
    manifest: &'m Manifest,
    problems: Diagnostics,
}

impl<'m> Checker<'m> {
    fn error(&mut self, message: String, path: &ManifestPath, part: Part) {
        self.problems.push(Diagnostic::error(message).at(path, part));
    }

    fn run_name(&mut self) {
        let name = &self.manifest.run.name;
        if name.contains(['/', '\\']) || name.starts_with('.') {
            let path = ManifestPath::of(["run", "name"]);
            self.error(format!("the name of a run names its folder, which `{name}` cannot"), &path, Part::Value);
        }
    }

    /// Each of `names` must be a key of `known`; a list of names has an index in its path.
    fn refers_to<'n, T>(
        &mut self,
        names: impl Iterator<Item = &'n String>,
        known: &IndexMap<String, T>,
        what: &str,
        path: &ManifestPath,
    ) {
        for (index, name) in names.enumerate() {
            if !known.contains_key(name) {
                let candidates: Vec<&str> = known.keys().map(String::as_str).collect();
                let hint = hint_for(name, &candidates, "known names");
                let problem = Diagnostic::error(format!("unknown {what} `{name}`")).maybe_hint(hint);
                self.problems.push(problem.at(&path.index(index), Part::Value));
            }
        }
    }

    /// Exactly one of two keys must be there.
    fn one_of(&mut self, keys: [&str; 2], written: [bool; 2], path: &ManifestPath) {
        let [first, second] = keys;
        match written {
            [true, true] => {
                let problem = Diagnostic::error(format!("`{path}` has both `{first}` and `{second}`"));
                let problem =
                    problem.at(&path.key(second), Part::Key).related(&path.key(first), Part::Key, "first here");
                self.problems.push(problem.hint("keep one of them"));
            }
            [false, false] => {
                self.error(format!("`{path}` has neither `{first}` nor `{second}`"), path, Part::Key);
            }
            _ => {}
        }
    }

    /// Two keys must not be there together.
    fn not_both(&mut self, keys: [&str; 2], written: [bool; 2], path: &ManifestPath) {
        if written == [true, true] {
            self.one_of(keys, written, path);
        }
    }

    fn model(&mut self, model: &Model, path: &ManifestPath) {
        self.one_of(["arch", "layers"], [model.arch.is_some(), model.layers.is_some()], path);
        self.not_both(["weights", "stage"], [model.weights.is_some(), model.stage.is_some()], path);
        let manifest = self.manifest;
        self.refers_to(model.stage.iter(), &manifest.stage, "stage", &path.key("stage"));
        let Some(input) = &model.input else { return };
        let path = path.key("input");
        self.refers_to(input.view.iter(), &manifest.views, "view", &path.key("view"));
        self.not_both(["view", "size"], [input.view.is_some(), input.size.is_some()], &path);
        for (index, std) in input.std.iter().flatten().enumerate() {
            if *std <= 0.0 {
                self.error(
                    format!("`std` must be greater than 0, got {std}"),
                    &path.key("std").index(index),
                    Part::Value,
                );
            }
        }
    }

    fn stage(&mut self, stage: &Stage, path: &ManifestPath) {
        let manifest = self.manifest;
        self.one_of(["epochs", "steps"], [stage.epochs.is_some(), stage.steps.is_some()], path);
        self.refers_to(stage.train.iter(), &manifest.models, "model", &path.key("train"));
        self.refers_to(stage.data.iter(), &manifest.data, "data set", &path.key("data"));
        self.refers_to(stage.after.iter(), &manifest.stage, "stage", &path.key("after"));
        self.schedule(stage, path);
        for (prefix, origin) in stage.origins() {
            let path = path.key("init").key(prefix);
            match origin {
                Origin::Stage { name, .. } => self.refers_to([&name].into_iter(), &manifest.stage, "stage", &path),
                Origin::Model { name, .. } => self.refers_to([&name].into_iter(), &manifest.models, "model", &path),
            }
        }
        for (name, term) in &stage.terms {
            self.term(term, stage, &path.key("terms").key(name));
        }
        for (name, phase) in &stage.phases {
            self.phase(phase, stage, &path.key("phases").key(name));
        }
        for (name, group) in &stage.groups {
            if group.optimizer.is_none() && group.lr_scale.is_none() {
                let problem = Diagnostic::warning(format!("the group `{name}` changes nothing"));
                let problem = problem.hint("give it an `optimizer` or an `lr_scale`");
                self.problems.push(problem.at(&path.key("groups").key(name), Part::Key));
            }
        }
    }

    fn schedule(&mut self, stage: &Stage, path: &ManifestPath) {
        let path = path.key("schedule");
        if let Schedule::Step { at, .. } = &stage.schedule {
            self.rising(at.iter().copied(), &path.key("at"));
        }
    }

    /// Times must rise, as far as they can be compared without the length of an epoch.
    fn rising(&mut self, times: impl Iterator<Item = Duration>, path: &ManifestPath) {
        let times: Vec<Duration> = times.collect();
        for (index, pair) in times.windows(2).enumerate() {
            let is_late = match (pair[0], pair[1]) {
                (Duration::Epochs(first), Duration::Epochs(second)) => first >= second,
                (Duration::Steps(first), Duration::Steps(second)) => first >= second,
                _ => false,
            };
            if is_late {
                let message = format!("times must rise, got {} after {}", pair[1], pair[0]);
                self.error(message, &path.index(index + 1), Part::Value);
            }
        }
    }

    fn term(&mut self, term: &Term, stage: &Stage, path: &ManifestPath) {
        for (side, taps) in [("student", &term.student), ("teacher", &term.teacher)] {
            self.not_both(["at", side], [term.at.is_some(), taps.is_some()], path);
            self.not_both(["ports", side], [term.ports.contains_key(side), taps.is_some()], path);
        }
        match &term.weight {
            Weight::Ramp { over, .. } if over.is_zero() => {
                self.error(
                    "`over` must be longer than nothing".to_owned(),
                    &path.key("weight").key("over"),
                    Part::Value,
                );
            }
            Weight::Points { points } => {
                self.rising(points.iter().map(|(time, _)| *time), &path.key("weight").key("points"));
            }
            _ => {}
        }
        if !stage.phases.is_empty() {
            self.refers_to(term.phase.iter(), &stage.phases, "phase", &path.key("phase"));
        }
    }

    /// A term of a phase may be one value of a distiller: `<term>.<inner>`.
    fn phase(&mut self, phase: &Phase, stage: &Stage, path: &ManifestPath) {
        let manifest = self.manifest;
        let outer = |term: &String| term.split('.').next().unwrap_or(term).to_owned();
        let terms: Vec<String> = phase.terms.iter().map(outer).collect();
        self.refers_to(terms.iter(), &stage.terms, "term", &path.key("terms"));
        for (name, pass) in &phase.passes {
            let path = path.key("passes").key(name);
            self.refers_to([&pass.model].into_iter(), &manifest.models, "model", &path.key("model"));
            self.refers_to(pass.view.iter(), &manifest.views, "view", &path.key("view"));
        }
    }

    fn order(&mut self) {
        let (_, waiting) = self.manifest.split_by_order();
        if let Some(first) = waiting.first() {
            let path = ManifestPath::of(["stage", first, "after"]);
            let message = match waiting.len() {
                1 => format!("the stage `{first}` waits for itself"),
                _ => format!("stages wait for each other: {}", quoted(&waiting)),
            };
            self.error(message, &path, Part::Key);
        }
    }

    fn sweep(&mut self, root: &Node) {
        let sweep = ManifestPath::of(["sweep"]);
        for (name, values) in &self.manifest.sweep {
            let path = sweep.key(name);
            if values.is_empty() {
                self.error(format!("`{name}` has no values to sweep over"), &path, Part::Value);
            }
            let found = ManifestPath::parse(name).map(|target| check_place(root, &target));
            let (message, hint) = match found {
                Ok(Ok(())) => continue,
                Ok(Err(misstep)) => (misstep.message, misstep.hint),
                Err(message) => (message, None),
            };
            self.problems.push(Diagnostic::error(message).at(&path, Part::Key).maybe_hint(hint));
        }
    }
}
