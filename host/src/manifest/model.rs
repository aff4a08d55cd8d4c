//! `[models]`: architectures, layers, inputs, and parts in place of layers.

use super::cache::Keep;
use super::data::Size;
use super::one_or_many::OneOrMany;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Keys that belong to someone else: a plugin's part, an architecture, a kind of layer.
pub type Config = serde_json::Map<String, Value>;

/// A network: a known architecture or layers one by one, and where its weights come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A known architecture: `"resnet20"` or `{ kind = "resnet", depth = 20 }`.
    pub arch: Option<Arch>,
    /// The network, layer by layer.
    #[schemars(length(min = 1))]
    pub layers: Option<Vec<Layer>>,
    /// A file of weights, relative to the manifest.
    pub weights: Option<String>,
    /// Take the weights that this stage of the run has trained.
    pub stage: Option<String>,
    /// What the network expects of its input.
    pub input: Option<Input>,
    /// Apply the network to every frame of a clip, carrying state over time.
    #[serde(default)]
    pub over_time: bool,
    /// The network, over time, predicts the next frame of a clip.
    pub predict: Option<Predict>,
    /// Parts that take the place of layers, by path: `modules."layer3.0" = { use = "..." }`.
    #[serde(default)]
    pub modules: IndexMap<String, PartUse>,
    /// Seed of the initial weights; drawn from the run's seed unless written.
    pub seed: Option<u64>,
    /// How the convolutions compute in stages that do not train the model: `"bf16"` rounds their weights and inputs.
    #[serde(default)]
    pub frozen: FrozenPrecision,
    /// Keep what the model gives for a sample in stages that do not train it, and read it the next time: `true`, `"f16"`, or
    /// `{ numbers = "f16", top = 16 }`.
    #[serde(default)]
    pub cache: Keep,
}

/// Prediction of the next frame: of a clip of T frames the network reads T - 1 and gives the frame behind each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Predict {
    /// Frames that it is given; behind them it reads its own predictions, or what the stage's `sampling` says. Half of the
    /// clip unless written.
    #[schemars(range(min = 1))]
    pub given: Option<usize>,
}

/// The numbers that the convolutions of a frozen model compute with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FrozenPrecision {
    /// As those of a trained one.
    #[default]
    F32,
    /// Inputs and weights rounded to bf16, sums in `f32`: about 0.25 % of a layer's output in error. Half the time on
    /// processors that multiply bf16 fast, on the fast executor; elsewhere `f32`.
    Bf16,
}

/// What a network expects of its input.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Mean to subtract, one number or one per channel.
    pub mean: Option<OneOrMany<f64>>,
    /// Standard deviation to divide by, one number or one per channel.
    pub std: Option<OneOrMany<f64>>,
    /// The view of the sample that this network sees.
    pub view: Option<String>,
    /// Size of the input; the view's or the data's unless written.
    pub size: Option<Size>,
    /// Channels of the input; the data's unless written.
    #[schemars(range(min = 1))]
    pub channels: Option<usize>,
}

/// A known architecture and its options.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "ArchForm")]
pub struct Arch {
    /// Name of the family, or of one member of it (`resnet20`).
    pub kind: String,
    /// What the family takes, checked by it.
    pub options: Config,
}

/// A known architecture: its name, or a table with its options.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum ArchForm {
    /// Name of an architecture.
    Name(String),
    /// A family and its options.
    Table {
        /// Name of the family.
        kind: String,
        #[serde(flatten)]
        options: Config,
    },
}

impl From<ArchForm> for Arch {
    fn from(form: ArchForm) -> Self {
        match form {
            ArchForm::Name(kind) => Self { kind, options: Config::new() },
            ArchForm::Table { kind, options } => Self { kind, options },
        }
    }
}

/// One layer; keys besides these belong to its kind.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct Layer {
    /// Name, unique in the model; taps and parameters are found by it.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What the layer does.
    pub kind: String,
    /// The layers it reads; `"input"` is the input, the default is the layer before.
    pub from: Option<OneOrMany<String>>,
    /// What the kind takes, checked by it.
    #[serde(flatten)]
    pub options: Config,
}

/// A part by name, with its own config: a connector, or a module in place of a layer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "PartUseForm")]
pub struct PartUse {
    /// Name of the part, `plugin::part` where two plugins share it.
    pub use_: String,
    /// The part's own config, checked by its plugin.
    pub config: Config,
}

/// A part: its name, or a table with its config.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum PartUseForm {
    /// Name of a part.
    Name(String),
    /// A part and its config.
    Table {
        /// Name of the part.
        #[serde(rename = "use")]
        use_: String,
        #[serde(flatten)]
        config: Config,
    },
}

impl From<PartUseForm> for PartUse {
    fn from(form: PartUseForm) -> Self {
        match form {
            PartUseForm::Name(use_) => Self { use_, config: Config::new() },
            PartUseForm::Table { use_, config } => Self { use_, config },
        }
    }
}
