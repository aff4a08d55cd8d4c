//! What a predictor of frames reads: true frames, or what it predicted.

use super::pass::PassSpec;
use candle_core::{DType, Result, Tensor};
use std::rc::Rc;

/// Which frames behind the given ones are read as they are: a share of the true frame for each sample and position, 1 for the
/// frame, 0 for the prediction made at the position before.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    positions: usize,
    /// `[N, positions]`.
    shares: Vec<f32>,
}

impl Sampling {
    /// From `[N, T - 1]`, positions in the order in which they are read.
    ///
    /// # Errors
    /// Another rank, or values that cannot be read.
    pub fn new(shares: &Tensor) -> Result<Rc<Sampling>> {
        let (_, positions) = shares.dims2()?;
        let shares = shares.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(Rc::new(Sampling { positions, shares }))
    }

    fn share(&self, sample: usize, position: usize) -> f32 {
        self.shares.get(sample * self.positions + position).copied().unwrap_or(0.0)
    }
}

/// Shares of the true frame for each of `batch` samples at a position; `None` where the frame is read as it is.
pub(super) fn shares(spec: &PassSpec, given: usize, position: usize, batch: usize) -> Option<Vec<f32>> {
    if position < given {
        return None;
    }
    let share = |sample| spec.sampling.as_ref().map_or(0.0, |sampling| sampling.share(sample, position));
    let shares: Vec<f32> = (0..batch).map(share).collect();
    shares.iter().any(|share| *share != 1.0).then_some(shares)
}

/// The mixture on candle's tape.
pub(super) fn mixed(frame: &Tensor, predicted: &Tensor, shares: Vec<f32>) -> Result<Tensor> {
    let mut shape = vec![1; frame.rank()];
    shape[0] = shares.len();
    let share = Tensor::from_vec(shares, shape, frame.device())?.to_dtype(frame.dtype())?;
    let rest = share.affine(-1.0, 1.0)?;
    frame.broadcast_mul(&share)? + predicted.broadcast_mul(&rest)?
}
