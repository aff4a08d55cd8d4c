//! Families of networks: each turns a few settings into a [`Graph`].
//!
//! An architecture is a name (`resnet20`) or a table (`{ kind = "resnet", depth = 20, width = 16 }`), or the manifest lists
//! the layers itself. Layer names and initialisation follow the reference code that each family names, so that published
//! weights load and results compare.

mod conv_lstm;
mod efficientnet_lite;
mod inline;
mod lstm;
mod mlp;
mod mobilenet_v2;
mod parts;
mod resnet;
mod resnet_imagenet;
mod shufflenet_v1;
mod shufflenet_v2;
mod two_stream;
mod unet;
mod vgg;
mod vit;
mod weights;
mod wrn;

pub use inline::build as build_inline;
pub use weights::{WeightsError, load_weights, read as read_weights, save_weights, write as write_weights};

use crate::graph::Graph;
use crate::manifest::nearest;
use serde_json::{Map, Value};

/// What a family needs to know of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Shape of one sample.
    pub input: Vec<usize>,
    /// Classes of the output.
    pub classes: usize,
}

/// Why a graph cannot be built: a message, the key of the architecture's table that it is about, and a hint.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelError {
    /// What is wrong.
    pub message: String,
    /// Path below the architecture, where it is about one key.
    pub key: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl ModelError {
    fn new(message: impl Into<String>) -> ModelError {
        ModelError { message: message.into(), key: None, hint: None }
    }

    fn at(self, key: &str) -> ModelError {
        ModelError { key: Some(key.into()), ..self }
    }

    fn hint(self, hint: impl Into<String>) -> ModelError {
        ModelError { hint: Some(hint.into()), ..self }
    }
}

impl From<String> for ModelError {
    fn from(message: String) -> Self {
        ModelError::new(message)
    }
}

/// A family: its name, what it is, and how it reads its settings.
struct Family {
    kind: &'static str,
    build: fn(&Map<String, Value>, &Frame) -> Result<Graph, ModelError>,
    /// Settings behind a short name, `resnet20`; `None` when the name is not of this family.
    short: fn(&str) -> Option<Map<String, Value>>,
    examples: &'static [&'static str],
}

/// Families whose output is no score of classes.
const WITHOUT_CLASSES: &[&str] = &["conv_lstm"];

/// True when an architecture, by kind or short name, gives scores of classes.
pub fn has_classes(name: &str) -> bool {
    !WITHOUT_CLASSES.contains(&name)
}

const FAMILIES: &[Family] = &[
    Family {
        kind: "resnet",
        build: resnet::build,
        short: resnet::short,
        examples: &["resnet8", "resnet20", "resnet56", "resnet8x4"],
    },
    Family { kind: "mlp", build: mlp::build, short: mlp::short, examples: &["mlp"] },
    Family {
        kind: "vgg",
        build: vgg::build,
        short: vgg::short,
        examples: &["vgg8", "vgg11", "vgg13", "vgg16", "vgg19"],
    },
    Family {
        kind: "resnet_imagenet",
        build: resnet_imagenet::build,
        short: resnet_imagenet::short,
        examples: &["resnet18", "resnet34", "resnet50", "ResNet18", "ResNet50"],
    },
    Family {
        kind: "wrn",
        build: wrn::build,
        short: wrn::short,
        examples: &["wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"],
    },
    Family {
        kind: "mobilenet_v2",
        build: mobilenet_v2::build,
        short: mobilenet_v2::short,
        examples: &["mobilenet_v2", "MobileNetV2"],
    },
    Family {
        kind: "shufflenet_v1",
        build: shufflenet_v1::build,
        short: shufflenet_v1::short,
        examples: &["shufflenet_v1", "ShuffleV1"],
    },
    Family {
        kind: "shufflenet_v2",
        build: shufflenet_v2::build,
        short: shufflenet_v2::short,
        examples: &["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "ShuffleV2"],
    },
    Family {
        kind: "efficientnet_lite",
        build: efficientnet_lite::build,
        short: efficientnet_lite::short,
        examples: &["efficientnet_lite0"],
    },
    Family { kind: "vit", build: vit::build, short: vit::short, examples: &["vit_ti_16", "vit_s_16", "vit_b_16"] },
    Family { kind: "unet", build: unet::build, short: unet::short, examples: &["unet"] },
    Family { kind: "two_stream", build: two_stream::build, short: two_stream::short, examples: &["two_stream"] },
    Family { kind: "conv_lstm", build: conv_lstm::build, short: conv_lstm::short, examples: &["conv_lstm"] },
    Family { kind: "lstm", build: lstm::build, short: lstm::short, examples: &["lstm", "gru"] },
];

/// Short names that always exist, for messages and completion.
pub fn examples() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.examples).copied().collect()
}

/// The graph of a short name.
///
/// # Errors
/// No family has such a name, or the family cannot work on this data.
pub fn build_short(name: &str, frame: &Frame) -> Result<Graph, ModelError> {
    let found = FAMILIES.iter().find_map(|family| Some((family, (family.short)(name)?)));
    match found {
        Some((family, settings)) => named((family.build)(&settings, frame)?, name),
        None => {
            let examples = examples();
            let hint = match nearest(name, examples.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("known: {}", examples.join(", ")),
            };
            Err(ModelError::new(format!("unknown architecture `{name}`")).hint(hint))
        }
    }
}

/// The graph of a table of settings.
///
/// # Errors
/// No such kind, settings that the family does not know or cannot use.
pub fn build_table(kind: &str, settings: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    match FAMILIES.iter().find(|family| family.kind == kind) {
        Some(family) => named((family.build)(settings, frame)?, kind),
        None => {
            let kinds: Vec<&str> = FAMILIES.iter().map(|family| family.kind).collect();
            let hint = match nearest(kind, kinds.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("known: {}", kinds.join(", ")),
            };
            Err(ModelError::new(format!("unknown kind of architecture `{kind}`")).at("kind").hint(hint))
        }
    }
}

fn named(mut graph: Graph, name: &str) -> Result<Graph, ModelError> {
    graph.name = name.into();
    Ok(graph)
}

/// Settings of a family from its table; the error names the key.
fn settings<T: serde::de::DeserializeOwned>(table: &Map<String, Value>) -> Result<T, ModelError> {
    serde_path_to_error::deserialize(Value::Object(table.clone())).map_err(|error| {
        let path = error.path().to_string();
        let wrong = ModelError::new(error.inner().to_string());
        if path == "." { wrong } else { wrong.at(&path) }
    })
}

/// `{"key": value}`.
fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Channels, height and width of the input.
fn image(frame: &Frame, family: &str) -> Result<[usize; 3], ModelError> {
    <[usize; 3]>::try_from(frame.input.as_slice())
        .map_err(|_| ModelError::new(format!("`{family}` wants images [C, H, W], the data has {:?}", frame.input)))
}

#[cfg(test)]
pub(crate) use tests::small_families;
#[cfg(test)]
mod tests;
