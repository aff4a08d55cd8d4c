//! Neuron selectivity transfer.

use stillhouse_plugin::prelude::*;

/// Settings of [`Nst`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NstConfig {}

/// Neuron selectivity transfer: the channels of both networks, each as a pattern over places, are to be distributed alike.
///
/// Huang & Wang 2017 (arXiv:1707.01219) with the polynomial kernel, as in RepDistiller `distiller_zoo/NST.py`.
/// ```text
/// L = sum over taps of mean_n ( mean_cd k(t_c, t_d) + mean_cd k(s_c, s_d) - 2 mean_cd k(s_c, t_d) )     k(a, b) = (a . b)^2
/// s_c = channel c of the student's map over all places, divided by its length (at least 1e-12); t the teacher's
/// ```
/// In each direction the larger map is brought to the smaller one's size by adaptive average pooling first.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, C, H, W]` with any channels and sizes, paired in order; the student's carry
///   gradient
/// - returns `[]`, no unit, >= 0 but for rounding
/// - emits `per_layer` `[taps]`
///
/// # Errors
/// Other than maps, batches that differ, an empty batch, other numbers of taps on both sides.
///
/// # Example
/// One channel each, at two places that have nothing in common.
/// ```
/// # use stillhouse_maps::Nst;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Nst>("{}")?
///     .input("student", &[1, 1, 1, 2], &[3.0, 0.0])
///     .input("teacher", &[1, 1, 1, 2], &[0.0, 5.0])
///     .run()?;
/// assert_eq!(run.loss(), 2.0);
/// # Ok(())
/// # }
/// ```
pub struct Nst;

impl Component for Nst {
    type Config = NstConfig;
    const NAME: &'static str = "nst";
    const DOC: &'static str = "Neuron selectivity transfer: channels as patterns over places, distributed alike";
    const CITATION: &'static str =
        "Huang & Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017, arXiv:1707.01219";

    fn new(_: NstConfig) -> Result<Nst> {
        Ok(Nst)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for Nst {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut layers = vec![];
        for (student, teacher) in x.pairs(Self::NAME)? {
            let (student, teacher) = common_size(Self::NAME, &student, &teacher)?;
            let (ours, theirs) = (patterns(&student), patterns(&teacher));
            layers.push(kernel(&theirs, &theirs) + kernel(&ours, &ours) - kernel(&ours, &theirs) * 2.0);
        }
        sum_of_layers(cx, &layers)
    }
}

/// Channels as vectors of length 1 over places, `[N, C, H W]`.
fn patterns(map: &Tensor) -> Tensor {
    map.flatten_from(2).normalize(&[2], 1e-12)
}

/// Mean of the squared products of all pairs of channels.
fn kernel(a: &Tensor, b: &Tensor) -> Tensor {
    a.matmul(&b.t()).square().mean_all()
}

register!(loss Nst);
