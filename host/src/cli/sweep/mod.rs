//! `stillhouse sweep`.

mod place;
mod report;
mod workers;

use super::{FAILED, WRONG, print_error};
use crate::report::{show, tell};
use crate::sweep::Sweep;
use place::Placed;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep; or a manifest with `[sweep]`.
    file: PathBuf,
    /// Points that run at once, each in a process of its own; the file's number unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Tell which points there are and how far each is, and run none.
    #[arg(long)]
    dry_run: bool,
    /// Compare only the model of this name.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Compare by this metric.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Print points and comparison as JSON.
    #[arg(long)]
    json: bool,
    /// Say nothing but errors and the comparison.
    #[arg(long, short)]
    quiet: bool,
    /// Load plugins that were built to abort on a panic.
    #[arg(long)]
    allow_abort: bool,
    /// Go on although plugins or files are not those of the lock file, and take points that were finished with others.
    #[arg(long)]
    ignore_lock: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let sweep = match Sweep::read(&args.file) {
        Ok(sweep) => sweep,
        Err(error) => {
            print_error(&error.message, &[], error.hint.as_deref());
            return ExitCode::from(WRONG);
        }
    };
    // Everything is checked before anything runs.
    let placed = match place::all(&sweep, args) {
        Ok(placed) => placed,
        Err(()) => return ExitCode::from(WRONG),
    };
    if args.dry_run {
        return listed(&placed, args);
    }
    place::told(&placed).iter().for_each(|line| note(args.quiet, line));
    let workers = args.workers.map_or(sweep.workers, usize::from);
    match workers::run(&placed, workers, args.quiet) {
        Ok(ran) => report::report(&sweep, &placed, &ran, args),
        Err(error) => {
            print_error(&error, &[], None);
            ExitCode::from(FAILED)
        }
    }
}

/// The points, and how far each is.
fn listed(placed: &[Placed], args: &Args) -> ExitCode {
    let text = if args.json {
        let all: Vec<serde_json::Value> = placed.iter().map(|point| point.json(point.state.word())).collect();
        format!("{:#}\n", serde_json::json!({ "points": all }))
    } else {
        let line = |point: &Placed| {
            let overrides: Vec<String> = point.overrides.iter().map(|one| format!("\n    {one}")).collect();
            let changed: Vec<String> = point.changed.iter().map(|line| format!("\n    changed: {line}")).collect();
            format!("{}: {}{}{}\n", point.name, point.state.word(), overrides.concat(), changed.concat())
        };
        placed.iter().map(line).collect()
    };
    if show(&text) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// A line about the sweep, unless it is to be quiet.
fn note(quiet: bool, line: &str) {
    if !quiet {
        tell(line);
    }
}
