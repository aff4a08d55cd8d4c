//! What a minor 1.1 might add.

use super::context::Cx;
use super::error::{Error, Result};
use super::tensor::Tensor;
use crate::abi::abi_stable::std_types::{RSlice, RSliceMut};
use crate::abi::{Handle, code, text};

impl Tensor {
    /// Sums along a dimension up to each place: an operation with a new code.
    pub fn cumulative_sum(&self, dim: i64) -> Tensor {
        let (mut outputs, door) = ([Handle::default()], self.door);
        door.host.call()(
            door.ctx,
            140,
            "cumulative_sum".into(),
            RSlice::from_slice(&[self.handle]),
            RSlice::from_slice(&[dim]),
            RSlice::from_slice(&[]),
            RSliceMut::from_mut_slice(&mut outputs),
        );
        Tensor::own(door, outputs[0])
    }
}

impl Cx {
    /// The values of all processes, one after the other: a function behind those of 1.0.
    ///
    /// # Errors
    /// The host is older.
    pub fn all_gather(&self, value: &Tensor) -> Result<Tensor> {
        let (door, name) = (self.door, "all_gather");
        let Some(gather) = door.host.all_gather() else {
            let host = door.host.text()(door.ctx, text::INTERFACE);
            return Err(Error::coded(code::UNSUPPORTED, format!("host {host} has no function named `{name}`")));
        };
        Ok(Tensor::own(door, gather(door.ctx, value.handle)))
    }
}
