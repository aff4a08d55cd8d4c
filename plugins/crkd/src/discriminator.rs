//! Tells the features of one network from those of the other.

use stillhouse_plugin::prelude::*;

/// Slope of the leaky ReLU.
const SLOPE: f64 = 0.2;

/// Two fully connected layers with a leaky ReLU between, to one logit: high for the teacher.
///
/// Parameters `discriminator.hidden.*` and `discriminator.out.*`.
#[derive(Debug, Clone)]
pub(crate) struct Discriminator {
    hidden: Linear,
    out: Linear,
}

impl Discriminator {
    pub(crate) fn bind(cx: &BindCx, features: usize, hidden: usize) -> Discriminator {
        Discriminator {
            hidden: Linear::bind(cx, "discriminator.hidden", features, hidden, true),
            out: Linear::bind(cx, "discriminator.out", hidden, 1, true),
        }
    }

    fn logit(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.out.forward(cx, &self.hidden.forward(cx, &x.flatten_from(1)).leaky_relu(SLOPE)) // [N, 1]
    }

    /// The discriminator's own loss: `-ln D(teacher) - ln (1 - D(student))`, means over the batch.
    pub(crate) fn own_loss(&self, cx: &Cx, student: &Tensor, teacher: &Tensor) -> Tensor {
        let of_teacher = (-self.logit(cx, &teacher.detach())).softplus().mean_all();
        of_teacher + self.logit(cx, student).softplus().mean_all()
    }

    /// The student's loss: `-ln D(student)`, mean over the batch.
    pub(crate) fn fooled(&self, cx: &Cx, student: &Tensor) -> Tensor {
        (-self.logit(cx, student)).softplus().mean_all()
    }
}
