//! Gradients through activations, with the sums that batch norm needs taken in the same pass.

use super::rows::Rows;
use super::{Activation, Curve, Grad, Level, Load, with_curve};
