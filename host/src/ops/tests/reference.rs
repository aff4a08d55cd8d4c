//! Values and gradients of every operation against the reference implementation for plugin authors: plain loops in `f64`
//! that share no code with this host.

use super::samples::{Sample, all};
use super::{flat, params, part};
use crate::ops::native::{Gradients, Record};
use crate::ops::{Moment, PortIn, TracePort, meta_of};
use candle_core::{DType as CandleType, Tensor, Var};
use serde_json::json;
use stillhouse_plugin::Tensor as PluginTensor;
use stillhouse_plugin::op::{DType, Op};
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;
use stillhouse_plugin::testing::{Array, Bench};

const FLOATS: [&str; 5] = ["x0", "x1", "x2", "x3", "x4"];
const WHOLES: [&str; 1] = ["i0"];

/// An operation by its numbers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Call {
    code: u32,
    ints: Vec<i64>,
    floats: Vec<f64>,
}

/// A weighted sum of what an operation gives.
struct Weighted(Op);

impl Component for Weighted {
    type Config = Call;
    const NAME: &'static str = "weighted";
    fn new(call: Call) -> Result<Self> {
        let op = Op::decode(call.code, &call.ints, &call.floats);
        op.map(Weighted).ok_or_else(|| Error::new("no such operation"))
    }
    fn ports() -> Vec<Port> {
        let floats = FLOATS.iter().map(|name| Port::student().named(name).optional());
        floats.chain(WHOLES.iter().map(|name| Port::data(name).optional())).collect()
    }
}

impl Loss for Weighted {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<PluginTensor> {
        let mut inputs = vec![];
        for name in FLOATS.iter().chain(&WHOLES) {
            inputs.extend(x.optional(name)?);
        }
        let y = match (&self.0, &inputs[..]) {
            (Op::Full { value, dtype, shape }, _) => cx.full(*value, shape, *dtype),
            (Op::Eye { n, dtype }, _) => cx.eye(*n, *dtype),
            (Op::Arange { n, dtype }, _) => cx.arange(*n, *dtype),
            (op, [first, others @ ..]) => first.apply(op, &others.iter().collect::<Vec<_>>()),
            _ => return Err(Error::new("no inputs")),
        };
        let y = y.apply(&Op::Cast { dtype: DType::F64 }, &[]);
        let shape = y.dims()?;
        let weights: Vec<f64> = (0..shape.iter().product()).map(|at: usize| (at as f64 * 1.3 + 0.5).cos()).collect();
        cx.emit("y", &y);
        Ok((y * cx.constant(&weights, &shape, DType::F64)).sum_all())
    }
}

impl Sample {
    fn config(&self) -> String {
        let encoded = self.op.encode();
        json!({ "code": self.op.code(), "ints": encoded.ints(), "floats": encoded.floats() }).to_string()
    }

    /// Port of each input.
    fn ports(&self) -> Vec<&'static str> {
        let floats = self.inputs.iter().filter(|meta| meta.dtype.is_float()).count();
        FLOATS[..floats].iter().chain(&WHOLES[..self.inputs.len() - floats]).copied().collect()
    }
}

/// Values of the operation, then the gradient of every float input.
type Found = (Vec<f64>, Vec<Vec<f64>>);

fn on_bench(sample: &Sample) -> Found {
    let mut bench = Bench::loss::<Weighted>(&sample.config()).expect("configured");
    for (input, port) in sample.ports().into_iter().enumerate() {
        bench = bench.array(port, &Array { meta: sample.inputs[input].clone(), values: sample.values(input) });
    }
    let run = bench.run().unwrap_or_else(|error| panic!("{}: {error}", sample.op.name()));
    let grads =
        sample.ports().into_iter().filter(|port| port.starts_with('x')).map(|port| run.grad(port).to_vec()).collect();
    (run.emitted("y").values.clone(), grads)
}

/// On the tape that is our own, or on candle's.
fn on_host(sample: &Sample, own: bool) -> Found {
    let part = part(&sdk::loss_entry::<Weighted>(), &sample.config(), params(CandleType::F64));
    let vars: Vec<Var> =
        (0..sample.inputs.len()).map(|input| Var::from_tensor(&sample.tensor(input)).unwrap()).collect();
    let name = |at: usize| sample.ports()[at].to_owned();
    let port =
        |(at, var): (usize, &Var)| PortIn { name: name(at).into(), values: vec![var.as_tensor().clone()], frames: 1 };
    let traced = |(at, var): (usize, &Var)| TracePort { name: name(at), values: vec![meta_of(var)], frames: 1 };
    let moment = Moment::default();
    let symbols: Vec<TracePort> = vars.iter().enumerate().map(traced).collect();
    part.bind(&moment, &symbols).and_then(|()| part.trace(&moment, &symbols)).expect("traces");
    let mut record = Record::default();
    let run = || part.run(&moment, &vars.iter().enumerate().map(port).collect::<Vec<_>>()).expect("runs");
    let given = if own { record.during(run) } else { run() };
    let term = &given.terms[0].1;
    let grads = match own {
        true => record.gradients(&[(term.clone(), term.ones_like().unwrap())]).unwrap(),
        false => term.backward().map(Gradients::from).unwrap(),
    };
    let of = |var: &Var| grads.get(var).map_or_else(|| vec![0.0; var.elem_count()], flat);
    let floats = vars.iter().filter(|var| var.dtype().is_float());
    (flat(&given.emitted[0].value), floats.map(of).collect())
}

#[track_caller]
fn assert_alike(what: &str, got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let near = |(got, wanted): (&f64, &f64)| (got - wanted).abs() <= tolerance * (1.0 + wanted.abs());
    assert!(got.iter().zip(wanted).all(near), "{what}: {got:?}, the reference has {wanted:?}");
}

#[test]
fn operation_equals_the_reference_in_values_and_gradients() {
    for sample in all().iter().filter(|sample| sample.op.outputs() == 1) {
        let bench = on_bench(sample);
        let tolerance = if matches!(sample.op, Op::Cast { dtype: DType::F32 }) { 1e-6 } else { 1e-9 };
        for own in [true, false] {
            let host = on_host(sample, own);
            let what = format!("{} {:?}, own tape: {own}", sample.op.name(), sample.inputs);
            assert_alike(&what, &host.0, &bench.0, tolerance);
            for (input, (got, wanted)) in host.1.iter().zip(&bench.1).enumerate() {
                assert_alike(&format!("gradient {input} of {what}"), got, wanted, tolerance);
            }
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A batch normalisation between two ends.
struct Normalised(Option<BatchNorm>);

impl Component for Normalised {
    type Config = Nothing;
    const NAME: &'static str = "normalised";
    fn new(_: Nothing) -> Result<Self> {
        Ok(Normalised(None))
    }
}

impl Connector for Normalised {
    fn bind(&mut self, cx: &BindCx, from: &PluginTensor, _to: &PluginTensor) -> Result<()> {
        self.0 = Some(BatchNorm::bind(cx, "norm", from.dim(1)?));
        Ok(())
    }
    fn forward(&self, cx: &Cx, x: &PluginTensor) -> Result<PluginTensor> {
        let norm = self.0.as_ref().ok_or_else(|| Error::new("not bound"))?;
        let y = norm.forward(cx, x);
        Ok(y.square() * x) // a plain sum of normalised values has no gradient
    }
}

#[test]
fn batch_norm_train_equals_the_reference_in_values_gradients_and_statistics() {
    let sample = all().into_iter().find(|sample| sample.op.outputs() == 3).expect("a sample");
    let values = sample.values(0);
    let shape = sample.inputs[0].shape.clone();
    let given = |bench: Bench| bench.input("from", &shape, &values).input("to", &shape, &values);
    let run = given(Bench::connector::<Normalised>("{}").expect("configured")).run().expect("runs");
    let part = part(&sdk::connector_entry::<Normalised>(), "{}", params(CandleType::F64));
    let moment = Moment { training: true, ..Moment::default() };
    let symbol = |name: &str| TracePort { name: name.into(), values: vec![sample.inputs[0].clone()], frames: 1 };
    part.bind(&moment, &[symbol("from"), symbol("to")]).expect("binds");
    let x = Var::from_tensor(&sample.tensor(0)).unwrap();
    let from = PortIn { name: "from".into(), values: vec![x.as_tensor().clone()], frames: 1 };
    let found = part.run(&moment, &[from]).expect("runs");
    let output: Tensor = found.output.expect("an output");
    assert_alike("output", &flat(&output), &run.output().values, 1e-9);
    let grads = output.sum_all().unwrap().backward().unwrap();
    assert_alike("gradient", &flat(grads.get(&x).unwrap()), run.grad("from"), 1e-8);
    for name in ["norm.weight", "norm.bias"] {
        let var = part.params().get(name).expect("a parameter").var;
        assert_alike(name, &flat(grads.get(&var).unwrap()), run.grad_param(name), 1e-8);
    }
    found.staged.iter().try_for_each(|staged| staged.commit(part.params())).expect("commits");
    for name in ["norm.running_mean", "norm.running_var"] {
        let value = part.params().value(name).expect("a buffer");
        assert_alike(name, &flat(&value), run.buffer_after(name), 1e-9);
    }
}
