//! How nodes behave on the tape: wanted gradients, many inputs, depth.

use super::super::*;
use super::{assert_differentiable, random, values};
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `sum_i w_i * sum(x_i)` with `w_i = i + 1`, of inputs of any shapes; counts the gradients that were wanted.
struct Weighted(Arc<AtomicUsize>);

macro_rules! weighted {
    ($forward:ident, $backward:ident, $type:ty) => {
        fn $forward(&self, ins: &[&[$type]], shapes: &[&[usize]], out: &mut [$type]) -> Outcome {
            if shapes.iter().any(|dims| dims.len() > 3) {
                return Err("too many dims".to_owned().into());
            }
            for (index, x) in ins.iter().enumerate() {
                out[0] += (index + 1) as $type * x.iter().map(|x| x * x).sum::<$type>();
            }
            Ok(())
        }

        fn $backward(
            &self,
            ins: &[&[$type]],
            _: &[&[usize]],
            _: &[$type],
            grad: &[$type],
            grads: &mut GradSlots<'_, $type>,
        ) -> Outcome {
            for (index, (slot, x)) in grads.iter_mut().zip(ins).enumerate() {
                if let Some(slot) = slot {
                    self.0.fetch_add(1, Ordering::Relaxed);
                    let factor = 2.0 * (index + 1) as $type * grad[0];
                    slot.iter_mut().zip(*x).for_each(|(slot, x)| *slot += factor * x);
                }
            }
            Ok(())
        }
    };
}

impl ManyOp for Weighted {
    fn name(&self) -> &str {
        "weighted"
    }

    weighted!(forward_f32, backward_f32, f32);
    weighted!(forward_f64, backward_f64, f64);
}

fn weighted(inputs: &[&Tensor]) -> candle_core::Result<Tensor> {
    packed_custom_op(inputs, &[], Box::new(Weighted(Arc::default())))
}

#[test]
fn packed_custom_op_any_number_of_inputs_is_differentiable() {
    let all: Vec<Tensor> = [&[2, 3][..], &[4], &[], &[1, 2, 2], &[3], &[2]].map(|dims| random(1, dims)).to_vec();
    for count in 1..=all.len() {
        assert_differentiable(&|x| weighted(&x.iter().collect::<Vec<_>>()), &all[..count]);
    }
    assert_differentiable(&|x| weighted(&[&x[0], &x[0].t()?, &x[0], &x[0]]), &all[..1]);
}

#[test]
fn packed_custom_op_asks_for_wanted_gradients_only() {
    for count in [3, 5] {
        let wanted = Arc::new(AtomicUsize::new(0));
        let constants: Vec<Tensor> = (1..count).map(|seed| random(seed as u64, &[3])).collect();
        let var = Var::from_tensor(&random(9, &[2])).unwrap();
        let mut inputs = vec![var.as_tensor()];
        inputs.extend(&constants);
        let y = packed_custom_op(&inputs, &[], Box::new(Weighted(wanted.clone()))).unwrap();
        let grads = y.backward().unwrap();
        assert_eq!(wanted.load(Ordering::Relaxed), 1);
        let want: Vec<f64> = values(&var).iter().map(|x| 2.0 * x).collect();
        assert_eq!(values(grads.get(&var).unwrap()), want);
    }
}

#[test]
fn packed_custom_op_errors_name_the_function() {
    let x = random(1, &[1, 1, 1, 1]);
    assert!(weighted(&[&x]).unwrap_err().to_string().contains("`weighted`: too many dims"));
    assert!(weighted(&[]).is_err());
    let single = x.to_dtype(DType::F32).unwrap();
    assert!(weighted(&[&x, &single]).is_err());
}

#[test]
fn frozen_inputs_leave_no_node() {
    let (x, w) = (random(1, &[1, 2, 4, 4]), random(2, &[2, 2, 3, 3]));
    let y = conv2d(&x, &w, None, &Conv2d::default()).unwrap();
    assert!(!y.track_op() && !relu(&y).unwrap().track_op());
}

#[test]
fn inputs_of_a_graph_get_no_gradient() {
    let (x, w) = (random(1, &[1, 2, 4, 4]), Var::from_tensor(&random(2, &[2, 2, 3, 3])).unwrap());
    let y = conv2d(&x, &w, None, &Conv2d::default()).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&w).is_some() && grads.get(&x).is_none());
}

/// Builds, differentiates and drops a chain of `depth` nodes on a thread with `megabytes` of stack.
fn chain(depth: usize, megabytes: usize) -> f64 {
    let work = move || {
        let x = Var::from_tensor(&Tensor::new(&[1f64], &Device::Cpu).unwrap()).unwrap();
        let mut y = x.as_tensor().clone();
        for _ in 0..depth {
            y = affine(&y, 1.0, 0.5).unwrap();
        }
        let grads = y.backward().unwrap();
        values(grads.get(&x).unwrap())[0]
    };
    std::thread::Builder::new().stack_size(megabytes << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn chain_of_many_nodes_fits_a_big_stack() {
    assert_eq!(chain(100_000, 64), 1.0);
}

#[test]
#[ignore = "finds the deepest chain: overflows the stack on purpose; CHAIN=depth"]
fn chain_of_given_depth_fits_a_big_stack() {
    let depth = std::env::var("CHAIN").ok().and_then(|depth| depth.parse().ok()).unwrap_or(100_000);
    assert_eq!(chain(depth, 64), 1.0);
}
