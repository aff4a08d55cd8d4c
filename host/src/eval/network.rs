//! A predictor of frames in a golden case: a network of a family, perhaps with modules, before the parts.

use super::case::Case;
use super::engine::Engine;
use super::error::EvalError;
use super::map::NetworkRule;
use super::rule::aliases;
use super::setting::{number, object};
use crate::exec::{ModuleSlot, Network, PassSpec, Sampling};
use crate::graph::{Graph, Source};
use crate::model::{Frame, build_table};
use crate::ops::{BoundPart, Moment, ParamSet, host_api};
use candle_core::{DType, Device, Result, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse_plugin::desc::Kind;

/// How a case stores values over time, where it is other than `[N, T, C, ..]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[T, N, ..]`.
    TimeFirst,
    /// `[N, T, .., C]`.
    ChannelsLast,
}

impl Layout {
    /// A reference without its layout, `input.frames:channels_last`.
    pub(super) fn of(reference: &str) -> (&str, Option<Layout>) {
        match reference.rsplit_once(':') {
            Some((name, "time_first")) => (name, Some(Layout::TimeFirst)),
            Some((name, "channels_last")) => (name, Some(Layout::ChannelsLast)),
            _ => (reference, None),
        }
    }

    /// From the case's to ours.
    pub(super) fn from(self, value: &Tensor) -> Result<Tensor> {
        self.moved(value, |order| order.insert(2, order.len() - 1))
    }

    /// From ours to the case's.
    pub(super) fn to(self, value: &Tensor) -> Result<Tensor> {
        self.moved(value, |order| {
            let channels = order.remove(2);
            order.push(channels);
        })
    }

    fn moved(self, value: &Tensor, channels: impl Fn(&mut Vec<usize>)) -> Result<Tensor> {
        let mut order: Vec<usize> = (0..value.rank()).collect();
        match self {
            Layout::TimeFirst if order.len() > 1 => order.swap(0, 1),
            Layout::ChannelsLast if order.len() > 2 => channels(&mut order),
            _ => candle_core::bail!("{:?} is not over time", value.dims()),
        }
        order.truncate(value.rank());
        value.permute(order)?.contiguous()
    }
}

/// Runs the network of a rule; gives the values of its taps, `[N, T - 1, ..]`.
pub(super) fn run(engine: &mut Engine<'_>, case: &Case, rule: &NetworkRule) -> Result2<Vec<(String, Tensor)>> {
    let wrong = |what: &str, message: String| EvalError::Rule {
        rule: format!("{}/{}", case.algorithm, case.variant),
        message: format!("`{what}` of `{}`: {message}", rule.name),
        hint: None,
    };
    let frames = read(engine, &rule.frames, &rule.name)?; // [N, T, C, H, W]
    let given = number(&rule.given, case).map_err(|message| wrong("given", message))?.unwrap_or(1.0) as usize;
    let (graph, modules) = graph(engine, case, rule, (&frames, given)).map_err(|error| match error {
        Failed::Setting(what, message) => wrong(&what, message),
        Failed::Other(error) => error,
    })?;
    let params = Rc::new(ParamSet::new(&rule.name, 0, engine.float, &Device::Cpu));
    let network =
        Network::new(&rule.name, graph, params, true, modules).map_err(|error| wrong("arch", error.to_string()))?;
    let file = engine.file;
    for (prefix, set) in network.sets() {
        engine.fill_set(&rule.name, &prefix, &set, &|name| aliases(file, &rule.params, name), true)?;
    }
    let mut want = vec![];
    for tap in &rule.taps {
        let point = network.graph.tap(tap).filter(|point| network.shape(point).is_some());
        want.push(point.ok_or_else(|| wrong("taps", format!("it has no tap `{tap}`")))?);
    }
    let sampling = match &rule.sampling {
        Some(name) => Some(shares(&read(engine, name, &rule.name)?, given)?),
        None => None,
    };
    let spec = PassSpec { training: case.training, track: true, want: want.clone(), sampling, ..PassSpec::default() };
    let moment = Moment { training: case.training, ..Moment::default() };
    let ran = network.forward(&frames, &spec, &moment).map_err(|error| wrong("arch", error.to_string()))?;
    let stacked = |(tap, point): (&String, &Source)| {
        let values = ran.taps.get(point).map(Vec::as_slice).unwrap_or_default();
        Ok((tap.clone(), Tensor::stack(values, 1)?))
    };
    rule.taps.iter().zip(&want).map(stacked).collect()
}

type Result2<T> = std::result::Result<T, EvalError>;

/// What can be wrong with a network: a setting of the rule, or anything else.
enum Failed {
    Setting(String, String),
    Other(EvalError),
}

fn graph(
    engine: &Engine<'_>,
    case: &Case,
    rule: &NetworkRule,
    (frames, given): (&Tensor, usize),
) -> std::result::Result<(Graph, BTreeMap<usize, ModuleSlot>), Failed> {
    let setting = |what: &str, message: String| Failed::Setting(what.into(), message);
    let mut arch = object(&rule.arch, case).map_err(|message| setting("arch", message))?;
    let Some(Value::String(kind)) = arch.shift_remove("kind") else {
        return Err(setting("arch", "has no `kind`".into()));
    };
    let input = frames.dims().get(2..).unwrap_or_default().to_vec();
    let frame = Frame { input: input.clone(), classes: 1 };
    let mut graph = build_table(&kind, &arch, &frame).map_err(|error| setting("arch", error.message))?;
    graph.predict(given, &input).map_err(|message| setting("given", message))?;
    let mut slots = vec![];
    for (path, module) in &rule.modules {
        let plain = Rc::new(ParamSet::new("shape", 0, DType::F32, &Device::Cpu));
        let network = Network::new("shape", graph.clone(), plain, false, BTreeMap::new());
        let network = network.map_err(|error| setting("arch", error.to_string()))?;
        let replaced = graph.tap(path).and_then(|point| network.shape(&point));
        let config = object(&module.config, case).map_err(|message| setting("modules", message))?;
        let component = engine.registry.find(Some(Kind::Module), &module.use_);
        let component = component.map_err(|error| Failed::Other(error.into()))?;
        let part = component.create(&Value::Object(config).to_string(), host_api());
        let part = part.map_err(|error| Failed::Other(error.into()))?;
        let params = Rc::new(ParamSet::new(&format!("{}.{path}", rule.name), 0, engine.float, &Device::Cpu));
        let part = BoundPart::new(path, component.desc.clone(), part, params);
        let (Some(replaced), Some(_)) = (replaced, graph.replace(path)) else {
            return Err(setting("modules", format!("there is no layer `{path}`")));
        };
        slots.push((path, ModuleSlot { part, replaced, state: vec![], values: vec![] }));
    }
    let index = |path: &str| graph.layers.iter().position(|layer| layer.path == path);
    let slots = slots.into_iter().filter_map(|(path, slot)| Some((index(path)?, slot))).collect();
    Ok((graph, slots))
}

fn read(engine: &mut Engine<'_>, reference: &str, reader: &str) -> Result2<Tensor> {
    let (name, layout) = Layout::of(reference);
    let value = engine.input(name, false)?.ok_or_else(|| engine.file.missing(name, &format!("`{reader}`")))?;
    Ok(layout.map_or(Ok(value.clone()), |layout| layout.from(&value))?)
}

/// Shares of the true frame from a mask `[N, T - 1 - given, ..]` that is the same for every value of a frame.
fn shares(mask: &Tensor, given: usize) -> Result<Rc<Sampling>> {
    let flat = mask.flatten_from(2)?; // [N, S, values]
    let (least, most) = (flat.min(2)?, flat.max(2)?);
    if (&most - &least)?.abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? > 0.0 {
        candle_core::bail!("a mask differs within a frame");
    }
    let before = Tensor::ones((mask.dim(0)?, given), mask.dtype(), mask.device())?;
    Sampling::new(&Tensor::cat(&[&before, &least], 1)?)
}
