//! Broadcasting, reductions and matrix products against loops over their definition.

mod common;

use common::{Cases, assert_close, dot, double, single, with_threads};
use stillhouse_kernels::broadcast::{Broadcast, sum_to};
use stillhouse_kernels::matmul::{Matrix, batched, matmul};
use stillhouse_kernels::reduce::{first_extreme, put, spread, sum, sum_dim, take};

/// Two shapes that broadcast, and their common shape.
fn shapes(cases: &mut Cases) -> [Vec<usize>; 3] {
    let rank = cases.whole(0, 5);
    let common: Vec<usize> = (0..rank).map(|_| cases.whole(1, 5)).collect();
    let mut thin = |keep_rank: bool| {
        let lead = if keep_rank || rank == 0 { 0 } else { cases.whole(0, rank) };
        common[lead..].iter().map(|size| if cases.whole(0, 2) == 0 { 1 } else { *size }).collect::<Vec<_>>()
    };
    let (a, b) = (thin(true), thin(false));
    let lead = a.len() - b.len();
    let met =
        a.iter().enumerate().map(|(axis, size)| *size.max(axis.checked_sub(lead).map_or(&1, |at| &b[at]))).collect();
    [a, b, met]
}

/// Offset in an operand of shape `own` of element `index` of shape `common`.
fn offset(index: usize, common: &[usize], own: &[usize]) -> usize {
    let lead = common.len() - own.len();
    let (mut rest, mut at, mut step) = (index, 0, 1);
    for axis in (0..common.len()).rev() {
        let here = rest % common[axis];
        rest /= common[axis];
        if axis >= lead {
            at += if own[axis - lead] == 1 { 0 } else { here * step };
            step *= own[axis - lead];
        }
    }
    at
}

#[test]
fn broadcast_random_shapes_match_the_definition() {
    let mut cases = Cases::new(31);
    for round in 0..500 {
        let [a_dims, b_dims, met] = shapes(&mut cases);
        let (a_dims, b_dims) = if round % 2 == 0 { (a_dims, b_dims) } else { (b_dims, a_dims) };
        let plan = Broadcast::new(&a_dims, &b_dims).expect("they broadcast");
        assert_eq!(plan.dims(), met);
        let (a, b) = (cases.reals(a_dims.iter().product()), cases.reals(b_dims.iter().product()));
        let grad = cases.reals(plan.len());
        let [mut out, mut first, mut second] = [(); 3].map(|()| vec![7.0; plan.len()]);
        plan.zip(&a, &b, &mut out, |a, b| a - 2.0 * b);
        plan.zip_two([&a, &b, &grad], &mut first, &mut second, |a, b, g| (g * b, g * a));
        let (mut a_sum, mut b_sum) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        for index in 0..plan.len() {
            let (a_at, b_at) = (offset(index, &met, &a_dims), offset(index, &met, &b_dims));
            assert_eq!(out[index], a[a_at] - 2.0 * b[b_at], "{a_dims:?} {b_dims:?}");
            a_sum[a_at] += grad[index] * b[b_at];
            b_sum[b_at] += grad[index] * a[a_at];
        }
        assert_close(&sum_to(&first, &met, &a_dims), &a_sum, 1e-12, "first");
        assert_close(&sum_to(&second, &met, &b_dims), &b_sum, 1e-12, "second");
    }
}

#[test]
fn broadcast_unequal_dims_is_none() {
    assert_eq!(Broadcast::new(&[2, 3], &[4]), None);
    assert_eq!(Broadcast::new(&[2, 3], &[3, 3]), None);
}

#[test]
fn broadcast_big_shapes_cut_in_pieces_match() {
    let (n, c, plane) = (7, 5, 3000);
    let a: Vec<f64> = (0..n * c * plane).map(|i| i as f64).collect();
    let b: Vec<f64> = (0..c).map(|i| i as f64 * 0.5).collect();
    let plan = Broadcast::new(&[n, c, plane], &[1, c, 1]).expect("they broadcast");
    let mut out = vec![0.0; a.len()];
    plan.zip(&a, &b, &mut out, |a, b| a + b);
    assert!(out.iter().enumerate().all(|(i, out)| *out == a[i] + b[i / plane % c]));
    let mut swapped = vec![0.0; a.len()];
    let plan = Broadcast::new(&[1, c, 1], &[n, c, plane]).expect("they broadcast");
    plan.zip(&b, &a, &mut swapped, |b, a| a + b);
    assert_eq!(out, swapped);
}

#[test]
fn reductions_random_shapes_match_the_definition() {
    let mut cases = Cases::new(32);
    for _ in 0..200 {
        let split = [cases.whole(1, 5), cases.whole(1, 60), cases.whole(1, 9)];
        let [outer, dim, inner] = split;
        let x: Vec<f64> = (0..outer * dim * inner).map(|_| cases.whole(0, 5) as f64).collect();
        let mut sums = vec![7.0; outer * inner];
        let mut tops = vec![7; outer * inner];
        sum_dim(&x, split, &mut sums);
        first_extreme(&x, split, &mut tops, |new, old| new > old);
        for o in 0..outer {
            for i in 0..inner {
                let line: Vec<f64> = (0..dim).map(|d| x[(o * dim + d) * inner + i]).collect();
                let largest = line.iter().fold(line[0], |top, x| top.max(*x));
                assert_eq!(sums[o * inner + i], line.iter().sum::<f64>());
                assert_eq!(Some(tops[o * inner + i] as usize), line.iter().position(|x| *x == largest));
            }
        }
        let (mut taken, mut back, mut wide) = (sums.clone(), vec![7.0; x.len()], vec![7.0; x.len()]);
        let grad = cases.reals(taken.len());
        take(&x, split, &tops, &mut taken);
        put(&grad, split, &tops, &mut back);
        spread(&grad, split, 1.0, &mut wide);
        assert_close(&[dot(&back, &x), dot(&wide, &x)], &[dot(&grad, &taken), dot(&grad, &sums)], 1e-11, "adjoint");
    }
}

#[test]
fn sum_of_many_f32_keeps_precision() {
    let x = vec![0.1f32; 1 << 20];
    assert!((f64::from(sum(&x)) / (1 << 20) as f64 - 0.1).abs() < 1e-6);
}

#[test]
fn first_extreme_nan_wins() {
    let mut index = [0];
    first_extreme(&[1.0, f32::NAN, 5.0], [1, 3, 1], &mut index, |new, old| new > old);
    assert_eq!(index, [1]);
}

#[test]
fn matmul_random_sizes_and_layouts_match_the_definition() {
    let mut cases = Cases::new(33);
    for round in 0..100 {
        let [m, n, k] = [cases.whole(1, 70), cases.whole(1, 70), cases.whole(1, 70)];
        let (a, b) = (cases.reals(m * k), cases.reals(k * n));
        let by_columns = round % 2 == 1;
        let want: Vec<f64> = (0..m * n)
            .map(|at| {
                let (row, column) = (at / n, at % n);
                let term = |i: usize| {
                    if by_columns { a[i * m + row] * b[column * k + i] } else { a[row * k + i] * b[i * n + column] }
                };
                (0..k).map(term).sum()
            })
            .collect();
        let (mut c, mut c_f32) = (vec![7.0; m * n], vec![7f32; m * n]);
        let (a_f32, b_f32) = (single(&a), single(&b));
        if by_columns {
            matmul([m, n, k], Matrix::transposed(&a, m), Matrix::transposed(&b, k), &mut c);
            matmul([m, n, k], Matrix::transposed(&a_f32, m), Matrix::transposed(&b_f32, k), &mut c_f32);
        } else {
            matmul([m, n, k], Matrix::by_rows(&a, k), Matrix::by_rows(&b, n), &mut c);
            matmul([m, n, k], Matrix::by_rows(&a_f32, k), Matrix::by_rows(&b_f32, n), &mut c_f32);
        }
        assert_close(&c, &want, 1e-12, "matmul");
        assert_close(&double(&c_f32), &want, 2e-5, "matmul in f32");
    }
}

#[test]
fn batched_repeated_operand_is_broadcast() {
    let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 10.0]);
    let mut c = [0.0; 2];
    batched([1, 1, 2], (Matrix::by_rows(&a, 2), &[0, 2]), (Matrix::by_rows(&b, 1), &[0, 0]), &mut c);
    assert_eq!(c, [21.0, 43.0]);
}

#[test]
fn matmul_one_and_two_threads_give_the_same_bits() {
    let mut cases = Cases::new(34);
    let (a, b) = (single(&cases.reals(300 * 200)), single(&cases.reals(200 * 150)));
    let run = || {
        let mut c = vec![0f32; 300 * 150];
        matmul([300, 150, 200], Matrix::by_rows(&a, 200), Matrix::by_rows(&b, 150), &mut c);
        let mut sums = vec![0f32; 300];
        sum_dim(&c, [300, 150, 1], &mut sums);
        (c, sums)
    };
    assert_eq!(with_threads(1, run), with_threads(2, run));
}
