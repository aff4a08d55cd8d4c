//! Building a graph layer by layer, with shapes checked on the way.

use super::{Graph, Group, INPUT, LOGITS, Layer, LayerKind, Source};
use stillhouse_plugin::op::{DType, Meta};

/// A graph in the making. Layers are added in the order in which they run.
#[derive(Debug)]
pub struct GraphBuilder {
    name: String,
    input: Vec<usize>,
    layers: Vec<Layer>,
    shapes: Vec<Meta>,
    groups: Vec<Group>,
}

impl GraphBuilder {
    /// A graph of this architecture for samples of this shape.
    pub fn new(name: &str, input: &[usize]) -> GraphBuilder {
        GraphBuilder { name: name.into(), input: input.to_vec(), layers: vec![], shapes: vec![], groups: vec![] }
    }

    /// Adds a layer.
    ///
    /// # Errors
    /// Its path is taken, or its inputs do not fit; the message names the path.
    pub fn layer(&mut self, path: &str, kind: LayerKind, inputs: &[&Source]) -> Result<Source, String> {
        self.check_path(path)?;
        let metas: Vec<Meta> = inputs.iter().map(|input| self.meta(input)).collect::<Result<_, _>>()?;
        let meta =
            kind.infer(&metas.iter().collect::<Vec<_>>()).map_err(|reason| format!("layer `{path}`: {reason}"))?;
        self.layers.push(Layer {
            path: path.into(),
            kind,
            inputs: inputs.iter().map(|input| (*input).clone()).collect(),
        });
        self.shapes.push(meta);
        Ok(Source::Layer(self.layers.len() - 1))
    }

    /// Notes that the layers from `input` (exclusive) to `output` are one point of this path.
    ///
    /// # Errors
    /// The path is taken, or the output is no layer.
    pub fn group(&mut self, path: &str, input: &Source, output: &Source) -> Result<(), String> {
        self.check_path(path)?;
        let Some(output) = output.layer() else { return Err(format!("group `{path}` is empty")) };
        self.groups.push(Group { path: path.into(), input: input.clone(), output });
        Ok(())
    }

    /// Shape of a sample at this point.
    pub fn shape(&self, source: &Source) -> Vec<usize> {
        self.meta(source).map(|meta| meta.shape[1..].to_vec()).unwrap_or_default()
    }

    /// The point of a path, among what was added so far.
    pub fn find(&self, path: &str) -> Option<Source> {
        if path == INPUT {
            return Some(Source::Input);
        }
        self.layers.iter().position(|layer| layer.path == path).map(Source::Layer)
    }

    /// Names of the layers so far.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|layer| layer.path.as_str())
    }

    /// The finished graph.
    ///
    /// # Errors
    /// There is no layer.
    pub fn finish(self, output: &Source) -> Result<Graph, String> {
        let Some(output) = output.layer() else { return Err(format!("`{}` has no layers", self.name)) };
        Ok(Graph { name: self.name, input: self.input, layers: self.layers, groups: self.groups, output })
    }

    fn check_path(&self, path: &str) -> Result<(), String> {
        let taken =
            self.layers.iter().any(|layer| layer.path == path) || self.groups.iter().any(|group| group.path == path);
        match path {
            INPUT | LOGITS => Err(format!("`{path}` is reserved")),
            _ if path.is_empty() || path.contains([':', '*', ' ']) => Err(format!("`{path}` is no path")),
            _ if taken => Err(format!("two layers are named `{path}`")),
            _ => Ok(()),
        }
    }

    fn meta(&self, source: &Source) -> Result<Meta, String> {
        match source {
            Source::Input => {
                // Two samples: a batch of one has no variance.
                let shape: Vec<usize> = std::iter::once(2).chain(self.input.iter().copied()).collect();
                Ok(Meta::new(shape, DType::F32))
            }
            Source::Layer(index) | Source::Value(index, _) => {
                self.shapes.get(*index).cloned().ok_or_else(|| "reads a layer that comes later".into())
            }
        }
    }
}
