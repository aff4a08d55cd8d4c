//! `stillhouse run`.

use super::load::{open, plan_seed, use_threads};
use super::{FAILED, ManifestArgs, WRONG, print_error};
use crate::manifest::{ManifestPath, wants_color};
use crate::report::{Progress, RunFolder, summarise};
use crate::train::{EpochEnd, Observer, Outcome, Setup, StageStart, TrainError, run_seed};
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
    /// Show no progress.
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
    use_threads(&setup);
    match train(&setup, args) {
        Ok(outcomes) => {
            let table = summarise(&outcomes);
            if args.json {
                println!("{:#}", serde_json::to_value(&table).unwrap_or_default());
            } else {
                print!("\n{table}");
            }
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn train(setup: &Setup, args: &Args) -> Result<Vec<Outcome>, ExitCode> {
    let seeds = &setup.manifest.run.seeds;
    // Everything is checked before a folder is made.
    let mut plans = vec![];
    for seed in seeds.iter().take(1) {
        let (plan, warnings) = plan_seed(setup, *seed).map_err(|wrong| {
            wrong.print();
            ExitCode::from(WRONG)
        })?;
        if !warnings.is_empty() {
            eprintln!("{}\n", warnings.render(&setup.sources, wants_color()));
        }
        plans.push(plan);
    }
    let folder = folder(setup, args.resume)?;
    let mut outcomes = vec![];
    for seed in seeds {
        let plan = match plans.pop() {
            Some(plan) => plan,
            None => plan_seed(setup, *seed).map(|(plan, _)| plan).map_err(|wrong| {
                wrong.print();
                ExitCode::from(WRONG)
            })?,
        };
        let progress = (!args.quiet).then(|| Progress::new(seeds.len()));
        let log = folder.log(*seed).map_err(|error| failed(&error.to_string(), &[], None))?;
        let mut both = Both { progress, log };
        let result = run_seed(setup, &plan, &folder.seed(*seed), args.resume, &mut both);
        drop(both.progress.take());
        if let Some(error) = both.log.failure() {
            eprintln!("warning: the event log of seed {seed} has gaps: {error}");
        }
        outcomes.extend(result.map_err(|error| explain(&error, &folder))?);
        folder.results(&outcomes).map_err(|error| failed(&error.to_string(), &[], None))?;
    }
    if !args.quiet {
        eprintln!("\nwritten to {}", folder.path().display());
    }
    Ok(outcomes)
}

fn folder(setup: &Setup, resume: bool) -> Result<RunFolder, ExitCode> {
    let run = &setup.manifest.run;
    let base = setup.sources.resolve(&ManifestPath::of(["run", "dir"]), &run.dir);
    let (folder, moved) = RunFolder::create(&base.join(&run.name), resume).map_err(|error| failed(&error.to_string(), &[], None))?;
    if let Some(moved) = moved {
        eprintln!("note: an earlier run of this name was moved to {}", moved.display());
    }
    folder.describe(&setup.sources, setup.registry.plugins()).map_err(|error| failed(&error.to_string(), &[], None))?;
    Ok(folder)
}

fn failed(message: &str, notes: &[String], hint: Option<&str>) -> ExitCode {
    print_error(message, notes, hint);
    ExitCode::from(FAILED)
}

fn explain(error: &TrainError, folder: &RunFolder) -> ExitCode {
    let mut notes = error.notes();
    notes.push(format!("the last checkpoint is in {}; go on with `--resume`", folder.path().display()));
    failed(&error.to_string(), &notes, error.hint().as_deref())
}

/// Tells both the terminal and the log.
struct Both {
    progress: Option<Progress>,
    log: crate::report::EventLog,
}

impl Observer for Both {
    fn stage_started(&mut self, start: &StageStart) {
        self.log.stage_started(start);
        if let Some(progress) = &mut self.progress {
            progress.stage_started(start);
        }
    }

    fn stepped(&mut self, step: &crate::train::Progress<'_>) {
        if let Some(progress) = &mut self.progress {
            progress.stepped(step);
        }
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        self.log.epoch_ended(end);
        if let Some(progress) = &mut self.progress {
            progress.epoch_ended(end);
        }
    }

    fn said(&mut self, level: u32, term: &str, line: &str) {
        self.log.said(level, term, line);
        if let Some(progress) = &mut self.progress {
            progress.said(level, term, line);
        }
    }

    fn stage_ended(&mut self, stage: &str) {
        if let Some(progress) = &mut self.progress {
            progress.stage_ended(stage);
        }
    }
}
