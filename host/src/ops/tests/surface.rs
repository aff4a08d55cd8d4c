//! A graph in which what passes no gradient is held: its slope is the gradient, also where one is cut or scaled on purpose.

use super::{params, part, row};
use crate::ops::{Manner, Moment, PortIn, Surface, TracePort};
use candle_core::DType as CandleType;
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    random: bool,
}

/// `x stop(x) + 3 reversed(x) + x^2`.
struct Cut(Which);

impl Component for Cut {
    type Config = Which;
    const NAME: &'static str = "cut";
    fn new(config: Which) -> Result<Self> {
        Ok(Cut(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student()]
    }
}

impl Loss for Cut {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<stillhouse_plugin::Tensor> {
        let x = x.one("student")?;
        let noise = if self.0.random { cx.uniform("noise", &[1], DType::F64, 0.0, 1.0) } else { &x * 0.0 };
        Ok((&x * x.detach() + x.scale_grad(-1.0) * 3.0 + x.square() + noise).sum_all())
    }
}

fn at(value: f64) -> Vec<PortIn<'static>> {
    vec![PortIn { name: "student".into(), values: vec![row(&[value])], frames: 1 }]
}

fn surface(config: &str, draws: bool) -> Option<Surface> {
    let part = part(&sdk::loss_entry::<Cut>(), config, params(CandleType::F64));
    part.set_manner(Manner { draws, ..Manner::default() });
    let shapes: Vec<TracePort> = at(2.0).iter().map(TracePort::of).collect();
    part.bind(&Moment::default(), &shapes).expect("bound");
    let traced = part.trace(&Moment::default(), &shapes).expect("traced");
    Surface::at(&traced, &at(2.0), part.params()).expect("computes")
}

#[test]
fn surface_has_the_value_of_the_part_and_the_slope_of_its_gradient() {
    let surface = surface(r#"{"random": false}"#, false).expect("nothing is drawn");
    let params = params(CandleType::F64);
    let value = |x: f64| {
        let given = surface.value(&at(x), &params).expect("computes");
        given.terms[0].1.to_scalar::<f64>().expect("a scalar")
    };
    assert_eq!(value(2.0), 4.0 + 6.0 + 4.0);
    // stop(x) = 2, reversed: -3, and 2 x.
    let slope = (value(2.0 + 1e-5) - value(2.0 - 1e-5)) / 2e-5;
    assert!((slope - (2.0 - 3.0 + 4.0)).abs() < 1e-8, "{slope}");
}

#[test]
fn surface_of_what_is_drawn_wants_a_trace_that_draws() {
    assert!(surface(r#"{"random": true}"#, false).is_none());
    let drawn = surface(r#"{"random": true}"#, true).expect("drawn in the trace");
    let value = || drawn.value(&at(2.0), &params(CandleType::F64)).expect("computes").terms[0].1.to_scalar::<f64>();
    let (first, second) = (value().expect("a scalar"), value().expect("a scalar"));
    assert!(first == second && (14.0..15.0).contains(&first), "{first}");
}
