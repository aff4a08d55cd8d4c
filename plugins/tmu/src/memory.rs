//! What the cell says beside what a source's memory holds.

use stillhouse_plugin::prelude::*;

/// Settings of [`TmuMemory`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TmuMemoryConfig {}

/// What a cell says of its sources' memories at one frame, beside these memories.
///
/// Yao et al. 2020 (arXiv:2009.11763), as thuml/transferable-memory: core/models/adaptive_model.py.
/// ```text
/// L = sum_m mean (qm - Cm)^2
/// ```
/// The distiller `tmu` sums it up over frames.
///
/// # Shapes and units
/// - `student` (qm), `teacher` (Cm) `[N, K, H, W]`, one of each for a source; memories without gradient
/// - returns `[]`, squared units of a memory, >= 0
///
/// # Errors
/// Other numbers of values, maps that differ in shape.
///
/// # Example
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use stillhouse_tmu::TmuMemory;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let mut bench = Bench::loss::<TmuMemory>("{}")?
///     .input("student", &[1, 1, 1, 2], &[1.0, 2.0])
///     .input("teacher", &[1, 1, 1, 2], &[0.0, 4.0]);
/// assert_eq!(bench.run()?.loss(), 2.5);
/// # Ok(())
/// # }
/// ```
pub struct TmuMemory;

impl Component for TmuMemory {
    type Config = TmuMemoryConfig;
    const NAME: &'static str = "tmu_memory";
    const DOC: &'static str = "What a `tmu_cell` says of its sources' memories at one frame, beside these memories";
    const CITATION: &'static str = crate::CITATION;

    fn new(_: TmuMemoryConfig) -> Result<TmuMemory> {
        Ok(TmuMemory)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for TmuMemory {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut distances = vec![];
        for (said, memory) in x.pairs(Self::NAME)? {
            distances.push(distance(Self::NAME, &said, &memory)?);
        }
        distances.into_iter().reduce(|sum, one| sum + one).ok_or_else(|| Error::new("`tmu_memory` got no map"))
    }
}

register!(loss TmuMemory);

/// `mean (q - C)^2` of one source at one frame.
pub(crate) fn distance(name: &str, said: &Tensor, memory: &Tensor) -> Result<Tensor> {
    same_shape(name, said, memory)?;
    Ok((said - memory).square().mean_all())
}

/// A source whose memory has another width or size than the student's.
pub(crate) struct Fit {
    /// To the source's channels, for the loss alone.
    map: Option<Conv2d>,
    /// The student's size.
    size: [usize; 2],
    resize: bool,
}

impl Fit {
    /// `None` where both have one shape.
    pub(crate) fn bind(cx: &BindCx, at: usize, said: &Tensor, memory: &Tensor) -> Result<Option<Fit>> {
        let (from, to) = (said.meta()?, memory.meta()?);
        ensure!(
            from.shape.len() == 4 && to.shape.len() == 4,
            "`tmu` compares maps\n  port `said{at}`: {from}\n  port `memory{at}`: {to}\n\nhint: tap the memory of a convolutional cell"
        );
        if from.shape[1..] == to.shape[1..] {
            return Ok(None);
        }
        let channels = [from.shape[1], to.shape[1]];
        let other = channels[0] != channels[1];
        let map = other.then(|| Conv2d::bind(cx, &format!("map.{at}"), channels, [1; 2], 1, 0, false));
        Ok(Some(Fit { map, size: [from.shape[2], from.shape[3]], resize: from.shape[2..] != to.shape[2..] }))
    }

    /// What is said in the source's channels, and the source's memory in the student's size.
    pub(crate) fn forward(&self, cx: &Cx, said: &Tensor, memory: &Tensor) -> (Tensor, Tensor) {
        let said = self.map.as_ref().map_or_else(|| said.clone(), |map| map.forward(cx, said));
        (said, if self.resize { memory.resize_bilinear(self.size) } else { memory.clone() })
    }
}
