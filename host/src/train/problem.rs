//! Findings of the plan, at their place in the manifest.

use crate::data::DataError;
use crate::exec::NetworkError;
use crate::manifest::{Diagnostic, Diagnostics, ManifestPath, Part, nearest};
use crate::model::WeightsError;
use crate::ops::OpError;
use crate::plugin::PluginError;
use std::path::Path;

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

/// Errors of other rooms: a headline, lines below it that start with two spaces, and `hint: ...` after an empty line.
pub trait Explain: std::fmt::Display {
    /// What to do, where the text does not say it.
    fn advice(&self) -> Option<String> {
        None
    }
    /// The text, as it reads beside the place in the manifest.
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Explain for DataError {
    /// Where one name is meant, the others are left out.
    fn text(&self) -> String {
        match self {
            DataError::UnknownPreset { nearest: Some(_), .. } | DataError::UnknownFormat { nearest: Some(_), .. } => {
                let hint = self.hint().unwrap_or_default();
                format!("{}\n\nhint: {hint}", self.headline())
            }
            _ => self.to_string(),
        }
    }
}
impl Explain for PluginError {
    fn advice(&self) -> Option<String> {
        match self {
            PluginError::Config { component, hint: None, .. } => Some(settings_hint(component)),
            PluginError::Missing { path } => Some(where_it_may_be(path)),
            _ => self.hint(),
        }
    }
    fn text(&self) -> String {
        match self {
            PluginError::Config { component, message, .. } => format!("`{component}`: {message}"),
            _ => self.to_string(),
        }
    }
}
impl Explain for WeightsError {
    fn advice(&self) -> Option<String> {
        self.hint()
    }
}
impl Explain for NetworkError {}
impl Explain for OpError {
    /// A part that names itself is not named again: the place in the manifest says which term it is.
    fn text(&self) -> String {
        match self {
            OpError::Part { part, message, .. } => match part.rsplit_once('(') {
                Some((_, component)) if message.starts_with(component.trim_end_matches(')')) => message.clone(),
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }
}

/// Where a plugin's file that is missing may be.
fn where_it_may_be(path: &Path) -> String {
    let usual = "a relative path starts at the folder of the file that has it";
    let is_built = path.components().any(|part| part.as_os_str() == "target");
    match std::env::var("CARGO_TARGET_DIR") {
        Ok(folder) if is_built => format!("{usual}; cargo builds to `{folder}`, as `$CARGO_TARGET_DIR` says"),
        _ if is_built => format!("{usual}; `cargo build --release` makes it"),
        _ => usual.into(),
    }
}

/// Where the settings of a component are explained.
pub fn settings_hint(component: &str) -> String {
    format!("`stillhouse describe {component}` lists its settings")
}

/// The nearest of the known names, or all of them.
pub fn known_hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None if known.is_empty() => format!("{what}: none"),
        None => format!("{what}: {}", quoted(&known)),
    }
}

/// Names in backticks, separated by commas.
pub fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// An error of another room as a finding, still without a place.
pub fn told(error: &impl Explain) -> Problem {
    let text = error.text();
    let (body, hint) = match text.split_once("\n\nhint: ") {
        Some((body, hint)) => (body, Some(hint.to_owned())),
        None => (text.as_str(), None),
    };
    let mut lines = body.lines();
    let mut problem = Problem::new(lines.next().unwrap_or_default());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let notes = &mut problem.0.details.notes;
        match notes.last_mut().filter(|_| line.starts_with("   ")) {
            Some(last) => last.push_str(&format!("\n{}", line.trim_start())),
            // Without the number that systems put behind what they say.
            None => notes.push(line.trim().split(" (os error").next().unwrap_or_default().to_owned()),
        }
    }
    problem.maybe_hint(hint).maybe_hint(error.advice())
}

/// Puts an error at its place in the manifest.
pub trait AtPath<T> {
    /// The value of `path` is what is wrong.
    ///
    /// # Errors
    /// The same, as a finding.
    fn at_path(self, path: &ManifestPath) -> Result<T, Problem>;

    /// What `path` names as a whole is what is wrong.
    ///
    /// # Errors
    /// The same, as a finding.
    fn at_key(self, path: &ManifestPath) -> Result<T, Problem>;
}

impl<T, E: Explain> AtPath<T> for Result<T, E> {
    fn at_path(self, path: &ManifestPath) -> Result<T, Problem> {
        self.map_err(|error| told(&error).at(path, Part::Value))
    }

    fn at_key(self, path: &ManifestPath) -> Result<T, Problem> {
        self.map_err(|error| told(&error).at(path, Part::Key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_text_splits_into_message_notes_and_hint() {
        let missing =
            DataError::NotFound { name: "mnist".into(), looked: vec!["a".into(), "b".into()], hint: "get it".into() };
        let Problem(found) = told(&missing);
        assert_eq!(found.message, "data set `mnist` was not found");
        assert_eq!(found.details.notes, ["looked in:\na\nb"]);
        assert_eq!(found.details.hint.as_deref(), Some("get it"));
        let misspelt =
            DataError::UnknownPreset { got: "digts".into(), nearest: Some("digits".into()), known: "`digits`".into() };
        assert!(told(&misspelt).0.details.notes.is_empty());
    }

    #[test]
    fn told_part_that_names_itself_is_named_once() {
        let said =
            |message: &str| OpError::Part { part: "`hint` (`mse`)".into(), message: message.into(), code: 0, at: None };
        assert_eq!(told(&said("`mse` got features that differ")).0.message, "`mse` got features that differ");
        assert_eq!(told(&said("no port")).0.message, "`hint` (`mse`): no port");
    }
}
