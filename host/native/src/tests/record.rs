//! Calls noted apart from candle's tape: gradients as on it, and where they end.

use super::super::*;
use super::{assert_near, random, values};
use candle_core::{Result, Tensor, Var};

fn one(like: &Tensor) -> Tensor {
    like.ones_like().unwrap()
}

/// Shapes of [2, 3] moved about, with every value used more than once.
fn moved(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let turned = permute(x, &[1, 0])?;
    let flat = reshape(&turned, &[6])?;
    let both = concat(&[&flat, &reshape(x, &[6])?, &narrow(&flat, 0, 1, 4)?], 0)?;
    let wide = broadcast_to(w, &[2, 16])?;
    let halves = cast(&cast(&mul(&wide, &both)?, candle_core::DType::F32)?, candle_core::DType::F64)?;
    let far = add(&halves, &detach(&halves))?;
    sum(&square(&far)?, &[0, 1], false)
}

#[test]
fn recorded_gradients_equal_those_of_candles_tape() {
    let [x, w] = [&[2, 3][..], &[2, 1]].map(|dims| Var::from_tensor(&random(3, dims)).unwrap());
    let on_candle = moved(&x, &w).unwrap();
    let wanted = on_candle.backward().unwrap();
    let mut record = Record::default();
    let noted = record.during(|| moved(&x, &w)).unwrap();
    assert!(!noted.track_op(), "nothing is on candle's tape");
    assert_eq!(values(&noted), values(&on_candle));
    let found = record.gradients(&[(noted.clone(), one(&noted))]).unwrap();
    for var in [&x, &w] {
        assert_near(found.get(var).unwrap(), wanted.get(var).unwrap(), 1e-12);
    }
}

#[test]
fn starts_add_up_and_a_walk_can_be_repeated() {
    let x = Var::from_tensor(&random(5, &[4])).unwrap();
    let mut record = Record::default();
    let (a, b) = record.during(|| (square(&x).unwrap(), exp(&x).unwrap()));
    let starts = [(a.clone(), one(&a)), (b.clone(), (one(&b) * 0.5).unwrap()), (a.clone(), one(&a))];
    let expected: Vec<f64> = values(&x).iter().map(|x| 4.0 * x + 0.5 * x.exp()).collect();
    for _ in 0..2 {
        let found = record.gradients(&starts).unwrap();
        assert_near(found.get(&x).unwrap(), &super::row(&expected), 1e-12);
    }
    let alone = record.gradients(&starts[1..2]).unwrap();
    assert_near(alone.get(&x).unwrap(), &(b.as_ref() * 0.5).unwrap(), 1e-12);
}

#[test]
fn gradient_goes_on_along_candles_tape_where_a_value_came_from_there() {
    let x = Var::from_tensor(&random(7, &[3])).unwrap();
    let before = x.exp().unwrap();
    let mut record = Record::default();
    let y = record.during(|| mul(&square(&before).unwrap(), &x).unwrap());
    let found = record.gradients(&[(y.clone(), one(&y))]).unwrap();
    let expected: Vec<f64> = values(&x).iter().map(|x| (2.0 * x + 1.0) * (2.0 * x).exp()).collect();
    assert_near(found.get(&x).unwrap(), &super::row(&expected), 1e-12);
}

#[test]
fn detached_and_foreign_values_have_no_gradient() {
    let x = Var::from_tensor(&random(9, &[3])).unwrap();
    let mut record = Record::default();
    let (kept, cut) = record.during(|| {
        let y = square(&x).unwrap();
        (add(&y, &detach(&y)).unwrap(), exp(&detach(&y)).unwrap())
    });
    let found = record.gradients(&[(kept.clone(), one(&kept)), (cut.clone(), one(&cut))]).unwrap();
    assert_near(found.get(&x).unwrap(), &(x.as_ref() * 2.0).unwrap(), 1e-12);
    let elsewhere = random(1, &[2]);
    assert!(record.gradients(&[(elsewhere.clone(), one(&elsewhere))]).unwrap().get(&elsewhere).is_none());
}

#[test]
fn records_nest_and_survive_a_panic() {
    let x = Var::from_tensor(&random(11, &[2])).unwrap();
    let (mut outer, mut inner) = (Record::default(), Record::default());
    let (a, b, c) = outer.during(|| {
        let a = square(&x).unwrap();
        let b = inner.during(|| exp(&a).unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Record::default().during(|| panic!("in a part"));
        }));
        assert!(panicked.is_err());
        (a.clone(), b, mul(&a, &a).unwrap())
    });
    assert!(inner.gradients(&[(b.clone(), one(&b))]).unwrap().get(&x).is_none(), "`a` is of the outer record");
    assert!(outer.gradients(&[(b.clone(), one(&b))]).unwrap().get(&x).is_none());
    let found = outer.gradients(&[(c.clone(), one(&c)), (a.clone(), one(&a))]).unwrap();
    let expected: Vec<f64> = values(&x).iter().map(|x| 4.0 * x.powi(3) + 2.0 * x).collect();
    assert_near(found.get(&x).unwrap(), &super::row(&expected), 1e-12);
    assert!(square(&x).unwrap().track_op(), "no record is open any more");
}

#[test]
fn gradient_of_a_part_leaves_the_gradients_of_others_alone() {
    let [x, w] = [5, 6].map(|seed| Var::from_tensor(&random(seed, &[4])).unwrap());
    let mut record = Record::default();
    let (part, both) = record.during(|| (narrow(&x, 0, 1, 2).unwrap(), add(&x, &w).unwrap()));
    let threes = super::row(&[3.0; 4]);
    let found = record.gradients(&[(part.clone(), one(&part)), (both, threes.clone())]).unwrap();
    assert_eq!(values(found.get(&x).unwrap()), [3.0, 4.0, 4.0, 3.0]);
    assert_eq!(values(found.get(&w).unwrap()), [3.0; 4]);
    assert_eq!(values(&threes), [3.0; 4]);
}

#[test]
fn tensor_watched_twice_gets_its_gradient_once() {
    let x = random(15, &[3]);
    let mut record = Record::default();
    record.watch(&x);
    record.watch(&x);
    let y = record.during(|| mul(&square(&x).unwrap(), &x)).unwrap();
    let found = record.gradients(&[(y.clone(), one(&y))]).unwrap();
    assert_near(found.get(&x).unwrap(), &(x.sqr().unwrap() * 3.0).unwrap(), 1e-12);
}

#[test]
fn start_of_another_shape_is_refused() {
    let x = Var::from_tensor(&random(13, &[2])).unwrap();
    let mut record = Record::default();
    let y = record.during(|| square(&x)).unwrap();
    let error = record.gradients(&[(y, random(1, &[3]))]).unwrap_err();
    assert!(error.to_string().contains("[3]") && error.to_string().contains("[2]"), "{error}");
}
