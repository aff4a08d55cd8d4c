//! What a layer computes, as a manifest writes it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use stillhouse_plugin::Init;

/// Height and width; one number means both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pair(pub [usize; 2]);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a whole number or a pair of them")]
        enum Either {
            Both(usize),
            Each([usize; 2]),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Both(value) => Pair([value; 2]),
            Either::Each(pair) => Pair(pair),
        })
    }
}

/// How a map is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Bilinear, half-pixel centres.
    Bilinear,
    /// Nearest neighbour.
    Nearest,
}

fn one() -> Pair {
    Pair([1; 2])
}
fn zero() -> Pair {
    Pair([0; 2])
}
fn groups() -> usize {
    1
}
fn yes() -> bool {
    true
}
fn eps() -> f64 {
    1e-5
}
fn momentum() -> f64 {
    0.1
}
fn slope() -> f64 {
    0.01
}

/// A layer's function with its settings. Inputs' channels and sizes are known from the graph and never written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerKind {
    /// Convolution over `[C, H, W]`.
    Conv {
        /// Channels of the output.
        out: usize,
        /// Kernel.
        kernel: Pair,
        /// Stride.
        #[serde(default = "one")]
        stride: Pair,
        /// Zeros added on each side.
        #[serde(default = "zero")]
        padding: Pair,
        /// Distance between taps of the kernel.
        #[serde(default = "one")]
        dilation: Pair,
        /// Groups of channels.
        #[serde(default = "groups")]
        groups: usize,
        /// With a bias.
        #[serde(default = "yes")]
        bias: bool,
        /// First values of the weight; PyTorch's default when absent.
        #[serde(default)]
        init: Option<Init>,
        /// First values of the bias; PyTorch's default when absent.
        #[serde(default)]
        bias_init: Option<Init>,
    },
    /// Transposed convolution over `[C, H, W]`.
    ConvTranspose {
        /// Channels of the output.
        out: usize,
        /// Kernel.
        kernel: Pair,
        /// Stride.
        #[serde(default = "one")]
        stride: Pair,
        /// Cut from each side of the output.
        #[serde(default = "zero")]
        padding: Pair,
        /// Added to one side of the output.
        #[serde(default = "zero")]
        output_padding: Pair,
        /// Groups of channels.
        #[serde(default = "groups")]
        groups: usize,
        /// With a bias.
        #[serde(default = "yes")]
        bias: bool,
        /// First values of the weight; PyTorch's default when absent.
        #[serde(default)]
        init: Option<Init>,
    },
    /// Fully connected over the last dimension.
    Linear {
        /// Features of the output.
        out: usize,
        /// With a bias.
        #[serde(default = "yes")]
        bias: bool,
        /// First values of the weight; PyTorch's default when absent.
        #[serde(default)]
        init: Option<Init>,
        /// First values of the bias; PyTorch's default when absent.
        #[serde(default)]
        bias_init: Option<Init>,
    },
    /// Batch normalisation.
    BatchNorm {
        /// Added to the variance.
        #[serde(default = "eps")]
        eps: f64,
        /// Share of the new batch in the running statistics.
        #[serde(default = "momentum")]
        momentum: f64,
    },
    /// Layer normalisation over all dimensions of a sample, or the last `dims`.
    LayerNorm {
        /// How many trailing dimensions; all of a sample when absent.
        #[serde(default)]
        dims: Option<usize>,
        /// Added to the variance.
        #[serde(default = "eps")]
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` above 0, else `slope x`.
    LeakyRelu {
        /// Factor below 0.
        #[serde(default = "slope")]
        slope: f64,
    },
    /// Logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`.
    Gelu,
    /// `x relu6(x + 3) / 6`.
    HardSwish,
    /// Softmax over channels.
    Softmax,
    /// Largest of each window.
    MaxPool {
        /// Window.
        kernel: Pair,
        /// Stride; the window when absent.
        #[serde(default)]
        stride: Option<Pair>,
        /// Padding, never the largest.
        #[serde(default = "zero")]
        padding: Pair,
    },
    /// Mean of each window.
    AvgPool {
        /// Window.
        kernel: Pair,
        /// Stride; the window when absent.
        #[serde(default)]
        stride: Option<Pair>,
        /// Zeros added on each side.
        #[serde(default = "zero")]
        padding: Pair,
    },
    /// Mean over windows, to a size.
    AdaptiveAvgPool {
        /// Height and width of the output.
        size: Pair,
    },
    /// `[C, H, W]` to `[C]`.
    GlobalAvgPool,
    /// Any shape to `[D]`.
    Flatten,
    /// Another shape of a sample.
    Reshape {
        /// The shape, without the batch.
        shape: Vec<usize>,
    },
    /// To a size.
    Resize {
        /// Height and width of the output.
        size: Pair,
        /// How.
        filter: Resize,
    },
    /// Sum of all inputs.
    Add,
    /// Product of all inputs.
    Mul,
    /// Inputs joined along channels.
    Concat,
    /// Some channels (tokens, of `[T, D]`).
    Slice {
        /// The first of them.
        start: usize,
        /// How many.
        len: usize,
    },
    /// Channels of each group side by side: `[groups, C / groups]` is read as `[C / groups, groups]`.
    ChannelShuffle {
        /// Groups of channels.
        groups: usize,
    },
    /// Zeros around a map, another number on each side.
    Pad {
        /// Rows above.
        #[serde(default)]
        top: usize,
        /// Rows below.
        #[serde(default)]
        bottom: usize,
        /// Columns before.
        #[serde(default)]
        left: usize,
        /// Columns behind.
        #[serde(default)]
        right: usize,
    },
    /// `[C, H, W]` to one token for each pixel, `[H W, C]`.
    Tokens,
    /// `[T, D]` behind a learned token, `[T + 1, D]`. The parameter has the layer's path as its name.
    ClassToken,
    /// The sum with a learned `[1, T, D]`. The parameter has the layer's path as its name.
    PositionEmbedding,
    /// Multi-head self-attention over `[T, D]` (Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.2.2), with the parameters of
    /// PyTorch's `MultiheadAttention`.
    SelfAttention {
        /// Heads; they share `D` evenly.
        heads: usize,
    },
    /// Long short-term memory over frames `[C]`: Hochreiter & Schmidhuber 1997 with forget gates, no peepholes. Parameters,
    /// order of the gates (`i, f, g, o`) and initialisation are those of PyTorch's `LSTMCell`.
    ///
    /// ```text
    /// i, f, o = sigmoid(W x + b + R h + r)     g = tanh(W x + b + R h + r)
    /// c' = f c + i g                           h' = o tanh(c')            h = c = 0 at the first frame
    /// ```
    Lstm {
        /// Features of the state, and of the output `h'`. Taps: `hidden` (the output), `cell`.
        hidden: usize,
    },
    /// Gated recurrent unit over frames `[C]`: Cho et al. 2014 (arXiv:1406.1078), the reset behind the product. Parameters,
    /// order of the gates (`r, z, n`) and initialisation are those of PyTorch's `GRUCell`.
    ///
    /// ```text
    /// r, z = sigmoid(W x + b + R h + r)     n = tanh(W x + b + r (R h + r))
    /// h' = (1 - z) n + z h                  h = 0 at the first frame
    /// ```
    Gru {
        /// Features of the state, which is the output. Tap: `hidden` (the output).
        hidden: usize,
    },
    /// Convolutional LSTM over frames `[C, H, W]` (Shi et al. 2015, arXiv:1506.04214, without peepholes), as in
    /// thuml/transferable-memory: core/layers/ConvLSTMCell.py: one convolution over `[x, h]`, gates in the order `i, f, o, g`.
    ///
    /// ```text
    /// i, f, o = sigmoid(W * [x, h] + b)     g = tanh(W * [x, h] + b)
    /// c' = f c + i g                        h' = o tanh(c')           h = c = 0 at the first frame
    /// ```
    ConvLstm {
        /// Channels of the state, and of the output `h'`. Taps: `hidden` (the output), `cell`.
        hidden: usize,
        /// Kernel, odd: the size of the map stays.
        kernel: Pair,
        /// Added to the forget gate before its sigmoid (1 in thuml/predrnn-pytorch).
        #[serde(default)]
        forget_bias: f64,
    },
    /// Blocks of pixels to channels: `[C, H, W]` to `[block^2 C, H / block, W / block]`; of a block the pixels row by row, of
    /// a pixel its channels (the patches of PredRNN, TensorFlow's `space_to_depth`).
    SpaceToDepth {
        /// Side of a block.
        block: usize,
    },
    /// The way back of `space_to_depth`.
    DepthToSpace {
        /// Side of a block.
        block: usize,
    },
    /// Zeroes this share of the values in training and scales the rest.
    Dropout {
        /// Share, in `[0, 1)`.
        p: f64,
    },
    /// The input.
    Identity,
    /// What a predictor of frames reads: the frame, and behind the given ones a mixture of it and of the prediction made at the
    /// frame before, by the pass's mask.
    #[serde(skip)]
    NextFrame {
        /// Frames that are read as they are.
        given: usize,
    },
    /// A plugin's module took the place of a layer.
    #[serde(skip)]
    Module,
}

/// Why a table is no kind of layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindError {
    /// The key that is wrong; `kind` when something is missing or the kind itself is unknown.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl LayerKind {
    /// The kind that a table `{ kind = "conv", out = 16, kernel = 3 }` describes.
    ///
    /// # Errors
    /// An unknown kind, a setting that it does not have, lacks or cannot use.
    pub fn read(table: &Map<String, Value>) -> Result<LayerKind, KindError> {
        let parse = |table: Map<String, Value>| serde_json::from_value::<LayerKind>(Value::Object(table));
        let error = match parse(table.clone()) {
            Ok(kind) => return kind.without_strangers(table),
            Err(error) => error.to_string(),
        };
        // A tagged enum forgets the key of an error: it is the one without which the error is another.
        let is_missing = error.starts_with("missing field");
        let is_cause = |(key, value): &(&String, &Value)| {
            let rest = table.iter().filter(|(other, _)| other != key).map(|(key, value)| (key.clone(), value.clone()));
            let may_be = key.as_str() != "kind" && (!is_missing || value.is_object());
            may_be && parse(rest.collect()).err().is_none_or(|other| other.to_string() != error)
        };
        match table.iter().find(is_cause) {
            Some((key, _)) if error.starts_with("unknown field") => Err(KindError { key: key.clone(), message: error }),
            Some((key, _)) => Err(KindError { key: key.clone(), message: format!("`{key}`: {error}") }),
            None => Err(KindError { key: "kind".into(), message: error }),
        }
    }

    /// Kinds without settings take any field when they are read.
    fn without_strangers(self, table: &Map<String, Value>) -> Result<LayerKind, KindError> {
        let known = serde_json::to_value(&self).unwrap_or_default();
        match table.keys().find(|key| known.get(key.as_str()).is_none()) {
            None => Ok(self),
            Some(key) => {
                let kind = known["kind"].as_str().unwrap_or_default();
                Err(KindError { key: key.clone(), message: format!("unknown field `{key}`, {kind} has no settings") })
            }
        }
    }

    /// A convolution without bias, as in front of a normalisation.
    pub fn conv(out: usize, kernel: usize, stride: usize, padding: usize, init: Init) -> LayerKind {
        let square = |value| Pair([value; 2]);
        LayerKind::Conv {
            out,
            kernel: square(kernel),
            stride: square(stride),
            padding: square(padding),
            dilation: one(),
            groups: 1,
            bias: false,
            init: Some(init),
            bias_init: None,
        }
    }

    /// Batch normalisation with the usual settings.
    pub fn batch_norm() -> LayerKind {
        LayerKind::BatchNorm { eps: eps(), momentum: momentum() }
    }

    /// A fully connected layer with PyTorch's initialisation.
    pub fn linear(out: usize) -> LayerKind {
        LayerKind::Linear { out, bias: true, init: None, bias_init: None }
    }
}
