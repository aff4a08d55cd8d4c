//! Findings of the plan, at their place in the manifest.

use crate::data::DataError;
use crate::exec::NetworkError;
use crate::manifest::{Diagnostic, Diagnostics, ManifestPath, Part};
use crate::model::WeightsError;
use crate::ops::OpError;
use crate::plugin::PluginError;

/// One finding, on the way to the user.
#[derive(Debug, Clone)]
pub struct Problem(pub Diagnostic);

impl Problem {
    /// A finding without a place.
    pub fn new(message: impl Into<String>) -> Problem {
        Problem(Diagnostic::error(message))
    }

    /// Points at a path of the manifest.
    pub fn at(self, path: &ManifestPath, part: Part) -> Problem {
        Problem(self.0.at(path, part))
    }

    /// What to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem(self.0.hint(hint))
    }

    /// What to do about it, if that is known.
    pub fn maybe_hint(self, hint: Option<String>) -> Problem {
        Problem(self.0.maybe_hint(hint))
    }

    /// A line that helps to understand it.
    pub fn note(self, note: impl Into<String>) -> Problem {
        Problem(self.0.note(note))
    }
}

impl From<Problem> for Diagnostics {
    fn from(problem: Problem) -> Self {
        problem.0.into()
    }
}

/// Errors of other rooms, with their hint.
pub trait Explain: std::fmt::Display {
    /// What to do, where that is known.
    fn advice(&self) -> Option<String> {
        None
    }
    /// The message, without the advice.
    fn headline(&self) -> String {
        self.to_string()
    }
}

impl Explain for DataError {
    fn advice(&self) -> Option<String> {
        self.hint()
    }
    fn headline(&self) -> String {
        DataError::headline(self)
    }
}
impl Explain for PluginError {
    fn advice(&self) -> Option<String> {
        self.hint()
    }
}
impl Explain for WeightsError {
    fn advice(&self) -> Option<String> {
        self.hint()
    }
}
impl Explain for NetworkError {}
impl Explain for OpError {}

/// Puts an error at its place in the manifest.
pub trait AtPath<T> {
    /// The value of `path` is what is wrong.
    ///
    /// # Errors
    /// The same, as a finding.
    fn at_path(self, path: &ManifestPath) -> Result<T, Problem>;
}

impl<T, E: Explain> AtPath<T> for Result<T, E> {
    fn at_path(self, path: &ManifestPath) -> Result<T, Problem> {
        self.map_err(|error| Problem::new(error.headline()).at(path, Part::Value).maybe_hint(error.advice()))
    }
}
