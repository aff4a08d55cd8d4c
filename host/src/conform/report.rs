//! What the checks found.

use serde::{Deserialize, Serialize};
use std::fmt;
use stillhouse_plugin::desc::Kind;

/// Outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "detail")]
pub enum Verdict {
    /// The rule is kept; what was seen.
    Ok(String),
    /// It is broken; how.
    Failed(String),
    /// The rule does not apply; why.
    NotApplicable(String),
}

impl Verdict {
    /// Whether the rule is broken.
    pub fn is_failure(&self) -> bool {
        matches!(self, Verdict::Failed(_))
    }
}

/// A check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Name of the check.
    pub check: String,
    /// Its outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All checks of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// Kind of the component.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The checks, in order.
    pub checks: Vec<Checked>,
}

impl PartReport {
    /// Whether no rule is broken.
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|checked| checked.verdict.is_failure())
    }
}

impl fmt::Display for PartReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.kind.name(), self.name)?;
        for Checked { check, verdict } in &self.checks {
            let (word, why) = match verdict {
                Verdict::Ok(why) => ("ok", why),
                Verdict::Failed(why) => ("FAILED", why),
                Verdict::NotApplicable(why) => ("n/a", why),
            };
            let mut lines = why.lines();
            writeln!(f, "  {}", format!("{check:<10} {word:<7} {}", lines.next().unwrap_or_default()).trim_end())?;
            lines.filter(|line| !line.trim().is_empty()).try_for_each(|line| writeln!(f, "{:21}{line}", ""))?;
        }
        Ok(())
    }
}
