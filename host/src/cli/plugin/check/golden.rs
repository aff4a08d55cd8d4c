//! Golden cases of the parts of a plugin.

use super::Args;
use crate::cli::plugins::discover;
use crate::eval::{Case, EvalError, Float, GoldenMap, Outcome, run_case};
use crate::plugin::Registry;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What became of a case.
#[derive(Debug, Serialize)]
pub(super) struct GoldenReport {
    case: String,
    /// `f64` or `f32`.
    float: &'static str,
    /// How it failed.
    failure: Option<String>,
}

impl GoldenReport {
    pub(super) fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for GoldenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            None => write!(f, "{:<40} {}  ok", self.case, self.float),
            Some(why) => write!(f, "{:<40} {}  FAILED: {why}", self.case, self.float),
        }
    }
}

/// Runs the cases that are asked for, those of a folder where parts of this plugin take part.
pub(super) fn check(args: &Args, registry: &Registry) -> Result<Vec<GoldenReport>, EvalError> {
    let mut cases = args.cases.clone();
    if cases.is_empty() && args.golden.is_none() {
        return Ok(vec![]);
    }
    if let Some(folder) = &args.golden {
        let of_plugin = |path: &PathBuf| is_of(args, registry, path).map(|is| is.then(|| path.clone()));
        for path in listed(folder)? {
            cases.extend(of_plugin(&path)?);
        }
        if cases.is_empty() {
            return Err(EvalError::File {
                path: folder.clone(),
                message: "no case of a part of this plugin is in there".into(),
            });
        }
    }
    // Parts of other plugins may take part in a case.
    let all = discover(std::slice::from_ref(&args.file), args.allow_abort);
    let mut reports = vec![];
    for path in &cases {
        let map = map(args, path)?;
        for float in [Float::F64, Float::F32] {
            let report = run_case(&all, &map, path, None, float);
            let (case, failure) = match report {
                Ok(report) => {
                    let failure = match &report.outcome {
                        Outcome::Compared(_, comparison) if !comparison.passed() => Some(format!("\n{comparison}")),
                        Outcome::NotMapped(why) => Some(format!("not mapped: {why}")),
                        _ => None,
                    };
                    (report.case, failure)
                }
                Err(error) => (path.display().to_string(), Some(error.to_string())),
            };
            reports.push(GoldenReport { case, float: float.name(), failure });
        }
    }
    Ok(reports)
}

fn map(args: &Args, case: &Path) -> Result<GoldenMap, EvalError> {
    args.map.as_deref().map_or_else(|| GoldenMap::find(case), GoldenMap::load)
}

/// Descriptions of cases in a folder, sorted.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| EvalError::File { path: folder.into(), message: error.to_string() })?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| {
        path.extension().is_some_and(|ending| ending == "json") && path.with_extension("safetensors").exists()
    });
    files.sort();
    Ok(files)
}

/// Whether a part of this plugin takes part in a case.
fn is_of(args: &Args, registry: &Registry, path: &Path) -> Result<bool, EvalError> {
    let (map, case) = (map(args, path)?, Case::open(path)?);
    let uses = map.parts(&case)?;
    Ok(uses.iter().any(|(kind, name)| registry.find(Some(*kind), name).is_ok()))
}
