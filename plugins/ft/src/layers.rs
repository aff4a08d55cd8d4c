//! The three layers of an encoder or decoder.

use stillhouse_plugin::prelude::*;

/// Slope of the leaky ReLU.
const SLOPE: f64 = 0.1;

#[derive(Debug, Clone)]
enum Conv {
    Plain(Conv2d),
    Transposed(ConvTranspose2d),
}

/// Three 3x3 convolutions with padding 1, each followed by a batch normalisation, when asked, and a leaky ReLU.
///
/// Names follow the official modules: convolutions are `<name>.0`, `.3`, `.6`, normalisations `<name>.1`, `.4`, `.7`.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    layers: Vec<(Conv, Option<BatchNorm>)>,
}

impl Stack {
    /// From the channels of a map to those of its factor: the second layer changes them.
    pub(crate) fn encoder(cx: &BindCx, name: &str, [map, factor]: [usize; 2], batch_norm: bool) -> Stack {
        Stack::bind(cx, name, [[map, map], [map, factor], [factor, factor]], batch_norm, false)
    }

    /// From the channels of a factor to those of a map, by transposed convolutions: the second layer changes them.
    pub(crate) fn decoder(cx: &BindCx, name: &str, [factor, map]: [usize; 2], batch_norm: bool) -> Stack {
        Stack::bind(cx, name, [[factor, factor], [factor, map], [map, map]], batch_norm, true)
    }

    fn bind(cx: &BindCx, name: &str, channels: [[usize; 2]; 3], batch_norm: bool, transposed: bool) -> Stack {
        let layer = |(at, channels): (usize, [usize; 2])| {
            let (conv, norm) = (format!("{name}.{}", 3 * at), format!("{name}.{}", 3 * at + 1));
            let conv = match transposed {
                true => Conv::Transposed(ConvTranspose2d::bind(cx, &conv, channels, [3, 3], 1, 1, true)),
                false => Conv::Plain(Conv2d::bind(cx, &conv, channels, [3, 3], 1, 1, true)),
            };
            (conv, batch_norm.then(|| BatchNorm::bind(cx, &norm, channels[1])))
        };
        Stack { layers: channels.into_iter().enumerate().map(layer).collect() }
    }

    /// `[N, C, H, W]` to `[N, C', H, W]`.
    pub(crate) fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.layers.iter().fold(x.clone(), |x, (conv, norm)| {
            let y = match conv {
                Conv::Plain(conv) => conv.forward(cx, &x),
                Conv::Transposed(conv) => conv.forward(cx, &x),
            };
            norm.as_ref().map_or(y.clone(), |norm| norm.forward(cx, &y)).leaky_relu(SLOPE)
        })
    }
}

/// Channels of the factor of a map.
pub(crate) fn factor_channels(channels: usize, rate: f64) -> Result<usize> {
    let factor = (channels as f64 * rate) as usize;
    ensure!(
        factor >= 1,
        "a factor of {rate} times {channels} channels has none\n\nhint: raise `rate`, or tap a wider layer of the teacher"
    );
    Ok(factor)
}

/// Refuses a rate that leaves nothing.
pub(crate) fn check_rate(rate: f64) -> Result<()> {
    ensure!(rate > 0.0 && rate <= 16.0, "`rate` must be above 0 and at most 16, got {rate}");
    Ok(())
}
