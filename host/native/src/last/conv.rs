//! Convolutions of maps that lie channels last.

use super::super::node::{Call, Element, Grads, Node, View, apply};
use super::super::packs::{packed, variable};
use super::{lying, standing};
use candle_core::{Error, Result, Tensor, TensorId};
use std::rc::Rc;
use stillhouse_kernels::conv::ConvShape;
use stillhouse_kernels::nhwc::conv::{self, DataGrad, Epilogue, Packed, Wanted};
use stillhouse_kernels::nhwc::{Grad, Load};

/// As the function of the crate, whose checks are done.
pub(crate) fn conv2d(shape: ConvShape, ins: &[&Tensor]) -> Result<Tensor> {
    run(shape, false, ins)
}

/// As the function of the crate, whose checks are done.
pub(crate) fn conv_transpose2d(shape: ConvShape, ins: &[&Tensor]) -> Result<Tensor> {
    run(shape, true, ins)
}

fn run(shape: ConvShape, transposed: bool, ins: &[&Tensor]) -> Result<Tensor> {
    let node = Lying { shape, transposed, weights: variable(ins[1]) };
    let x = lying(ins[0])?;
    let ins: Vec<&Tensor> = std::iter::once(&x).chain(ins[1..].iter().copied()).collect();
    standing(&apply(node, &ins)?)
}

struct Lying {
    shape: ConvShape,
    transposed: bool,
    /// The variable that the weights are.
    weights: Option<TensorId>,
}

impl Lying {
    fn name(&self) -> &'static str {
        if self.transposed { "conv_transpose2d" } else { "conv2d" }
    }

    /// `[N, H, W, C]` of the output.
    fn output(&self) -> [usize; 4] {
        let shape = &self.shape;
        let (channels, [height, width]) =
            if self.transposed { (shape.in_channels, shape.input) } else { (shape.out_channels, shape.output) };
        [shape.batch, height, width, channels]
    }

    fn packed(&self, weights: &[f32], for_forward: bool) -> Rc<Packed> {
        packed(self.weights, &self.shape, for_forward, || {
            let mut packed = Packed::default();
            if for_forward == self.transposed {
                conv::pack_winograd_backward(&self.shape, weights, &mut packed);
            } else {
                conv::pack_winograd(&self.shape, weights, &mut packed);
            }
            packed
        })
    }
}

/// The slices of a call, which are `f32`.
pub(super) fn single<'a, T: Element>(name: &str, data: &'a [T]) -> Result<&'a [f32]> {
    T::single(data).ok_or_else(|| Error::msg(format!("`{name}` channels last is for f32")))
}

impl Node for Lying {
    fn name(&self) -> &'static str {
        Lying::name(self)
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let slices = ins.iter().map(|view| single(self.name(), view.data)).collect::<Result<Vec<_>>>()?;
        let dims = self.output();
        let mut out = vec![0.0; dims.iter().product()];
        let packed = self.packed(slices[1], true);
        let epilogue = Epilogue { bias: slices.get(2).copied(), ..Epilogue::default() };
        let run = if self.transposed { conv::forward_transposed } else { conv::forward };
        run(&self.shape, Load::plain(slices[0]), &packed, epilogue, &mut out, None);
        Ok((T::of_single(out), dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let slices = call.ins.iter().map(|view| single(self.name(), view.data)).collect::<Result<Vec<_>>>()?;
        let grad = single(self.name(), call.grad)?;
        let wanted = |at: usize| call.wanted.get(at).is_some_and(|wanted| *wanted);
        let packed = if wanted(0) { self.packed(slices[1], false) } else { Rc::default() };
        let mut dx = vec![0.0; if wanted(0) { slices[0].len() } else { 0 }];
        let mut dw = vec![0.0; slices[1].len()];
        let mut db = vec![0.0; slices.get(2).map_or(0, |bias| bias.len())];
        let data = wanted(0).then_some(DataGrad { packed: &packed, dx: &mut dx, accumulate: false, below: None });
        let weights = wanted(1).then_some(&mut dw[..]);
        let bias = wanted(2).then_some(&mut db[..]);
        let run = if self.transposed { conv::backward_transposed } else { conv::backward };
        run(&self.shape, Load::plain(slices[0]), Grad::plain(grad), Wanted { data, weights, bias });
        let all = [dx, dw, db].into_iter().enumerate();
        Ok(all.map(|(at, grad)| wanted(at).then(|| T::of_single(grad))).collect())
    }
}
