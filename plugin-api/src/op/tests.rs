//! The table, its encoding, and the errors of shapes.

use super::samples::samples;
use super::{DType, Meta, Op};
use std::collections::BTreeSet;

#[test]
fn op_codes_and_names_are_unique() {
    let codes: BTreeSet<u32> = Op::TABLE.iter().map(|(code, _)| *code).collect();
    let names: BTreeSet<&str> = Op::TABLE.iter().map(|(_, name)| *name).collect();
    assert_eq!((codes.len(), names.len()), (Op::TABLE.len(), Op::TABLE.len()));
    assert!(!codes.contains(&0));
}

#[test]
fn samples_cover_the_whole_table() {
    let sampled: BTreeSet<u32> = samples().iter().map(|sample| sample.op.code()).collect();
    let missing: Vec<_> = Op::TABLE.iter().filter(|(code, _)| !sampled.contains(code)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
}

#[test]
fn op_encoded_decodes_to_itself() {
    for sample in samples() {
        let encoded = sample.op.encode();
        assert!(!encoded.overflowed());
        assert_eq!(Op::decode(sample.op.code(), encoded.ints(), encoded.floats()), Some(sample.op.clone()));
        assert_eq!(Op::name_of(sample.op.code()), Some(sample.op.name()));
    }
}

#[test]
fn op_with_other_numbers_decodes_to_none() {
    for sample in samples() {
        let encoded = sample.op.encode();
        let longer: Vec<i64> = encoded.ints().iter().copied().chain([0]).collect();
        assert_eq!(Op::decode(sample.op.code(), &longer, encoded.floats()), None, "{}", sample.op.name());
        if let Some((_, shorter)) = encoded.ints().split_last() {
            assert_eq!(Op::decode(sample.op.code(), shorter, encoded.floats()), None, "{}", sample.op.name());
        }
    }
    assert_eq!(Op::decode(9999, &[], &[]), None);
}

#[test]
fn op_shape_of_more_than_eight_dimensions_overflows() {
    assert!(Op::Reshape { shape: vec![1; 20] }.encode().overflowed());
    assert!(!Op::Reshape { shape: vec![1; 8] }.encode().overflowed());
}

#[test]
fn infer_of_samples_gives_their_shapes() {
    for sample in samples() {
        let inputs: Vec<&Meta> = sample.inputs.iter().collect();
        let metas = sample.op.infer(&inputs).unwrap_or_else(|error| panic!("{}: {error}", sample.op.name()));
        assert_eq!(metas[0].shape, sample.shape, "{}", sample.op.name());
        assert_eq!(metas.len(), sample.op.outputs());
    }
}

#[test]
fn infer_with_too_few_or_too_many_inputs_is_error() {
    for sample in samples() {
        let mut inputs: Vec<&Meta> = sample.inputs.iter().collect();
        let spare = Meta::new([1], DType::F64);
        inputs.extend([&spare; 6]);
        assert!(sample.op.infer(&inputs).is_err(), "{}", sample.op.name());
        assert!(sample.inputs.is_empty() || sample.op.infer(&[]).is_err(), "{}", sample.op.name());
    }
}

/// The error for `f64` inputs of these shapes.
#[track_caller]
fn refused(op: Op, shapes: &[&[usize]]) -> String {
    let metas: Vec<Meta> = shapes.iter().map(|shape| Meta::new(*shape, DType::F64)).collect();
    op.infer(&metas.iter().collect::<Vec<_>>()).expect_err("refused")
}

#[test]
fn infer_of_shapes_that_do_not_fit_says_what() {
    let conv = Op::Conv2d { stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };
    let cases: &[(Op, &[&[usize]], &str)] = &[
        (Op::Add, &[&[2, 3], &[2]], "shapes [2, 3] and [2] do not broadcast"),
        (Op::Where, &[&[3], &[2], &[2]], "mask [3] and values [2] do not broadcast"),
        (Op::Reshape { shape: vec![5] }, &[&[2, 3]], "6 elements are not 5"),
        (Op::Permute { dims: vec![0, 0] }, &[&[2, 3]], "no order of the 2 dimensions"),
        (Op::BroadcastTo { shape: vec![2] }, &[&[3]], "cannot broadcast"),
        (Op::Narrow { dim: 0, start: 1, len: 2 }, &[&[2]], "range 1..3 leaves dimension 0"),
        (Op::Concat { dim: 0 }, &[&[2, 3], &[2, 2]], "cannot join"),
        (Op::Sum { keep: false, dims: vec![2] }, &[&[2, 3]], "has no dimension 2"),
        (Op::Max { dim: 1, keep: false }, &[&[2, 0]], "nothing along dimension 1"),
        (Op::Matmul, &[&[2, 3], &[2, 3]], "inner dimensions must agree"),
        (Op::Gather { dim: 0 }, &[&[2], &[2]], "wants an i64 tensor"),
        (Op::OneHot { classes: 2, dtype: DType::F64 }, &[&[2]], "wants an i64 tensor"),
        (Op::CrossEntropy { smoothing: 0.0 }, &[&[2, 3], &[2]], "wants an i64 tensor"),
        (Op::BatchNormTrain { eps: 1e-5 }, &[&[1, 3], &[3], &[3]], "one value a channel has no variance"),
        (Op::BatchNormTrain { eps: 1e-5 }, &[&[2, 3], &[2], &[3]], "wants a parameter of shape [3]"),
        (Op::LayerNorm { dims: 3, eps: 1e-5 }, &[&[2, 3]], "cannot normalise the last 3 dimensions"),
        (conv.clone(), &[&[1, 2, 3, 3], &[4, 3, 1, 1]], "do not fit in channels"),
        (conv.clone(), &[&[1, 2, 3, 3], &[4, 2, 5, 5]], "a window of 5 does not fit into 3"),
        (conv, &[&[2, 3, 3], &[4, 2, 1, 1]], "wants four dimensions"),
        (Op::MaxPool2d { kernel: [2; 2], stride: [1; 2], padding: [2; 2] }, &[&[1, 1, 4, 4]], "more than half"),
        (Op::AdaptiveAvgPool2d { size: [0, 1] }, &[&[1, 1, 4, 4]], "cannot bring"),
    ];
    for (op, shapes, wanted) in cases {
        let message = refused(op.clone(), shapes);
        assert!(message.contains(wanted), "{}: {message}", op.name());
    }
}

#[test]
fn infer_of_mixed_types_is_error() {
    let (a, b) = (Meta::new([2], DType::F64), Meta::new([2], DType::F32));
    assert_eq!(Op::Add.infer(&[&a, &b]), Err("element types differ: f64 and f32".into()));
}

#[test]
fn infer_of_whole_numbers_in_float_operations_is_error() {
    let labels = Meta::new([2, 2], DType::I64);
    for op in [Op::Matmul, Op::SmoothL1 { beta: 1.0 }, Op::Div] {
        assert!(op.infer(&[&labels, &labels]).is_err(), "{}", op.name());
    }
    assert!(Op::Exp.infer(&[&labels]).is_err());
}

#[test]
fn guide_has_every_operation_once() {
    let guide = include_str!("../../GUIDE.md");
    for (_, name) in Op::TABLE {
        let rows = guide.lines().filter(|line| line.starts_with(&format!("| `{name}` | "))).count();
        assert_eq!(rows, 1, "`{name}` has {rows} rows in the guide");
    }
}
