//! Operations of a part's own, on the tape.

use super::{flat, params, part};
use crate::ops::{BoundPart, Moment, PortIn, TracePort};
use candle_core::{DType as CandleType, Device, Tensor, Var};
use std::sync::atomic::{AtomicUsize, Ordering};
use stillhouse_plugin::op::{DType, Meta};
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where it fails.
    #[serde(default)]
    fails: String,
    /// Count living operations.
    #[serde(default)]
    counted: bool,
}

/// `sum_k (k + 1) x_k^2`, elementwise.
struct Squares {
    fails: String,
    counted: bool,
}

impl Squares {
    fn new(fails: &str, counted: bool) -> Squares {
        ALIVE.fetch_add(usize::from(counted), Ordering::SeqCst);
        Squares { fails: fails.into(), counted }
    }
}

impl Drop for Squares {
    fn drop(&mut self) {
        ALIVE.fetch_sub(usize::from(self.counted), Ordering::SeqCst);
    }
}

impl FusedOp for Squares {
    const NAME: &'static str = "squares";
    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        ensure!(inputs.iter().all(|shape| *shape == inputs[0]), "inputs differ");
        Ok(inputs[0].to_vec())
    }
    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        ensure!(self.fails != "forward", "forward failed");
        ensure!(self.fails != "shape" || inputs[0].shape == [9], "got {:?}", inputs[0].shape);
        for (k, input) in inputs.iter().enumerate() {
            output.iter_mut().zip(input.values).for_each(|(y, x)| *y += T::of(k as f64 + 1.0) * *x * *x);
        }
        Ok(())
    }
    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        _: &[T],
        grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        ensure!(self.fails != "backward", "backward failed");
        for (k, (input, slot)) in inputs.iter().zip(grads).enumerate() {
            let Some(slot) = slot else { continue };
            ensure!(self.fails != "wanted" || k % 2 == 0, "input {k} is wanted");
            let factor = T::of(2.0 * (k as f64 + 1.0));
            slot.iter_mut().zip(input.values.iter().zip(grad)).for_each(|(d, (x, g))| *d = factor * *x * *g);
        }
        Ok(())
    }
}

struct Summed(Settings);

impl Component for Summed {
    type Config = Settings;
    const NAME: &'static str = "summed";
    fn new(settings: Settings) -> Result<Self> {
        Ok(Summed(settings))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().many()]
    }
}

impl Loss for Summed {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<stillhouse_plugin::Tensor> {
        let inputs = x.list("student")?;
        let op = Squares::new(&self.0.fails, self.0.counted);
        Ok(cx.fused(op, &inputs.iter().collect::<Vec<_>>())?.sum_all())
    }
}

fn summed(config: &str) -> BoundPart {
    part(&sdk::loss_entry::<Summed>(), config, params(CandleType::F64))
}

fn port(values: Vec<Tensor>) -> Vec<PortIn<'static>> {
    vec![PortIn { name: "student".into(), values, frames: 1 }]
}

fn vars(count: usize, dtype: CandleType) -> Vec<Var> {
    let var = |k: usize| {
        Tensor::new(&[[1.0, 2.0], [3.0, k as f64]], &Device::Cpu).and_then(|t| Var::from_tensor(&t.to_dtype(dtype)?))
    };
    (0..count).map(|k| var(k).unwrap()).collect()
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|var| var.as_tensor().clone()).collect()
}

#[test]
fn fused_of_one_to_five_inputs_has_its_own_gradient_in_both_types() {
    for dtype in [CandleType::F32, CandleType::F64] {
        for count in 1..=5 {
            let vars = vars(count, dtype);
            let given = summed("{}").run(&Moment::default(), &port(tensors(&vars))).expect("runs");
            let wanted: f64 = (0..count).map(|k| (k + 1) as f64 * (14 + k * k) as f64).sum();
            assert_eq!((flat(&given.terms[0].1), given.terms[0].1.dtype()), (vec![wanted], dtype));
            let grads = given.terms[0].1.backward().unwrap();
            for (k, var) in vars.iter().enumerate() {
                let wanted = flat(var).into_iter().map(|x| 2.0 * (k + 1) as f64 * x).collect::<Vec<_>>();
                assert_eq!(flat(grads.get(var).unwrap()), wanted, "input {k} of {count}");
            }
        }
    }
}

#[test]
fn fused_of_constants_is_asked_for_wanted_gradients_only() {
    for count in [2, 3, 5] {
        let vars = vars(count, CandleType::F64);
        let inputs = vars
            .iter()
            .enumerate()
            .map(|(k, var)| if k % 2 == 0 { var.as_tensor().clone() } else { var.as_detached_tensor() });
        let given = summed(r#"{"fails": "wanted"}"#).run(&Moment::default(), &port(inputs.collect())).expect("runs");
        let grads = given.terms[0].1.backward().expect("an unwanted gradient is not asked for");
        assert!(grads.get(&vars[0]).is_some() && grads.get(&vars[1]).is_none());
    }
}

#[test]
fn fused_that_fails_says_so_once() {
    let two = || tensors(&vars(2, CandleType::F64));
    let mixed = vec![two()[0].clone(), two()[0].to_dtype(CandleType::F32).unwrap()];
    let apart = vec![two()[0].clone(), two()[0].flatten_all().unwrap()];
    let cases = [
        ("forward", two(), "fused operation `squares`: forward failed"),
        ("", vec![], "fused operation `squares`: takes one input or more"),
        ("", mixed, "fused operation `squares`: inputs must have one float type"),
        ("", apart, "fused operation `squares`: inputs differ"),
        ("shape", two(), "fused operation `squares`: got [2, 2]"),
    ];
    for (fails, inputs, wanted) in cases {
        let error = summed(&format!(r#"{{"fails": "{fails}"}}"#)).run(&Moment::default(), &port(inputs));
        let said = error.expect_err("refused").to_string();
        assert!(said.starts_with(&format!("`term` (`probe`): {wanted} (host/src/ops/tests/fused.rs:")), "{said}");
    }
    let given = summed(r#"{"fails": "backward"}"#).run(&Moment::default(), &port(two())).expect("runs");
    let told = given.terms[0].1.backward().unwrap_err().to_string();
    assert!(told.contains("`squares`, on the way back: backward failed"), "{told}");
}

#[test]
fn fused_in_a_trace_passes_the_gradient_to_all_inputs() {
    let port = TracePort { name: "student".into(), values: vec![Meta::new([2], DType::F32); 3], frames: 1 };
    let traced = summed(r#"{"fails": "forward"}"#).trace(&Moment::default(), &[port]).expect("nothing is computed");
    let (_, _, meta, node) = &traced.results[0];
    assert_eq!((meta, traced.trace.reachable(*node).len()), (&Meta::new([], DType::F32), 3));
}

#[test]
fn handles_left_over_are_freed_with_the_call() {
    let vars = vars(2, CandleType::F64);
    let given = summed(r#"{"counted": true}"#).run(&Moment::default(), &port(tensors(&vars))).expect("runs");
    assert_eq!(ALIVE.load(Ordering::SeqCst), 1, "the tape keeps it for the backward pass");
    drop(given);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0, "nothing of the call is left");
}
