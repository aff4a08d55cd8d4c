//! The variants of Winograd's method, and where they pay.

use super::ConvShape;

/// Outputs and window of a tile, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// F(2x2, 3x3).
    TwoThree,
    /// F(4x4, 3x3).
    FourThree,
    /// F(2x2, 5x5).
    TwoFive,
}

impl Method {
    /// Outputs of a tile in a direction.
    pub(super) fn outs(self) -> usize {
        match self {
            Self::TwoThree | Self::TwoFive => 2,
            Self::FourThree => 4,
        }
    }

    /// Elements of a tile in a direction.
    pub(super) fn side(self) -> usize {
        match self {
            Self::TwoThree => 4,
            Self::FourThree | Self::TwoFive => 6,
        }
    }

    /// The method that is known to be faster than the definition, if one is.
    pub(super) fn of(shape: &ConvShape) -> Option<Method> {
        let w = &shape.window;
        let simple = w.stride == [1, 1] && w.dilation == [1, 1] && shape.groups == 1;
        let sizes = shape.output.iter().chain(&shape.input);
        if !simple || w.padding.iter().any(|p| *p >= w.kernel[0]) || sizes.into_iter().any(|size| *size < 4) {
            return None;
        }
        let channels = shape.in_channels.min(shape.out_channels);
        match w.kernel {
            // Products a channel: 36 for sixteen outputs, 16 for four, where edges may hold outputs that do not exist.
            [3, 3] => {
                let products = |method: Method| {
                    let tiles: usize = shape.output.iter().map(|size| size.div_ceil(method.outs())).product();
                    tiles * method.side() * method.side()
                };
                let four = products(Self::FourThree) < products(Self::TwoThree) && channels >= FEWEST[0];
                let two = (channels >= FEWEST[1]).then_some(Self::TwoThree);
                if four { Some(Self::FourThree) } else { two }
            }
            [5, 5] if channels >= FEWEST[2] => Some(Self::TwoFive),
            _ => None,
        }
    }
}

/// Fewer channels are faster by the definition.
const FEWEST: [usize; 3] = [16, 64, 16];

/// Runs `$body` with the points of a method as `$points`.
macro_rules! with_points {
    ($method:expr, $points:ident, $side:ident, $outs:ident => $body:expr) => {
        match $method {
            $crate::nhwc::conv::method::Method::TwoThree => {
                type $points = $crate::nhwc::conv::points::TwoThree;
                const $side: usize = 4;
                const $outs: usize = 2;
                $body
            }
            $crate::nhwc::conv::method::Method::FourThree => {
                type $points = $crate::nhwc::conv::points::FourThree;
                const $side: usize = 6;
                const $outs: usize = 4;
                $body
            }
            $crate::nhwc::conv::method::Method::TwoFive => {
                type $points = $crate::nhwc::conv::points::TwoFive;
                const $side: usize = 6;
                const $outs: usize = 2;
                $body
            }
        }
    };
}
pub(super) use with_points;
