//! A linear map over channels.

use crate::features::{as_map, map_dims};
use stillhouse_plugin::op::Op;
use stillhouse_plugin::prelude::{BindCx, Component, Connector, Cx, Deserialize, Init, JsonSchema, Result, Tensor};
use stillhouse_plugin::{ensure, register};

/// Settings of [`Linear`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Adds a bias.
    pub bias: bool,
    /// The weight starts uniform in plus and minus this bound, above 0 (lenscloth/RKD: 0.005); without it, as PyTorch's layers do.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub init_bound: Option<f64>,
}

impl Default for LinearConfig {
    fn default() -> LinearConfig {
        LinearConfig { bias: true, init_bound: None }
    }
}

/// Linear map from the student's channels to the teacher's, the same at every place: a fully connected layer on vectors, a
/// 1x1 convolution on maps.
///
/// ```text
/// y_nohw = sum_c weight_oc x_nchw + bias_o
/// ```
/// `bias = false` and `init_bound = 0.005` are the regressor of lenscloth/RKD (`metric/loss.py` FitNet).
///
/// # Shapes and units
/// - `from` `[N, C, H, W]` or `[N, C]`; carries gradient
/// - `to` `[N, C', H, W]` or `[N, C']`, as many dimensions as `from`
/// - parameters `weight` `[C', C]` for both, `bias` `[C']`
///
/// # Errors
/// Ends that differ in height or width or in their number of dimensions, other than two or four dimensions, an `init_bound`
/// that is not finite and above 0.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::Linear;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Linear>(r#"{"bias": false}"#)?
///     .input("from", &[1, 2], &[1.0, 2.0])
///     .input("to", &[1, 1], &[0.0])
///     .param("weight", &[3.0, 4.0])
///     .run()?;
/// assert_eq!(run.output().values, [11.0]);
/// # Ok(())
/// # }
/// ```
pub struct Linear(LinearConfig);

impl Component for Linear {
    type Config = LinearConfig;
    const NAME: &'static str = "linear";
    const DOC: &'static str = "Linear map over channels: fully connected on vectors, 1x1 convolution on maps";
    const CITATION: &'static str =
        "Romero et al., FitNets, ICLR 2015, arXiv:1412.6550; lenscloth/RKD metric/loss.py FitNet";

    fn new(config: LinearConfig) -> Result<Linear> {
        if let Some(bound) = config.init_bound {
            ensure!(bound.is_finite() && bound > 0.0, "`init_bound` must be finite and above 0, got {bound}");
        }
        Ok(Linear(config))
    }
}

impl Connector for Linear {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let (ours, theirs) = (from.dims()?, to.dims()?);
        let (inputs, outputs) = (map_dims(Self::NAME, &ours)?[1], map_dims(Self::NAME, &theirs)?[1]);
        ensure!(
            ours.len() == theirs.len() && ours[2..] == theirs[2..],
            "`linear` keeps the size, which differs\n  from: {ours:?}\n  to: {theirs:?}\n\nhint: `connector = [\"pool_to\", \
             \"linear\"]` pools first"
        );
        let init = match self.0.init_bound {
            Some(bound) => Init::Uniform { low: -bound, high: bound },
            None => Init::layer_default(),
        };
        cx.add_param("weight", &[outputs, inputs], &init);
        if self.0.bias {
            cx.add_param("bias", &[outputs], &Init::BiasUniform { fan_in: inputs });
        }
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let weight = cx.param("weight"); // [C', C]
        if x.rank()? == 2 {
            let y = x.matmul(&weight.t()); // [N, C']
            return Ok(if self.0.bias { y + cx.param("bias") } else { y });
        }
        let kernel = weight.unsqueeze(2).unsqueeze(3); // [C', C, 1, 1]
        let conv = Op::Conv2d { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };
        let map = as_map(Self::NAME, x)?;
        Ok(if self.0.bias { map.apply(&conv, &[&kernel, &cx.param("bias")]) } else { map.apply(&conv, &[&kernel]) })
    }
}

register!(connector Linear);
