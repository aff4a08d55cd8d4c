//! Translator, paraphraser and their way back, as connectors.

use crate::layers::{Stack, check_rate, factor_channels};
use stillhouse_plugin::prelude::*;

/// Settings of [`FtEncoder`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FtEncoderConfig {
    /// Channels of the factor as a share of the other end's; above 0, at most 16.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 16))]
    pub rate: f64,
    /// A batch normalisation follows each convolution.
    pub batch_norm: bool,
}

impl Default for FtEncoderConfig {
    fn default() -> FtEncoderConfig {
        FtEncoderConfig { rate: 0.5, batch_norm: true }
    }
}

/// From a map to its factor: the translator of factor transfer, and the first half of its paraphraser.
///
/// Kim, Park & Kwak 2018 (arXiv:1802.04977), as in RepDistiller `models/util.py` `Translator`, `Paraphraser`.
/// ```text
/// y = f3(f2(f1(x)))     f = leaky_relu_0.1(bn(conv 3x3, padding 1)); f2 goes to floor(rate C') channels, C' of the other end
/// ```
/// The translator has the normalisations, the paraphraser (where both ends are the teacher's) has none.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; `to` `[N, C', ...]` gives the channels; result `[N, floor(rate C'), H, W]`
/// - parameters `encoder.{0,3,6}.weight`, `.bias`, and `encoder.{1,4,7}.weight`, `.bias`; buffers of the latter
///
/// # Errors
/// Other than a map at `from`, no channel left, a rate that is not above 0 and at most 16.
pub struct FtEncoder {
    config: FtEncoderConfig,
    stack: Option<Stack>,
}

impl Component for FtEncoder {
    type Config = FtEncoderConfig;
    const NAME: &'static str = "ft_encoder";
    const DOC: &'static str = "Three convolutions from a map to its factor: translator, or encoder of the paraphraser";
    const CITATION: &'static str =
        "Kim, Park & Kwak, Paraphrasing Complex Network, NeurIPS 2018, arXiv:1802.04977; RepDistiller models/util.py";

    fn new(config: FtEncoderConfig) -> Result<FtEncoder> {
        check_rate(config.rate)?;
        Ok(FtEncoder { config, stack: None })
    }
}

impl Connector for FtEncoder {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let [_, channels, ..] = map_dims(Self::NAME, from)?;
        let factor = factor_channels(to.dim(1)?, self.config.rate)?;
        self.stack = Some(Stack::encoder(cx, "encoder", [channels, factor], self.config.batch_norm));
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        run(Self::NAME, self.stack.as_ref(), cx, x)
    }
}

/// Settings of [`FtDecoder`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FtDecoderConfig {
    /// A batch normalisation follows each convolution.
    pub batch_norm: bool,
}

/// From a factor back to the map: the second half of the paraphraser of factor transfer.
///
/// Kim, Park & Kwak 2018 (arXiv:1802.04977), as in RepDistiller `models/util.py` `Paraphraser`.
/// ```text
/// y = f3(f2(f1(x)))     f = leaky_relu_0.1(bn(transposed conv 3x3, padding 1)); f2 goes to the channels of the other end
/// ```
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; `to` `[N, C', ...]` gives the channels; result `[N, C', H, W]`
/// - parameters `decoder.{0,3,6}.weight`, `.bias`, and with normalisations `decoder.{1,4,7}.*`
///
/// # Errors
/// Other than a map at `from`.
pub struct FtDecoder {
    config: FtDecoderConfig,
    stack: Option<Stack>,
}

impl Component for FtDecoder {
    type Config = FtDecoderConfig;
    const NAME: &'static str = "ft_decoder";
    const DOC: &'static str = "Three transposed convolutions from a factor back to its map: decoder of the paraphraser";
    const CITATION: &'static str =
        "Kim, Park & Kwak, Paraphrasing Complex Network, NeurIPS 2018, arXiv:1802.04977; RepDistiller models/util.py";

    fn new(config: FtDecoderConfig) -> Result<FtDecoder> {
        Ok(FtDecoder { config, stack: None })
    }
}

impl Connector for FtDecoder {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let [_, factor, ..] = map_dims(Self::NAME, from)?;
        self.stack = Some(Stack::decoder(cx, "decoder", [factor, to.dim(1)?], self.config.batch_norm));
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        run(Self::NAME, self.stack.as_ref(), cx, x)
    }
}

fn run(name: &str, stack: Option<&Stack>, cx: &Cx, x: &Tensor) -> Result<Tensor> {
    match stack {
        Some(stack) => Ok(stack.forward(cx, x)),
        None => Err(Error::new(format!("`{name}` ran before it was bound"))),
    }
}

register!(connector FtEncoder);
register!(connector FtDecoder);
