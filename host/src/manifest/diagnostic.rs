//! Findings about a manifest, shown at its lines.

use super::path::{ManifestPath, Part};
use super::sources::{Sources, Span};
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use std::io::IsTerminal;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// It runs, but perhaps not as meant.
    Warning,
}

/// Where a finding points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// At the manifest as a whole.
    #[default]
    Manifest,
    /// At a path, to be located among the sources.
    Path(ManifestPath, Part),
    /// At a place in a source.
    Span(Span),
}

/// One finding: what, where, and one hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: starts in lower case, ends without a period.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What is shown besides; boxed, so that a `Result` with a finding stays small.
    pub details: Box<Details>,
}

/// What is shown besides the message and its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// A few words beside the carets.
    pub label: Option<String>,
    /// Other places that have to do with it, each with a few words.
    pub related: Vec<(Place, String)>,
    /// What else helps to understand it.
    pub notes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding that keeps everything from running.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), place: Place::Manifest, details: Box::default() }
    }

    /// A finding that lets it run.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Points at a path.
    #[must_use]
    pub fn at(mut self, path: &ManifestPath, part: Part) -> Self {
        self.place = Place::Path(path.clone(), part);
        self
    }

    /// Points at a place in a source, if there is one.
    #[must_use]
    pub fn at_span(mut self, span: Option<Span>) -> Self {
        self.place = span.map_or(Place::Manifest, Place::Span);
        self
    }

    /// A few words beside the carets.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.details.label = Some(label.into());
        self
    }

    /// Another place that has to do with it.
    #[must_use]
    pub fn related(mut self, path: &ManifestPath, part: Part, label: impl Into<String>) -> Self {
        self.details.related.push((Place::Path(path.clone(), part), label.into()));
        self
    }

    /// A line that helps to understand it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.details.notes.push(note.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.details.hint = Some(hint.into());
        self
    }

    /// What to do about it, if that is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.details.hint = hint.or(self.details.hint.take());
        self
    }

    /// The finding as text, in the manner of rustc, without a newline at the end.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let notes = self.details.notes.iter().map(|note| Element::from(Level::NOTE.message(note)));
        let hint = self.details.hint.iter().map(|hint| Element::from(Level::HELP.with_name("hint").message(hint)));
        let title = level.primary_title(&*self.message);
        let group = title.elements(self.snippets(sources)).elements(notes).elements(hint);
        renderer.render(&[group])
    }

    /// The lines that it points at, source by source, its own place first.
    fn snippets<'a>(&'a self, sources: &'a Sources) -> Vec<Element<'a>> {
        let mut spans: Vec<(Span, AnnotationKind, Option<&str>)> = Vec::new();
        if let Some(span) = self.place.span(sources) {
            spans.push((span, AnnotationKind::Primary, self.details.label.as_deref()));
        }
        for (place, label) in &self.details.related {
            if let Some(span) = place.span(sources) {
                spans.push((span, AnnotationKind::Context, Some(label)));
            }
        }
        let mut order: Vec<usize> = Vec::new();
        for (span, ..) in &spans {
            if !order.contains(&span.source) {
                order.push(span.source);
            }
        }
        let snippet = |index: usize| {
            let source = sources.all().get(index)?;
            let own = spans.iter().filter(|(span, ..)| span.source == index);
            let marks = own.map(|(span, kind, label)| kind.span(span.range.clone()).label(*label));
            let snippet = Snippet::source(&*source.text).path(source.path.to_string_lossy());
            Some(Element::from(snippet.annotations(marks)))
        };
        let mut shown: Vec<Element<'a>> = order.into_iter().filter_map(snippet).collect();
        if let (true, Some(source)) = (shown.is_empty(), sources.all().first()) {
            shown.push(Element::from(Origin::path(source.path.to_string_lossy())));
        }
        shown
    }
}

impl Place {
    fn span(&self, sources: &Sources) -> Option<Span> {
        match self {
            Self::Manifest => None,
            Self::Path(path, part) => sources.locate(path, *part),
            Self::Span(span) => Some(span.clone()),
        }
    }
}

/// Findings in the order in which they were made, so that all are reported and not just the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them keeps everything from running.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// All findings as text, separated by blank lines, without a newline at the end.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let rendered: Vec<_> = self.list.iter().map(|diagnostic| diagnostic.render(sources, color)).collect();
        rendered.join("\n\n")
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, findings: I) {
        self.list.extend(findings);
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { list: vec![diagnostic] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// Whether standard error takes colour: it is a terminal, and `NO_COLOR` is not set.
pub fn wants_color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
