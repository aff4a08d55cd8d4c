//! Fully connected networks: flatten, then linear layers with ReLU (and dropout) between them. Initialised as PyTorch does.

use super::{Frame, ModelError, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Features of each hidden layer.
    #[serde(default = "hidden")]
    hidden: Vec<usize>,
    /// Share of features dropped behind each hidden layer.
    #[serde(default)]
    dropout: f64,
}

fn hidden() -> Vec<usize> {
    vec![128]
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    (name == "mlp").then(|| object([]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { hidden, dropout } = settings(table)?;
    if hidden.contains(&0) {
        return Err(ModelError::new("a hidden layer needs features").at("hidden"));
    }
    if !(0.0..1.0).contains(&dropout) {
        return Err(ModelError::new(format!("`dropout` must be in [0, 1), got {dropout}")).at("dropout"));
    }
    let mut net = GraphBuilder::new("mlp", &frame.input);
    let mut x = Source::Input;
    if frame.input.len() > 1 {
        x = net.layer("flatten", LayerKind::Flatten, &[&x])?;
    }
    for (i, features) in hidden.iter().enumerate() {
        let y = net.layer(&format!("fc{}", i + 1), LayerKind::linear(*features), &[&x])?;
        let mut y = net.layer(&format!("relu{}", i + 1), LayerKind::Relu, &[&y])?;
        if dropout > 0.0 {
            y = net.layer(&format!("dropout{}", i + 1), LayerKind::Dropout { p: dropout }, &[&y])?;
        }
        net.group(&format!("hidden{}", i + 1), &x, &y)?;
        x = y;
    }
    let x = net.layer("fc", LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}
