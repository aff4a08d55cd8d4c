//! Multi-head self-attention over tokens `[N, T, D]`.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use crate::ops::slices::read;
use candle_core::{Error, Result};
use rayon::prelude::*;
use stillhouse_kernels::nhwc::linear::Linear;
use stillhouse_kernels::nhwc::softmax::{softmax_backward, softmax_forward};

/// Sizes: of a sample's `[T, D]`, with `D` cut into heads.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    features: usize,
    heads: usize,
}

impl Sizes {
    fn width(self) -> usize {
        self.features / self.heads
    }

    /// Values of a sample.
    fn sample(self) -> usize {
        (self.tokens * self.features).max(1)
    }

    /// Scores of a head.
    fn scores(self) -> usize {
        (self.tokens * self.tokens).max(1)
    }

    fn scale(self) -> f32 {
        (1.0 / (self.width() as f64).sqrt()) as f32
    }

    /// Over all tokens of the batch.
    fn rows(self, inputs: usize, outputs: usize) -> Linear {
        Linear { rows: self.batch * self.tokens, inputs, outputs }
    }

    /// `x w^T` of a head: tokens by tokens, or the gradients of such a product.
    fn product(self) -> Linear {
        Linear { rows: self.tokens, inputs: self.width(), outputs: self.tokens }
    }

    /// Columns `start ..` of a head's width, of rows of `stride`, side by side; times `factor`.
    fn gather(self, rows: &[f32], (start, stride): (usize, usize), factor: f32, out: &mut [f32]) {
        let width = self.width();
        for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(stride)) {
            out.iter_mut().zip(&row[start..start + width]).for_each(|(out, value)| *out = value * factor);
        }
    }

    /// The way back of [`Sizes::gather`].
    fn scatter(self, x: &[f32], (start, stride): (usize, usize), factor: f32, rows: &mut [f32]) {
        let width = self.width();
        for (x, row) in x.chunks_exact(width).zip(rows.chunks_exact_mut(stride)) {
            row[start..start + width].iter_mut().zip(x).for_each(|(out, value)| *out = value * factor);
        }
    }

    /// Scaled query, key and value of a head, `[T, width]` each, from a sample's projections `[T, 3 D]`.
    fn parts(self, projected: &[f32], head: usize) -> [Vec<f32>; 3] {
        [(0, self.scale()), (1, 1.0), (2, 1.0)].map(|(which, factor)| {
            let mut part = vec![0.0; self.tokens * self.width()];
            self.gather(projected, self.place(which, head), factor, &mut part);
            part
        })
    }

    /// Where a head's query (0), key (1) or value (2) is in a row of the projections.
    fn place(self, which: usize, head: usize) -> (usize, usize) {
        (which * self.features + head * self.width(), 3 * self.features)
    }

    /// A sample's weights `[heads, T, T]` and weighted values `[T, D]`.
    fn mix(self, projected: &[f32], weights: &mut [f32], mixed: &mut [f32]) {
        let (mut scores, mut part) = (vec![0.0; self.scores()], vec![0.0; self.tokens * self.width()]);
        for (head, weights) in weights.chunks_exact_mut(self.scores()).enumerate() {
            let [query, key, value] = self.parts(projected, head);
            self.product().forward(&query, &key, None, &mut scores);
            softmax_forward(&scores, self.tokens, weights);
            self.product().backward_data(weights, &value, &mut part, false);
            self.scatter(&part, (head * self.width(), self.features), 1.0, mixed);
        }
    }

    /// The gradient of a sample's projections from that of its weighted values.
    fn unmix(self, projected: &[f32], weights: &[f32], grad: &[f32], out: &mut [f32]) {
        let len = self.tokens * self.width();
        let (mut of_weights, mut of_scores) = (vec![0.0; self.scores()], vec![0.0; self.scores()]);
        let (mut mixed, mut part) = (vec![0.0; len], vec![0.0; len]);
        let product = self.product();
        for (head, weights) in weights.chunks_exact(self.scores()).enumerate() {
            let [query, key, value] = self.parts(projected, head);
            self.gather(grad, (head * self.width(), self.features), 1.0, &mut mixed);
            product.backward_weights(&mixed, weights, Some(&mut part), None, false);
            self.scatter(&part, self.place(2, head), 1.0, out);
            product.forward(&mixed, &value, None, &mut of_weights);
            softmax_backward([weights, &of_weights], self.tokens, &mut of_scores, false);
            product.backward_data(&of_scores, &key, &mut part, false);
            self.scatter(&part, self.place(0, head), self.scale(), out);
            product.backward_weights(&query, &of_scores, Some(&mut part), None, false);
            self.scatter(&part, self.place(1, head), 1.0, out);
        }
    }
}

const NAMES: [&str; 4] = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"];

pub(super) fn run(run: &mut Run<'_>, index: usize, heads: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let [batch, tokens, features] = x.shape[..] else { candle_core::bail!("wants [T, D]") };
    let sizes = Sizes { batch, tokens, features, heads };
    let project = |linear: Linear, x: &[f32], [weight, bias]: [&str; 2]| -> Result<Buffer> {
        let bias = run.vector(index, bias)?;
        let mut out = Buffer::new(linear.rows * linear.outputs);
        let done = run.with(index, weight, |weight| linear.forward(x, weight, bias.as_deref(), &mut out))?;
        done.map(|()| out).ok_or_else(|| Error::Msg(format!("has no `{weight}`")))
    };
    let projected = project(sizes.rows(features, 3 * features), &x.raw, [NAMES[0], NAMES[1]])?;
    let mut weights = Buffer::new(batch * heads * sizes.scores());
    let mut mixed = Buffer::new(batch * sizes.sample());
    let samples = weights.par_chunks_mut(heads * sizes.scores()).zip(mixed.par_chunks_mut(sizes.sample()));
    samples
        .zip(projected.par_chunks(3 * sizes.sample()))
        .for_each(|((weights, mixed), projected)| sizes.mix(projected, weights, mixed));
    let out = project(sizes.rows(features, features), &mixed, [NAMES[2], NAMES[3]])?;
    let trained = NAMES.map(|suffix| run.is_trained(index, suffix));
    let names = NAMES.map(|suffix| run.name(index, suffix));
    let value = Value::stored(&x.shape, out);
    let back = Attention { sizes, x, projected, weights, mixed, below: run.below(index, 0), names, trained };
    Ok((value, Some(Box::new(back))))
}

struct Attention {
    sizes: Sizes,
    x: Value,
    /// `[N, T, 3 D]`.
    projected: Buffer,
    /// `[N, heads, T, T]`.
    weights: Buffer,
    /// `[N, T, D]`.
    mixed: Buffer,
    below: Option<usize>,
    /// Of both projections' weight and bias.
    names: [String; 4],
    trained: [bool; 4],
}

impl Attention {
    /// Gradients of the projection whose names start at `first`, where they are trained.
    fn learn(&self, linear: Linear, first: usize, x: &[f32], grad: &[f32], cx: &mut Backward<'_>) -> Result<()> {
        let Linear { inputs, outputs, .. } = linear;
        let (mut dw, mut db) = (vec![0.0; inputs * outputs], vec![0.0; outputs]);
        let [of_weight, of_bias] = [first, first + 1].map(|at| self.trained[at]);
        linear.backward_weights(x, grad, of_weight.then_some(&mut dw[..]), of_bias.then_some(&mut db[..]), false);
        if of_weight {
            cx.found(&self.names[first], dw, &[outputs, inputs])?;
        }
        if of_bias {
            cx.found(&self.names[first + 1], db, &[outputs])?;
        }
        Ok(())
    }

    fn with_weight(&self, at: usize, cx: &Backward<'_>, task: impl FnOnce(&[f32])) -> Result<()> {
        let name = &self.names[at];
        let entry = cx.params.get(name).ok_or_else(|| Error::Msg(format!("has no parameter `{name}`")))?;
        read(entry.var.as_tensor(), task)
    }
}

impl Back for Attention {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let (sizes, features) = (self.sizes, self.sizes.features);
        let grad = slot.formed(1);
        let last = sizes.rows(features, features);
        self.learn(last, 2, &self.mixed, &grad, cx)?;
        let mut of_mixed = Buffer::new(self.mixed.len());
        self.with_weight(2, cx, |weight| last.backward_data(&grad, weight, &mut of_mixed, false))?;
        let mut of_projected = Buffer::new(self.projected.len());
        let each = sizes.sample();
        let known = self.projected.par_chunks(3 * each).zip(self.weights.par_chunks(sizes.heads * sizes.scores()));
        of_projected
            .par_chunks_mut(3 * each)
            .zip(known.zip(of_mixed.par_chunks(each)))
            .for_each(|(out, ((projected, weights), grad))| sizes.unmix(projected, weights, grad, out));
        let first = sizes.rows(features, 3 * features);
        self.learn(first, 0, &self.x.raw, &of_projected, cx)?;
        if let Some(below) = self.below {
            let (mut buffer, accumulate) = cx.target(below, self.x.raw.len());
            self.with_weight(0, cx, |weight| first.backward_data(&of_projected, weight, &mut buffer, accumulate))?;
            cx.put(below, buffer);
        }
        Ok(())
    }
}
