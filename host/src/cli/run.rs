//! `stillhouse run`.

use super::load::{open, plan_seed};
use super::{FAILED, ManifestArgs, WRONG, print_error, show};
use crate::manifest::{ManifestPath, wants_color};
use crate::report::{EventLog, Progress, RunFolder, summarise, tell, tidy};
use crate::train::{EpochEnd, Observer, Outcome, Progress as Step, RunPlan, Setup, StageStart, TrainError, run_seed};
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
    match train(&setup, args) {
        Ok(outcomes) => {
            let table = summarise(&outcomes);
            let gap = if args.quiet { "" } else { "\n" };
            show(&match args.json {
                true => format!("{:#}\n", serde_json::to_value(&table).unwrap_or_default()),
                false => format!("{gap}{table}"),
            })
        }
        Err(code) => code,
    }
}

fn train(setup: &Setup, args: &Args) -> Result<Vec<Outcome>, ExitCode> {
    let seeds = &setup.manifest.run.seeds;
    // Everything is checked before a folder is made.
    let mut first = match seeds.first() {
        Some(seed) => Some(planned(setup, *seed, args.quiet)?),
        None => None,
    };
    let folder = folder(setup, args)?;
    let mut outcomes = vec![];
    for seed in seeds {
        let plan = match first.take() {
            Some(plan) => plan,
            None => planned(setup, *seed, true)?,
        };
        outcomes.extend(train_seed(setup, &plan, &folder, args)?);
        folder.results(&outcomes).map_err(|error| failed(&error.to_string(), &[], None))?;
    }
    if !args.quiet {
        tell(&format!("\nwritten to {}", folder.path().display()));
    }
    Ok(outcomes)
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

fn train_seed(setup: &Setup, plan: &RunPlan, folder: &RunFolder, args: &Args) -> Result<Vec<Outcome>, ExitCode> {
    let seed = plan.seed;
    let progress = (!args.quiet).then(|| Progress::new(setup.manifest.run.seeds.len()));
    let log = folder.log(seed).map_err(|error| failed(&error.to_string(), &[], None))?;
    let mut both = Both { progress, log };
    let result = run_seed(setup, plan, &folder.seed(seed), args.resume, &mut both);
    // The bar goes before an error is shown.
    drop(both.progress.take());
    if let Some(error) = both.log.failure() {
        tell(&format!("warning: the event log of seed {seed} has gaps: {error}"));
    }
    result.map_err(|error| explain(&error, &folder.seed(seed)))
}

fn folder(setup: &Setup, args: &Args) -> Result<RunFolder, ExitCode> {
    let run = &setup.manifest.run;
    let base = setup.sources.resolve(&ManifestPath::of(["run", "dir"]), &run.dir);
    let path = tidy(&base.join(&run.name));
    let found = path.exists();
    let (folder, moved) =
        RunFolder::create(&path, args.resume).map_err(|error| failed(&error.to_string(), &[], None))?;
    let note = match moved {
        Some(moved) => Some(format!("note: an earlier run of this name was moved to {}", moved.display())),
        None if args.resume && !found => {
            Some(format!("note: nothing to go on with in {}, so this run starts anew", path.display()))
        }
        None => None,
    };
    note.iter().filter(|_| !args.quiet).for_each(|note| tell(note));
    folder.describe(&setup.sources, setup.registry.plugins()).map_err(|error| failed(&error.to_string(), &[], None))?;
    Ok(folder)
}

fn failed(message: &str, notes: &[String], hint: Option<&str>) -> ExitCode {
    print_error(message, notes, hint);
    ExitCode::from(FAILED)
}

fn explain(error: &TrainError, folder: &Path) -> ExitCode {
    let mut notes = error.notes();
    if folder.join("trainer.json").is_file() {
        notes.push(format!("the last checkpoint is in {}; go on with `--resume`", folder.display()));
    }
    failed(&error.to_string(), &notes, error.hint().as_deref())
}

/// Tells both the terminal and the log.
struct Both {
    progress: Option<Progress>,
    log: EventLog,
}

impl Both {
    fn tell(&mut self, what: impl Fn(&mut dyn Observer)) {
        what(&mut self.log);
        if let Some(progress) = &mut self.progress {
            what(progress);
        }
    }
}

impl Observer for Both {
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
}
