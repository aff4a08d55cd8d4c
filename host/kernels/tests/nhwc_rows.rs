//! Kernels over rows: linear layers, softmax, optimizers, recurrent cells, random numbers.

mod common;

use common::{Cases, assert_close, assert_gradient, dot, double, single, with_threads};
use stillhouse_kernels::nhwc::Level;
use stillhouse_kernels::nhwc::linear::Linear;
use stillhouse_kernels::nhwc::softmax::{softmax_backward, softmax_forward};
use stillhouse_kernels::optim::{Adam, AdamSlot, Sgd, SgdSlot, clip_factor, gradient_norm, scale_gradients};
use stillhouse_kernels::recurrent::{GruKept, LstmKept, gru_backward, gru_forward, lstm_backward, lstm_forward};
use stillhouse_kernels::rng::Stream;
use stillhouse_kernels::softmax as reference;

fn at_levels<R: PartialEq + std::fmt::Debug>(task: impl Fn() -> R) -> R {
    let mut results = Level::available().map(|level| level.with(&task));
    let first = results.next().expect("a level");
    results.for_each(|other| assert_eq!(first, other, "levels differ"));
    first
}

fn reals(cases: &mut Cases, len: usize, scale: f64) -> Vec<f32> {
    cases.reals(len).iter().map(|x| (x * scale) as f32).collect()
}

#[test]
fn linear_random_sizes_match_the_definition() {
    let mut cases = Cases::new(51);
    for round in 0..30 {
        let most = [9, 70, 600][round % 3];
        let (rows, inputs, outputs) = (cases.whole(1, most), cases.whole(1, most), cases.whole(1, most));
        let linear = Linear { rows, inputs, outputs };
        let (x, w) = (cases.reals(rows * inputs), cases.reals(outputs * inputs));
        let (b, g) = (cases.reals(outputs), cases.reals(rows * outputs));
        let (mut want, mut dx) = (vec![0.0; rows * outputs], vec![1.0; rows * inputs]);
        let (mut dw, mut db) = (vec![1.0; outputs * inputs], vec![1.0; outputs]);
        for r in 0..rows {
            for o in 0..outputs {
                want[r * outputs + o] = b[o] + dot(&x[r * inputs..][..inputs], &w[o * inputs..][..inputs]);
                let g = g[r * outputs + o];
                db[o] += g;
                for i in 0..inputs {
                    dx[r * inputs + i] += g * w[o * inputs + i];
                    dw[o * inputs + i] += g * x[r * inputs + i];
                }
            }
        }
        let (x, w, b, g) = (single(&x), single(&w), single(&b), single(&g));
        let run = || {
            let (mut out, mut got_dx) = (vec![7f32; rows * outputs], vec![1f32; rows * inputs]);
            let (mut got_dw, mut got_db) = (vec![1f32; outputs * inputs], vec![1f32; outputs]);
            linear.forward(&x, &w, Some(&b), &mut out);
            linear.backward_data(&g, &w, &mut got_dx, true);
            linear.backward_weights(&x, &g, Some(&mut got_dw), Some(&mut got_db), true);
            (out, got_dx, got_dw, got_db)
        };
        for level in Level::available() {
            let got = with_threads(1, || level.with(run));
            assert_close(&double(&got.0), &want, 1e-4, "linear");
            assert_close(&double(&got.1), &dx, 1e-4, "gradient of the input");
            assert_close(&double(&got.2), &dw, 1e-4, "gradient of the weights");
            assert_close(&double(&got.3), &db, 1e-4, "gradient of the bias");
            assert_eq!(got, with_threads(3, || level.with(run)));
        }
    }
}

#[test]
fn linear_row_has_the_same_bits_in_any_batch() {
    let mut cases = Cases::new(57);
    for [inputs, outputs] in [[64, 10], [64, 100], [100, 1], [784, 300], [3, 33], [512, 48]] {
        let rows = 131;
        let (x, w) = (reals(&mut cases, rows * inputs, 1.0), reals(&mut cases, outputs * inputs, 1.0));
        let (b, start) = (reals(&mut cases, outputs, 1.0), reals(&mut cases, rows * outputs, 1.0));
        let run = |rows: usize, first: usize| {
            let linear = Linear { rows, inputs, outputs };
            let x = &x[first * inputs..][..rows * inputs];
            let (mut out, mut added) = (vec![7.0; rows * outputs], start[first * outputs..][..rows * outputs].to_vec());
            linear.forward(x, &w, Some(&b), &mut out);
            linear.add(x, &w, &mut added);
            [out, added]
        };
        for level in Level::available() {
            let whole = level.with(|| run(rows, 0));
            for (count, first) in [(1, 0), (1, 130), (2, 7), (5, 126), (28, 3), (41, 82), (130, 1)] {
                let of = |all: &Vec<f32>| all[first * outputs..][..count * outputs].to_vec();
                let part = with_threads(1, || level.with(|| run(count, first)));
                assert_eq!(part, [of(&whole[0]), of(&whole[1])], "{inputs} to {outputs}, {count} from {first}");
            }
        }
    }
}

#[test]
fn softmax_random_rows_match_the_reference() {
    let mut cases = Cases::new(52);
    for _ in 0..60 {
        let (rows, width) = (cases.whole(1, 70), cases.whole(1, 150));
        let (x, grad) = (reals(&mut cases, rows * width, 20.0), reals(&mut cases, rows * width, 1.0));
        let (mut want, mut want_dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        reference::softmax_forward(&double(&x), [rows, width, 1], &mut want);
        reference::softmax_backward([&want, &double(&grad)], [rows, width, 1], &mut want_dx);
        let (y, dx) = at_levels(|| {
            let (mut y, mut dx) = (vec![7.0; x.len()], vec![7.0; x.len()]);
            softmax_forward(&x, width, &mut y);
            softmax_backward([&y, &grad], width, &mut dx, false);
            (y, dx)
        });
        assert_close(&double(&y), &want, 2e-6, "softmax");
        assert_close(&double(&dx), &want_dx, 2e-6, "gradient");
    }
}

#[test]
fn sgd_steps_match_the_definition() {
    let mut cases = Cases::new(55);
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let sgd = Sgd { rate: 0.1, momentum, weight_decay: 0.01, nesterov };
        let lengths = [1usize, 33, 40_000];
        let mut parameters: Vec<Vec<f32>> = lengths.iter().map(|len| reals(&mut cases, *len, 1.0)).collect();
        let mut buffers: Vec<Vec<f32>> = lengths.iter().map(|len| vec![f32::NAN; *len]).collect();
        let mut want: Vec<Vec<f64>> = parameters.iter().map(|p| double(p)).collect();
        let mut kept: Vec<Vec<f64>> = lengths.iter().map(|len| vec![0.0; *len]).collect();
        for step in 0..4 {
            let gradients: Vec<Vec<f32>> = lengths.iter().map(|len| reals(&mut cases, *len, 1.0)).collect();
            let all = parameters.iter_mut().zip(&mut buffers).zip(&gradients);
            let mut slots: Vec<SgdSlot<'_>> = all
                .map(|((parameter, buffer), gradient)| SgdSlot { parameter, gradient, buffer, first: step == 0 })
                .collect();
            sgd.step(&mut slots, 0.5);
            for ((want, kept), gradient) in want.iter_mut().zip(&mut kept).zip(&gradients) {
                for ((p, buffer), g) in want.iter_mut().zip(kept).zip(gradient) {
                    let d = 0.5 * f64::from(*g) + 0.01 * *p;
                    *buffer = if step == 0 { d } else { f64::from(momentum) * *buffer + d };
                    *p -= 0.1 * if nesterov { d + f64::from(momentum) * *buffer } else { *buffer };
                }
            }
        }
        for (got, want) in parameters.iter().zip(&want) {
            assert_close(&double(got), want, 2e-6, "parameter");
        }
    }
}

#[test]
fn adam_steps_match_the_definition() {
    let mut cases = Cases::new(56);
    for decoupled in [false, true] {
        let adam = Adam { rate: 0.01, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, decoupled };
        let len = 40_000;
        let start = reals(&mut cases, len, 1.0);
        let gradients: Vec<Vec<f32>> = (0..4).map(|_| reals(&mut cases, len, 1.0)).collect();
        let run = || {
            let (mut parameter, mut first, mut second) = (start.clone(), vec![0.0; len], vec![0.0; len]);
            for (step, gradient) in gradients.iter().enumerate() {
                let slot = AdamSlot {
                    parameter: &mut parameter,
                    gradient,
                    first: &mut first,
                    second: &mut second,
                    step: step as u64 + 1,
                };
                adam.step(&mut [slot], 1.0);
            }
            (parameter, first, second)
        };
        let got = at_levels(run);
        let mut want = double(&start);
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        for (step, gradient) in gradients.iter().enumerate() {
            let t = step as i32 + 1;
            for at in 0..len {
                let mut g = f64::from(gradient[at]);
                if decoupled {
                    want[at] *= 1.0 - 0.01 * 0.1;
                } else {
                    g += 0.1 * want[at];
                }
                m[at] = 0.9 * m[at] + 0.1 * g;
                v[at] = 0.999 * v[at] + 0.001 * g * g;
                let root = (v[at] / (1.0 - 0.999f64.powi(t))).sqrt();
                want[at] -= 0.01 * (m[at] / (1.0 - 0.9f64.powi(t))) / (root + 1e-8);
            }
        }
        assert_close(&double(&got.0), &want, 3e-6, "parameter");
        assert_close(&double(&got.2), &v, 2e-6, "second moment");
        assert_eq!(got, with_threads(3, run));
    }
}

#[test]
fn gradient_norm_clips_as_the_definition() {
    let mut cases = Cases::new(57);
    let (mut a, mut b) = (reals(&mut cases, 100_003, 1.0), reals(&mut cases, 7, 1.0));
    let want = a.iter().chain(&b).map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let norm = gradient_norm(&[&a, &b]);
    assert!((norm - want).abs() < 1e-9 * want);
    assert_eq!(norm, with_threads(3, || gradient_norm(&[&a, &b])));
    assert_eq!(clip_factor(norm, 1e9), 1.0);
    let before = a[5];
    scale_gradients(&mut [&mut a, &mut b], clip_factor(norm, 2.0));
    assert_eq!(a[5], before * clip_factor(norm, 2.0));
    assert!((gradient_norm(&[&a, &b]) - 2.0).abs() < 1e-4);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn lstm_random_cells_match_the_definition_and_finite_differences() {
    let mut cases = Cases::new(58);
    for _ in 0..20 {
        let (rows, hidden) = (cases.whole(1, 4), cases.whole(1, 20));
        let (gates, before) = (cases.reals(4 * rows * hidden), cases.reals(rows * hidden));
        let (dc, dh) = (cases.reals(rows * hidden), cases.reals(rows * hidden));
        let value = |gates: &[f64], before: &[f64]| -> f64 {
            let mut total = 0.0;
            for at in 0..rows * hidden {
                let gate = |which: usize| gates[(at / hidden * 4 + which) * hidden + at % hidden];
                let c = sigmoid(gate(1)) * before[at] + sigmoid(gate(0)) * gate(2).tanh();
                total += dc[at] * c + dh[at] * sigmoid(gate(3)) * c.tanh();
            }
            total
        };
        let (summed, kept_before) = (single(&gates), single(&before));
        let (loss, grad_cell, grad_gates) = at_levels(|| {
            let mut open = summed.clone();
            let (mut cell, mut state) = (vec![7.0; rows * hidden], vec![7.0; rows * hidden]);
            lstm_forward(&mut open, &kept_before, hidden, &mut cell, &mut state);
            let (mut grad_cell, mut grad_gates) = (single(&dc), vec![7.0; gates.len()]);
            let kept = LstmKept { gates: &open, cell_before: &kept_before, cell: &cell };
            lstm_backward(kept, &single(&dh), hidden, &mut grad_cell, &mut grad_gates);
            (dot(&double(&cell), &dc) + dot(&double(&state), &dh), grad_cell, grad_gates)
        });
        assert_close(&[loss], &[value(&gates, &before)], 1e-5, "lstm");
        assert_gradient(&gates, &double(&grad_gates), 1e-5, |gates| value(gates, &before));
        assert_gradient(&before, &double(&grad_cell), 1e-5, |before| value(&gates, before));
    }
}

#[test]
fn gru_random_cells_match_the_definition_and_finite_differences() {
    let mut cases = Cases::new(59);
    for _ in 0..20 {
        let (rows, hidden) = (cases.whole(1, 4), cases.whole(1, 20));
        let (gates, recurrent) = (cases.reals(3 * rows * hidden), cases.reals(3 * rows * hidden));
        let (before, dh) = (cases.reals(rows * hidden), cases.reals(rows * hidden));
        let value = |gates: &[f64], recurrent: &[f64], before: &[f64]| -> f64 {
            let mut total = 0.0;
            for at in 0..rows * hidden {
                let index = |which: usize| (at / hidden * 3 + which) * hidden + at % hidden;
                let r = sigmoid(gates[index(0)] + recurrent[index(0)]);
                let z = sigmoid(gates[index(1)] + recurrent[index(1)]);
                let n = (gates[index(2)] + r * recurrent[index(2)]).tanh();
                total += dh[at] * ((1.0 - z) * n + z * before[at]);
            }
            total
        };
        let (summed, back, kept_before) = (single(&gates), single(&recurrent), single(&before));
        let (loss, grad_state, grad_gates, grad_recurrent) = at_levels(|| {
            let (mut open, mut state) = (summed.clone(), vec![7.0; rows * hidden]);
            gru_forward(&mut open, &back, &kept_before, hidden, &mut state);
            let (mut grad_state, mut grad_gates) = (single(&dh), vec![7.0; gates.len()]);
            let mut grad_recurrent = vec![7.0; gates.len()];
            let kept = GruKept { gates: &open, recurrent: &back, before: &kept_before };
            gru_backward(kept, hidden, &mut grad_state, &mut grad_gates, &mut grad_recurrent);
            (dot(&double(&state), &dh), grad_state, grad_gates, grad_recurrent)
        });
        assert_close(&[loss], &[value(&gates, &recurrent, &before)], 1e-5, "gru");
        assert_gradient(&gates, &double(&grad_gates), 1e-5, |gates| value(gates, &recurrent, &before));
        assert_gradient(&recurrent, &double(&grad_recurrent), 1e-5, |back| value(&gates, back, &before));
        assert_gradient(&before, &double(&grad_state), 1e-5, |before| value(&gates, &recurrent, before));
    }
}

#[test]
fn recurrent_any_thread_count_gives_the_same_bits() {
    let mut cases = Cases::new(60);
    let (rows, hidden) = (501, 37);
    let (gates, before) = (reals(&mut cases, 4 * rows * hidden, 3.0), reals(&mut cases, rows * hidden, 1.0));
    let run = || {
        let mut open = gates.clone();
        let (mut cell, mut state) = (vec![7.0; rows * hidden], vec![7.0; rows * hidden]);
        lstm_forward(&mut open, &before, hidden, &mut cell, &mut state);
        (open, cell, state)
    };
    let one = with_threads(1, run);
    assert_eq!(one, with_threads(2, run));
    assert_eq!(one, with_threads(3, run));
}

#[test]
fn random_elements_depend_on_the_position_alone() {
    let stream = Stream::new(7, "dropout");
    let len = 40_007;
    type Fill = fn(&Stream, u64, &mut [f32]);
    let fills: [(&str, Fill); 3] = [
        ("uniform", |stream, start, out| stream.fill_uniform(start, out)),
        ("normal", |stream, start, out| stream.fill_normal(start, out)),
        ("mask", |stream, start, out| stream.fill_mask(start, 0.75, out)),
    ];
    for (name, fill) in fills {
        let whole = at_levels(|| {
            let mut out = vec![7.0; len];
            fill(&stream, 0, &mut out);
            out
        });
        for (start, part) in [(0usize, 1usize), (63, 2), (64, 64), (100, 9000), (39_999, 8)] {
            let mut out = vec![7.0; part];
            fill(&stream, start as u64, &mut out);
            assert_eq!(out, whole[start..start + part], "{name} from {start}");
        }
        let mean = double(&whole).iter().sum::<f64>() / len as f64;
        let square = double(&whole).iter().map(|x| x * x).sum::<f64>() / len as f64;
        let want = match name {
            "uniform" => [0.5, 1.0 / 3.0],
            "normal" => [0.0, 1.0],
            _ => [1.0, 1.0 / 0.75],
        };
        assert_close(&[mean, square], &want, 0.02, name);
        let threads = with_threads(3, || {
            let mut out = vec![7.0; len];
            fill(&stream, 0, &mut out);
            out
        });
        assert_eq!(whole, threads, "{name}");
    }
    let mut uniform = [0.0; 3];
    stream.fill_uniform(4, &mut uniform);
    assert_eq!(uniform[1], (stream.word(5) >> 8) as f32 / (1 << 24) as f32);
    assert_ne!(stream.word(0), Stream::new(7, "shuffle").word(0));
    assert_ne!(stream.word(0), Stream::new(8, "dropout").word(0));
    let mut wide = [0.0; 2];
    stream.fill_uniform_f64(3, &mut wide);
    assert_eq!(wide[0], (stream.wide_word(3) >> 11) as f64 / (1u64 << 53) as f64);
}

#[test]
fn shuffle_is_a_permutation_that_the_seed_decides() {
    let mut order: Vec<usize> = (0..1000).collect();
    let mut again = order.clone();
    Stream::new(1, "order").shuffle(0, &mut order);
    Stream::new(1, "order").shuffle(0, &mut again);
    assert_eq!(order, again);
    assert!(order.iter().enumerate().filter(|(at, value)| at == *value).count() < 10);
    order.sort_unstable();
    assert!(order.into_iter().eq(0..1000));
    assert!((0..1000).all(|at| Stream::new(1, "order").below(at, 7) < 7));
}
