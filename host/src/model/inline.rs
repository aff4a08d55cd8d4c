//! A network that the manifest lists layer by layer.

use super::ModelError;
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use crate::manifest::{Layer, nearest};
use serde_json::{Map, Value};

/// The graph of a list of layers. Each reads the one before it unless it says otherwise; the last one is the output.
///
/// # Errors
/// An unknown kind or setting, inputs that do not exist or do not fit. The key of the error is `<position>.<field>`.
pub fn build(layers: &[Layer], input: &[usize]) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("inline", input);
    let mut last = Source::Input;
    for (at, layer) in layers.iter().enumerate() {
        let kind = kind(layer).map_err(|error| prefixed(error, at))?;
        let inputs = inputs(&net, layer, &last).map_err(|error| prefixed(error, at))?;
        last = net
            .layer(&layer.name, kind, &inputs.iter().collect::<Vec<_>>())
            .map_err(|reason| prefixed(ModelError::new(reason), at))?;
    }
    let output = last.clone();
    Ok(net.finish(&output)?)
}

fn prefixed(error: ModelError, at: usize) -> ModelError {
    let key = match &error.key {
        Some(key) => format!("{at}.{key}"),
        None => at.to_string(),
    };
    ModelError { key: Some(key), ..error }
}

fn kind(layer: &Layer) -> Result<LayerKind, ModelError> {
    let mut table: Map<String, Value> = layer.options.clone();
    table.insert("kind".into(), Value::String(layer.kind.clone()));
    LayerKind::read(&table).map_err(|error| {
        let text = error.message.replace("unknown variant", "unknown kind");
        let wrong = ModelError::new(format!("layer `{}`: {text}", layer.name)).at(&error.key);
        // "unknown field `a`, expected one of `b`, `c`"
        let mut names = text.split('`').skip(1).step_by(2);
        let close = names.next().filter(|_| text.starts_with("unknown")).and_then(|given| nearest(given, names));
        match close {
            Some(close) => wrong.hint(format!("did you mean `{close}`?")),
            None => wrong,
        }
    })
}

fn inputs(net: &GraphBuilder, layer: &Layer, last: &Source) -> Result<Vec<Source>, ModelError> {
    let names: &[String] = layer.from.as_deref().unwrap_or_default();
    if names.is_empty() {
        return Ok(vec![last.clone()]);
    }
    let find = |name: &String| {
        net.find(name).ok_or_else(|| {
            let wrong = ModelError::new(format!("layer `{}` reads `{name}`, which is no layer before it", layer.name))
                .at("from");
            match nearest(name, net.paths()) {
                Some(close) => wrong.hint(format!("did you mean `{close}`?")),
                None => wrong.hint("`input` is the input of the network"),
            }
        })
    };
    names.iter().map(find).collect()
}
