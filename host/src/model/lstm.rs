//! Sequences through LSTMs or GRUs, one above another, and a linear layer for each frame: cells as PyTorch's `LSTMCell` and
//! `GRUCell`, in names and initialisation.

use super::{Frame, ModelError, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Cells one above another.
    #[serde(default = "depth")]
    depth: usize,
    /// Features of each cell's state.
    #[serde(default = "hidden")]
    hidden: usize,
    /// What the cells are.
    #[serde(default = "cell")]
    cell: Cell,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cell {
    Lstm,
    Gru,
}

fn depth() -> usize {
    1
}
fn hidden() -> usize {
    128
}
fn cell() -> Cell {
    Cell::Lstm
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    matches!(name, "lstm" | "gru").then(|| object([("cell", json!(name))]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, hidden, cell } = settings(table)?;
    for (key, value) in [("depth", depth), ("hidden", hidden)] {
        if value == 0 {
            return Err(ModelError::new(format!("`{key}` must be 1 or more, got 0")).at(key));
        }
    }
    let mut net = GraphBuilder::new("lstm", &frame.input);
    let mut x = Source::Input;
    if frame.input.len() != 1 {
        x = net.layer("flatten", LayerKind::Flatten, &[&x])?;
    }
    for at in 0..depth {
        let kind = match cell {
            Cell::Lstm => LayerKind::Lstm { hidden },
            Cell::Gru => LayerKind::Gru { hidden },
        };
        x = net.layer(&format!("cells.{at}"), kind, &[&x])?;
    }
    let x = net.layer("fc", LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}
