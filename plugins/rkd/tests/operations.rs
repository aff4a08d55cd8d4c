//! The plugin's own operations against the same by ordinary ones.
#![allow(missing_docs)]

use stillhouse_plugin::prelude::*;
use stillhouse_plugin::testing::Bench;
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

#[test]
fn operations_have_gradients_of_both_inputs() {
    bench(false, false, 5, false).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn operations_trace_to_their_shapes() {
    let traced = bench(false, true, 4, false).trace().expect("traces");
    assert!(traced[0].1.shape.is_empty());
}
