//! Evaluations as text.

use super::compare::{Check, Comparison, Verdict};
use super::tensors::{Float, Tensors};
use candle_core::{DType, Tensor};
use std::fmt;

/// What an evaluation of one part gave.
#[derive(Debug, Clone)]
pub struct EvalReport {
    /// The part.
    pub part: String,
    /// Type of all floats.
    pub float: Float,
    /// What was written.
    pub tensors: Tensors,
    /// Lines that the part logged.
    pub log: Vec<String>,
}

/// What became of a golden case.
#[derive(Debug, Clone)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    /// Its algorithm.
    pub algorithm: String,
    /// Its variant.
    pub variant: String,
    /// Type of all floats.
    pub float: Float,
    /// What became of it.
    pub outcome: Outcome,
}

/// See [`CaseReport`].
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The map says why no parts stand for it.
    NotMapped(String),
    /// It was evaluated and written.
    Written(Tensors),
    /// It was evaluated and compared.
    Compared(Tensors, Comparison),
}

impl EvalReport {
    /// The scalar.
    pub fn loss(&self) -> Option<f64> {
        scalar(&self.tensors)
    }
}

impl CaseReport {
    /// False when it was compared and is beyond what is allowed; a case that is not mapped is no failure.
    pub fn passed(&self) -> bool {
        match &self.outcome {
            Outcome::Compared(_, comparison) => comparison.passed(),
            Outcome::NotMapped(_) | Outcome::Written(_) => true,
        }
    }

    /// What came out; `None` for a case that is not mapped.
    pub fn tensors(&self) -> Option<&Tensors> {
        match &self.outcome {
            Outcome::Written(tensors) | Outcome::Compared(tensors, _) => Some(tensors),
            Outcome::NotMapped(_) => None,
        }
    }
}

/// Prints a case with one line for each tensor.
pub fn print(report: &CaseReport) {
    print!("{report}");
}

fn scalar(tensors: &Tensors) -> Option<f64> {
    tensors.get("out.loss")?.to_dtype(DType::F64).ok()?.to_scalar().ok()
}

/// The values of a tensor, if they are few.
fn values(tensor: &Tensor) -> String {
    const FEW: usize = 12;
    if tensor.elem_count() > FEW {
        return String::new();
    }
    let floats = tensor.to_dtype(DType::F64).and_then(|all| all.flatten_all()).and_then(|all| all.to_vec1::<f64>());
    floats.unwrap_or_default().iter().map(|value| format!("  {value:.6e}")).collect()
}

/// Names and shapes, and what is small.
fn listed(f: &mut fmt::Formatter<'_>, tensors: &Tensors) -> fmt::Result {
    let width = tensors.names().map(str::len).max().unwrap_or_default();
    for (name, tensor) in tensors.iter() {
        match (name, scalar(tensors)) {
            ("out.loss", Some(loss)) => writeln!(f, "  {name:width$}  {loss:e}")?,
            _ => writeln!(f, "  {name:width$}  {:?}{}", tensor.dims(), values(tensor))?,
        }
    }
    match tensors.path() {
        nowhere if nowhere.as_os_str().is_empty() => Ok(()),
        path => writeln!(f, "written to {}", path.display()),
    }
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.part, self.float.name())?;
        self.log.iter().try_for_each(|line| writeln!(f, "  log: {line}"))?;
        listed(f, &self.tensors)
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{}, {})", self.case, self.algorithm, self.variant, self.float.name())?;
        match &self.outcome {
            Outcome::NotMapped(reason) => writeln!(f, ": not mapped: {reason}"),
            Outcome::Written(tensors) => {
                writeln!(f)?;
                listed(f, tensors)
            }
            Outcome::Compared(_, comparison) => {
                writeln!(f, ": {}", if comparison.passed() { "within what is allowed" } else { "FAILED" })?;
                write!(f, "{comparison}")
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.checks.is_empty() {
            return writeln!(f, "  the case expects nothing that could be compared");
        }
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        writeln!(f, "  {:width$}  {:>8}  {:>10}  {:>10}", "tensor", "values", "error", "allowed")?;
        self.checks.iter().try_for_each(|check| line(f, check, width))
    }
}

fn line(f: &mut fmt::Formatter<'_>, check: &Check, width: usize) -> fmt::Result {
    let Check { name, elements, error, allowed, verdict } = check;
    match verdict {
        Verdict::Within => writeln!(f, "  {name:width$}  {elements:8}  {error:10.2e}  {allowed:10.2e}"),
        Verdict::Beyond => writeln!(f, "  {name:width$}  {elements:8}  {error:10.2e}  {allowed:10.2e}  BEYOND"),
        Verdict::Missing => writeln!(f, "  {name:width$}  {elements:8}  MISSING"),
        Verdict::Shape(got) => writeln!(f, "  {name:width$}  {elements:8}  SHAPE {got:?}"),
    }
}
