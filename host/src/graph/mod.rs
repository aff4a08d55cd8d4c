//! Networks as data: graphs of named layers. What can be tapped, replaced, frozen or exported is found here by path;
//! executors read the same description.

mod blocks;
mod builder;
mod glob;
mod infer;
mod kind;
mod recurrent;
mod spec;

pub use builder::GraphBuilder;
pub use glob::Glob;
pub use kind::{KindError, LayerKind, Pair, Resize};
pub use recurrent::{CELL, FRAMES, HIDDEN, NEXT};
pub use spec::{ParamSpec, parameter_name};

use std::collections::BTreeSet;

/// Where a value comes from: the input of the graph, the output of a layer, or an inner value of a module or recurrent layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The input of the graph.
    Input,
    /// The output of a layer, by index.
    Layer(usize),
    /// A named inner value of the module that took the place of a layer, or the memory of a recurrent layer.
    Value(usize, String),
}

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its path, `layer1.0.conv1`; parameters are `<path>.weight` and so on.
    pub path: String,
    /// What it computes.
    pub kind: LayerKind,
    /// What it reads.
    pub inputs: Vec<Source>,
}

/// Layers under a common path, as one point of the graph (`layer1` is the output of its last block).
#[derive(Debug, Clone)]
pub struct Group {
    /// Its path.
    pub path: String,
    /// What its first layer reads.
    pub input: Source,
    /// Its last layer.
    pub output: usize,
}

/// Names that every graph has: its output.
pub const LOGITS: &str = "logits";
/// Name of the graph's input as a tap.
pub const INPUT: &str = "input";

/// A network.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name of the architecture.
    pub name: String,
    /// Shape of one sample (one frame, for a network over time).
    pub input: Vec<usize>,
    /// Layers, each after those that it reads.
    pub layers: Vec<Layer>,
    /// Groups of layers.
    pub groups: Vec<Group>,
    /// The layer whose output is the network's.
    pub output: usize,
}

impl Graph {
    /// A point as a tap names it.
    pub fn name_of(&self, point: &Source) -> String {
        let path = |index: &usize| self.layers.get(*index).map_or("", |layer| layer.path.as_str());
        match point {
            Source::Input => "input".to_owned(),
            Source::Layer(index) => path(index).to_owned(),
            Source::Value(index, name) => format!("{}.{name}", path(index)),
        }
    }

    /// The point at a tap `path` or `path:in`; `None` when there is none.
    pub fn tap(&self, tap: &str) -> Option<Source> {
        let (path, of_input) = match tap.strip_suffix(":in") {
            Some(path) => (path, true),
            None => (tap, false),
        };
        match path {
            INPUT if !of_input => return Some(Source::Input),
            LOGITS if !of_input => return Some(Source::Layer(self.output)),
            _ => {}
        }
        if let Some(group) = self.groups.iter().find(|group| group.path == path) {
            return Some(if of_input { group.input.clone() } else { Source::Layer(group.output) });
        }
        if let Some(index) = self.layers.iter().position(|layer| layer.path == path) {
            return if of_input { self.layers[index].inputs.first().cloned() } else { Some(Source::Layer(index)) };
        }
        let (owner, value) = path.rsplit_once('.').filter(|_| !of_input)?;
        let is_recurrent = |index: &usize| !self.layers[*index].kind.state().is_empty();
        let group = || self.groups.iter().find(|group| group.path == owner);
        let of_group = || group().map(|group| group.output).filter(is_recurrent);
        let index = self.layers.iter().position(|layer| layer.path == owner).or_else(of_group)?;
        match &self.layers[index].kind {
            LayerKind::Module => Some(Source::Value(index, value.to_owned())),
            kind if !kind.state().contains(&value) => None,
            _ if value == HIDDEN => Some(Source::Layer(index)),
            _ => Some(Source::Value(index, value.to_owned())),
        }
    }

    /// Paths of the states of recurrent layers, which can be tapped, too.
    pub fn states(&self) -> Vec<String> {
        let of_layer = |layer: &Layer| layer.kind.state().iter().map(|name| format!("{}.{name}", layer.path)).collect();
        self.layers.iter().flat_map(|layer| -> Vec<String> { of_layer(layer) }).collect()
    }

    /// Every path that can be tapped, layers first, in the order of the graph.
    pub fn paths(&self) -> Vec<&str> {
        let layers = self.layers.iter().map(|layer| layer.path.as_str());
        layers.chain(self.groups.iter().map(|group| group.path.as_str())).chain([LOGITS, INPUT]).collect()
    }

    /// Paths that a pattern with `*` (within one name) or `**` (across names) matches, in the order of the graph: groups
    /// and layers by their output.
    pub fn matching(&self, pattern: &str) -> Vec<&str> {
        let glob = Glob::new(pattern);
        let mut found: Vec<(usize, &str)> = self
            .layers
            .iter()
            .enumerate()
            .map(|(at, layer)| (at, layer.path.as_str()))
            .chain(self.groups.iter().map(|group| (group.output, group.path.as_str())))
            .filter(|(_, path)| glob.matches(path))
            .collect();
        found.sort_by_key(|(at, _)| *at);
        found.dedup_by_key(|(_, path)| *path);
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Layers that must run to compute these points, in order.
    pub fn needed<'a>(&self, points: impl IntoIterator<Item = &'a Source>) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut stack: Vec<usize> = points.into_iter().filter_map(Source::layer).collect();
        while let Some(index) = stack.pop() {
            if needed.insert(index)
                && let Some(layer) = self.layers.get(index)
            {
                stack.extend(layer.inputs.iter().filter_map(Source::layer));
            }
        }
        needed
    }

    /// Gives the place of a layer or group to a module. Layers that nobody reads any more are gone, and so are groups inside.
    pub fn replace(&mut self, path: &str) -> Option<usize> {
        let (index, input) = match self.groups.iter().find(|group| group.path == path) {
            Some(group) => (group.output, group.input.clone()),
            None => {
                let index = self.layers.iter().position(|layer| layer.path == path)?;
                (index, self.layers[index].inputs.first()?.clone())
            }
        };
        let inside = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let unread = self.unread();
        let mut ends: Vec<Source> = unread.filter(|end| !inside(&self.layers[*end].path)).map(Source::Layer).collect();
        ends.extend([self.output, index].map(Source::Layer));
        self.layers[index] = Layer { path: path.into(), kind: LayerKind::Module, inputs: vec![input] };
        self.groups.retain(|group| group.path != path && !inside(&group.path));
        self.keep(&ends);
        self.layers.iter().position(|layer| layer.path == path)
    }

    /// Layers that no layer reads.
    fn unread(&self) -> impl Iterator<Item = usize> + use<> {
        let read: BTreeSet<usize> =
            self.layers.iter().flat_map(|layer| &layer.inputs).filter_map(Source::layer).collect();
        (0..self.layers.len()).filter(move |index| !read.contains(index))
    }

    /// Takes out layers that these points do not need, and groups that lost their last layer.
    fn keep(&mut self, ends: &[Source]) {
        let kept: Vec<usize> = self.needed(ends).into_iter().collect();
        let moved = |index: usize| kept.binary_search(&index).ok();
        let source = |source: &Source| match source {
            Source::Input => Some(Source::Input),
            Source::Layer(index) => moved(*index).map(Source::Layer),
            Source::Value(index, name) => moved(*index).map(|index| Source::Value(index, name.clone())),
        };
        let mut layers = vec![];
        for index in &kept {
            let layer = &self.layers[*index];
            let inputs = layer.inputs.iter().filter_map(source).collect();
            layers.push(Layer { path: layer.path.clone(), kind: layer.kind.clone(), inputs });
        }
        let group = |group: &Group| {
            Some(Group { path: group.path.clone(), input: source(&group.input)?, output: moved(group.output)? })
        };
        self.groups = self.groups.iter().filter_map(group).collect();
        self.output = moved(self.output).unwrap_or(0);
        self.layers = layers;
    }
}

impl Source {
    /// The layer that makes the value; `None` for the input.
    pub fn layer(&self) -> Option<usize> {
        match self {
            Source::Input => None,
            Source::Layer(index) | Source::Value(index, _) => Some(*index),
        }
    }
}

#[cfg(test)]
mod tests;
