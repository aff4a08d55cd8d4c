//! Convolution, normalisation, activation.

use crate::activation::Activation;
use crate::convolution::{Convolution, Window};
use crate::features::full_map_dims;
use crate::norm::{BoundNorm, Norm};
use crate::pair::Pair;
use stillhouse_plugin::prelude::*;

/// Largest kernel, stride, padding and dilation.
const MOST: usize = 1024;
/// Most channels and groups.
const MOST_CHANNELS: usize = 1 << 20;

/// Settings of [`Conv`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConvConfig {
    /// Channels out, 1 to 2^20; those of the other end when absent.
    #[schemars(extend("minimum" = 1, "maximum" = 1_048_576))]
    pub out: Option<usize>,
    /// Height and width of the kernel, 1 to 1024.
    pub kernel: Pair<usize>,
    /// Step from window to window, 1 to 1024; of a transposed one the step between outputs.
    pub stride: Pair<usize>,
    /// Zeros around the map, 0 to 1024; when absent half of what the kernel spans: an odd one with stride 1 keeps the size.
    pub padding: Option<Pair<usize>>,
    /// Step from element to element of the kernel, 1 to 1024.
    pub dilation: Pair<usize>,
    /// Groups of channels that do not see each other, 1 to 2^20; must divide channels in and out.
    #[schemars(extend("minimum" = 1, "maximum" = 1_048_576))]
    pub groups: usize,
    /// The convolution adds a bias; when absent where no normalisation follows.
    pub bias: Option<bool>,
    /// A transposed convolution, which enlarges the map by its stride.
    pub transposed: bool,
    /// Rows and columns added at the lower right of a transposed one; below its stride or its dilation.
    pub output_padding: Pair<usize>,
    /// Normalisation behind the convolution.
    pub norm: Norm,
    /// Groups of `norm = "group"`, 1 to 2^20; when absent the largest common divisor of the channels and 32. 1 is a layer over
    /// the whole map, as many as channels instance normalisation.
    #[schemars(extend("minimum" = 1, "maximum" = 1_048_576))]
    pub norm_groups: Option<usize>,
    /// What ends it.
    pub activation: Activation,
    /// Slope of `leaky_relu` below 0; 0 to 1.
    #[schemars(extend("minimum" = 0, "maximum" = 1))]
    pub slope: f64,
}

impl Default for ConvConfig {
    fn default() -> ConvConfig {
        ConvConfig {
            out: None,
            kernel: Pair::Both(1),
            stride: Pair::Both(1),
            padding: None,
            dilation: Pair::Both(1),
            groups: 1,
            bias: None,
            transposed: false,
            output_padding: Pair::Both(0),
            norm: Norm::None,
            norm_groups: None,
            activation: Activation::None,
            slope: 0.01,
        }
    }
}

impl ConvConfig {
    /// The sizes, which must lie within their bounds.
    fn window(&self) -> Result<Window> {
        let kernel = self.kernel.within("kernel", 1, MOST)?;
        let dilation = self.dilation.within("dilation", 1, MOST)?;
        let window = Window {
            kernel,
            stride: self.stride.within("stride", 1, MOST)?,
            padding: match self.padding {
                Some(padding) => padding.within("padding", 0, MOST)?,
                None => [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1) / 2),
            },
            output_padding: self.output_padding.within("output_padding", 0, MOST)?,
            dilation,
            groups: self.groups,
            transposed: self.transposed,
        };
        let added = window.output_padding;
        ensure!(
            self.transposed || added == [0, 0],
            "`output_padding` belongs to a transposed convolution\n\nhint: `transposed = true`, or `padding` in its place"
        );
        ensure!(
            [0, 1].into_iter().all(|axis| added[axis] < window.stride[axis].max(dilation[axis]) || added[axis] == 0),
            "`output_padding` must be below `stride` or `dilation`, got {added:?} beside {:?} and {dilation:?}",
            window.stride
        );
        Ok(window)
    }

    fn check(&self) -> Result<()> {
        let counts = [("out", self.out), ("groups", Some(self.groups)), ("norm_groups", self.norm_groups)];
        for (setting, count) in counts {
            let fits = count.is_none_or(|count| (1..=MOST_CHANNELS).contains(&count));
            ensure!(fits, "`{setting}` must be between 1 and {MOST_CHANNELS}, got {}", count.unwrap_or_default());
        }
        ensure!(
            self.norm == Norm::Group || self.norm_groups.is_none(),
            "`norm_groups` belongs to `norm = \"group\"`\n\nhint: `groups` are those of the convolution"
        );
        ensure!((0.0..=1.0).contains(&self.slope), "`slope` must be between 0 and 1, got {}", self.slope);
        Ok(())
    }
}

/// Convolution with every usual option, then normalisation, then activation.
///
/// open-mmlab/mmrazor `ConvModuleConnector`, whose defaults it has; channels out are those of the other end.
/// ```text
/// y = activation(norm(conv(x)))
/// conv:       H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1
/// transposed: H' = (H - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1
/// ```
/// The size is what these say, whatever that of the other end: another connector in the row brings it there. Normalisations are
/// `batch` (Ioffe & Szegedy 2015, arXiv:1502.03167), `group` (Wu & He 2018, arXiv:1803.08494) and `layer`, over the channels of
/// each place (Liu et al. 2022, arXiv:2201.03545); eps 1e-5, momentum 0.1.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; carries gradient
/// - `to` `[N, C', ...]` gives the channels where `out` does not
/// - gives `[N, C', H', W']`
/// - parameters `conv.weight` `[C', C / groups, kH, kW]` (transposed: `[C, C' / groups, kH, kW]`), `conv.bias` `[C']`, and with a
///   normalisation `norm.weight`, `norm.bias` `[C']`
/// - buffers of `batch`: `norm.running_mean`, `norm.running_var` `[C']`
///
/// # Errors
/// Other than a map at `from`, an empty batch, an other end without channels, groups that do not divide the channels, a window that
/// does not fit, a normalisation over one value, settings out of range.
///
/// # Example
/// ```
/// # use stillhouse_connectors::Conv;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Conv>(r#"{"kernel": [1, 3], "activation": "relu"}"#)?
///     .input("from", &[1, 1, 1, 3], &[1.0, 2.0, 4.0])
///     .input("to", &[1, 1], &[0.0])
///     .param("conv.weight", &[1.0, 0.0, -1.0])
///     .param("conv.bias", &[0.5])
///     .run()?;
/// assert_eq!(run.output().values, [0.0, 0.0, 2.5]);
/// # Ok(())
/// # }
/// ```
pub struct Conv {
    config: ConvConfig,
    window: Window,
    layers: Option<(Convolution, BoundNorm)>,
}

impl Component for Conv {
    type Config = ConvConfig;
    const NAME: &'static str = "conv";
    const DOC: &'static str = "Convolution, plain or transposed, then normalisation and activation";
    const CITATION: &'static str = "open-mmlab/mmrazor ConvModuleConnector";

    fn new(config: ConvConfig) -> Result<Conv> {
        config.check()?;
        Ok(Conv { window: config.window()?, config, layers: None })
    }
}

impl Connector for Conv {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let [_, channels, ..] = full_map_dims(Self::NAME, from)?;
        let other_end = to.dims()?;
        let Some(out) = self.config.out.or(other_end.get(1).copied()) else {
            return Err(Error::new(format!(
                "`conv` takes its channels from the other end [N, C, ...], which is {other_end:?}\n\nhint: `out = ...` says them"
            )));
        };
        let ConvConfig { norm, norm_groups, .. } = self.config;
        let bias = self.config.bias.unwrap_or(norm == Norm::None);
        let convolution = Convolution::bind(cx, Self::NAME, self.window, [channels, out], bias)?;
        self.layers = Some((convolution, BoundNorm::bind(cx, Self::NAME, norm, norm_groups, out)?));
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        full_map_dims(Self::NAME, x)?;
        let Some((convolution, norm)) = &self.layers else {
            return Err(Error::new("`conv` ran before it was bound"));
        };
        let y = norm.forward(cx, Self::NAME, convolution.forward(cx, x))?; // [N, C', H', W']
        Ok(self.config.activation.of(y, self.config.slope))
    }
}

register!(connector Conv);
