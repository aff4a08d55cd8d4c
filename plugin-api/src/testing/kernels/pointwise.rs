//! Element by element: a value and its partial derivatives.

use super::indexing::broadcast_places;
use crate::op::Op;
use crate::testing::array::Array;
use std::f64::consts::PI;

pub(super) fn is_pointwise(op: &Op) -> bool {
    unary(op, 0.5).is_some() || binary(op, 0.5, 0.5).is_some()
}

pub(super) fn forward(op: &Op, inputs: &[&Array], shape: &[usize]) -> Vec<f64> {
    let a = &inputs[0];
    let Some(b) = inputs.get(1) else {
        return a.values.iter().map(|x| unary(op, *x).unwrap_or_default().0).collect();
    };
    let pairs = broadcast_places(a.shape(), shape).into_iter().zip(broadcast_places(b.shape(), shape));
    pairs.map(|(i, j)| binary(op, a.values[i], b.values[j]).unwrap_or_default().0).collect()
}

pub(super) fn backward(op: &Op, inputs: &[&Array], shape: &[usize], grad: &[f64]) -> Vec<Option<Vec<f64>>> {
    let a = &inputs[0];
    let Some(b) = inputs.get(1) else {
        let scaled = a.values.iter().zip(grad).map(|(x, g)| g * unary(op, *x).unwrap_or_default().1);
        return vec![Some(scaled.collect())];
    };
    let (mut to_a, mut to_b) = (vec![0.0; a.values.len()], vec![0.0; b.values.len()]);
    let pairs = broadcast_places(a.shape(), shape).into_iter().zip(broadcast_places(b.shape(), shape));
    for ((i, j), g) in pairs.zip(grad) {
        let (_, by_a, by_b) = binary(op, a.values[i], b.values[j]).unwrap_or_default();
        to_a[i] += g * by_a;
        to_b[j] += g * by_b;
    }
    vec![Some(to_a), Some(to_b)]
}

/// Value and derivative.
fn unary(op: &Op, x: f64) -> Option<(f64, f64)> {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    Some(match op {
        Op::Neg => (-x, -1.0),
        Op::Exp => (x.exp(), x.exp()),
        Op::Log => (x.ln(), 1.0 / x),
        Op::Sqrt => (x.sqrt(), 0.5 / x.sqrt()),
        Op::Square => (x * x, 2.0 * x),
        Op::Abs => (x.abs(), sign(x)),
        Op::Recip => (1.0 / x, -1.0 / (x * x)),
        Op::Relu => (x.max(0.0), step(x > 0.0)),
        Op::Relu6 => (x.clamp(0.0, 6.0), step(x > 0.0 && x < 6.0)),
        Op::LeakyRelu { slope } => {
            if x > 0.0 {
                (x, 1.0)
            } else {
                (slope * x, *slope)
            }
        }
        Op::Sigmoid => (sigmoid, sigmoid * (1.0 - sigmoid)),
        Op::Tanh => (x.tanh(), 1.0 - x.tanh() * x.tanh()),
        Op::Silu => (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid))),
        Op::Gelu => {
            let below = 0.5 * (1.0 + erf(x / 2f64.sqrt()));
            (x * below, below + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt())
        }
        Op::Softplus => (x.max(0.0) + (-x.abs()).exp().ln_1p(), sigmoid),
        Op::Erf => (erf(x), 2.0 / PI.sqrt() * (-x * x).exp()),
        Op::Sign => (sign(x), 0.0),
        Op::Floor => (x.floor(), 0.0),
        Op::Affine { mul, add } => (mul * x + add, *mul),
        Op::Pow { exponent } => (x.powf(*exponent), exponent * x.powf(exponent - 1.0)),
        Op::Clamp { low, high } => (x.max(*low).min(*high), step(*low <= x && x <= *high)),
        _ => return None,
    })
}

/// Value and both derivatives.
fn binary(op: &Op, a: f64, b: f64) -> Option<(f64, f64, f64)> {
    let share = |first: bool| if a == b { 0.5 } else { step(first) };
    let mask = |holds: bool| (step(holds), 0.0, 0.0);
    Some(match op {
        Op::Add => (a + b, 1.0, 1.0),
        Op::Sub => (a - b, 1.0, -1.0),
        Op::Mul => (a * b, b, a),
        Op::Div => (a / b, 1.0 / b, -a / (b * b)),
        Op::Maximum => (if a >= b { a } else { b }, share(a > b), share(b > a)),
        Op::Minimum => (if a <= b { a } else { b }, share(a < b), share(b < a)),
        Op::Eq => mask(a == b),
        Op::Ne => mask(a != b),
        Op::Lt => mask(a < b),
        Op::Le => mask(a <= b),
        Op::Gt => mask(a > b),
        Op::Ge => mask(a >= b),
        Op::SmoothL1 { beta } => {
            let d = a - b;
            let (value, slope) =
                if d.abs() < *beta { (0.5 * d * d / beta, d / beta) } else { (d.abs() - 0.5 * beta, sign(d)) };
            (value, slope, -slope)
        }
        _ => return None,
    })
}

fn step(holds: bool) -> f64 {
    f64::from(holds)
}

fn sign(x: f64) -> f64 {
    f64::from(x > 0.0) - f64::from(x < 0.0)
}

/// Gauss error function, by the series `2/sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!`, all of one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return sign(x);
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}
