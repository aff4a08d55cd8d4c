//! Averages and resizing of maps that lie channels last: linear, so that the way back needs no values.

use super::super::node::{Call, Element, Grads, Node, View, apply};
use super::conv::single;
use super::{lying, standing};
use candle_core::{Result, Tensor};
use stillhouse_kernels::nhwc::Load;
use stillhouse_kernels::nhwc::pool::{average_pool_backward, average_pool_forward};
use stillhouse_kernels::nhwc::resize::{resize_backward, resize_forward};
use stillhouse_kernels::pool::Average;
use stillhouse_kernels::resize::Resize;

/// Means over windows.
pub(crate) fn average(name: &'static str, x: &Tensor, average: Average) -> Result<Tensor> {
    standing(&apply(Linear { name, map: Map::Average(average) }, &[&lying(x)?])?)
}

/// Another plane.
pub(crate) fn resized(name: &'static str, x: &Tensor, resize: Resize) -> Result<Tensor> {
    standing(&apply(Linear { name, map: Map::Resize(resize) }, &[&lying(x)?])?)
}

enum Map {
    Average(Average),
    Resize(Resize),
}

struct Linear {
    name: &'static str,
    map: Map,
}

impl Node for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let x = single(self.name, ins[0].data)?;
        let (batch, channels) = (ins[0].dims[0], ins[0].dims[3]);
        let [height, width] = match &self.map {
            Map::Average(average) => average.output(),
            Map::Resize(resize) => resize.output(),
        };
        let mut out = vec![0.0; batch * height * width * channels];
        match &self.map {
            Map::Average(average) => average_pool_forward(average, Load::plain(x), channels, &mut out),
            Map::Resize(resize) => resize_forward(resize, x, channels, &mut out),
        }
        Ok((T::of_single(out), vec![batch, height, width, channels]))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (grad, channels) = (single(self.name, call.grad)?, call.ins[0].dims[3]);
        let mut out = vec![0.0; call.ins[0].data.len()];
        match &self.map {
            Map::Average(average) => average_pool_backward(average, grad, channels, &mut out, false),
            Map::Resize(resize) => resize_backward(resize, grad, channels, &mut out, false),
        }
        Ok(vec![Some(T::of_single(out))])
    }
}
