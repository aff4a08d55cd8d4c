//! Functions together: as one by one, in whatever layout the values lie.

use super::super::*;
use super::{assert_near, random, values};
use candle_core::{DType, Result, Tensor, Var};
use std::rc::Rc;

/// Of a convolutional LSTM, gates `i, f, o, g` along dim 1: the new cell, the new state.
fn cell() -> Rc<Fusion> {
    let part = |at: usize| Read { tensor: 0, part: Some([1, 3 * at, 3]) };
    let reads = vec![part(1), Read { tensor: 1, part: None }, part(0), part(3), part(2)];
    let steps = vec![
        (of_one::sigmoid(), [0, 0]),
        (of_two::mul(), [5, 1]),
        (of_one::sigmoid(), [2, 2]),
        (of_one::tanh(), [3, 3]),
        (of_two::mul(), [7, 8]),
        (of_two::add(), [6, 9]),
        (of_one::sigmoid(), [4, 4]),
        (of_one::tanh(), [10, 10]),
        (of_two::mul(), [11, 12]),
    ];
    Rc::new(Fusion { reads, steps, outputs: vec![10, 13] })
}

fn one_by_one(gates: &Tensor, before: &Tensor) -> Result<[Tensor; 2]> {
    let gate = |at: usize| narrow(gates, 1, 3 * at, 3);
    let kept = mul(&sigmoid(&gate(1)?)?, before)?;
    let cell = add(&kept, &mul(&sigmoid(&gate(0)?)?, &tanh(&gate(3)?)?)?)?;
    let state = mul(&sigmoid(&gate(2)?)?, &tanh(&cell)?)?;
    Ok([cell, state])
}

/// `[2, 12, 5, 7]` and `[2, 3, 5, 7]`, row-major or channels last.
fn inputs(dtype: DType, lies: bool) -> [Var; 2] {
    [random(1, &[2, 12, 5, 7]), random(2, &[2, 3, 5, 7])].map(|x| {
        let x = x.to_dtype(dtype).unwrap();
        let turned = || x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().permute((0, 3, 1, 2)).unwrap();
        Var::from_tensor(&if lies { turned() } else { x }).unwrap()
    })
}

#[test]
fn functions_together_equal_them_one_by_one() {
    for (dtype, lies, tolerance) in
        [(DType::F64, false, 1e-13), (DType::F64, true, 1e-13), (DType::F32, false, 1e-6), (DType::F32, true, 1e-6)]
    {
        let [gates, before] = inputs(dtype, lies);
        let (mut apart, mut together) = (Record::default(), Record::default());
        let wanted = apart.during(|| one_by_one(&gates, &before)).unwrap();
        let got = together.during(|| cell().run(&[&gates, &before])).unwrap();
        let starts = |made: &[Tensor]| -> Vec<(Tensor, Tensor)> {
            let grad = |(at, made): (usize, &Tensor)| {
                (made.clone(), random(7 + at as u64, made.dims()).to_dtype(dtype).unwrap())
            };
            made.iter().enumerate().map(grad).collect()
        };
        for (got, wanted) in got.iter().zip(&wanted) {
            assert_eq!(values(got), values(wanted), "to the bit");
            assert_eq!(got.stride(), wanted.stride(), "in the layout of its inputs");
        }
        // Both results have a gradient, or one of them.
        for taken in [0..2, 0..1, 1..2] {
            let found = together.gradients(&starts(&got)[taken.clone()]).unwrap();
            let expected = apart.gradients(&starts(&wanted)[taken]).unwrap();
            for var in [&gates, &before] {
                assert_near(found.get(var).unwrap(), expected.get(var).unwrap(), tolerance);
            }
        }
    }
}

#[test]
fn outside_a_record_functions_stand_on_candles_tape() {
    let [gates, before] = inputs(DType::F64, false);
    let (got, wanted) = (cell().run(&[&gates, &before]).unwrap(), one_by_one(&gates, &before).unwrap());
    assert_eq!(values(&got[1]), values(&wanted[1]));
    let [found, expected] = [&got[1], &wanted[1]].map(|made| made.sum_all().unwrap().backward().unwrap());
    assert_near(found.get(&gates).unwrap(), expected.get(&gates).unwrap(), 1e-14);
}

#[test]
fn gradient_of_a_value_that_is_read_twice_adds_up() {
    let x = Var::from_tensor(&random(4, &[6, 5])).unwrap();
    let whole = Read { tensor: 0, part: None };
    // x^2 x + x
    let steps = vec![(of_one::square(), [0, 0]), (of_two::mul(), [1, 0]), (of_two::add(), [2, 0])];
    let fusion = Rc::new(Fusion { reads: vec![whole], steps, outputs: vec![3] });
    let mut record = Record::default();
    let made = record.during(|| fusion.run(&[&x])).unwrap().remove(0);
    let found = record.gradients(&[(made.clone(), made.ones_like().unwrap())]).unwrap();
    let wanted = ((x.sqr().unwrap() * 3.0).unwrap() + 1.0).unwrap();
    assert_near(found.get(&x).unwrap(), &wanted, 1e-14);
}

#[test]
fn values_of_different_shapes_are_an_error() {
    let reads = vec![Read { tensor: 0, part: None }, Read { tensor: 1, part: None }];
    let fusion = Rc::new(Fusion { reads, steps: vec![(of_two::add(), [0, 1])], outputs: vec![2] });
    let run = || fusion.run(&[&random(1, &[2, 3]), &random(2, &[3, 2])]);
    let error = Record::default().during(run).unwrap_err().to_string();
    assert!(error.contains("different shapes"), "{error}");
}
