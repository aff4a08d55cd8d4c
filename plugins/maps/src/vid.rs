//! Variational information distillation.

use stillhouse_plugin::prelude::*;

/// Settings of [`Vid`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VidConfig {
    /// Channels between the three convolutions; as many as the teacher has unless given; at least 1.
    #[schemars(range(min = 1))]
    pub mid_channels: Option<usize>,
    /// Variance with which the prediction starts; above `eps`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub init_pred_var: f64,
    /// Least variance; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
}

impl Default for VidConfig {
    fn default() -> VidConfig {
        VidConfig { mid_channels: None, init_pred_var: 5.0, eps: 1e-5 }
    }
}

/// Variational information distillation: a normal distribution of the teacher's map, predicted from the student's, is to make
/// the teacher's map likely.
///
/// Ahn et al. 2019 (arXiv:1904.05835), as in RepDistiller `distiller_zoo/VID.py`.
/// ```text
/// L = mean_nchw 1/2 ((mu - t)^2 / v_c + ln v_c)     v_c = ln(1 + e^(rho_c)) + eps
/// mu = W3 relu(W2 relu(W1 s)), 1x1 convolutions without bias; s and t at one size
/// ```
/// In each direction the larger map is brought to the smaller one's size by adaptive average pooling first. The constant
/// `1/2 ln 2 pi` of the likelihood is left out, as in the code, so that the value may fall below 0.
///
/// # Shapes and units
/// - `student` `[N, C, H, W]` float; carries gradient
/// - `teacher` `[N, C', H', W']`, same type; constant
/// - parameters `regressor.0.weight` `[M, C, 1, 1]`, `regressor.2.weight` `[M, M, 1, 1]`, `regressor.4.weight` `[C', M, 1, 1]`,
///   `log_scale` `[C']` (rho)
/// - returns `[]`, nats an element
///
/// # Errors
/// Other than maps, batches that differ, an empty batch, settings out of range.
///
/// # Example
/// A prediction of 2 where the teacher has 1, with variance 1 (rho = ln(e - 1), eps negligible).
/// ```
/// # use stillhouse_maps::Vid;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Vid>(r#"{"eps": 1e-12, "init_pred_var": 1}"#)?
///     .input("student", &[1, 1, 1, 1], &[1.0])
///     .input("teacher", &[1, 1, 1, 1], &[1.0])
///     .param("regressor.0.weight", &[2.0])
///     .param("regressor.2.weight", &[1.0])
///     .param("regressor.4.weight", &[1.0])
///     .run()?;
/// assert!((run.loss() - 0.5).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
pub struct Vid {
    config: VidConfig,
    regressor: Option<[Conv2d; 3]>,
}

impl Component for Vid {
    type Config = VidConfig;
    const NAME: &'static str = "vid";
    const DOC: &'static str =
        "Variational information distillation: likelihood of the teacher's map, predicted from the student's";
    const CITATION: &'static str =
        "Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019, arXiv:1904.05835";

    fn new(config: VidConfig) -> Result<Vid> {
        ensure!(config.mid_channels != Some(0), "`mid_channels` must be at least 1");
        ensure!(config.eps.is_finite() && config.eps > 0.0, "`eps` must be finite and above 0, got {}", config.eps);
        ensure!(
            config.init_pred_var.is_finite() && config.init_pred_var > config.eps,
            "`init_pred_var` must be finite and above `eps` ({}), got {}",
            config.eps,
            config.init_pred_var
        );
        Ok(Vid { config, regressor: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Vid {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let ([_, from, ..], [_, to, ..]) = (map_dims(Self::NAME, &student)?, map_dims(Self::NAME, &teacher)?);
        let mid = self.config.mid_channels.unwrap_or(to);
        let layer = |name: &str, channels| Conv2d::bind(cx, name, channels, [1, 1], 1, 0, false);
        self.regressor = Some([
            layer("regressor.0", [from, mid]),
            layer("regressor.2", [mid, mid]),
            layer("regressor.4", [mid, to]),
        ]);
        // ln(e^y - 1), stable.
        let above = self.config.init_pred_var - self.config.eps;
        cx.add_param("log_scale", &[to], &Init::Constant { value: above + (-(-above).exp_m1()).ln() });
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let [first, second, third] =
            self.regressor.as_ref().ok_or_else(|| Error::new("`vid` ran before it was bound"))?;
        let (student, teacher) = x.pair(Self::NAME)?;
        let (student, teacher) = common_size(Self::NAME, &student, &teacher)?;
        let hidden = second.forward(cx, &first.forward(cx, &student).relu()).relu(); // [N, M, H, W]
        let mean = third.forward(cx, &hidden); // [N, C', H, W]
        let variance = cx.param("log_scale").softplus() + self.config.eps; // [C']
        let variance = variance.reshape(&[1, teacher.dim(1)?, 1, 1]);
        Ok(((mean - teacher).square() / &variance + variance.log()).mean_all() * 0.5)
    }
}

register!(loss Vid);
