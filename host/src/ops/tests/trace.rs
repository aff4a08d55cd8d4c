//! What a trace knows of gradients.

use super::{ask, ask_all, opening};
use crate::ops::session::{Session, Stage, Value};
use crate::ops::{Leaf, Trace};
use stillhouse_plugin::abi::Handle;
use stillhouse_plugin::op::{DType, Meta, Op};

fn port(session: &Session, name: &str, shape: &[usize], dtype: DType) -> Handle {
    let leaf = Leaf::Port { port: name.into(), tap: 0, frame: 0 };
    let nothing = || Err(candle_core::Error::Msg("a trace computes nothing".into()));
    session.put(session.leaf(leaf, Meta::new(shape, dtype), nothing))
}

/// Ports that the gradient of a result reaches. Ports: `a`, `b`, `c` `[2, 3]`, `v` and `w` `[3]`, labels `i` `[2]`.
fn reached(build: impl FnOnce(&Session, &dyn Fn(&str) -> Handle) -> Handle) -> Vec<String> {
    Session::within(opening(Stage::Run, true), |session| {
        let of = |name: &str| match name {
            "i" => port(session, name, &[2], DType::I64),
            "v" | "w" => port(session, name, &[3], DType::F64),
            _ => port(session, name, &[2, 3], DType::F64),
        };
        let result = build(session, &of);
        let Value::Symbolic(node) = session.get(result) else {
            panic!("{:?}", session.take_error());
        };
        let trace: Trace = session.trace.as_ref().expect("a trace").take();
        let name = |leaf: Leaf| if let Leaf::Port { port, .. } = leaf { Some(port) } else { None };
        trace.reachable(node).into_iter().filter_map(name).collect()
    })
}

#[test]
fn reachable_stops_where_no_gradient_passes() {
    let none: [&str; 0] = [];
    let comparison = |op: Op| reached(move |s, of| ask(s, &Op::Mul, &[ask(s, &op, &[of("a"), of("b")]), of("c")]));
    for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge] {
        assert_eq!(comparison(op), ["c"]);
    }
    assert_eq!(comparison(Op::Sub), ["a", "b", "c"]);
    assert_eq!(reached(|s, of| ask(s, &Op::Add, &[ask(s, &Op::Detach, &[of("a")]), of("b")])), ["b"]);
    assert_eq!(reached(|s, of| ask(s, &Op::Where, &[of("a"), of("b"), of("c")])), ["b", "c"]);
    for op in [Op::Sign, Op::Floor, Op::ArgMax { dim: 1, keep: false }] {
        assert_eq!(reached(|s, of| ask(s, &op, &[of("a")])), none, "{}", op.name());
    }
    let whole = |s: &Session, x| ask(s, &Op::Cast { dtype: DType::I64 }, &[x]);
    let back = |s: &Session, x| ask(s, &Op::Cast { dtype: DType::F64 }, &[x]);
    assert_eq!(reached(|s, of| back(s, whole(s, of("a")))), none);
    assert_eq!(reached(|s, of| ask(s, &Op::Cast { dtype: DType::F32 }, &[of("a")])), ["a"]);
    assert_eq!(reached(|s, of| ask(s, &Op::CrossEntropy { smoothing: 0.0 }, &[of("a"), of("i")])), ["a"]);
    assert_eq!(reached(|s, of| ask(s, &Op::IndexSelect { dim: 0 }, &[of("a"), of("i")])), ["a"]);
    assert_eq!(reached(|s, of| ask(s, &Op::OneHot { classes: 2, dtype: DType::F64 }, &[of("i")])), none);
}

#[test]
fn reachable_through_a_zero_factor_is_reached() {
    assert_eq!(reached(|s, of| ask(s, &Op::Affine { mul: 0.0, add: 0.0 }, &[of("a")])), ["a"]);
    assert_eq!(reached(|s, of| ask(s, &Op::ScaleGrad { factor: 0.0 }, &[of("a")])), ["a"]);
}

#[test]
fn reachable_of_batch_norm_is_its_output_only() {
    let op = Op::BatchNormTrain { eps: 1e-5 };
    let train = |output: usize| reached(|session, of| ask_all(session, &op, &[of("a"), of("v"), of("w")])[output]);
    assert_eq!(train(0), ["a", "v", "w"]);
    assert!(train(1).is_empty() && train(2).is_empty());
}

#[test]
fn reachable_of_evaluated_batch_norm_leaves_the_statistics_out() {
    let statistic = |session: &Session, name: &str| port(session, name, &[3], DType::F64);
    let found = reached(|session, of| {
        let (mean, variance) = (statistic(session, "mean"), statistic(session, "variance"));
        ask(session, &Op::BatchNormEval { eps: 1e-5 }, &[of("a"), of("v"), of("w"), mean, variance])
    });
    assert_eq!(found, ["a", "v", "w"]);
}

#[test]
fn trace_computes_nothing_and_keeps_the_order() {
    Session::within(opening(Stage::Run, true), |session| {
        let x = port(session, "x", &[1 << 20, 1 << 20], DType::F32);
        let y = ask(session, &Op::Matmul, &[x, ask(session, &Op::Exp, &[x])]);
        let meta = session.meta(&session.get(y)).expect("a shape");
        assert_eq!(meta, Meta::new([1 << 20, 1 << 20], DType::F32));
        let trace: Trace = session.trace.as_ref().expect("a trace").take();
        assert_eq!(trace.nodes().len(), 3);
    });
}
