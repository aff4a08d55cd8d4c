//! Matrix products, indexing, and candle's own operations that are used as they are.

use super::super::*;
use super::{assert_differentiable, assert_near, random};
use candle_core::{Device, Result, Tensor};

#[test]
fn matmul_gradients_with_broadcast_batches_match_finite_differences() {
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[3, 4], &[4, 2]),
        (&[2, 3, 4], &[2, 4, 2]),
        (&[2, 3, 4], &[4, 2]),
        (&[3, 4], &[2, 4, 2]),
        (&[2, 1, 3, 4], &[3, 4, 2]),
        (&[1, 2, 3], &[4, 3, 1]),
        (&[2, 2, 1, 1], &[2, 1, 1, 1]),
    ];
    for (a, b) in shapes {
        let (a, b) = (random(1, a), random(2, b));
        assert_near(&matmul(&a, &b).unwrap(), &a.broadcast_matmul(&b).unwrap(), 1e-13);
        assert_differentiable(&|x| matmul(&x[0], &x[1]), &[a.clone(), b.clone()]);
        assert_differentiable(&|x| matmul(&a.to_dtype(x[0].dtype())?, &x[0]), &[b.clone()]);
    }
    assert_differentiable(&|x| matmul(&x[0].t()?, &x[1]), &[random(1, &[4, 3]), random(2, &[4, 2])]);
}

#[test]
fn matmul_shapes_that_do_not_fit_are_errors() {
    let of = |a: &[usize], b: &[usize]| matmul(&random(1, a), &random(2, b));
    assert!(of(&[3, 4], &[3, 4]).is_err() && of(&[4], &[4, 2]).is_err());
    assert!(of(&[2, 3, 4], &[3, 4, 2]).unwrap_err().to_string().contains("matmul"));
}

#[test]
fn candle_matmul_gradients_match_ours() {
    let inputs = [random(1, &[2, 3, 4]), random(2, &[2, 4, 5])];
    let (ours, our_grads) = super::gradients(&|x| matmul(&x[0], &x[1]), &inputs);
    let (stock, stock_grads) = super::gradients(&|x| x[0].matmul(&x[1]), &inputs);
    assert_near(&ours, &stock, 1e-13);
    our_grads.iter().zip(&stock_grads).for_each(|(ours, stock)| assert_near(ours, stock, 1e-13));
}

#[test]
fn gather_and_index_select_add_gradients_of_repeated_indices() {
    let x = random(1, &[3, 4]);
    let index = Tensor::new(&[[0i64, 3, 3, 1], [2, 2, 2, 2]], &Device::Cpu).unwrap();
    assert_differentiable(&|x| gather(&x[0], &index, 1), &[x.clone()]);
    assert_differentiable(&|x| gather(&x[0], &index.narrow(1, 1, 2)?, 1), &[x.clone()]);
    let index = index.narrow(0, 0, 1).unwrap().to_dtype(candle_core::DType::U32).unwrap();
    let rows = Tensor::new(&[[2u32, 0, 0, 2], [1, 1, 1, 1]], &Device::Cpu).unwrap();
    assert_differentiable(&|x| gather(&x[0], &rows, 0), &[x.clone()]);
    let picked = index.squeeze(0).unwrap();
    assert_differentiable(&|x| index_select(&x[0], &picked, 1), &[x.clone()]);
    assert_differentiable(&|x| index_select(&x[0].t()?, &picked, 0), &[x.clone()]);
    let two = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
    for dim in 0..2 {
        assert_near(&index_select(&x, &two, dim).unwrap(), &x.index_select(&two, dim).unwrap(), 0.0);
        assert_differentiable(&|x| index_select(&x[0], &two, dim), &[x.clone()]);
    }
    let beyond = Tensor::new(&[4u32], &Device::Cpu).unwrap();
    assert!(index_select(&x, &beyond, 1).is_err());
    let below = Tensor::new(&[-2i64], &Device::Cpu).unwrap();
    assert!(index_select(&x, &below, 1).is_err());
}

type OfList = fn(&[Tensor]) -> Result<Tensor>;

#[test]
fn candle_operations_named_safe_have_right_gradients() {
    let safe: [OfList; 9] = [
        |x| x[0].reshape((4, 3)),
        |x| x[0].transpose(0, 1),
        |x| x[0].reshape((3, 2, 2))?.permute((2, 0, 1)),
        |x| x[0].narrow(1, 1, 2),
        |x| Tensor::cat(&[&x[0], &x[0].narrow(1, 0, 1)?], 1),
        |x| Tensor::stack(&[&x[0], &x[0]], 1),
        |x| x[0].unsqueeze(1)?.broadcast_as((3, 2, 4)),
        |x| x[0].t()?.contiguous(),
        |x| x[0].sin()? + x[0].cos()?,
    ];
    for f in safe {
        assert_differentiable(&f, &[random(7, &[3, 4])]);
    }
}
