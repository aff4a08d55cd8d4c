//! A number for each direction of a map.

use stillhouse_plugin::prelude::*;

/// A number for height and width: one for both, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number or a pair of them, [height, width]")]
pub enum Pair<T> {
    /// The same in both directions.
    Both(T),
    /// Height, then width.
    Each([T; 2]),
}

impl<T: Copy> Pair<T> {
    /// Height and width.
    pub fn each(self) -> [T; 2] {
        match self {
            Pair::Both(value) => [value; 2],
            Pair::Each(values) => values,
        }
    }
}

impl Pair<usize> {
    /// Height and width, each of which must lie within the bounds.
    pub(crate) fn within(self, setting: &str, low: usize, high: usize) -> Result<[usize; 2]> {
        let each = self.each();
        match each.into_iter().find(|value| !(low..=high).contains(value)) {
            Some(wrong) => Err(Error::new(format!("`{setting}` must be between {low} and {high}, got {wrong}"))),
            None => Ok(each),
        }
    }
}
