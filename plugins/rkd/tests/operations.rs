//! The plugin's own operations against the same by ordinary ones.
#![allow(missing_docs)]

use stillhouse_plugin::prelude::*;
use stillhouse_plugin::testing::{Bench, Run, numbers};
use stillhouse_rkd::{AngleHuber, Distances};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    composite: bool,
    squared: bool,
}

/// Both operations, of a student's and a teacher's vectors that both carry gradient.
struct Both(Which);

impl Component for Both {
    type Config = Which;
    const NAME: &'static str = "both";
    fn new(config: Which) -> Result<Both> {
        Ok(Both(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::student().named("other")]
    }
}

fn run<F: FusedOp>(cx: &Cx, op: F, inputs: &[&Tensor], composite: bool) -> Result<Tensor> {
    if composite { op.composite(cx, inputs) } else { cx.fused(op, inputs) }
}

/// The angles alone.
struct Angles(Which);

impl Component for Angles {
    type Config = Which;
    const NAME: &'static str = "angles";
    fn new(config: Which) -> Result<Angles> {
        Ok(Angles(config))
    }
    fn ports() -> Vec<Port> {
        Both::ports()
    }
}

impl Loss for Angles {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        // Squares throughout: equal slopes would leave of a close pair's gradient only what rounding makes of it.
        run(cx, AngleHuber { beta: 3.0 }, &[&x.one("student")?, &x.one("other")?], self.0.composite)
    }
}

impl Loss for Both {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (own, other) = (x.one("student")?, x.one("other")?);
        let distances = run(cx, Distances { squared: self.0.squared }, &[&own], self.0.composite)?;
        let angles = run(cx, AngleHuber { beta: 0.3 }, &[&own, &other], self.0.composite)?;
        // Weights that differ by pair and are not symmetric.
        let weights = cx.arange(distances.dim(0)? * distances.dim(1)?, distances.dtype()?).reshape(&distances.dims()?);
        Ok((distances * weights).sum_all() + angles * 100.0)
    }
}

fn bench(composite: bool, squared: bool, rows: usize, coincide: bool) -> Bench {
    let numbers = |seed: f64, width: usize| {
        let mut values: Vec<f64> =
            (0..rows * width).map(|i| (seed + 1.7 * i as f64 + (0.61 * i as f64).cos()).sin()).collect();
        if coincide {
            values.copy_within(0..width, width);
        }
        values
    };
    Bench::loss::<Both>(&format!(r#"{{"composite": {composite}, "squared": {squared}}}"#))
        .expect("configured")
        .input("student", &[rows, 5], &numbers(1.0, 5))
        .input("other", &[rows, 11], &numbers(2.0, 11))
}

#[test]
fn operations_agree_with_their_composite_form() {
    for (squared, rows, coincide) in [(false, 6, false), (true, 7, false), (false, 5, true), (true, 1, false)] {
        let [own, composed] = [false, true].map(|composite| bench(composite, squared, rows, coincide).run());
        let (own, composed) = (own.expect("runs"), composed.expect("runs"));
        assert!((own.loss() - composed.loss()).abs() <= 1e-10 * own.loss().abs(), "{rows} {squared}");
        for port in ["student", "other"] {
            let largest = own.grad(port).iter().fold(0f64, |most, grad| grad.abs().max(most));
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * largest;
            assert!(own.grad(port).iter().zip(composed.grad(port)).all(close), "{port} of {rows} {squared} {coincide}");
        }
    }
}

/// The angles alone, of rows of three features and rows of two.
fn angles(composite: bool, own: &[f64], other: &[f64]) -> Run {
    let mut bench = Bench::loss::<Angles>(&format!(r#"{{"composite": {composite}, "squared": false}}"#))
        .expect("configured")
        .input("student", &[own.len() / 3, 3], own)
        .input("other", &[other.len() / 2, 2], other);
    bench.run().expect("runs")
}

/// Rows of `width` features: as they come, of which some are moved.
fn rows(seed: f64, width: usize, moved: impl Fn(&mut [Vec<f64>])) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = numbers(seed, 7 * width).chunks(width).map(<[f64]>::to_vec).collect();
    moved(&mut rows);
    rows.concat()
}

/// Row `to` at a distance of about `far` from row `from`.
fn beside(rows: &mut [Vec<f64>], from: usize, to: usize, far: f64) {
    let moved = rows[from].iter().zip(&rows[to]).map(|(from, to)| from + far * to).collect();
    rows[to] = moved;
}

/// Values, and the gradient of every row by itself: beside the rows of a close pair those of all others are small.
#[track_caller]
fn assert_angles_are_exact(own: &[f64], other: &[f64]) {
    let [fused, exact] = [false, true].map(|composite| angles(composite, own, other));
    assert!((fused.loss() - exact.loss()).abs() <= 1e-12 * exact.loss(), "{} {}", fused.loss(), exact.loss());
    for (port, width) in [("student", 3), ("other", 2)] {
        for (fused, exact) in fused.grad(port).chunks(width).zip(exact.grad(port).chunks(width)) {
            let largest = exact.iter().fold(0f64, |most, grad| grad.abs().max(most));
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-10 * largest;
            assert!(fused.iter().zip(exact).all(close), "{port}: {fused:?}, exactly {exact:?}");
        }
    }
}

#[test]
fn angles_of_close_rows_are_as_exact_as_their_definition() {
    for far in [1e-2, 1e-4, 1e-9, 1e-11] {
        let close = |width: usize| rows(1.0, width, |rows| beside(rows, 0, 1, far));
        let (own, other) = (rows(2.0, 3, |_| ()), rows(3.0, 2, |_| ()));
        // Close in one space, in the other, in both.
        assert_angles_are_exact(&close(3), &other);
        assert_angles_are_exact(&own, &close(2));
        assert_angles_are_exact(&close(3), &close(2));
    }
}

#[test]
fn angles_of_large_features_and_close_rows_are_as_exact_as_their_definition() {
    let large = rows(1.0, 3, |rows| {
        rows.iter_mut().flatten().for_each(|value| *value *= 1e4);
        rows[1] = rows[0].iter().map(|value| value + 1e-11 * (1.0 + value.abs())).collect();
    });
    assert_angles_are_exact(&large, &rows(3.0, 2, |_| ()));
}

#[test]
fn angles_of_distant_and_of_clustered_rows_are_as_exact_as_their_definition() {
    let distant = rows(1.0, 3, |rows| rows[2].iter_mut().for_each(|value| *value *= 1e9));
    let clustered = rows(2.0, 2, |rows| {
        [(0, 1), (0, 2), (3, 4), (3, 5)].into_iter().for_each(|(from, to)| beside(rows, from, to, 1e-6));
    });
    assert_angles_are_exact(&distant, &rows(3.0, 2, |_| ()));
    assert_angles_are_exact(&distant, &clustered);
}

#[test]
fn angles_of_rows_below_the_limit_are_as_exact_as_their_definition() {
    // Around the origin, where differences of that size are exact.
    let below = |width: usize, far: f64| {
        rows(1.0, width, |rows| {
            rows[0].fill(0.0);
            rows[1].iter_mut().for_each(|value| *value *= far);
        })
    };
    for far in [1e-13, 1e-20] {
        assert_angles_are_exact(&below(3, far), &rows(3.0, 2, |_| ()));
        assert_angles_are_exact(&rows(2.0, 3, |_| ()), &below(2, far));
        assert_angles_are_exact(&below(3, far), &below(2, 1.0));
    }
    let all = |width: usize| rows(4.0, width, |rows| rows.iter_mut().flatten().for_each(|value| *value *= 1e-13));
    assert_angles_are_exact(&all(3), &rows(3.0, 2, |_| ()));
    assert_angles_are_exact(&all(3), &all(2));
}

#[test]
fn operations_have_gradients_of_both_inputs() {
    bench(false, false, 5, false).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn operations_trace_to_their_shapes() {
    let traced = bench(false, true, 4, false).trace().expect("traces");
    assert!(traced[0].1.shape.is_empty());
}
