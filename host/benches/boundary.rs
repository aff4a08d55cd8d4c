//! What the plugin boundary costs: the same loss through a plugin file and as direct calls in this process, forward, backward
//! and handles included.
//!
//! ```text
//! cargo build --release && cargo bench -p stillhouse --bench boundary
//! ```
//! Four columns, interleaved, medians: a step of training, which crosses the boundary once for each combination of shapes and
//! then repeats the graph; a crossing each time, as a part that draws random numbers or reads values needs; the same operations
//! called directly; and candle's own operations (`candle_nn::ops::log_softmax` and so on) as one would write the loss without
//! Stillhouse.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;
use stillhouse::exec::use_threads;
use stillhouse::manifest::RESERVED_TERM_KEYS;
use stillhouse::ops::native::{self, Record};
use stillhouse::ops::{BoundPart, Moment, ParamSet, PortIn, TracePort, host_api};
use stillhouse::plugin::{Registry, SearchPaths};
use stillhouse_plugin::desc::Kind;
use stillhouse_plugin::op;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 60;
const CALLS: usize = 50;

type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// The loss and the student's gradient.
type Way<'a> = Box<dyn Fn(&Var, &Tensor) -> Result<(Tensor, Option<Tensor>)> + 'a>;

fn main() {
    use_threads(None);
    let folder =
        std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf())).unwrap_or_default();
    let registry = Registry::discover(&SearchPaths::usual(&[folder]), false, RESERVED_TERM_KEYS);
    println!(
        "{:<16} {:>10} {:>12} {:>10} {:>10} {:>14} {:>16} {:>14}",
        "loss, shape",
        "plugin us",
        "crossing us",
        "direct us",
        "candle us",
        "plugin/direct",
        "crossing/direct",
        "plugin/candle"
    );
    compare(&registry, "kd", &[128, 100], kd_direct, kd_candle);
    compare(&registry, "mse", &[64, 128], mse_direct, mse_candle);
}

fn compare(registry: &Registry, name: &str, shape: &[usize], direct: Loss, candle: Loss) {
    let part = match bind(registry, name, shape) {
        Ok(part) => part,
        Err(message) => return println!("{name}: {message}"),
    };
    let moment = Moment { training: true, ..Moment::default() };
    let through = |student: &Var, teacher: &Tensor, again: bool| -> Result<_> {
        let port =
            |name: &'static str, value: &Tensor| PortIn { name: name.into(), values: vec![value.clone()], frames: 1 };
        let ports = [port("student", student), port("teacher", teacher)];
        let mut record = Record::default();
        let given = record.during(|| if again { part.run(&moment, &ports) } else { part.cross(&moment, &ports) });
        let given = given.map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        let term = given.terms.into_iter().next().map(|(_, tensor)| tensor);
        let term = term.ok_or_else(|| candle_core::Error::Msg("no term".into()))?;
        let one = Tensor::new(1f32, &Device::Cpu)?;
        let gradients = record.gradients(&[(term.clone(), one)])?;
        Ok((term, gradients.get(student).cloned()))
    };
    let on_candle = |loss: Tensor, student: &Var| -> Result<_> {
        let gradient = loss.backward()?.remove(student);
        Ok((loss, gradient))
    };
    let plugin: Way<'_> = Box::new(|student, teacher| through(student, teacher, true));
    let crossing: Way<'_> = Box::new(|student, teacher| through(student, teacher, false));
    let direct: Way<'_> = Box::new(|student, teacher| on_candle(direct(student, teacher)?, student));
    let candle: Way<'_> = Box::new(|student, teacher| on_candle(candle(student, teacher)?, student));
    let student = Var::randn(0f32, 2., shape, &Device::Cpu).expect("a variable");
    let teacher = Tensor::randn(0f32, 2., shape, &Device::Cpu).expect("a tensor");
    let ways = [plugin, crossing, direct, candle];
    let values: Vec<f32> = ways
        .iter()
        .map(|way| way(&student, &teacher).and_then(|(loss, _)| loss.to_scalar()).expect("a loss"))
        .collect();
    assert!(
        values.iter().all(|value| (value - values[0]).abs() < 1e-4 * values[0].abs()),
        "the ways differ: {values:?}"
    );
    let mut times = [vec![], vec![], vec![], vec![]];
    for round in 0..ROUNDS {
        // Each goes first in turn, and once unmeasured: whoever ran before leaves caches and allocator to the next.
        for which in (0..ways.len()).map(|i| (i + round) % ways.len()) {
            let (way, times) = (&ways[which], &mut times[which]);
            black_box(way(&student, &teacher).expect("gradients"));
            let started = Instant::now();
            for _ in 0..CALLS {
                black_box(way(&student, &teacher).expect("gradients"));
            }
            times.push(started.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
        }
    }
    let ratio = |a: usize, b: usize| median(times[a].iter().zip(&times[b]).map(|(x, y)| x / y).collect());
    let [plugin, crossing, direct, candle] = times.each_ref().map(|times| median(times.clone()));
    let label = format!("{name} {shape:?}");
    print!("{label:<16} {plugin:>10.1} {crossing:>12.1} {direct:>10.1} {candle:>10.1}");
    println!(" {:>14.3} {:>16.3} {:>14.3}", ratio(0, 2), ratio(1, 2), ratio(0, 3));
}

fn bind(registry: &Registry, name: &str, shape: &[usize]) -> std::result::Result<BoundPart, String> {
    let component = registry.find(Some(Kind::Loss), name).map_err(|error| error.to_string())?;
    let part = component.create("{}", host_api()).map_err(|error| error.to_string())?;
    let params = Rc::new(ParamSet::new(name, 0, DType::F32, &Device::Cpu));
    let part = BoundPart::new(name, component.desc.clone(), part, params);
    let port =
        |name: &str| TracePort { name: name.into(), values: vec![op::Meta::new(shape, op::DType::F32)], frames: 1 };
    part.bind(&Moment::default(), &[port("student"), port("teacher")]).map_err(|error| error.to_string())?;
    Ok(part)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The operations of the plugin, called directly.
fn kd_direct(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (t, rows) = (4.0, student.dim(0)? as f64);
    let student = native::log_softmax(&native::affine(student, 1.0 / t, 0.0)?, 1)?;
    let teacher = native::log_softmax(&native::affine(&teacher.detach(), 1.0 / t, 0.0)?, 1)?;
    let terms = native::mul(&native::exp(&teacher)?, &native::sub(&teacher, &student)?)?;
    native::affine(&native::sum(&terms, &[0, 1], false)?, t * t / rows, 0.0)
}

/// As one writes it with candle.
fn kd_candle(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (t, rows) = (4.0, student.dim(0)? as f64);
    let student = candle_nn::ops::log_softmax(&(student / t)?, 1)?;
    let teacher = candle_nn::ops::log_softmax(&(teacher.detach() / t)?, 1)?;
    let terms = (teacher.exp()? * (teacher - student)?)?;
    terms.sum_all()? * (t * t / rows)
}

fn mse_direct(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    native::mean(&native::square(&native::sub(student, &teacher.detach())?)?, &[0, 1], false)
}

fn mse_candle(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    (student - teacher.detach())?.sqr()?.mean_all()
}
