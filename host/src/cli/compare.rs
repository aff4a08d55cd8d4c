//! `stillhouse compare`.

use super::{FAILED, print_error, show};
use crate::report::{compare_runs, read_run};
use std::path::PathBuf;
use std::process::ExitCode;

/// What is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders of runs; the others are compared with the first, seed by seed.
    #[arg(required = true, num_args = 1.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Only the model of this name.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The metric, as `results.json` names it; the first unless given.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Print JSON: every value of every metric, too.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let compared = args
        .runs
        .iter()
        .map(|folder| read_run(folder))
        .collect::<Result<Vec<_>, _>>()
        .and_then(|runs| compare_runs(&runs, args.model.as_deref(), args.metric.as_deref()));
    match compared {
        Ok(compared) if args.json => show(&format!("{:#}\n", serde_json::json!(compared))),
        Ok(compared) => show(&compared.to_string()),
        Err(message) => {
            let hint = "name folders of runs that ended, `runs/<name>`";
            print_error(&message, &[], message.contains("results.json").then_some(hint));
            ExitCode::from(FAILED)
        }
    }
}
