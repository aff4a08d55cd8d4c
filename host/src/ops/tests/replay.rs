//! A run repeated from its graph: as if the part had run, and only where it would have run so.

use super::{flat, params, part, row};
use crate::ops::{BoundPart, Given, Moment, PortIn, TracePort};
use candle_core::{DType as CandleType, Device, Tensor, Var};
use std::sync::atomic::{AtomicUsize, Ordering};
use stillhouse_plugin::op::{DType, Meta};
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    what: String,
    counter: usize,
}

/// Runs of each test's part.
static RUNS: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

struct Probe(Which);

impl Component for Probe {
    type Config = Which;
    const NAME: &'static str = "probe";
    fn new(config: Which) -> Result<Self> {
        Ok(Probe(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Probe {
    fn bind(&mut self, cx: &BindCx, _x: &Inputs) -> Result<()> {
        cx.add_param("gain", &[2], &Init::Ones);
        cx.add_buffer("seen", &[2], &Init::Ones);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<stillhouse_plugin::Tensor> {
        let run = RUNS[self.0.counter].fetch_add(1, Ordering::Relaxed);
        let (x, target) = (x.one("student")?, x.one("teacher")?);
        let gained = &x * cx.param("gain") * cx.buffer("seen") + cx.constant(&[0.5, 0.25], &[2], DType::F64);
        let distance = (gained - &target).square().sum_all();
        match self.0.what.as_str() {
            "step" => return Ok(distance * cx.moment().epoch as f64),
            // Asked for only when there are values: a trace does not know of it.
            "later" if !x.is_symbolic()? => return Ok(distance * (1.0 + cx.moment().epoch as f64)),
            "random" => return Ok(distance + cx.uniform("noise", &[], DType::F64, 0.0, 1.0)),
            "set" => cx.set("seen", &x.detach()),
            "log" => cx.info("a line"),
            "emit" => cx.emit("x", &x),
            "hidden" => return Ok(distance * run as f64),
            "fails" => return Ok(target.cast(DType::I64).one_hot(2, DType::F64).sum_all() + distance),
            _ => {}
        }
        Ok(distance)
    }
}

fn bound(what: &str, counter: usize) -> BoundPart {
    let config = format!(r#"{{"what": "{what}", "counter": {counter}}}"#);
    let part = part(&sdk::loss_entry::<Probe>(), &config, params(CandleType::F64));
    let port = |name: &str| TracePort { name: name.into(), values: vec![Meta::new([2], DType::F64)], frames: 1 };
    part.bind(&Moment::default(), &[port("student"), port("teacher")]).expect("binds");
    part
}

fn ports(student: &Tensor, teacher: &[f64]) -> [PortIn<'static>; 2] {
    let port = |name: &'static str, value: Tensor| PortIn { name: name.into(), values: vec![value], frames: 1 };
    [port("student", student.clone()), port("teacher", row(teacher))]
}

fn runs(counter: usize) -> usize {
    RUNS[counter].load(Ordering::Relaxed)
}

fn term(given: &Given) -> &Tensor {
    &given.terms[0].1
}

#[test]
fn run_of_known_shapes_is_repeated_without_the_part() {
    let part = bound("plain", 0);
    let student = Var::from_tensor(&row(&[1.0, 2.0])).unwrap();
    for step in 0..4 {
        let ports = ports(&student, &[f64::from(step), 0.0]);
        let repeated = part.run(&Moment::default(), &ports).expect("runs");
        let calls = runs(0);
        let crossed = part.cross(&Moment::default(), &ports).expect("runs");
        assert_eq!(runs(0), calls + 1, "a crossing asks the part");
        assert_eq!(flat(term(&repeated)), flat(term(&crossed)));
        let gain = part.params().get("gain").unwrap().var;
        let grads = [&repeated, &crossed].map(|given| term(given).backward().unwrap());
        for var in [&student, &gain] {
            let [a, b] = grads.each_ref().map(|grads| flat(grads.get(var).expect("a gradient")));
            assert_eq!(a, b);
        }
        assert_eq!(calls, 2 + step as usize, "one run, one trace, then only this test's crossings");
    }
}

#[test]
fn repetition_sees_the_parameters_and_buffers_of_today() {
    let part = bound("plain", 1);
    let given =
        |part: &BoundPart| flat(term(&part.run(&Moment::default(), &ports(&row(&[1.0, 2.0]), &[0.5, 0.25])).unwrap()));
    assert_eq!(given(&part), [5.0]);
    part.params().assign("gain", &row(&[2.0, 1.0])).unwrap();
    part.params().assign("seen", &row(&[1.0, 3.0])).unwrap();
    assert_eq!(given(&part), [40.0]);
    assert_eq!(runs(1), 2);
}

#[test]
fn part_that_asks_for_more_than_its_inputs_runs_each_time() {
    let cases = ["step", "random", "set", "log", "emit", "hidden", "later"];
    for (counter, what) in (9..).zip(cases) {
        let part = bound(what, counter);
        let run = || part.run(&Moment::default(), &ports(&row(&[1.0, 2.0]), &[0.0, 0.0])).expect("runs");
        run();
        let first = runs(counter);
        run();
        run();
        assert_eq!(runs(counter), first + 2, "{what}");
    }
}

#[test]
fn other_shapes_are_asked_anew_and_the_oldest_are_forgotten() {
    let part = bound("plain", 8);
    let run = |rows: usize| {
        let student = Tensor::ones((rows, 2), CandleType::F64, &Device::Cpu).unwrap();
        let given = part.run(&Moment::default(), &ports(&student, &[0.5, 0.25])).expect("runs");
        assert_eq!(flat(term(&given)), [2.0 * rows as f64]);
        runs(8)
    };
    for rows in 1..=8 {
        assert_eq!(run(rows), 2 * rows);
    }
    assert_eq!(run(1), 16, "still known");
    assert_eq!(run(9), 18);
    assert_eq!(run(1), 20, "forgotten");
    assert_eq!(run(9), 20);
}

#[test]
fn operation_that_fails_in_a_repetition_is_told_as_the_part_tells_it() {
    let part = bound("fails", 9);
    let student = row(&[1.0, 2.0]);
    part.run(&Moment::default(), &ports(&student, &[0.0, 1.0])).expect("runs");
    assert_eq!(runs(9), 2);
    let error = part.run(&Moment::default(), &ports(&student, &[0.0, 7.0])).expect_err("label 7 of 2");
    assert_eq!(runs(9), 3, "the part was asked for its message");
    assert!(error.to_string().contains("label 7 is none of 2 classes"), "{error}");
}
