//! How far a student's map is from another one.

use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// How differences of maps become a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Mean of the squared differences.
    #[default]
    Mse,
    /// Length of a sample's differences, mean over the batch.
    L2,
}

impl Norm {
    /// The distance; the other map is resized to the student's size. `name` is the component's and `other` that of the port, for
    /// messages.
    pub(crate) fn distance(self, name: &str, student: &Tensor, (other, map): (&str, &Tensor)) -> Result<Tensor> {
        let (ours, theirs) = (map_dims(name, student)?, map_dims(name, map)?);
        ensure!(
            ours[..2] == theirs[..2],
            "`{name}` got maps that differ in samples or channels\n  student: {ours:?}\n  {other}: {theirs:?}"
        );
        if let Some(wrong) = [ours, theirs].into_iter().find(|dims| dims.contains(&0)) {
            return Err(Error::new(format!("`{name}` got an empty batch: {wrong:?}")));
        }
        let size = [ours[2], ours[3]];
        let map = map.detach();
        let map = if theirs[2..] == size { map } else { map.resize_bilinear(size) }; // [N, C, H, W]
        let squares = (student - map).square();
        Ok(match self {
            Norm::Mse => squares.mean_all(),
            // At a match the root has no slope: its gradient is 0 there.
            Norm::L2 => squares.sum(&[1, 2, 3]).clamp_min(1e-24).sqrt().mean_all(),
        })
    }
}
