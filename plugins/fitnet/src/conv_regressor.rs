//! The strided regressor.

use crate::regressor::{Layers, Regressor};
use stillhouse_plugin::prelude::*;

/// Settings of [`ConvRegressor`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConvRegressorConfig {
    /// The convolution adds a bias.
    pub bias: bool,
    /// A batch normalisation follows the convolution.
    pub batch_norm: bool,
    /// A ReLU ends it.
    pub relu: bool,
}

impl Default for ConvRegressorConfig {
    fn default() -> ConvRegressorConfig {
        ConvRegressorConfig { bias: true, batch_norm: true, relu: true }
    }
}

/// Convolution from the student's map to the channels and size of the teacher's, then batch normalisation and ReLU.
///
/// Romero et al. 2015 (arXiv:1412.6550), Sec. 2.2, in the form of RepDistiller's `ConvReg`.
/// ```text
/// y = relu(bn(conv(x)))
/// from HxW to H/2 x W/2: 3x3, stride 2, padding 1      to 2H x 2W: transposed 4x4, stride 2, padding 1
/// otherwise:             kernel (1 + H - H', 1 + W - W'), no padding
/// ```
/// The paper has no batch normalisation, and always the last kernel; the distiller `fitnet` follows it by default.
/// `ConvReg` looks at heights only; here the width must follow. An odd width halves to the next whole number.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`, or `[N, D]` as a map of 1x1
/// - `to` `[N, C', H', W']` or `[N, E]`; gives the shape
/// - parameters `conv.weight` `[C', C, kH, kW]` (transposed: `[C, C', 4, 4]`), `conv.bias`, `bn.weight`, `bn.bias` `[C']`
/// - buffers `bn.running_mean`, `bn.running_var` `[C']`
///
/// # Errors
/// A teacher's map that is larger in either direction (but twice as large in both), other than two or four dimensions.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::ConvRegressor;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<ConvRegressor>(r#"{"batch_norm": false}"#)?
///     .input("from", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
///     .input("to", &[1, 1, 1, 1], &[0.0])
///     .param("conv.weight", &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
///     .param("conv.bias", &[-4.0])
///     .run()?;
/// assert_eq!(run.output().values, [6.0]);
/// # Ok(())
/// # }
/// ```
pub struct ConvRegressor {
    config: ConvRegressorConfig,
    regressor: Option<Regressor>,
}

impl Component for ConvRegressor {
    type Config = ConvRegressorConfig;
    const NAME: &'static str = "conv_regressor";
    const DOC: &'static str =
        "Convolution to the channels and size of the other end, then batch normalisation and ReLU";
    const CITATION: &'static str =
        "Romero et al., FitNets, ICLR 2015, arXiv:1412.6550; HobbitLong/RepDistiller models/util.py ConvReg";

    fn new(config: ConvRegressorConfig) -> Result<ConvRegressor> {
        Ok(ConvRegressor { config, regressor: None })
    }
}

impl Connector for ConvRegressor {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let ConvRegressorConfig { bias, batch_norm, relu } = self.config;
        self.regressor = Some(Regressor::bind(cx, Self::NAME, "", Layers { bias, batch_norm, relu }, [from, to])?);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        match &self.regressor {
            Some(regressor) => regressor.forward(cx, x),
            None => Err(Error::new("`conv_regressor` ran before it was bound")),
        }
    }
}

register!(connector ConvRegressor);
