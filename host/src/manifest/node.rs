//! The manifest as a tree of values that know where they were written.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::path::{ManifestPath, Segment};
use super::sources::{SourceId, Span};
use indexmap::IndexMap;
use serde_json::{Number, Value};
use std::ops::Range;
use toml_edit::{Item, TableLike};

/// A value, where it stands, and where its key stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) key: Option<Span>,
    pub(super) span: Option<Span>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A string, a number or a boolean.
    Leaf(Value),
    List(Vec<Node>),
    Table(IndexMap<String, Node>),
}

/// Reads the items of one source, whose text starts at `offset` in it.
pub(super) struct Reader<'a> {
    pub(super) source: SourceId,
    pub(super) offset: usize,
    pub(super) problems: &'a mut Diagnostics,
}

impl Node {
    /// An empty table that nobody wrote.
    pub(super) fn empty() -> Self {
        Self { key: None, span: None, kind: Kind::Table(IndexMap::new()) }
    }

    /// A string that nobody wrote.
    pub(super) fn text(text: &str) -> Self {
        Self { key: None, span: None, kind: Kind::Leaf(text.into()) }
    }

    pub(super) fn table(&self) -> Option<&IndexMap<String, Self>> {
        match &self.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut IndexMap<String, Self>> {
        match &mut self.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn string(&self) -> Option<&str> {
        match &self.kind {
            Kind::Leaf(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value one step down; the first of a list that was written as one value is that value.
    pub(super) fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.kind, segment) {
            (Kind::Table(table), Segment::Key(key)) => table.get(key),
            (Kind::List(items), Segment::Index(index)) => items.get(*index),
            (_, Segment::Index(0)) => Some(self),
            _ => None,
        }
    }

    /// The value at a path.
    pub(super) fn find(&self, path: &ManifestPath) -> Option<&Self> {
        path.segments().iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// Takes over what `other` says: tables merge, everything else is replaced.
    pub(super) fn merge(&mut self, other: Self) {
        let Kind::Table(theirs) = other.kind else {
            *self = other;
            return;
        };
        let Kind::Table(ours) = &mut self.kind else {
            self.kind = Kind::Table(theirs);
            (self.key, self.span) = (other.key, other.span);
            return;
        };
        for (name, node) in theirs {
            match ours.get_mut(&name) {
                Some(mine) => mine.merge(node),
                None => {
                    ours.insert(name, node);
                }
            }
        }
        (self.key, self.span) = (other.key.or(self.key.take()), other.span.or(self.span.take()));
    }

    /// The values alone.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value) => value.clone(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Table(table) => table.iter().map(|(name, node)| (name.clone(), node.to_json())).collect(),
        }
    }

    /// What it is, in words.
    pub(super) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Leaf(Value::String(_)) => "a string",
            Kind::Leaf(Value::Bool(_)) => "a boolean",
            Kind::Leaf(Value::Number(number)) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => {
                "a number with a fraction"
            }
            Kind::Leaf(Value::Number(number)) if number.is_f64() => "a number with a point",
            Kind::Leaf(_) => "an integer",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }
}

impl Reader<'_> {
    /// Reads a table and all below it.
    pub(super) fn table(&mut self, table: &dyn TableLike) -> Kind {
        let mut nodes = IndexMap::new();
        for (name, _) in table.iter() {
            if let Some((key, item)) = table.get_key_value(name) {
                let mut node = self.item(item);
                node.key = self.span(key.span());
                nodes.insert(name.to_owned(), node);
            }
        }
        Kind::Table(nodes)
    }

    /// Reads an item and all below it.
    pub(super) fn item(&mut self, item: &Item) -> Node {
        if let Some(table) = item.as_table_like() {
            return Node { key: None, span: self.span(item.span()), kind: self.table(table) };
        }
        if let Some(tables) = item.as_array_of_tables() {
            let read =
                |table: &toml_edit::Table| Node { key: None, span: self.span(table.span()), kind: self.table(table) };
            let nodes: Vec<Node> = tables.iter().map(read).collect();
            let span = nodes.first().and_then(|node| node.span.clone());
            return Node { key: None, span, kind: Kind::List(nodes) };
        }
        match item.as_value() {
            Some(value) => self.value(value),
            None => Node::empty(),
        }
    }

    fn value(&mut self, value: &toml_edit::Value) -> Node {
        let span = self.span(value.span());
        let kind = match value {
            toml_edit::Value::Array(items) => Kind::List(items.iter().map(|item| self.value(item)).collect()),
            toml_edit::Value::InlineTable(table) => self.table(table),
            toml_edit::Value::String(text) => Kind::Leaf(text.value().as_str().into()),
            toml_edit::Value::Integer(number) => Kind::Leaf((*number.value()).into()),
            toml_edit::Value::Boolean(value) => Kind::Leaf((*value.value()).into()),
            toml_edit::Value::Float(number) => Kind::Leaf(self.float(*number.value(), span.as_ref())),
            toml_edit::Value::Datetime(date) => Kind::Leaf(self.refuse_date(date.value(), span.as_ref())),
        };
        Node { key: None, span, kind }
    }

    fn float(&mut self, number: f64, span: Option<&Span>) -> Value {
        let finite = Number::from_f64(number);
        if finite.is_none() {
            self.problems
                .push(Diagnostic::error(format!("a number must be finite, got {number}")).at_span(span.cloned()));
        }
        finite.unwrap_or_else(|| 0.into()).into()
    }

    fn refuse_date(&mut self, date: &toml_edit::Datetime, span: Option<&Span>) -> Value {
        let problem = Diagnostic::error("a manifest has no dates").at_span(span.cloned());
        self.problems.push(problem.hint(format!("quote it: \"{date}\"")));
        date.to_string().into()
    }

    fn span(&self, range: Option<Range<usize>>) -> Option<Span> {
        let range = range?;
        Some(Span { source: self.source, range: range.start + self.offset..range.end + self.offset })
    }
}
