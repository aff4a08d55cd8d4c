//! Parameters, buffers and random numbers of parts.

use super::{flat, params, part, row};
use crate::ops::{BoundPart, Given, Moment, OpError, ParamKind, PortIn, TracePort};
use candle_core::DType as CandleType;
use stillhouse_plugin::op::{DType, Meta};
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    what: String,
}

/// A loss whose body is chosen by its configuration. Buffers: `seen` `[]`, `before` `[2]`, `bank` `[3, 2]`.
struct Probe(String);

impl Component for Probe {
    type Config = Which;
    const NAME: &'static str = "probe";
    fn new(config: Which) -> Result<Self> {
        ensure!(config.what != "refused", "`what` must not be `refused`");
        Ok(Probe(config.what))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student()]
    }
}

impl Loss for Probe {
    fn bind(&mut self, cx: &BindCx, _x: &Inputs) -> Result<()> {
        let gain = cx.add_param("gain", &[2], &Init::Ones);
        cx.add_buffer("seen", &[], &Init::Zeros);
        cx.add_buffer("before", &[2], &Init::Zeros);
        cx.add_buffer_of("bank", &[3, 2], DType::F64, &Init::Zeros);
        match self.0.as_str() {
            "twice" => drop(cx.add_param("gain", &[1], &Init::Ones)),
            "set in bind" => cx.set("before", &gain),
            "read in bind" => return gain.to_vec().map(drop),
            _ => {}
        }
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<stillhouse_plugin::Tensor> {
        let x = x.one("student")?; // [2]
        let index = |rows: &[f64]| cx.constant(rows, &[rows.len()], DType::I64);
        match self.0.as_str() {
            "unknown" => drop(cx.param("missing")),
            "set parameter" => cx.set("gain", &x),
            "set wrong shape" => cx.set("before", &x.unsqueeze(0)),
            "rows of floats" => cx.set_rows("bank", &x, &x.unsqueeze(0).broadcast_to(&[2, 2])),
            "rows of wrong shape" => cx.set_rows("bank", &index(&[0.0]), &x),
            "rows" => cx.set_rows("bank", &index(&[2.0, 0.0]), &x.unsqueeze(0).broadcast_to(&[2, 2])),
            "rows outside" => cx.set_rows("bank", &index(&[0.0, 3.0]), &x.unsqueeze(0).broadcast_to(&[2, 2])),
            "read" => return Ok(x.sum_all() * x.sum_all().to_scalar()?),
            "vector" => return Ok(x),
            "whole" => return Ok(index(&[1.0]).sum_all()),
            "counts" => {
                let seen = cx.buffer("seen");
                cx.set("seen", &(&seen + 1.0));
                cx.set("before", &cx.param("gain"));
                cx.emit("gain", &cx.param("gain"));
                return Ok((&x * cx.param("gain")).sum_all() + cx.buffer("seen"));
            }
            purpose if purpose.starts_with("random") => {
                cx.emit("uniform", &cx.uniform(purpose, &[64], DType::F64, 2.0, 3.0));
                cx.emit("normal", &cx.normal(purpose, &[256], DType::F64, 2.0));
                cx.emit("bernoulli", &cx.bernoulli(purpose, &[256], DType::F32, 0.25));
                cx.info(&cx.rng(purpose).next_u64().to_string());
            }
            _ => {}
        }
        Ok(x.sum_all())
    }
}

fn port(name: &str) -> TracePort {
    TracePort { name: name.into(), values: vec![Meta::new([2], DType::F64)], frames: 1 }
}

fn bound(what: &str) -> std::result::Result<BoundPart, OpError> {
    let part = part(&sdk::loss_entry::<Probe>(), &format!(r#"{{"what": "{what}"}}"#), params(CandleType::F64));
    part.bind(&Moment::default(), &[port("student")]).map(|()| part)
}

fn run(part: &BoundPart, moment: &Moment) -> std::result::Result<Given, OpError> {
    part.run(moment, &[PortIn { name: "student".into(), values: vec![row(&[1.0, 2.0])], frames: 1 }])
}

fn value(part: &BoundPart, name: &str) -> Vec<f64> {
    flat(&part.params().value(name).expect("a tensor"))
}

#[test]
fn part_that_misuses_its_state_is_refused() {
    let cases = [
        ("twice", "`gain` is made twice"),
        ("set in bind", "buffer `before` can be set in a step only"),
        ("read in bind", "only a part that is declared dynamic may read values"),
        ("unknown", "the part has no parameter or buffer `missing`"),
        ("set parameter", "the part has no buffer `gain` to set"),
        ("set wrong shape", "buffer `before` has the shape [2], got [1, 2] f64"),
        ("rows of floats", "buffer `bank` has the shape [3, 2], got [2] f64, [2, 2] f64"),
        ("rows of wrong shape", "buffer `bank` has the shape [3, 2], got [1] i64, [2] f64"),
        ("read", "only a part that is declared dynamic may read values"),
        ("vector", "must give a float scalar, got [2] f64"),
        ("whole", "operation `sum` on [1] i64: wants a float tensor, got [1] i64"),
    ];
    for (what, wanted) in cases {
        for symbolic in [true, false] {
            let moment = Moment::default();
            let step = |part: BoundPart| {
                if symbolic { part.trace(&moment, &[port("student")]).map(drop) } else { run(&part, &moment).map(drop) }
            };
            let said = bound(what).and_then(step).expect_err(what).to_string();
            // An operation that fails has its line.
            let said = said.split(" (host/src/ops/tests/state.rs:").next().unwrap_or_default();
            assert!(said.starts_with("`term` (`probe`)") && said.ends_with(wanted), "{what}: {said}");
        }
    }
}

#[test]
fn parameter_made_in_a_step_is_refused() {
    use crate::ops::session::{Session, Stage};
    Session::within(super::opening(Stage::Run, false), |session| {
        let shape = [2usize];
        let init = r#"{"kind": "zeros"}"#;
        crate::ops::host_api().parameter()(session.ctx(), "late".into(), shape.as_slice().into(), init.into());
        assert_eq!(super::message(session.take_error()), "`late` can be made in `bind` only");
        crate::ops::host_api().buffer()(session.ctx(), "late".into(), 0, shape.as_slice().into(), init.into());
        assert_eq!(super::message(session.take_error()), "`late` can be made in `bind` only");
    });
    Session::within(super::opening(Stage::Bind, true), |session| {
        crate::ops::host_api().parameter()(session.ctx(), "odd".into(), [2usize].as_slice().into(), "{}".into());
        assert!(super::message(session.take_error()).starts_with("initialisation of `odd`: "));
    });
}

#[test]
fn buffer_set_is_taken_over_at_the_commit_with_the_values_of_the_step() {
    let part = bound("counts").expect("binds");
    let given = run(&part, &Moment::default()).expect("runs");
    assert_eq!(flat(&given.terms[0].1), [3.0]);
    assert_eq!(value(&part, "seen"), [0.0], "nothing changes before the commit");
    // The update of the parameter comes between step and commit.
    part.params().assign("gain", &row(&[5.0, 6.0])).unwrap();
    given.staged.iter().try_for_each(|staged| staged.commit(part.params())).unwrap();
    assert_eq!((value(&part, "seen"), value(&part, "before")), (vec![1.0], vec![1.0, 1.0]));
    assert_eq!(flat(&given.emitted[0].value), [1.0, 1.0]);
    assert_eq!(flat(&run(&part, &Moment::default()).expect("runs").terms[0].1), [18.0]);
    let grads = given.terms[0].1.backward().unwrap();
    assert_eq!(flat(grads.get(&part.params().get("gain").unwrap().var).unwrap()), [1.0, 2.0]);
    assert!(grads.get(&part.params().get("seen").unwrap().var).is_none());
}

#[test]
fn buffer_rows_are_set_or_refused_as_a_whole() {
    for (what, wanted) in [("rows", vec![1.0, 2.0, 0.0, 0.0, 1.0, 2.0]), ("rows outside", vec![0.0; 6])] {
        let part = bound(what).expect("binds");
        let given = run(&part, &Moment::default()).expect("runs");
        let result = given.staged[0].commit(part.params());
        assert_eq!(value(&part, "bank"), wanted);
        if what == "rows outside" {
            assert!(result.unwrap_err().to_string().starts_with("row 3 of `bank`, which has 3"));
        }
    }
}

#[test]
fn params_are_kept_in_order_with_their_kind() {
    let part = bound("").expect("binds");
    let names: Vec<String> = part.params().entries().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["gain", "seen", "before", "bank"]);
    assert_eq!(part.params().names(ParamKind::Parameter), ["gain"]);
    assert_eq!(part.params().parameter_count(), 2);
    let wrong = part.params().assign("gain", &row(&[1.0])).unwrap_err().to_string();
    assert!(wrong.starts_with("`gain` wants the shape [2], got [1]"), "{wrong}");
    assert!(part.params().assign("other", &row(&[1.0])).unwrap_err().to_string().contains("has no tensor `other`"));
}

#[test]
fn random_numbers_depend_on_purpose_step_and_frame_only() {
    let draw = |what: &str, moment: &Moment| {
        let given = run(&bound(what).expect("binds"), moment).expect("runs");
        let values: Vec<Vec<f64>> = given.emitted.iter().map(|emitted| flat(&emitted.value)).collect();
        (values, given.log)
    };
    let start = Moment { seed: 3, ..Moment::default() };
    let first = draw("random", &start);
    assert_eq!(first, draw("random", &Moment { epoch: 9, training: true, ..start.clone() }));
    let others = [
        draw("random other", &start),
        draw("random", &Moment { step: 1, ..start.clone() }),
        draw("random", &Moment { frame: 1, ..start.clone() }),
        draw("random", &Moment { seed: 4, ..start.clone() }),
        draw("random", &Moment { phase: "second".into(), ..start.clone() }),
    ];
    assert!(others.iter().all(|other| other.0[0] != first.0[0] && other.1 != first.1));
    let [uniform, normal, bernoulli] = <[Vec<f64>; 3]>::try_from(first.0).unwrap();
    assert!(uniform.iter().all(|value| (2.0..3.0).contains(value)));
    let square = normal.iter().map(|value| value * value).sum::<f64>() / 256.0;
    assert!((3.0..5.0).contains(&square), "{square}");
    assert!(bernoulli.iter().all(|value| [0.0, 1.0].contains(value)));
    let share = bernoulli.iter().sum::<f64>() / 256.0;
    assert!((0.15..0.35).contains(&share), "{share}");
}

#[test]
fn part_refuses_a_configuration_with_its_path() {
    let make = |config: &str| {
        sdk::loss_entry::<Probe>().make(config, crate::ops::host_api()).err().expect("refused").to_string()
    };
    assert_eq!(make(r#"{"what": "refused"}"#), "`what` must not be `refused`");
    assert!(make(r#"{"what": 1}"#).starts_with("at `what`: invalid type"));
}
