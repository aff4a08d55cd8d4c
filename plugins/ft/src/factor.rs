//! Distance between factors.

use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// Settings of [`FtFactor`].
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FtFactorConfig {
    /// Power of the activations before the mean over channels; at least 1.
    #[schemars(range(min = 1))]
    pub p1: u32,
    /// Power of the differences; at least 1.
    #[schemars(range(min = 1))]
    pub p2: u32,
    /// Compare all values of a sample, without the power `p1` and the mean over channels.
    pub flat: bool,
}

impl Default for FtFactorConfig {
    fn default() -> FtFactorConfig {
        FtFactorConfig { p1: 2, p2: 1, flat: false }
    }
}

/// Distance between the factors of both networks: of their normalised power means over channels, or of all values.
///
/// Kim, Park & Kwak 2018 (arXiv:1802.04977), as in RepDistiller `distiller_zoo/FT.py`; with `flat` the paper's own form, as in mmrazor
/// `models/losses/factor_transfer_loss.py`.
/// ```text
/// L = mean_n,hw |v_nhw - v'_nhw|^p2     v_n = u_n / max(|u_n|, 1e-12)   u_nhw = mean_c F_nchw^p1   (flat: u_n all values)
/// ```
/// Without `flat` in each direction the larger map is brought to the smaller one's size by adaptive average pooling first.
///
/// # Shapes and units
/// - `student` `[N, C, H, W]` float; carries gradient
/// - `teacher` `[N, C', H', W']`, same type (`flat`: the same shape, of any rank); constant
/// - returns `[]`, no unit, >= 0
///
/// # Errors
/// Other than maps, batches that differ (`flat`: shapes that differ), an empty batch, a power of 0.
///
/// # Example
/// Factors (3, 4) / 5 and (1, 0).
/// ```
/// # use stillhouse_ft::FtFactor;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<FtFactor>("{}")?
///     .input("student", &[1, 1, 1, 2], &[3f64.sqrt(), -2.0])
///     .input("teacher", &[1, 2, 1, 2], &[1.0, 0.0, 7.0, 0.0])
///     .run()?;
/// assert!((run.loss() - 0.5 * (0.4 + 0.8)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct FtFactor(FtFactorConfig);

impl Component for FtFactor {
    type Config = FtFactorConfig;
    const NAME: &'static str = "ft_factor";
    const DOC: &'static str = "Distance between normalised factors of feature maps";
    const CITATION: &'static str = "Kim, Park & Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS 2018, arXiv:1802.04977";

    fn new(config: FtFactorConfig) -> Result<FtFactor> {
        config.check("")?;
        Ok(FtFactor(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for FtFactor {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        self.0.distance(Self::NAME, &student, &teacher)
    }
}

impl FtFactorConfig {
    /// Refuses powers of 0; `path` stands before the name of a setting.
    pub(crate) fn check(&self, path: &str) -> Result<()> {
        for (name, power) in [("p1", self.p1), ("p2", self.p2)] {
            ensure!(power >= 1, "`{path}{name}` must be at least 1");
        }
        Ok(())
    }

    /// The loss; `name` is the component's.
    pub(crate) fn distance(&self, name: &str, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
        let vectors = if self.flat {
            same_shape(name, student, teacher)?;
            [student, teacher].map(|x| x.flatten_from(1))
        } else {
            let (student, teacher) = common_size(name, student, teacher)?;
            [student, teacher].map(|x| power(&x, self.p1).mean(&[1]).flatten_from(1))
        };
        let [ours, theirs] = vectors.map(|x| x.normalize(&[1], 1e-12)); // [N, H W]
        Ok(power(&(ours - theirs).abs(), self.p2).mean_all())
    }
}

fn power(x: &Tensor, exponent: u32) -> Tensor {
    match exponent {
        1 => x.clone(),
        2 => x.square(),
        exponent => x.pow(f64::from(exponent)),
    }
}

register!(loss FtFactor);
