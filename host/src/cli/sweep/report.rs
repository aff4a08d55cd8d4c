//! The end of a sweep: how its points compare, and what is left to do.

use super::place::{Placed, near};
use super::workers::{Became, Ran, count};
use super::{Args, note};
use crate::cli::{FAILED, print_error};
use crate::disk::replace;
use crate::report::{Comparison, compare_runs, read_run, show, tell};
use crate::sweep::Sweep;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Tells the comparison, writes `sweep.json`, and gives the exit code: 1 where a point failed, that of the signal where one came.
pub(super) fn report(sweep: &Sweep, placed: &[Placed], ran: &Ran, args: &Args) -> ExitCode {
    let comparison = compared(placed, ran, args);
    if let Err(message) = &comparison {
        print_error(message, &[], None);
    }
    let comparison = comparison.unwrap_or_default();
    let summary = json!({
        "sweep": sweep.name,
        "manifest": near(&sweep.manifest),
        "points": placed.iter().zip(&ran.points).map(|(point, became)| told(point, became)).collect::<Vec<_>>(),
        "comparison": comparison,
    });
    let written = write(placed, &summary);
    if let Err(message) = &written {
        print_error(message, &[], None);
    }
    let text = match (args.json, &comparison) {
        (true, _) => format!("{summary:#}\n"),
        (false, Some(comparison)) => format!("{}{comparison}", if args.quiet { "" } else { "\n" }),
        (false, None) => String::new(),
    };
    let shown = show(&text);
    let number = |wanted: fn(&Became) -> bool| ran.points.iter().filter(|became| wanted(became)).count();
    let failed = number(|became| matches!(became, Became::Failed(..)));
    let finished = number(|became| matches!(became, Became::WasFinished | Became::Ran(_)));
    if let Some(signal) = ran.stopped {
        let again = format!("stillhouse sweep {}", args.file.display());
        tell(&format!("stopped: {finished} of {} are finished; go on with `{again}`", count(placed.len(), "point")));
        return ExitCode::from(signal.code());
    }
    if failed > 0 {
        let names: Vec<String> = placed
            .iter()
            .zip(&ran.points)
            .filter(|(_, became)| matches!(became, Became::Failed(..)))
            .map(|(point, _)| format!("`{}`", point.name))
            .collect();
        tell(&format!("error: {} of {} failed: {}", failed, count(placed.len(), "point"), names.join(", ")));
        return ExitCode::from(FAILED);
    }
    if let Some(folder) = placed.first().and_then(|point| point.folder.parent()) {
        note(args.quiet, &format!("\nwritten to {}", near(folder)));
    }
    if shown && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Points that are finished, side by side; none where none is.
fn compared(placed: &[Placed], ran: &Ran, args: &Args) -> Result<Option<Comparison>, String> {
    let is_finished = |became: &Became| matches!(became, Became::WasFinished | Became::Ran(_));
    let finished = placed.iter().zip(&ran.points).filter(|(_, became)| is_finished(became));
    let runs = finished.map(|(point, _)| read_run(&point.folder)).collect::<Result<Vec<_>, _>>()?;
    if runs.is_empty() {
        return Ok(None);
    }
    compare_runs(&runs, args.model.as_deref(), args.metric.as_deref()).map(Some)
}

fn told(point: &Placed, became: &Became) -> Value {
    let (state, more) = match became {
        Became::WasFinished => ("finished", None),
        Became::Ran(seconds) => ("finished", Some(("seconds", json!(seconds)))),
        Became::Failed(why, said) => ("failed", Some(("error", json!({ "ended": why, "said": said })))),
        Became::Left => ("left", None),
    };
    let mut value = point.json(state);
    if let Some((key, more)) = more {
        value[key] = more;
    }
    value
}

fn write(placed: &[Placed], summary: &Value) -> Result<(), String> {
    let Some(folder) = placed.first().and_then(|point| point.folder.parent()) else { return Ok(()) };
    let path = folder.join("sweep.json");
    let text = format!("{summary:#}\n");
    let written = std::fs::create_dir_all(folder).and_then(|()| replace(&path, |file| file.write_all(text.as_bytes())));
    written.map_err(|error| format!("{}: {error}", path.display()))
}
