//! The method in its two stages.

use crate::factor::FtFactorConfig;
use crate::layers::{Stack, check_rate, factor_channels};
use stillhouse_plugin::prelude::*;

/// Settings of [`Ft`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FtConfig {
    /// Epochs of the paraphraser's stage; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub paraphraser_epochs: f64,
    /// Channels of a factor as a share of the teacher's; above 0, at most 16.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 16))]
    pub rate: f64,
    /// A batch normalisation follows each convolution of the translator.
    pub translator_batch_norm: bool,
    /// Weight of the second stage's term beside the first's 1; at least 0.
    #[schemars(range(min = 0.0))]
    pub factor_weight: f64,
    /// How factors are compared, as of the loss `ft_factor`.
    pub factor: FtFactorConfig,
}

impl Default for FtConfig {
    fn default() -> FtConfig {
        FtConfig {
            paraphraser_epochs: 30.0,
            rate: 0.5,
            translator_batch_norm: true,
            factor_weight: 200.0,
            factor: FtFactorConfig::default(),
        }
    }
}

/// Factor transfer: a paraphraser learns to say the teacher's map in fewer channels and back; then a translator of the student's
/// map learns with the student to say the same.
///
/// Kim, Park & Kwak 2018 (arXiv:1802.04977), as in RepDistiller `distiller_zoo/FT.py`, `models/util.py`.
/// ```text
/// stage paraphraser: L = mean (D(E(t)) - t)^2                           trains E and D, nothing else
/// stage translator:  L = others + factor_weight * distance(T(s), E(t))  trains the student and T
/// ```
/// `others` are the other terms of the manifest's stage, above all the task's; the distance is that of `ft_factor`. E and T are
/// encoders as of `ft_encoder`, D a decoder as of `ft_decoder`; the paraphraser has no batch normalisation, and rests in the
/// second stage.
///
/// # Shapes and units
/// - `student` `[N, C, H, W]`, `teacher` `[N, C', H', W']`; no default
/// - parameters `paraphraser.encoder.*`, `paraphraser.decoder.*`, `translator.encoder.*`
/// - terms `paraphrase` (stage `paraphraser`), squared units of the features, and `factor` (stage `translator`), each `[]`
///
/// # Errors
/// Other than maps, batches that differ, an empty batch, no channel left, settings out of range, a stage of another name.
///
/// # Example
/// ```
/// # use stillhouse_ft::Ft;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let mut bench = Bench::distiller::<Ft>(r#"{"translator_batch_norm": false}"#)?
///     .input("student", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
///     .input("teacher", &[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
///     .stage("translator");
/// assert_eq!(bench.run()?.names(), ["factor"]);
/// # Ok(())
/// # }
/// ```
pub struct Ft {
    config: FtConfig,
    parts: Option<Parts>,
}

struct Parts {
    encoder: Stack,
    decoder: Stack,
    translator: Stack,
}

impl Component for Ft {
    type Config = FtConfig;
    const NAME: &'static str = "ft";
    const DOC: &'static str =
        "Factor transfer: a stage for the teacher's paraphraser, then a stage for the student and its translator";
    const CITATION: &'static str = "Kim, Park & Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS 2018, arXiv:1802.04977";

    fn new(config: FtConfig) -> Result<Ft> {
        check_rate(config.rate)?;
        config.factor.check("factor.")?;
        let weight = config.factor_weight;
        ensure!(weight.is_finite() && weight >= 0.0, "`factor_weight` must be finite and not negative, got {weight}");
        let epochs = config.paraphraser_epochs;
        ensure!(epochs.is_finite() && epochs > 0.0, "`paraphraser_epochs` must be finite and above 0, got {epochs}");
        Ok(Ft { config, parts: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Distiller for Ft {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let paraphraser = StagePlan {
            name: "paraphraser".into(),
            terms: vec!["paraphrase".into()],
            freeze: vec!["**".into()],
            freeze_own: vec!["translator.*".into()],
            epochs: Some(self.config.paraphraser_epochs),
            ..StagePlan::default()
        };
        let translator = StagePlan {
            name: "translator".into(),
            terms: vec!["factor".into()],
            with_others: true,
            freeze_own: vec!["paraphraser.*".into()],
            ..StagePlan::default()
        };
        let factor = WeightPlan::constant(self.config.factor_weight);
        Ok(Plan {
            terms: vec![TermPlan::new("paraphrase"), TermPlan::new("factor").weighted(factor)],
            stages: vec![paraphraser, translator],
            ..Plan::default()
        })
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let ([_, ours, ..], [_, theirs, ..]) = (map_dims(Self::NAME, &student)?, map_dims(Self::NAME, &teacher)?);
        let FtConfig { rate, translator_batch_norm, .. } = self.config;
        let factor = factor_channels(theirs, rate)?;
        self.parts = Some(Parts {
            encoder: Stack::encoder(cx, "paraphraser.encoder", [theirs, factor], false),
            decoder: Stack::decoder(cx, "paraphraser.decoder", [factor, theirs], false),
            translator: Stack::encoder(cx, "translator.encoder", [ours, factor], translator_batch_norm),
        });
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let parts = self.parts.as_ref().ok_or_else(|| Error::new("`ft` ran before it was bound"))?;
        let (student, teacher) = x.pair(Self::NAME)?;
        match cx.stage().as_str() {
            "paraphraser" => {
                let said_again = parts.decoder.forward(cx, &parts.encoder.forward(cx, &teacher)); // [N, C', H', W']
                Ok(vec![("paraphrase".into(), (said_again - teacher).square().mean_all())])
            }
            "translator" => {
                let theirs = parts.encoder.forward(cx, &teacher).detach(); // [N, rate C', H', W']
                let ours = parts.translator.forward(cx, &student); // [N, rate C', H, W]
                Ok(vec![("factor".into(), self.config.factor.distance(Self::NAME, &ours, &theirs)?)])
            }
            other => Err(Error::new(format!("`ft` has the stages `paraphraser` and `translator`, not `{other}`"))),
        }
    }
}

register!(distiller Ft);
