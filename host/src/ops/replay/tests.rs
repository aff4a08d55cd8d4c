//! What of a graph runs together.

use super::{Graph, Make};
use crate::ops::tests::{flat, params, part};
use crate::ops::{BoundPart, Moment, PortIn, TracePort, native};
use candle_core::{DType as CandleType, Tensor, Var};
use stillhouse_plugin::op::{DType, Meta};
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    what: String,
}

/// Elementwise work on the student `[2, 6]` and the teacher `[2, 2]`.
struct Cell(Which);

impl Component for Cell {
    type Config = Which;
    const NAME: &'static str = "cell";
    fn new(config: Which) -> Result<Self> {
        Ok(Cell(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Cell {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<stillhouse_plugin::Tensor> {
        let (gates, cell) = (x.one("student")?, x.one("teacher")?);
        let gate = |at: usize| gates.narrow(1, 2 * at, 2);
        Ok(match self.0.what.as_str() {
            "cell" => {
                let cell = gate(1).sigmoid() * &cell + gate(0).sigmoid() * gate(2).tanh();
                (cell.tanh() * cell.relu()).sum_all()
            }
            // Parts that overlap, and one that is read by more than elementwise work.
            "overlap" => {
                let (first, second) = (gate(0), gates.narrow(1, 1, 2));
                (first.square() * &second + &second * &cell).sum_all() + second.sum_all()
            }
            // A softmax between, whose inputs are made by the one half and read by the other.
            "between" => {
                let scores = (gate(0) * &cell).exp() + 1.0;
                (scores.softmax(1).square() * scores).sum_all()
            }
            // Nothing to gain.
            _ => gate(0).square().sum_all(),
        })
    }
}

fn bound(what: &str) -> (BoundPart, [Var; 2]) {
    let part = part(&sdk::loss_entry::<Cell>(), &format!(r#"{{"what": "{what}"}}"#), params(CandleType::F64));
    let values = |len: usize, shift: f64| -> Vec<f64> { (0..len).map(|at| (at as f64 * 0.7 + shift).sin()).collect() };
    let var = |columns: usize, shift: f64| {
        Var::from_tensor(&flat_to(&values(2 * columns, shift), columns)).expect("a variable")
    };
    (part, [var(6, 0.1), var(2, 0.5)])
}

fn flat_to(values: &[f64], columns: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / columns, columns), &candle_core::Device::Cpu).expect("a tensor")
}

fn ports(vars: &[Var; 2]) -> [PortIn<'static>; 2] {
    let port =
        |name: &'static str, var: &Var| PortIn { name: name.into(), values: vec![var.as_tensor().clone()], frames: 1 };
    [port("student", &vars[0]), port("teacher", &vars[1])]
}

/// The steps of the graph; of functions together, how many.
fn steps(what: &str) -> Vec<String> {
    let (part, vars) = bound(what);
    let port = |name: &str, columns: usize| TracePort {
        name: name.into(),
        values: vec![Meta::new([2, columns], DType::F64)],
        frames: 1,
    };
    let traced = part.trace(&Moment::default(), &[port("student", 6), port("teacher", 2)]).expect("traces");
    let graph = Graph::of(&traced, &ports(&vars)).expect("a graph");
    let name = |make: &Make| match make {
        Make::Op(op) => Some(op.name().to_owned()),
        Make::Together(fusion) => Some(format!("{} of {}", fusion.steps.len(), fusion.reads.len())),
        _ => None,
    };
    graph.steps.iter().filter_map(|step| name(&step.make)).collect()
}

#[test]
fn consecutive_functions_run_together_and_read_parts_in_place() {
    assert_eq!(steps("cell"), ["9 of 4", "sum"]);
}

#[test]
fn parts_that_overlap_or_that_others_read_stand_alone() {
    assert_eq!(steps("overlap")[..2], ["narrow", "4 of 3"]);
}

#[test]
fn what_another_operation_reads_comes_out_and_goes_in() {
    assert_eq!(steps("between"), ["3 of 2", "softmax", "2 of 2", "sum"]);
}

#[test]
fn one_function_stands_alone() {
    assert_eq!(steps("alone"), ["narrow", "square", "sum"]);
}

#[test]
fn run_together_gives_the_values_and_gradients_of_the_part() {
    for what in ["cell", "overlap", "between", "alone"] {
        let (part, vars) = bound(what);
        let crossed = part.cross(&Moment::default(), &ports(&vars)).expect("runs");
        let wanted = crossed.terms[0].1.backward().expect("walks");
        // The first run is that of the graph already.
        for _ in 0..2 {
            let mut record = native::Record::default();
            let given = record.during(|| part.run(&Moment::default(), &ports(&vars))).expect("runs");
            let term = &given.terms[0].1;
            assert_eq!(flat(term), flat(&crossed.terms[0].1), "{what}");
            let found = record.gradients(&[(term.clone(), term.ones_like().expect("one"))]).expect("walks");
            for var in &vars {
                let [got, wanted] = [found.get(var), wanted.get(var)].map(|grad| grad.map(flat).unwrap_or_default());
                let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-13 * (1.0 + b.abs());
                assert!(got.len() == wanted.len() && got.iter().zip(&wanted).all(near), "{what}: {got:?}, {wanted:?}");
            }
        }
    }
}
