//! Handles, errors and nesting, by raw calls.

use super::{ask, ask_raw, message, opening, row};
use crate::ops::host_api;
use crate::ops::session::{Session, Stage, Value};
use stillhouse_plugin::abi::abi_stable::std_types::RSliceMut;
use stillhouse_plugin::abi::{Handle, code};
use stillhouse_plugin::op::{DType, Meta, Op};

const STALE: &str = "a tensor was used after its end, or in another call than its own";

fn within<T>(work: impl FnOnce(&Session) -> T) -> T {
    Session::within(opening(Stage::Run, false), work)
}

fn put(session: &Session, values: &[f64]) -> Handle {
    session.put(Value::Concrete(row(values)))
}

fn values(session: &Session, handle: Handle) -> Option<Vec<f64>> {
    match session.get(handle) {
        Value::Concrete(tensor) => Some(super::flat(&tensor)),
        _ => None,
    }
}

#[test]
fn handle_released_is_stale_and_its_slot_is_used_again() {
    within(|session| {
        let first = put(session, &[1.0]);
        assert_eq!(session.retain(first), first);
        session.release(first);
        assert_eq!(values(session, first), Some(vec![1.0]), "one owner is left");
        session.release(first);
        session.release(first);
        let second = put(session, &[2.0]);
        assert_eq!(second.slot, first.slot);
        assert_eq!((values(session, second), values(session, first)), (Some(vec![2.0]), None));
        assert_eq!(message(session.take_error()), STALE);
        let poisoned = session.retain(first);
        assert_eq!((values(session, poisoned), message(session.take_error())), (None, STALE.into()));
    });
}

#[test]
fn handle_of_another_session_is_stale() {
    within(|outer| {
        let theirs = put(outer, &[1.0]);
        within(|inner| {
            let own = put(inner, &[2.0]);
            assert_eq!(theirs.slot, own.slot);
            let sum = ask(inner, &Op::Add, &[own, theirs]);
            assert_eq!((values(inner, sum), message(inner.take_error())), (None, STALE.into()));
        });
        within(|later| assert!(values(later, theirs).is_none()));
        assert_eq!(values(outer, theirs), Some(vec![1.0]), "the outer session goes on");
        assert_eq!(message(outer.take_error()), "");
    });
}

#[test]
fn session_on_another_thread_or_after_its_end_is_error() {
    let lost = "tensors can be used on the thread of the call only, and not after it";
    let ctx = within(|session| {
        let (ctx, handle) = (session.ctx(), put(session, &[1.0]));
        let other = std::thread::spawn(move || {
            let out = within(|_| host_api().retain()(ctx, handle));
            (out, message(host_api().take_error()(ctx).into()))
        });
        assert_eq!(other.join().expect("joins"), (Handle::default(), lost.into()));
        ctx
    });
    assert_eq!(message(host_api().take_error()(ctx).into()), lost);
    host_api().release()(ctx, Handle::default());
}

#[test]
fn session_that_panics_is_closed() {
    let mut ctx = None;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        within(|session| {
            ctx = Some(session.ctx());
            std::panic::resume_unwind(Box::new(()));
        })
    }));
    assert!(panicked.is_err() && Session::of(ctx.expect("opened")).is_none());
}

#[test]
fn call_that_fails_poisons_what_follows_and_keeps_the_first_error() {
    within(|session| {
        let (a, b) = (put(session, &[1.0, 2.0, 3.0]), put(session, &[1.0, 2.0]));
        let sum = ask(session, &Op::Add, &[a, b]);
        let later = ask(session, &Op::Matmul, &[ask(session, &Op::Exp, &[sum]), a]);
        let apart = ask(session, &Op::Matmul, &[a, b]);
        assert!([sum, later, apart].iter().all(|handle| values(session, *handle).is_none()));
        let wanted = "operation `add` on [3] f64, [2] f64: shapes [3] and [2] do not broadcast";
        assert_eq!(message(session.take_error()), wanted);
        assert_eq!(message(session.take_error()), "", "an error is taken once");
        assert_eq!(values(session, ask(session, &Op::Neg, &[b])), Some(vec![-1.0, -2.0]));
    });
}

#[test]
fn call_that_does_not_fit_says_the_same_in_trace_and_run() {
    let f32 = |shape: &[usize]| Meta::new(shape, DType::F32);
    let label = |shape: &[usize]| Meta::new(shape, DType::I64);
    let cases = [
        (
            Op::Matmul,
            vec![f32(&[8, 3]), f32(&[4, 2])],
            "operation `matmul` on [8, 3] f32, [4, 2] f32: cannot multiply [8, 3] by [4, 2]",
        ),
        (Op::Exp, vec![label(&[2])], "operation `exp` on [2] i64: wants a float tensor, got [2] i64"),
        (Op::Neg, vec![], "operation `neg`: takes 1"),
        (
            Op::Sum { keep: false, dims: vec![2] },
            vec![f32(&[2, 3])],
            "operation `sum` on [2, 3] f32: [2, 3] f32 has no dimension 2",
        ),
        (
            Op::Reshape { shape: vec![1; 9] },
            vec![f32(&[1])],
            "operation `reshape` on [1] f32: tensors have up to 8 dimensions",
        ),
    ];
    for symbolic in [true, false] {
        for (op, metas, wanted) in &cases {
            Session::within(opening(Stage::Run, symbolic), |session| {
                let value = |meta: &Meta| {
                    let dtype = crate::ops::to_candle_dtype(meta.dtype);
                    let zeros = || candle_core::Tensor::zeros(meta.shape.as_slice(), dtype, &candle_core::Device::Cpu);
                    session.put(session.leaf(crate::ops::Leaf::Constant, meta.clone(), zeros))
                };
                let inputs: Vec<Handle> = metas.iter().map(value).collect();
                ask(session, op, &inputs);
                let said = message(session.take_error());
                assert!(said.starts_with(wanted), "{said}");
            });
        }
    }
}

#[test]
fn call_unknown_to_the_host_is_unsupported() {
    within(|session| {
        let x = put(session, &[1.0]);
        ask_raw(session, (9999, "fft"), &[x], (&[], &[]), 1);
        let error = session.take_error().expect("an error");
        assert_eq!(error.code, code::UNSUPPORTED);
        assert!(
            error.message.contains(" has no operation named `fft`") && error.message.starts_with("host 1."),
            "{}",
            error.message
        );
        ask_raw(session, (Op::Neg.code(), "neg"), &[x], (&[1], &[]), 1);
        assert!(message(session.take_error()).contains("`neg` with these attributes"));
        let results = ask_raw(session, (Op::Neg.code(), "neg"), &[x], (&[], &[]), 2);
        assert_eq!(message(session.take_error()), "operation `neg` was asked for 2 results");
        assert!(results.iter().all(|handle| values(session, *handle).is_none()));
    });
}

#[test]
fn call_with_wrong_values_says_which() {
    within(|session| {
        let whole =
            |values: &[i64]| candle_core::Tensor::from_slice(values, values.len(), &candle_core::Device::Cpu).unwrap();
        let (x, index) = (put(session, &[1.0, 2.0]), session.put(Value::Concrete(whole(&[0, 2]))));
        ask(session, &Op::IndexSelect { dim: 0 }, &[x, index]);
        let said = message(session.take_error());
        assert!(
            said.starts_with("operation `index_select` on [2] f64, [2] i64: ") && said.contains("index 2"),
            "{said}"
        );
        ask(session, &Op::OneHot { classes: 2, dtype: DType::F64 }, &[index]);
        assert_eq!(message(session.take_error()), "operation `one_hot` on [2] i64: label 2 is none of 2 classes");
    });
}

#[test]
fn read_of_the_wrong_size_or_by_a_part_that_is_not_dynamic_is_refused() {
    let read = |session: &Session, handle: Handle, bytes: usize| {
        let mut out = vec![0u8; bytes];
        let given = host_api().read()(session.ctx(), handle, RSliceMut::from_mut_slice(&mut out));
        (given, message(session.take_error()))
    };
    within(|session| {
        let x = put(session, &[1.0]);
        assert_eq!(read(session, x, 8), (false, "only a part that is declared dynamic may read values".into()));
    });
    let dynamic = crate::ops::session::Opening { dynamic: true, ..opening(Stage::Run, false) };
    Session::within(dynamic, |session| {
        let x = put(session, &[1.0]);
        assert_eq!(read(session, x, 8), (true, String::new()));
        assert_eq!(read(session, x, 4), (false, "8 bytes do not fit into 4".into()));
    });
}

#[test]
fn constant_of_wrong_bytes_or_type_is_refused() {
    within(|session| {
        let constant = |dtype: u32, bytes: &[u8]| {
            let handle = host_api().constant()(session.ctx(), bytes.into(), dtype, [2usize].as_slice().into());
            (values(session, handle), message(session.take_error()))
        };
        let bytes: Vec<u8> = [1f32, 2.0].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(constant(DType::F32 as u32, &bytes), (Some(vec![1.0, 2.0]), String::new()));
        assert_eq!(constant(DType::F64 as u32, &bytes), (None, "a constant [2] f64 from 8 bytes".into()));
        assert!(constant(77, &bytes).1.ends_with("has no element type 77"));
    });
}
