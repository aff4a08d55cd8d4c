//! Losses over rows of logits, value and gradient in one pass: `f32` in, sums in `f64`.
//!
//! A row's loss is always computed; its gradient is computed where a [`RowGradient`] asks for it. The result is the sum over
//! rows, taken in their order; divide it (and give a factor to the gradient) for a mean.

use crate::Float;
use crate::leveled::leveled;
use crate::nhwc::Level;
use crate::nhwc::across::{self, maximum, total};
use crate::parallel::{pieces, pieces2};

/// Elements of a task, in whole rows.
const TASK: usize = 1 << 12;

/// Where the gradient for the logits goes.
#[derive(Debug)]
pub struct RowGradient<'a> {
    /// `[N, C]`.
    pub into: &'a mut [f32],
    /// Factor of the rows: one for all of them, or `[N]`.
    pub factors: &'a [f32],
    /// Whether to add to what stands there.
    pub accumulate: bool,
}

impl RowGradient<'_> {
    fn check(&self, len: usize, rows: usize) {
        assert_eq!(self.into.len(), len, "loss: length of the gradient");
        assert!(self.factors.len() == rows || self.factors.len() == 1, "loss: length of the gradient's factors");
    }
}

/// Cross-entropy of each row of `logits` `[N, C]` against a class, in nats; returns the sum.
///
/// Label smoothing of Szegedy et al. 2016 (arXiv:1512.00567), Sec. 7.
/// ```text
/// loss_n = -(1 - smoothing) ln q_n[label_n] - smoothing / C * sum_c ln q_nc     q = softmax(logits)
/// gradient_n = factor_n (q_n - (1 - smoothing) onehot(label_n) - smoothing / C)
/// ```
/// `labels` `[N]`, each below `C`; `losses` `[N]` gets the loss of each row.
pub fn cross_entropy(
    logits: &[f32],
    labels: &[u32],
    smoothing: f32,
    losses: Option<&mut [f32]>,
    gradient: Option<RowGradient<'_>>,
) -> f64 {
    let (rows, level) = (labels.len(), Level::current());
    assert!(logits.len().is_multiple_of(rows.max(1)), "cross_entropy: length of the logits");
    let classes = logits.len() / rows.max(1);
    assert!(labels.iter().all(|label| (*label as usize) < classes), "cross_entropy: a label is not a class");
    each_row(rows, classes, losses, gradient, |row, scratch, gradient| {
        let logits = &logits[row * classes..][..classes];
        let exponentials = &mut scratch[..classes];
        entropy_row(level, logits, labels[row] as usize, smoothing, exponentials, gradient)
    })
}

/// Gradient of one row: where it goes, its factor, whether to add.
type Into<'a> = Option<(&'a mut [f32], f32, bool)>;

/// Runs `task(row, scratch of 2 C, gradient)` on each row and adds the losses it returns, in order.
fn each_row(
    rows: usize,
    classes: usize,
    losses: Option<&mut [f32]>,
    gradient: Option<RowGradient<'_>>,
    task: impl Fn(usize, &mut [f32], Into<'_>) -> f64 + Sync,
) -> f64 {
    assert!(losses.as_ref().is_none_or(|losses| losses.len() == rows), "loss: length of the losses");
    gradient.iter().for_each(|gradient| gradient.check(rows * classes, rows));
    if rows == 0 || classes == 0 {
        return 0.0;
    }
    let (block, work) = (TASK.div_ceil(classes), rows * classes * 4);
    f64::scratch(rows, |values| {
        match gradient {
            None => pieces(values, block, work, |index, values| {
                f32::scratch(2 * classes, |scratch| {
                    for (offset, value) in values.iter_mut().enumerate() {
                        *value = task(index * block + offset, scratch, None);
                    }
                });
            }),
            Some(gradient) => with_gradient(gradient, values, [block, classes], task),
        }
        if let Some(losses) = losses {
            losses.iter_mut().zip(&*values).for_each(|(loss, value)| *loss = *value as f32);
        }
        values.iter().sum()
    })
}

fn with_gradient(
    gradient: RowGradient<'_>,
    values: &mut [f64],
    [block, classes]: [usize; 2],
    task: impl Fn(usize, &mut [f32], Into<'_>) -> f64 + Sync,
) {
    let RowGradient { into, factors, accumulate } = gradient;
    let work = into.len() * 4;
    pieces2((values, block), (into, block * classes), work, |index, values, into| {
        f32::scratch(2 * classes, |scratch| {
            for (offset, (value, into)) in values.iter_mut().zip(into.chunks_exact_mut(classes)).enumerate() {
                let row = index * block + offset;
                let factor = if factors.len() == 1 { factors[0] } else { factors[row] };
                *value = task(row, scratch, Some((into, factor, accumulate)));
            }
        });
    });
}

leveled! {
    fn entropy_row(
        logits: &[f32],
        label: usize,
        smoothing: f32,
        exponentials: &mut [f32],
        gradient: Into<'_>,
    ) -> f64 {
        let top = maximum(logits);
        let sum = across::exponentials(logits, top, 1.0, exponentials);
        if let Some((into, factor, accumulate)) = gradient {
            let (scale, even) = ((1.0 / sum) as f32 * factor, smoothing / logits.len() as f32 * factor);
            let kept = if accumulate { into[label] } else { 0.0 };
            spread(exponentials, [scale, even], into, accumulate);
            let at_label = exponentials[label] * scale - even;
            into[label] = kept + (at_label - (1.0 - smoothing) * factor);
        }
        let at_label = sum.ln() - (f64::from(logits[label]) - f64::from(top));
        if smoothing == 0.0 {
            return at_label;
        }
        let mean = sum.ln() - (total(logits) / logits.len() as f64 - f64::from(top));
        let smoothing = f64::from(smoothing);
        (1.0 - smoothing) * at_label + smoothing * mean
    }
}

#[inline(always)]
fn spread(exponentials: &[f32], [scale, even]: [f32; 2], into: &mut [f32], accumulate: bool) {
    if accumulate {
        for (into, exponential) in into.iter_mut().zip(exponentials) {
            *into += *exponential * scale - even;
        }
    } else {
        for (into, exponential) in into.iter_mut().zip(exponentials) {
            *into = *exponential * scale - even;
        }
    }
}

/// Divergence from the teacher's softened classes to the student's, of each row, in nats; returns the sum.
///
/// Hinton et al. 2015 (arXiv:1503.02531), Sec. 2. No factor `T^2` is put in.
/// ```text
/// loss_n = sum_c p_nc (ln p_nc - ln q_nc)     p = softmax(teacher / T)     q = softmax(student / T)
/// gradient_n = factor_n / T (q_n - p_n)       for the student only
/// ```
/// `student`, `teacher` `[N, C]`; `losses` `[N]`. A class that the teacher rules out (`-inf`) adds nothing.
pub fn softened_divergence(
    [student, teacher]: [&[f32]; 2],
    classes: usize,
    temperature: f32,
    losses: Option<&mut [f32]>,
    gradient: Option<RowGradient<'_>>,
) -> f64 {
    assert!(student.len() == teacher.len(), "softened_divergence: lengths");
    assert!(classes > 0 && student.len().is_multiple_of(classes), "softened_divergence: length of the rows");
    assert!(temperature > 0.0, "softened_divergence: temperature {temperature}");
    let (rows, level) = (student.len() / classes, Level::current());
    each_row(rows, classes, losses, gradient, |row, scratch, gradient| {
        let [student, teacher] = [student, teacher].map(|logits| &logits[row * classes..][..classes]);
        divergence_row(level, [student, teacher], temperature, scratch, gradient)
    })
}

leveled! {
    fn divergence_row(logits: [&[f32]; 2], temperature: f32, scratch: &mut [f32], gradient: Into<'_>) -> f64 {
        let [student, teacher] = logits;
        let (q, p) = scratch.split_at_mut(student.len());
        let (student_top, teacher_top) = (maximum(student), maximum(teacher));
        let cold = 1.0 / temperature;
        let q_sum = across::exponentials(student, student_top, cold, q);
        let p_sum = across::exponentials(teacher, teacher_top, cold, p);
        if let Some((into, factor, accumulate)) = gradient {
            let factor = f64::from(factor) * f64::from(cold);
            let (q_scale, p_scale) = ((factor / q_sum) as f32, (factor / p_sum) as f32);
            difference([q, p], [q_scale, p_scale], into, accumulate);
        }
        let along = across::weighted_difference(p, [student, teacher], [student_top, teacher_top], cold);
        along / p_sum + (q_sum.ln() - p_sum.ln())
    }
}

#[inline(always)]
fn difference([q, p]: [&[f32]; 2], [q_scale, p_scale]: [f32; 2], into: &mut [f32], accumulate: bool) {
    if accumulate {
        for (into, (q, p)) in into.iter_mut().zip(q.iter().zip(p)) {
            *into += *q * q_scale - *p * p_scale;
        }
    } else {
        for (into, (q, p)) in into.iter_mut().zip(q.iter().zip(p)) {
            *into = *q * q_scale - *p * p_scale;
        }
    }
}
