//! The convolution that brings a student's map to the shape of a teacher's.

use crate::features::{as_map, like_other_end, map_dims};
use stillhouse_plugin::prelude::*;

/// Which layers follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) bias: bool,
    pub(crate) batch_norm: bool,
    pub(crate) relu: bool,
}

/// A convolution that fits two sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// 3x3, stride 2, padding 1.
    Halving,
    /// Transposed 4x4, stride 2, padding 1.
    Doubling,
    /// Without padding, kernel as large as the difference demands.
    Valid([usize; 2]),
}

impl Fit {
    /// The convolution from one size to the other.
    pub(crate) fn between(name: &str, from: [usize; 2], to: [usize; 2]) -> Result<Fit> {
        let both = |holds: fn(usize, usize) -> bool| holds(from[0], to[0]) && holds(from[1], to[1]);
        // The official code looks at heights; an odd width halves to the next whole number, as the convolution does.
        if from[0] == 2 * to[0] && from[1].div_ceil(2) == to[1] {
            return Ok(Fit::Halving);
        }
        if both(|from, to| 2 * from == to) {
            return Ok(Fit::Doubling);
        }
        ensure!(
            both(|from, to| from >= to),
            "`{name}` cannot bring a map of {}x{} to {}x{}\n\nhint: tap a layer of the student whose map is as large as the \
             teacher's, or half as large",
            from[0],
            from[1],
            to[0],
            to[1]
        );
        Ok(Fit::Valid([1 + from[0] - to[0], 1 + from[1] - to[1]]))
    }
}

#[derive(Debug, Clone)]
enum Layer {
    Conv(Conv2d),
    Transposed(ConvTranspose2d),
}

/// Convolution, batch normalisation, ReLU; the last two as [`Layers`] says.
#[derive(Debug, Clone)]
pub(crate) struct Regressor {
    name: &'static str,
    layer: Layer,
    norm: Option<BatchNorm>,
    relu: bool,
    to_vector: bool,
}

impl Regressor {
    /// Makes `<prefix>conv.*` and, with batch normalisation, `<prefix>bn.*`. `name` is that of the component.
    pub(crate) fn bind(
        cx: &BindCx,
        name: &'static str,
        prefix: &str,
        layers: Layers,
        ends: [&Tensor; 2],
    ) -> Result<Regressor> {
        let [from, to] = [map_dims(name, &ends[0].dims()?)?, map_dims(name, &ends[1].dims()?)?];
        let (channels, conv) = ([from[1], to[1]], format!("{prefix}conv"));
        let layer = match Fit::between(name, [from[2], from[3]], [to[2], to[3]])? {
            Fit::Halving => Layer::Conv(Conv2d::bind(cx, &conv, channels, [3, 3], 2, 1, layers.bias)),
            Fit::Doubling => Layer::Transposed(ConvTranspose2d::bind(cx, &conv, channels, [4, 4], 2, 1, layers.bias)),
            Fit::Valid(kernel) => Layer::Conv(Conv2d::bind(cx, &conv, channels, kernel, 1, 0, layers.bias)),
        };
        let norm = layers.batch_norm.then(|| BatchNorm::bind(cx, &format!("{prefix}bn"), to[1]));
        Ok(Regressor { name, layer, norm, relu: layers.relu, to_vector: ends[1].rank()? == 2 })
    }

    /// The student's features, shaped like the teacher's.
    pub(crate) fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let map = as_map(self.name, x)?; // [N, C, H, W]
        let mut y = match &self.layer {
            Layer::Conv(conv) => conv.forward(cx, &map),
            Layer::Transposed(conv) => conv.forward(cx, &map),
        }; // [N, C', H', W']
        if let Some(norm) = &self.norm {
            y = norm.forward(cx, &y);
        }
        let y = if self.relu { y.relu() } else { y };
        Ok(like_other_end(&y, self.to_vector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_between_sizes_follows_the_rules() {
        let fit = |from, to| Fit::between("x", from, to).expect("fits");
        assert_eq!(fit([8, 8], [4, 4]), Fit::Halving);
        assert_eq!(fit([8, 7], [4, 4]), Fit::Halving);
        assert_eq!(fit([4, 4], [8, 8]), Fit::Doubling);
        assert_eq!(fit([5, 7], [3, 4]), Fit::Valid([3, 4]));
        assert_eq!(fit([1, 1], [1, 1]), Fit::Valid([1, 1]));
        assert_eq!(fit([8, 5], [4, 5]), Fit::Valid([5, 1]));
    }

    #[test]
    fn fit_to_a_larger_map_is_error() {
        let error = Fit::between("conv_regressor", [4, 4], [7, 7]).expect_err("refused");
        assert!(error.message().starts_with("`conv_regressor` cannot bring a map of 4x4 to 7x7"), "{error}");
    }
}
