//! Planning a run for one seed: models built, stages expanded, terms bound and traced.

use super::binding::{PassPlan, Planned, Scene};
use super::checks;
use super::groups::unmatched;
use super::models::ModelBuilder;
use super::plan::{RunPlan, StagePlan};
use super::problem::{AtPath, Problem};
use super::reach;
use super::recordings;
use super::run::pairs;
use super::setup::Setup;
use super::sizes;
use super::stage::load_file;
use super::term::{BoundTerm, Found};
use crate::manifest::{self, Diagnostic, Diagnostics, ManifestPath, Origin, Part};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::rc::Rc;

/// Plans a run: models built and loaded, terms bound and traced.
///
/// # Errors
/// Everything that is wrong, each at its place.
pub fn plan(setup: &Setup, seed: u64) -> Result<(RunPlan, Diagnostics), Diagnostics> {
    let mut found = Diagnostics::default();
    let builder = ModelBuilder { setup, seed };
    let mut run = RunPlan { seed, models: IndexMap::new(), recordings: IndexMap::new(), stages: vec![] };
    for name in setup.manifest.models.keys() {
        match builder.build(name, name, data_of_model(setup, name)) {
            Ok(model) => {
                run.models.insert(name.clone(), Rc::new(model));
            }
            Err(problem) => found.extend(Diagnostics::from(problem)),
        }
    }
    checks::check_frozen(setup, &run, &mut found);
    checks::check_kept(setup, &run, &mut found);
    check_weights(setup, &run, &mut found);
    if !found.has_errors() {
        recordings::plan_all(setup, &mut run, &mut found);
    }
    if found.has_errors() {
        return Err(found);
    }
    for name in setup.manifest.stage_order() {
        let Some(stage) = setup.manifest.stage.get(name) else { continue };
        let planner = |alone| StagePlanner { setup, seed, name, stage, alone };
        let distilled = planner(false).plan(&mut run, &mut found);
        // Mistakes are told once; the student alone comes first in the run.
        if stage.baseline.unwrap_or(setup.manifest.run.baseline) && !found.has_errors() {
            let alone = planner(true).plan(&mut run, &mut found);
            run.stages.extend(alone);
        }
        run.stages.extend(distilled);
    }
    if found.has_errors() {
        return Err(found);
    }
    checks::check_read_frozen(setup, &run, &mut found);
    checks::check_damage(setup, &mut found);
    Ok((run, found))
}

/// The data set of a model: that of the stage that trains it, else of the first stage.
fn data_of_model<'a>(setup: &'a Setup, model: &str) -> &'a str {
    let trains = setup.manifest.stage.values().find(|stage| stage.train.iter().any(|name| name == model));
    let stage = trains.or_else(|| setup.manifest.stage.values().next());
    stage.and_then(|stage| setup.manifest.data_of(stage)).map_or("main", |(name, _)| name)
}

/// Loads the weights that the manifest names; a model that is never trained needs some.
fn check_weights(setup: &Setup, run: &RunPlan, found: &mut Diagnostics) {
    let trained: HashSet<&String> = setup.manifest.stage.values().flat_map(|stage| stage.train.iter()).collect();
    for (name, model) in &run.models {
        let (entry, path) = (&setup.manifest.models[name], ManifestPath::of(["models", name]));
        match &entry.weights {
            Some(file) => {
                let at = path.key("weights");
                if let Err(problem) = load_file(model, &setup.sources.resolve(&at, file)).at_path(&at) {
                    found.extend(Diagnostics::from(problem));
                }
            }
            None if entry.stage.is_none() && !trained.contains(name) => found.push(
                Diagnostic::error(format!("model `{name}` is never trained and has no weights"))
                    .at(&path, Part::Key)
                    .hint("give it `weights = \"FILE\"` or `stage = \"STAGE\"`, or train it in a stage before"),
            ),
            None => {}
        }
    }
}

/// Plans one stage of the manifest.
pub(super) struct StagePlanner<'a> {
    pub(super) setup: &'a Setup,
    pub(super) seed: u64,
    pub(super) name: &'a str,
    pub(super) stage: &'a manifest::Stage,
    pub(super) alone: bool,
}

impl StagePlanner<'_> {
    pub(super) fn path(&self) -> ManifestPath {
        ManifestPath::of(["stage", self.name])
    }

    /// Name of the copy that trains alone.
    fn copy_name(&self, model: &str) -> String {
        format!("{model}-alone")
    }

    fn plan(&self, run: &mut RunPlan, found: &mut Diagnostics) -> Vec<StagePlan> {
        match self.try_plan(run, found) {
            Ok(stages) => stages,
            Err(problem) => {
                found.extend(Diagnostics::from(problem));
                vec![]
            }
        }
    }

    fn try_plan(&self, run: &mut RunPlan, found: &mut Diagnostics) -> Found<Vec<StagePlan>> {
        let (data, _) =
            self.setup.manifest.data_of(self.stage).ok_or_else(|| Problem::new("the manifest has no data"))?;
        if let Some(set) = self.setup.data.get(data).filter(|_| !self.alone) {
            checks::check_spec(self.setup, self.stage, &self.path(), set, found);
        }
        let mut trained: Vec<String> = self.stage.train.to_vec();
        if self.alone {
            if !self.has_teacher_terms(run, data) {
                return Ok(vec![]);
            }
            let builder = ModelBuilder { setup: self.setup, seed: self.seed };
            for origin in &self.stage.train {
                let copy = builder.build(origin, &self.copy_name(origin), data)?;
                if let Some(file) = &self.setup.manifest.models[origin].weights {
                    let at = ManifestPath::of(["models", origin, "weights"]);
                    load_file(&copy, &self.setup.sources.resolve(&at, file)).at_path(&at)?;
                }
                run.models.insert(copy.name.clone(), Rc::new(copy));
            }
            trained = trained.iter().map(|name| self.copy_name(name)).collect();
        }
        let mut passes = self.usual_passes(run, &trained);
        self.manifest_passes(&trained, &mut passes)?;
        let planned = self.plan_terms(run, data, &trained, &passes, found)?;
        let method =
            planned.iter().find(|(_, planned)| !planned.plan.stages.is_empty() || !planned.plan.phases.is_empty());
        let method = method.map(|(name, planned)| (name.clone(), planned.plan.clone()));
        for (name, planned) in &planned {
            let at = self.path().key("terms").key(name);
            for pass in &planned.plan.passes {
                let own = self.scene(run, data, &trained, &passes).own_pass(pass, &at)?;
                passes.insert(pass.name.clone(), own);
            }
        }
        let scene = self.scene(run, data, &trained, &passes);
        if let Some((at, pattern, close)) = unmatched(&scene, &self.stage.freeze) {
            let names: Vec<String> = self.stage.train.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("`{pattern}` covers no parameter of {}", names.join(" and "));
            return Err(Problem::new(message).at(&self.path().key("freeze").index(at), Part::Value).maybe_hint(close));
        }
        let mut terms = vec![];
        for (name, planned) in planned {
            match scene.bind(&name, &self.stage.terms[&name], planned) {
                Ok(term) => terms.push(term),
                Err(problem) => found.extend(Diagnostics::from(problem)),
            }
        }
        if found.has_errors() {
            return Ok(vec![]);
        }
        self.share_alone(&mut terms);
        let terms: Vec<Rc<BoundTerm>> = terms.into_iter().map(Rc::new).collect();
        let stages = match method {
            Some((name, plan)) if !plan.stages.is_empty() => plan
                .stages
                .iter()
                .map(|own| self.method_stage(&scene, &terms, &name, own))
                .collect::<Found<Vec<_>>>()?,
            method => vec![self.plain_stage(&scene, &terms, method.as_ref())?],
        };
        for stage in &stages {
            reach::check(stage, &scene, found);
            checks::check_norms(stage, &scene, found);
            sizes::check(stage, &scene, found);
            checks::check_teachers(self.setup, run, stage, found);
        }
        self.check_init(&scene)?;
        Ok(stages)
    }

    /// Weights that come from elsewhere must find a place.
    fn check_init(&self, scene: &Scene<'_>) -> Found<()> {
        let Some(student) = scene.trained.first().and_then(|name| scene.models.get(name)) else { return Ok(()) };
        for (prefix, origin) in self.stage.origins() {
            let (source, from) = match &origin {
                Origin::Stage { name, prefix } => {
                    (self.setup.manifest.stage.get(name).and_then(|stage| stage.train.first()), prefix)
                }
                Origin::Model { name, prefix } => (Some(name), prefix),
            };
            let Some(source) = source.and_then(|name| scene.models.get(name)) else { continue };
            if pairs(source, from, student, prefix).is_empty() {
                let message =
                    format!("nothing of `{}` under `{from}` fits `{}` under `{prefix}`", source.name, student.origin);
                let hint = "names behind the two prefixes, and shapes, must be the same";
                return Err(Problem::new(message).at(&self.path().key("init").key(prefix), Part::Value).hint(hint));
            }
        }
        Ok(())
    }

    /// True when a term reads a teacher: only then is there something to compare with.
    fn has_teacher_terms(&self, run: &RunPlan, data: &str) -> bool {
        let passes = self.usual_passes(run, &self.stage.train);
        let scene = self.scene(run, data, &self.stage.train, &passes);
        let needs = |(name, term): (&String, &manifest::Term)| {
            scene.plan(name, term).is_ok_and(|planned| planned.needs_teacher())
        };
        let needing: Vec<bool> = self.stage.terms.iter().map(needs).collect();
        needing.contains(&true) && needing.contains(&false)
    }

    /// One pass for each model, named after it. A copy that trains alone answers to the name of its original.
    fn usual_passes(&self, run: &RunPlan, trained: &[String]) -> IndexMap<String, PassPlan> {
        let mut passes = IndexMap::new();
        for name in self.setup.manifest.models.keys() {
            let copy = self.copy_name(name);
            let actual = if trained.contains(&copy) { copy } else { name.clone() };
            let Some(model) = run.models.get(&actual) else { continue };
            let track = trained.contains(&actual);
            let view = model.view.name.clone();
            passes.insert(name.clone(), PassPlan { model: actual, view, training: track, track, reverse_time: false });
        }
        passes
    }

    /// Passes that the manifest's phases define.
    fn manifest_passes(&self, trained: &[String], passes: &mut IndexMap<String, PassPlan>) -> Found<()> {
        for (phase_name, phase) in &self.stage.phases {
            for (name, pass) in &phase.passes {
                let at = self.path().key("phases").key(phase_name).key("passes").key(name);
                let usual = passes.get(&pass.model).ok_or_else(|| {
                    Problem::new(format!("unknown model `{}`", pass.model)).at(&at.key("model"), Part::Value)
                })?;
                let model = usual.model.clone();
                let track = trained.contains(&model);
                let training = pass.mode.map_or(track, |mode| mode == manifest::PassMode::Train);
                let view = pass.view.as_ref().map_or_else(|| usual.view.clone(), |view| format!("{model}@{view}"));
                passes.insert(name.clone(), PassPlan { model, view, training, track, reverse_time: pass.reverse_time });
            }
        }
        Ok(())
    }

    fn scene<'s>(
        &'s self,
        run: &'s RunPlan,
        data: &'s str,
        trained: &'s [String],
        passes: &'s IndexMap<String, PassPlan>,
    ) -> Scene<'s> {
        let frames = self.setup.data.get(data).and_then(|set| set.train.main_field());
        let frames = frames.and_then(|(_, field)| field.shape().first().copied()).unwrap_or(1);
        Scene {
            setup: self.setup,
            seed: self.seed,
            stage_name: self.name,
            stage: self.stage,
            data,
            models: &run.models,
            recordings: &run.recordings,
            trained,
            passes,
            frames,
        }
    }

    /// Makes every part and lets distillers plan. Alone, terms that read a teacher are left out.
    fn plan_terms(
        &self,
        run: &RunPlan,
        data: &str,
        trained: &[String],
        passes: &IndexMap<String, PassPlan>,
        found: &mut Diagnostics,
    ) -> Found<Vec<(String, Planned)>> {
        let scene = self.scene(run, data, trained, passes);
        let mut planned = vec![];
        for (name, term) in &self.stage.terms {
            let at = self.path().key("terms").key(name);
            if term.weight.is_always_zero() && !self.alone {
                let message = format!("the weight of `{name}` is always 0, so the term changes nothing");
                found.push(
                    Diagnostic::warning(message)
                        .at(&at.key("weight"), Part::Value)
                        .hint("remove the term, or give it a weight"),
                );
            }
            let wrong = scene.check_settings(name, term);
            if wrong.has_errors() {
                found.extend(wrong);
                continue;
            }
            match scene.plan(name, term) {
                Ok(one) if self.alone && one.needs_teacher() => {}
                Ok(one) => planned.push((name.clone(), one)),
                Err(problem) => found.extend(Diagnostics::from(problem)),
            }
        }
        let methods: Vec<&String> = planned
            .iter()
            .filter(|(_, p)| !p.plan.stages.is_empty() || !p.plan.phases.is_empty())
            .map(|(name, _)| name)
            .collect();
        if let [first, second, ..] = methods.as_slice() {
            let message = format!("`{first}` and `{second}` both plan stages or phases of their own");
            let path = |name: &str| self.path().key("terms").key(name);
            let problem = Problem::new(message).at(&path(second), Part::Key).hint("give each a stage of its own");
            return Err(Problem(problem.0.related(&path(first), Part::Key, "first here")));
        }
        Ok(planned)
    }

    /// Alone, the weights of the remaining terms are brought to a sum of 1 at the start: the same pull as a whole objective.
    fn share_alone(&self, terms: &mut [BoundTerm]) {
        let total: f64 = terms.iter().map(|term| term.weight.at(0, 1)).sum();
        if self.alone && total > 0.0 {
            terms.iter_mut().for_each(|term| term.scale = 1.0 / total);
        }
    }
}
