//! Packed weights, kept while their version stays.

use super::super::*;
use super::{assert_near, random};
use candle_core::{DType, Tensor, Var};

/// The result, and the gradients of weights and input, of a map that lies channels last.
fn walk(packs: &mut Packs, version: u64, x: &Tensor, w: &Var) -> [Tensor; 3] {
    let mut record = Record::default();
    record.watch(x);
    let y = packs.during(version, || record.during(|| conv2d(x, w, None, &Conv2d::default()))).unwrap();
    let start = (y.clone(), y.ones_like().unwrap());
    let found = packs.during(version, || record.gradients(&[start])).unwrap();
    [y, found.get(w).unwrap().clone(), found.get(x).unwrap().clone()]
}

#[test]
fn packs_are_made_once_a_version() {
    let single = |seed, dims: &[usize]| random(seed, dims).to_dtype(DType::F32).unwrap();
    let x = single(1, &[2, 6, 6, 16]).permute((0, 3, 1, 2)).unwrap();
    let [first, second] = [2, 3].map(|seed| single(seed, &[32, 16, 3, 3]));
    let w = Var::from_tensor(&first).unwrap();
    let (mut kept, mut fresh) = (Packs::default(), Packs::default());
    let before = walk(&mut kept, 1, &x, &w);
    walk(&mut kept, 1, &x, &w).iter().zip(&before).for_each(|(again, first)| assert_near(again, first, 0.0));
    w.set(&second).unwrap();
    let stale = walk(&mut kept, 1, &x, &w);
    assert_near(&stale[0], &before[0], 0.0);
    assert_near(&stale[2], &before[2], 0.0);
    let (after, wanted) = (walk(&mut kept, 2, &x, &w), walk(&mut fresh, 7, &x, &w));
    after.iter().zip(&wanted).for_each(|(after, wanted)| assert_near(after, wanted, 0.0));
    let moved = (&after[0] - &before[0]).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(moved > 0.1, "the weights changed");
}
