//! `stillhouse run`.

use super::load::{open, plan_seed};
use super::preflight;
use super::signals::Signals;
use super::{FAILED, ManifestArgs, WRONG, print_error, repeat, show, without_frames};
use crate::manifest::{Diagnostic, wants_color};
use crate::ops::keep_inputs;
use crate::plugin::last_words;
use crate::receipt::{self, Inputs, Made, Parts, Receipt};
use crate::report::{EventLog, Progress, RunFolder, TableFiles, changed_since, has_begun, summarise, tell};
use crate::train::{
    Depth, EpochEnd, Observer, Outcome, Progress as Step, RunPlan, Setup, StageStart, TrainError, has_checkpoint,
    run_seed,
};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Go on where the last checkpoint of this run stands.
    #[arg(long)]
    resume: bool,
    /// With `--resume`: go on although the manifest changed since; what was trained stays as it is.
    #[arg(long, requires = "resume")]
    accept_changes: bool,
    /// Keep the inputs of a call of a part that fails, as a case that `plugin eval --case` repeats. Slower: every call is written
    /// before it is made.
    #[arg(long)]
    dump_inputs: bool,
    /// Begin without trying a small step of every stage first, and without asking whether the disk has room.
    #[arg(long)]
    no_preflight: bool,
    /// Write a checkpoint and leave when standard input ends.
    #[arg(long, hide = true)]
    until_input_ends: bool,
    /// Print the final table as JSON.
    #[arg(long)]
    json: bool,
    /// Say nothing but errors and the final table.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let setup = match open(&args.manifest) {
        Ok(setup) => setup,
        Err(wrong) => {
            wrong.print();
            return ExitCode::from(WRONG);
        }
    };
    let given = repeat::given(&args.manifest.manifest);
    match train(&setup, args) {
        Ok((outcomes, receipt)) => {
            let table = summarise(&outcomes);
            if let Some(given) = given {
                return repeat::tell(&given, &receipt, &table, args.json);
            }
            let gap = if args.quiet { "" } else { "\n" };
            show(&match args.json {
                true => format!("{:#}\n", serde_json::to_value(&table).unwrap_or_default()),
                false => format!("{gap}{table}"),
            })
        }
        Err(code) => code,
    }
}

fn train(setup: &Setup, args: &Args) -> Result<(Vec<Outcome>, Receipt), ExitCode> {
    let seeds = &setup.manifest.run.seeds;
    // Everything is checked before a folder is made.
    let mut first = match seeds.first() {
        Some(seed) => Some(planned(setup, *seed, args.quiet)?),
        None => None,
    };
    if !args.no_preflight {
        first = tried(setup, args, first)?;
    }
    let (folder, inputs) = folder(setup, args)?;
    let mut parts = Parts::begin(folder.path())
        .map_err(|(path, error)| failed(&format!("{}: {error}", path.display()), &[], None))?;
    let signals = Signals::listen().map_err(|error| failed(&format!("no signals can be heard: {error}"), &[], None))?;
    if args.until_input_ends {
        signals.listen_to_input();
    }
    let mut outcomes = vec![];
    for seed in seeds {
        let plan = match first.take() {
            Some(plan) => plan,
            None => planned(setup, *seed, true)?,
        };
        outcomes.extend(train_seed(setup, &plan, &folder, (args, &signals), &mut parts)?);
        folder.results(&outcomes).map_err(|error| failed(&error.to_string(), &[], None))?;
    }
    parts.note();
    let made = Made { setup, folder: folder.path(), outcomes: &outcomes, parts: &parts, inputs: &inputs };
    let receipt = receipt::write(&made).map_err(|message| failed(&message, &[], None))?;
    if !args.quiet {
        tell(&format!("\nwritten to {}", folder.path().display()));
    }
    Ok((outcomes, receipt))
}

/// Room on the disk, and a small step of every stage, on the plan; gives one on which nothing ran yet.
fn tried(setup: &Setup, args: &Args, plan: Option<RunPlan>) -> Result<Option<RunPlan>, ExitCode> {
    let Some(plan) = plan else { return Ok(None) };
    preflight::room(setup, &plan, args.resume).map_err(|found| failed_by(&found))?;
    // What goes on has made its steps, and a call that fails is to be kept where the run is.
    if args.resume || args.dump_inputs || setup.manifest.run.dump_inputs {
        return Ok(Some(plan));
    }
    preflight::steps(setup, &plan, Depth::Small).map_err(|found| failed_by(&found))?;
    let seed = plan.seed;
    drop(plan);
    planned(setup, seed, true).map(Some)
}

fn failed_by(found: &Diagnostic) -> ExitCode {
    failed(&found.message, &found.details.notes, found.details.hint.as_deref())
}

fn planned(setup: &Setup, seed: u64, quiet: bool) -> Result<RunPlan, ExitCode> {
    let (plan, warnings) = plan_seed(setup, seed).map_err(|wrong| {
        wrong.print();
        ExitCode::from(WRONG)
    })?;
    if !warnings.is_empty() && !quiet {
        tell(&format!("{}\n", warnings.render(&setup.sources, wants_color())));
    }
    Ok(plan)
}

fn train_seed(
    setup: &Setup,
    plan: &RunPlan,
    folder: &RunFolder,
    (args, signals): (&Args, &Signals),
    parts: &mut Parts,
) -> Result<Vec<Outcome>, ExitCode> {
    let seed = plan.seed;
    let progress = (!args.quiet).then(|| Progress::new(setup.manifest.run.seeds.len()));
    let log = folder.log(seed).map_err(|error| failed(&error.to_string(), &[], None))?;
    let mut both = Both { progress, log, tables: folder.tables(seed), signals: signals.clone(), parts };
    let own = folder.seed(seed);
    last_words::arm(&own.join("checkpoints"), &own);
    keep_inputs((args.dump_inputs || setup.manifest.run.dump_inputs).then(|| own.join("inputs")).as_deref());
    let result = run_seed(setup, plan, &own, args.resume, &mut both);
    both.parts.note();
    // The bar goes before an error is shown.
    drop(both.progress.take());
    if let Some(error) = both.log.failure() {
        tell(&format!("warning: the event log of seed {seed} has gaps: {error}"));
    }
    if let Some(error) = both.tables.failure() {
        tell(&format!("warning: tables of seed {seed} were not written: {error}"));
    }
    result.map_err(|error| match (&error, signals.received()) {
        (TrainError::Stopped { .. }, Some(signal)) => {
            tell(&without_frames(&error.to_string()));
            ExitCode::from(signal.code())
        }
        _ => explain(&error, &own),
    })
}

fn folder(setup: &Setup, args: &Args) -> Result<(RunFolder, Inputs), ExitCode> {
    let path = preflight::folder(setup);
    let found = path.exists();
    let held = if args.resume && found { Some(check_changes(setup, args, &path)?) } else { None };
    let (folder, moved) = RunFolder::create(&path, args.resume).map_err(|error| {
        let is_busy = error.error.kind() == io::ErrorKind::ResourceBusy;
        let hint = is_busy.then_some("wait for it or stop it; or give this run another name: `--set run.name=NAME`");
        failed(&error.to_string(), &[], hint)
    })?;
    let note = match moved {
        Some(moved) => Some(format!("note: an earlier run of this name was moved to {}", moved.display())),
        None if args.resume && !found => {
            Some(format!("note: nothing to go on with in {}, so this run starts anew", path.display()))
        }
        None => None,
    };
    note.iter().filter(|_| !args.quiet).for_each(|note| tell(note));
    folder.describe(&setup.sources, setup.registry.plugins()).map_err(|error| failed(&error.to_string(), &[], None))?;
    let inputs = match held {
        Some(held) => held,
        None => now(setup, folder.path())?,
    };
    inputs.write(folder.path()).map_err(|error| failed(&error.to_string(), &[], None))?;
    Ok((folder, inputs))
}

/// A run goes on under the manifest and with the plugins, files and data that it began with, unless the user says otherwise.
fn check_changes(setup: &Setup, args: &Args, path: &Path) -> Result<Inputs, ExitCode> {
    let mut inputs = now(setup, path)?;
    let of_manifest = changed_since(path, &setup.sources.resolved_toml(path), &setup.manifest.stage_order());
    let before = Inputs::read(path).filter(|_| has_begun(path));
    let of_inputs = before.as_ref().map(|before| inputs.changes(setup, before)).unwrap_or_default();
    let what = match (of_manifest.is_empty(), of_inputs.is_empty()) {
        (_, true) => "the manifest",
        (true, false) => "what this run is made with",
        (false, false) => "the manifest, and what this run is made with,",
    };
    let changes = [of_manifest, of_inputs].concat();
    inputs.changed = before.map(|before| before.changed).unwrap_or_default();
    if changes.is_empty() {
        return Ok(inputs);
    }
    if args.accept_changes {
        let list: Vec<String> = changes.iter().map(|change| format!("\n  {change}")).collect();
        if !args.quiet {
            tell(&format!("note: {what} changed since this run began{}", list.concat()));
        }
        inputs.changed.extend(changes);
        return Ok(inputs);
    }
    let hint = format!(
        "put it back, or go on all the same with `--resume --accept-changes`; without `--resume` the run starts anew and {} is \
         moved aside",
        path.display()
    );
    print_error(&format!("{what} changed since this run began"), &changes, Some(&hint));
    Err(ExitCode::from(WRONG))
}

fn now(setup: &Setup, folder: &Path) -> Result<Inputs, ExitCode> {
    Inputs::now(setup, folder).map_err(|message| failed(&message, &[], None))
}

fn failed(message: &str, notes: &[String], hint: Option<&str>) -> ExitCode {
    print_error(message, notes, hint);
    ExitCode::from(FAILED)
}

fn explain(error: &TrainError, folder: &Path) -> ExitCode {
    let mut notes = error.notes();
    if has_checkpoint(folder) && !error.is_of_checkpoint() {
        notes.push(format!("the last checkpoint is in {}; go on with `--resume`", folder.display()));
    }
    failed(&error.to_string(), &notes, error.hint().as_deref())
}

/// Tells the terminal, the log and the tables.
struct Both<'p> {
    progress: Option<Progress>,
    log: EventLog,
    tables: TableFiles,
    signals: Signals,
    parts: &'p mut Parts,
}

impl Both<'_> {
    fn tell(&mut self, what: impl Fn(&mut dyn Observer)) {
        what(&mut self.log);
        what(&mut self.tables);
        if let Some(progress) = &mut self.progress {
            what(progress);
        }
    }
}

impl Observer for Both<'_> {
    fn stage_started(&mut self, start: &StageStart) {
        self.tell(|to| to.stage_started(start));
    }

    fn stepped(&mut self, step: &Step<'_>) {
        self.tell(|to| to.stepped(step));
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        self.tell(|to| to.epoch_ended(end));
    }

    fn said(&mut self, level: u32, term: &str, line: &str) {
        self.tell(|to| to.said(level, term, line));
    }

    fn stage_ended(&mut self, stage: &str) {
        self.tell(|to| to.stage_ended(stage));
    }

    fn warned(&mut self, line: &str) {
        tell(&format!("warning: {line}"));
    }

    fn noted(&mut self, line: &str) {
        self.tell(|to| to.noted(line));
    }

    fn wants_to_stop(&self) -> bool {
        self.signals.received().is_some()
    }

    fn mark(&mut self) -> io::Result<u64> {
        self.parts.note();
        self.log.mark()
    }

    fn rewind(&mut self, mark: u64) -> io::Result<()> {
        let is_whole = self.log.rewind(mark)?;
        if !is_whole {
            self.warned("`metrics.jsonl` is shorter than it was at the checkpoint: lines of it are lost");
        }
        Ok(())
    }
}
