//! The method.

use crate::config::{Bank, Sources, TmuConfig};
use crate::memory::{Fit, distance};
use stillhouse_plugin::prelude::*;

/// Names of phases, passes and terms.
const FORWARD: &str = "forward";
const BACKWARD: &str = "backward";
const PREDICTION: &str = "prediction";
const DISTILL: &str = "distill";

/// Transfer of memories: a network with a `tmu_cell` learns to predict frames, and its cell to say what the memories of trained
/// predictors hold on the same frames.
///
/// Yao et al. 2020 (arXiv:2009.11763), as thuml/transferable-memory: core/models/adaptive_model.py, core/trainer.py.
/// ```text
/// L = mean (prediction - next frame)^2 + beta L_distill
/// L_distill = 1 / (N T) sum_t sum_m mean (qm_t - Cm_t)^2        Cm: the memory of source m, without gradient
/// ```
/// over the T - 1 predictions of a clip of T frames. The released trainer computes L_distill and drops it; beta is that of its
/// sibling trainers. Each step updates twice: on the clip, then on the clip from last frame to first (`reversed`).
///
/// Sources may be of any depth. Where a source's memory has other channels than the cell, what the cell says goes through a 1x1
/// convolution `map.<m>` of this loss; where it has another size, the memory is resized (bilinear). This is an addition.
///
/// # Shapes and units
/// - ports over time, a value a frame: `prediction`, `next` `[N, ...]`; `said<m>` `[N, K, H, W]`
/// - `memory<m>` `[N, K', H', W']` a frame (`online`); `[N, T - 1, K', H', W']` of the batch (`stored`)
/// - the same with `reversed.` in front for the second update
/// - terms `prediction`, `distill`, `reversed_prediction`, `reversed_distill`, each `[]` and raw
///
/// # Errors
/// No such source, shapes that do not fit, an empty batch, settings out of range.
pub struct Tmu {
    config: TmuConfig,
    fits: Vec<Option<Fit>>,
}

impl Component for Tmu {
    type Config = TmuConfig;
    const NAME: &'static str = "tmu";
    const DOC: &'static str =
        "Transfer of memories between predictors of frames: the objective of a network with a `tmu_cell`";
    const CITATION: &'static str = crate::CITATION;
    /// The released code divides the mean of distances by the samples once more.
    const BATCH_COUPLED: bool = true;

    fn new(config: TmuConfig) -> Result<Tmu> {
        config.check()?;
        Ok(Tmu { config, fits: vec![] })
    }

    fn ports() -> Vec<Port> {
        let config = TmuConfig { sources: Sources::Count(1), reversed: false, ..TmuConfig::default() };
        ports(&config, &[], false)
    }
}

/// Ports of one direction.
fn ports(config: &TmuConfig, sources: &[String], reversed: bool) -> Vec<Port> {
    let name = |own: &str| if reversed { format!("reversed.{own}") } else { own.to_owned() };
    let selector = |path: &str| if reversed { format!("{BACKWARD}:{path}") } else { path.to_owned() };
    let of_student = |own: &str, path: &str| Port::student().named(&name(own)).or(&selector(path)).over_time();
    let mut ports = vec![of_student(PREDICTION, "logits"), of_student("next", "frames.next")];
    for m in 0..config.sources.count() {
        ports.push(of_student(&format!("said{m}"), &format!("{}.q{m}", config.cell)));
        let own = name(&format!("memory{m}"));
        ports.push(match (config.bank, sources.get(m)) {
            (Bank::Stored, _) => {
                let field = format!("{}.{m}", config.recording);
                let field = if reversed { format!("{field}.reversed") } else { field };
                Port::data(&own).or(&field)
            }
            (Bank::Online, Some(source)) => {
                let pass = if reversed { format!("{BACKWARD}.{source}") } else { source.clone() };
                Port::teacher().named(&own).or(&format!("{pass}:{}", config.memory)).over_time()
            }
            (Bank::Online, None) => Port::teacher().named(&own).over_time(),
        });
    }
    if config.reversed {
        let phase = if reversed { BACKWARD } else { FORWARD };
        ports = ports.into_iter().map(|port| port.in_phase(phase)).collect();
    }
    ports
}

impl Distiller for Tmu {
    fn plan(&mut self, site: &Site) -> Result<Plan> {
        let config = &self.config;
        let sources: Vec<String> = match &config.sources {
            Sources::Named(names) => names.clone(),
            Sources::Count(count) => site.teachers.iter().take(*count).map(|model| model.name.clone()).collect(),
        };
        let pass = |name: &str, model: &str| Pass {
            name: name.into(),
            model: model.into(),
            view: None,
            reverse_time: true,
            mode: None,
        };
        let directions: &[bool] = if config.reversed { &[false, true] } else { &[false] };
        let mut plan = Plan::default();
        for &reversed in directions {
            plan.ports.extend(ports(config, &sources, reversed));
            let names = [PREDICTION, DISTILL].map(|name| term(name, reversed));
            let weights = [1.0, config.beta].map(WeightPlan::constant);
            plan.terms.extend(names.iter().zip(weights).map(|(name, weight)| TermPlan::new(name).weighted(weight)));
            plan.phases.push(Phase {
                name: if reversed { BACKWARD } else { FORWARD }.into(),
                terms: names.into(),
                with_others: !reversed,
                updates: vec![],
            });
        }
        if config.reversed {
            plan.passes.push(pass(BACKWARD, "student"));
            let online = sources.iter().filter(|_| config.bank == Bank::Online);
            plan.passes.extend(online.map(|source| pass(&format!("{BACKWARD}.{source}"), source)));
        }
        Ok(plan)
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        self.fits.clear();
        for m in 0..self.config.sources.count() {
            let said = frames(x, &format!("said{m}"))?;
            let memory = self.memory(x, m, false, said.len())?;
            let (Some(said), Some(memory)) = (said.first(), memory.first()) else {
                return Err(Error::new("`tmu` reads no frame"));
            };
            self.fits.push(Fit::bind(cx, m, said, memory)?);
        }
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let phase = cx.phase();
        let reversed = match phase.as_str() {
            FORWARD | "" => false,
            BACKWARD if self.config.reversed => true,
            _ => return Err(Error::new(format!("`tmu` has no phase `{phase}` with these settings"))),
        };
        let name = |own: &str| if reversed { format!("reversed.{own}") } else { own.to_owned() };
        let (predicted, next) = (frames(x, &name(PREDICTION))?, frames(x, &name("next"))?);
        ensure!(predicted.len() == next.len(), "`tmu` got {} predictions of {} frames", predicted.len(), next.len());
        let mut squares = vec![];
        for (predicted, next) in predicted.iter().zip(&next) {
            same_shape(Self::NAME, predicted, next)?;
            let dims = predicted.dims()?;
            ensure!(!dims.contains(&0), "`tmu` got an empty batch: {dims:?}");
            squares.push((predicted - next).square().mean_all());
        }
        let prediction = sum(squares)? * (1.0 / predicted.len() as f64);
        let mut distances = vec![];
        for (m, fit) in self.fits.iter().enumerate() {
            let said = frames(x, &name(&format!("said{m}")))?;
            let memory = self.memory(x, m, reversed, said.len())?;
            for (said, memory) in said.iter().zip(&memory) {
                let (said, memory) = match fit {
                    Some(fit) => fit.forward(cx, said, memory),
                    None => (said.clone(), memory.clone()),
                };
                distances.push(distance(Self::NAME, &said, &memory)?);
            }
        }
        let samples = predicted.first().map_or(Ok(1), |frame| frame.dim(0))?;
        let distill = sum(distances)? * (1.0 / (samples * (predicted.len() + 1)) as f64);
        Ok(vec![(term(PREDICTION, reversed), prediction), (term(DISTILL, reversed), distill)])
    }
}

impl Tmu {
    /// A source's memory, frame by frame, without gradient.
    fn memory(&self, x: &Inputs, m: usize, reversed: bool, wanted: usize) -> Result<Vec<Tensor>> {
        let port = format!("{}memory{m}", if reversed { "reversed." } else { "" });
        let memory = match self.config.bank {
            Bank::Online => frames(x, &port)?,
            Bank::Stored => {
                let whole = x.one(&port)?; // [N, T - 1, K, H, W]
                let count = whole.dim(1)?;
                (0..count).map(|at| whole.narrow(1, at, 1).squeeze(1)).collect()
            }
        };
        ensure!(
            memory.len() == wanted,
            "`tmu` compares {wanted} frames of its cell with {} of port `{port}`\n\nhint: sources predict clips of the same length",
            memory.len()
        );
        Ok(memory.iter().map(Tensor::detach).collect())
    }
}

/// The frames of a port over time with one tap.
fn frames(x: &Inputs, port: &str) -> Result<Vec<Tensor>> {
    Ok(x.series(port)?.into_iter().next().unwrap_or_default())
}

fn term(name: &str, reversed: bool) -> String {
    if reversed { format!("reversed_{name}") } else { name.into() }
}

fn sum(terms: Vec<Tensor>) -> Result<Tensor> {
    terms.into_iter().reduce(|sum, term| sum + term).ok_or_else(|| Error::new("`tmu` got no frame"))
}

register!(distiller Tmu);
