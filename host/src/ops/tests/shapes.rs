//! What an operation gives is what its inference says.

use super::samples::{Sample, all};
use crate::ops::{meta_of, run_op};
use candle_core::{Device, Tensor};
use std::collections::BTreeSet;
use stillhouse_plugin::op::{DType, Meta, Op};

#[test]
fn samples_cover_the_table() {
    let known: BTreeSet<u32> = all().iter().map(|sample| sample.op.code()).collect();
    let missing: Vec<_> = Op::TABLE.iter().filter(|(code, _)| !known.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What is wrong with this call; `None` when inference refuses it.
fn difference(sample: &Sample) -> Option<String> {
    let inferred = sample.op.infer(&sample.inputs.iter().collect::<Vec<_>>());
    let tensors: Vec<Tensor> = (0..sample.inputs.len()).map(|input| sample.tensor(input)).collect();
    let found = run_op(&sample.op, &tensors.iter().collect::<Vec<_>>(), &Device::Cpu);
    let name = sample.op.name();
    match (inferred, found) {
        (Ok(wanted), Ok(found)) => {
            let got: Vec<Meta> = found.iter().map(meta_of).collect();
            (got != wanted).then(|| format!("{name} {:?}: inferred {wanted:?}, got {got:?}", sample.inputs))
        }
        (Ok(_), Err(error)) => Some(format!("{name} {:?}: {}", sample.inputs, error.to_string().lines().next()?)),
        (Err(_), _) => None,
    }
}

#[test]
fn eager_result_has_the_inferred_shape_and_type() {
    let mut wrong = vec![];
    for mut sample in all() {
        let inferred = sample.op.infer(&sample.inputs.iter().collect::<Vec<_>>());
        assert!(inferred.is_ok(), "{} {:?}: {inferred:?}", sample.op.name(), sample.inputs);
        wrong.extend(difference(&sample));
        sample.inputs.iter_mut().filter(|meta| meta.dtype == DType::F64).for_each(|meta| meta.dtype = DType::F32);
        wrong.extend(difference(&sample));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whatever inference allows runs, with the shape that it said: also for types and shapes that nobody had in mind.
#[test]
fn eager_takes_whatever_is_inferred() {
    let mut wrong = vec![];
    for sample in all() {
        let mut alter = |change: &dyn Fn(&mut Vec<Meta>)| {
            // An index of 0 is in range whatever becomes of the shapes.
            let (op, inputs) = (sample.op.clone(), sample.inputs.clone());
            let mut altered = Sample { op, inputs, range: sample.range, below: 1 };
            change(&mut altered.inputs);
            wrong.extend(difference(&altered));
        };
        for dtype in [DType::F32, DType::F64, DType::I64, DType::U8] {
            alter(&|inputs| inputs.iter_mut().filter(|meta| meta.dtype.is_float()).for_each(|meta| meta.dtype = dtype));
            for which in 0..sample.inputs.len() {
                alter(&|inputs| inputs[which].dtype = dtype);
            }
        }
        for which in 0..sample.inputs.len() {
            alter(&|inputs| inputs[which].shape.insert(0, 1));
            alter(&|inputs| inputs[which].shape.push(2));
            alter(&|inputs| inputs[which].shape.iter_mut().for_each(|len| *len += 1));
            alter(&|inputs| inputs[which].shape = vec![]);
            alter(&|inputs| drop(inputs.remove(which)));
            alter(&|inputs| inputs.push(inputs[which].clone()));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
