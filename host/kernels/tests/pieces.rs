//! Work that is cut into pieces: each piece reads what lies at its own place.

mod common;

use common::{Cases, single};
use stillhouse_kernels::broadcast::Broadcast;
use stillhouse_kernels::conv::channel_sums;
use stillhouse_kernels::matmul::{Matrix, batched, matmul};
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::activation::{activation_backward, activation_forward, multiply, scaled};
use stillhouse_kernels::nhwc::norm::product_sums;
use stillhouse_kernels::recurrent::{
    GruKept, LstmKept, gru_backward, gru_forward, lstm_backward, lstm_cell, lstm_forward, lstm_state,
};
use stillhouse_kernels::reduce::{first_extreme, spread, squared_distance, sum, sum_dim};

/// Whole numbers, so that sums are exact in any order.
fn whole(len: usize) -> Vec<f64> {
    (0..len).map(|at| (at % 1013) as f64 + (at / 1013) as f64).collect()
}

#[test]
fn sums_of_many_elements_are_of_each_of_them() {
    for len in [17, 2048, 2049, 5000, 32_768, 100_003] {
        let x = whole(len);
        let total: f64 = x.iter().sum();
        assert_eq!(sum(&x), total, "{len}");
        let y: Vec<f64> = x.iter().map(|x| x - (*x as usize % 3) as f64).collect();
        let squares: f64 = x.iter().map(|x| (*x as usize % 3).pow(2) as f64).sum();
        assert_eq!(squared_distance(&x, &y), squares, "{len}");
    }
}

#[test]
fn sums_over_a_dim_of_any_size_match_the_definition() {
    for split in [[300, 150, 1], [3, 5000, 1], [2, 3, 8192], [2, 3, 5000], [7, 20, 600]] {
        let [outer, dim, inner] = split;
        let (x, mut out) = (whole(outer * dim * inner), vec![7.0; outer * inner]);
        sum_dim(&x, split, &mut out);
        for (at, out) in out.iter().enumerate() {
            let line = (0..dim).map(|d| x[(at / inner * dim + d) * inner + at % inner]);
            assert_eq!(*out, line.sum::<f64>(), "{split:?}: {at}");
        }
    }
}

#[test]
fn channel_sums_of_many_channels_match_the_definition() {
    let (batch, channels, plane) = (3, 70, 11);
    let (grad, mut out) = (whole(batch * channels * plane), vec![7.0; channels]);
    channel_sums(&grad, plane, &mut out);
    for (channel, out) in out.iter().enumerate() {
        let inside = (0..grad.len()).filter(|at| at / plane % channels == channel);
        assert_eq!(*out, inside.map(|at| grad[at]).sum::<f64>(), "{channel}");
    }
}

#[test]
fn spread_scales_with_and_without_inner_dims() {
    let mut out = [7.0; 6];
    spread(&[1.0, 2.0], [2, 3, 1], 0.5, &mut out);
    assert_eq!(out, [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]);
    spread(&[1.0, 2.0], [1, 3, 2], 0.5, &mut out);
    assert_eq!(out, [0.5, 1.0, 0.5, 1.0, 0.5, 1.0]);
}

#[test]
fn first_extreme_of_several_nans_is_the_first() {
    let mut index = [7];
    first_extreme(&[1.0, f32::NAN, 5.0, f32::NAN], [1, 4, 1], &mut index, |new, old| new > old);
    assert_eq!(index, [1]);
}

#[test]
fn zip_two_of_big_shapes_reads_each_place() {
    let (n, c, plane) = (7, 5, 3000);
    let (a, grad, b) = (whole(n * c * plane), whole(n * c * plane), [1.0, 2.0, 3.0, 4.0, 5.0]);
    let plan = Broadcast::new(&[n, c, plane], &[c, 1]).expect("they broadcast");
    let (mut first, mut second) = (vec![7.0; a.len()], vec![7.0; a.len()]);
    plan.zip_two([&a, &b, &grad], &mut first, &mut second, |a, b, g| (g * b, g + a));
    for at in 0..a.len() {
        assert_eq!((first[at], second[at]), (grad[at] * b[at / plane % c], grad[at] + a[at]), "{at}");
    }
}

#[test]
fn batched_reads_the_matrices_of_both_operands() {
    let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 10.0, 100.0, 1000.0]);
    let mut c = [7.0; 2];
    batched([1, 1, 2], (Matrix::by_rows(&a, 2), &[0, 2]), (Matrix::by_rows(&b, 1), &[0, 2]), &mut c);
    assert_eq!(c, [21.0, 4300.0]);
}

#[test]
fn matmul_of_several_blocks_matches_the_definition() {
    let [m, n, k] = [70, 100, 90];
    let (a, b) = (whole(m * k), whole(k * n));
    let term = |at: usize, i: usize| a[at / n * k + i] * b[i * n + at % n];
    let want: Vec<f64> = (0..m * n).map(|at| (0..k).map(|i| term(at, i)).sum()).collect();
    let mut c = vec![7.0; m * n];
    matmul([m, n, k], Matrix::by_rows(&a, k), Matrix::by_rows(&b, n), &mut c);
    assert_eq!(c, want);
}

/// More rows than an `f32` adds up before its sum goes to an `f64`.
#[test]
fn channel_sums_of_many_pixels_count_each_once() {
    let (pixels, channels) = (700_000, 16);
    let (ones, mut sums) = (vec![1f32; pixels * channels], vec![7.0; 2 * channels]);
    product_sums(&ones, &ones, channels, &mut sums);
    assert_eq!(sums, vec![pixels as f64; 2 * channels]);
}

#[test]
fn passes_over_many_values_match_the_definition() {
    let (mut cases, len, relu) = (Cases::new(71), 40_003, Activation::Relu);
    let (x, y) = (single(&cases.reals(len)), single(&cases.reals(len)));
    let [mut value, mut slope, mut product, mut half] = [(); 4].map(|()| vec![7.0; len]);
    activation_forward(relu, &x, &mut value);
    activation_backward(relu, &x, &y, &mut slope, false);
    multiply(&x, &y, &mut product, false);
    scaled(&x, 0.5, &mut half, false);
    for at in 0..len {
        let want = [relu.apply(x[at]), y[at] * relu.slope(x[at]), x[at] * y[at], x[at] * 0.5];
        assert_eq!([value[at], slope[at], product[at], half[at]], want, "{at}");
    }
}

const ROWS: usize = 501;
const HIDDEN: usize = 37;

/// Runs `task` on all rows at once and on each of them alone: the same bits.
fn assert_rows_alone(task: impl Fn(std::ops::Range<usize>) -> Vec<Vec<f32>>) {
    let all = task(0..ROWS);
    for row in 0..ROWS {
        for (all, alone) in all.iter().zip(task(row..row + 1)) {
            assert_eq!(all[row * alone.len()..][..alone.len()], alone, "row {row}");
        }
    }
}

#[test]
fn lstm_of_many_rows_is_that_of_each_row() {
    let mut cases = Cases::new(72);
    let mut reals = |width: usize| single(&cases.reals(ROWS * width * HIDDEN));
    let (gates, before, dh, dc) = (reals(4), reals(1), reals(1), reals(1));
    assert_rows_alone(|rows| {
        let part =
            |values: &[f32], width: usize| values[rows.start * width * HIDDEN..rows.end * width * HIDDEN].to_vec();
        let (mut open, before) = (part(&gates, 4), part(&before, 1));
        let [mut cell, mut state, mut cell_again, mut state_again] = [(); 4].map(|()| vec![7.0; before.len()]);
        lstm_forward(&mut open, &before, HIDDEN, &mut cell, &mut state);
        lstm_cell(&open, &before, HIDDEN, &mut cell_again);
        lstm_state(&open, &cell, HIDDEN, &mut state_again);
        assert_eq!((&cell, &state), (&cell_again, &state_again), "made again");
        let (mut grad_cell, mut grad_gates) = (part(&dc, 1), vec![7.0; open.len()]);
        let kept = LstmKept { gates: &open, cell_before: &before, cell: &cell };
        lstm_backward(kept, &part(&dh, 1), HIDDEN, &mut grad_cell, &mut grad_gates);
        vec![open, cell, state, grad_cell, grad_gates]
    });
}

#[test]
fn gru_of_many_rows_is_that_of_each_row() {
    let mut cases = Cases::new(73);
    let mut reals = |width: usize| single(&cases.reals(ROWS * width * HIDDEN));
    let (gates, recurrent, before, dh) = (reals(3), reals(3), reals(1), reals(1));
    assert_rows_alone(|rows| {
        let part =
            |values: &[f32], width: usize| values[rows.start * width * HIDDEN..rows.end * width * HIDDEN].to_vec();
        let (mut open, recurrent, before) = (part(&gates, 3), part(&recurrent, 3), part(&before, 1));
        let mut state = vec![7.0; before.len()];
        gru_forward(&mut open, &recurrent, &before, HIDDEN, &mut state);
        let (mut grad_state, mut grad_gates, mut grad_recurrent) =
            (part(&dh, 1), vec![7.0; open.len()], vec![7.0; open.len()]);
        let kept = GruKept { gates: &open, recurrent: &recurrent, before: &before };
        gru_backward(kept, HIDDEN, &mut grad_state, &mut grad_gates, &mut grad_recurrent);
        vec![open, state, grad_state, grad_gates, grad_recurrent]
    });
}
