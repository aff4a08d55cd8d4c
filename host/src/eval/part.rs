//! One part on given tensors.

use super::engine::Engine;
use super::error::EvalError;
use super::node::{Node, Socket, Spec};
use super::pattern::matching;
use super::report::EvalReport;
use super::tensors::{Float, Tensors};
use crate::manifest::nearest;
use crate::ops::{Given, Moment, PortIn};
use crate::plugin::Registry;
use candle_core::Tensor;
use serde_json::Value;
use std::path::{Path, PathBuf};
use stillhouse_plugin::desc::Kind;

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct PartEval {
    /// Kind of the part.
    pub kind: Kind,
    /// Its name, which may be `plugin::name`.
    pub name: String,
    /// Its settings, a JSON object; an empty text means none.
    pub config_json: String,
    /// File of what goes in.
    pub input: PathBuf,
    /// File of what comes out, if it is to be kept.
    pub output: Option<PathBuf>,
    /// Type of all floats.
    pub dtype: Float,
    /// Batch statistics and dropout.
    pub training: bool,
    /// A distiller's stage; its first one when empty.
    pub stage: String,
    /// A distiller's phase; its first one when empty.
    pub phase: String,
}

/// What tensors of a file are: the first word of their names.
const ROLES: [&str; 5] = ["input", "param", "frozen", "buffer", "cotangent"];

/// Other names under which a port's values may stand in a file.
const ALIASES: [(Kind, &str, &str); 6] = [
    (Kind::Loss, "label", "target"),
    (Kind::Distiller, "label", "target"),
    (Kind::Connector, "from", "student"),
    (Kind::Connector, "to", "teacher"),
    (Kind::Module, "input", "x"),
    (Kind::Module, "input", "student"),
];

/// Runs one part on the tensors of a file; values and gradients may go to another.
///
/// The scalar is the sum of all terms (a distiller's with their planned weights before any schedule has moved) and of all
/// outputs for which there are weights, `cotangent.<name>`; a connector or module without any counts with weights of 1. The
/// output of a connector or module is `out.output`, a state for the next frame `out.state.<name>`. Parameters and buffers that
/// the file does not have keep their first values.
///
/// # Errors
/// A file that is missing or malformed, an unknown part or tensor, settings or inputs that the part refuses.
pub fn run_part(registry: &Registry, eval: PartEval) -> Result<EvalReport, EvalError> {
    let file = Tensors::read(&eval.input)?;
    let moment = Moment {
        training: eval.training,
        steps_per_epoch: 1,
        stage: eval.stage.as_str().into(),
        phase: eval.phase.as_str().into(),
        ..Moment::default()
    };
    let config = config(&eval.config_json)?;
    let spec = Spec { label: bare(&eval.name).into(), kind: eval.kind, use_: eval.name.clone(), config, moment };
    evaluate(registry, spec, &file, eval.dtype, eval.output.as_deref())
}

/// The same for any part; nothing is written without an `output`.
pub(super) fn evaluate(
    registry: &Registry,
    spec: Spec,
    file: &Tensors,
    float: Float,
    output: Option<&Path>,
) -> Result<EvalReport, EvalError> {
    let kind = spec.kind;
    let node = Node::make(registry, spec, float.dtype())?;
    check_names(file)?;
    let mut engine = Engine::new(registry, file, float.dtype());
    let ports = ports(&mut engine, &node, kind)?;
    if let Some(name) = engine.unclaimed(&["input."]) {
        return Err(unclaimed(file, name, &node));
    }
    let given = engine.run(&node, &ports, &|name| vec![name.to_owned()], false)?;
    if let Some(name) = engine.unclaimed(&["param.", "frozen.", "buffer."]) {
        return Err(unclaimed(file, name, &node));
    }
    let log = given.log.iter().map(|(_, line)| line.clone()).collect();
    let (total, outputs) = scalar(&mut engine, &node, given)?;
    if let Some(name) = engine.unclaimed(&["cotangent."]) {
        let known: Vec<String> = outputs.iter().map(|(name, _)| format!("`{name}`")).collect();
        let given = if known.is_empty() { "the loss alone, which counts once".to_owned() } else { known.join(", ") };
        let reason = format!("`{}` gives {given}", node.part.label());
        return Err(EvalError::Unclaimed { path: file.path().into(), name: name.into(), reason, hint: None });
    }
    let tensors = engine.finish(&total, outputs, output.unwrap_or(Path::new("")))?;
    if output.is_some() {
        tensors.write()?;
    }
    Ok(EvalReport { part: node.part.label().into(), float, tensors, log })
}

/// Refuses a tensor that would be passed over without a word.
fn check_names(file: &Tensors) -> Result<(), EvalError> {
    for name in file.names() {
        let (first, own) = name.split_once('.').unwrap_or((name, ""));
        if !ROLES.contains(&first) || own.is_empty() {
            let hint = nearest(first, ROLES).filter(|_| !own.is_empty());
            let hint = hint.map(|role| format!("did you mean `{role}.{own}`?"));
            let reason = "names begin with `input.`, `param.`, `frozen.`, `buffer.` or `cotangent.`".into();
            return Err(EvalError::Unclaimed { path: file.path().into(), name: name.into(), reason, hint });
        }
    }
    Ok(())
}

/// The name without its plugin.
fn bare(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

fn config(json: &str) -> Result<serde_json::Map<String, Value>, EvalError> {
    if json.trim().is_empty() {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_str(json) {
        Ok(Value::Object(table)) => Ok(table),
        Ok(other) => Err(EvalError::Config(format!("got {other}"))),
        Err(error) => Err(EvalError::Config(error.to_string())),
    }
}

fn ports(engine: &mut Engine<'_>, node: &Node, kind: Kind) -> Result<Vec<PortIn<'static>>, EvalError> {
    let file = engine.file;
    let states = file.names().filter_map(|name| name.strip_prefix("input.")).filter(|name| name.starts_with("state."));
    let states: Vec<Socket> = if kind == Kind::Module { states.map(Socket::state).collect() } else { vec![] };
    let mut ports = vec![];
    for socket in node.sockets.iter().chain(&states) {
        let names = names(file, socket, kind);
        let mut values = vec![];
        for name in &names {
            values.extend(engine.input(name, socket.student)?);
        }
        if values.is_empty() && !socket.optional {
            return Err(file.missing(&format!("input.{}", socket.name), &format!("`{}`", node.part.label())));
        }
        if values.len() > 1 && !socket.many {
            let reason = format!("port `{}` of `{}` takes one value", socket.name, node.part.label());
            return Err(EvalError::Unclaimed { path: file.path().into(), name: names[1].clone(), reason, hint: None });
        }
        if !values.is_empty() {
            ports.push(socket.port(values)?);
        }
    }
    Ok(ports)
}

/// Names of a port's values: its own, or else an alias.
fn names(file: &Tensors, socket: &Socket, kind: Kind) -> Vec<String> {
    let aliases = ALIASES.iter().filter(|(of, port, _)| *of == kind && *port == socket.name).map(|(.., alias)| *alias);
    let found = std::iter::once(socket.name.as_str()).chain(aliases).map(|name| {
        let numbered = matching(&format!("input.{name}.*"), file.names());
        let whole = file.names().filter(|known| known.strip_prefix("input.") == Some(name));
        whole.chain(numbered).map(str::to_owned).collect::<Vec<_>>()
    });
    found.into_iter().find(|names| !names.is_empty()).unwrap_or_default()
}

fn unclaimed(file: &Tensors, name: &str, node: &Node) -> EvalError {
    let (prefix, own) = name.split_once('.').unwrap_or(("", name));
    let known: Vec<String> = match prefix {
        "input" => node.sockets.iter().map(|socket| socket.name.clone()).collect(),
        _ => node.part.params().entries().into_iter().map(|(name, _)| name).collect(),
    };
    let what = if prefix == "input" { "port" } else { "parameter or buffer" };
    let close = nearest(own, known.iter().map(String::as_str)).map(|close| format!("did you mean `{prefix}.{close}`?"));
    let listed = || if known.is_empty() { None } else { Some(format!("it has {}", known.join(", "))) };
    EvalError::Unclaimed {
        path: file.path().into(),
        name: name.into(),
        reason: format!("`{}` has no such {what}", node.part.label()),
        hint: close.or_else(listed),
    }
}

/// Outputs by name.
type Outputs = Vec<(String, Tensor)>;

fn scalar(engine: &mut Engine<'_>, node: &Node, given: Given) -> Result<(Tensor, Outputs), EvalError> {
    let mut total: Option<Tensor> = None;
    let mut add = |part: Tensor| -> Result<(), EvalError> {
        total = Some(total.take().map_or(Ok(part.clone()), |sum| sum + part)?);
        Ok(())
    };
    let mut outputs: Outputs = vec![];
    for (name, term) in given.terms {
        add(weighted(&term, node.planned_weight(&name))?)?;
        if !name.is_empty() {
            outputs.push((name, term));
        }
    }
    let states = given.state.into_iter().map(|(name, value)| (format!("state.{name}"), value));
    let emitted = given.emitted.into_iter().map(|emitted| (emitted.name, emitted.value));
    let output = given.output.map(|output| ("output".to_owned(), output));
    let values: Outputs = output.into_iter().chain(states).chain(given.values).chain(emitted).collect();
    let mut counted = false;
    for (name, value) in values.iter().chain(&outputs) {
        if let Some(part) = engine.cotangent(name, value)? {
            add(part)?;
            counted = true;
        }
    }
    if let (false, Some((_, output))) = (counted, values.iter().find(|(name, _)| name == "output")) {
        add(output.sum_all()?)?;
    }
    outputs.extend(values);
    let nothing = || EvalError::Config(format!("`{}` gave no term and no output", node.part.label()));
    Ok((total.ok_or_else(nothing)?, outputs))
}

/// A term with its weight, as a step sums it up.
pub(super) fn weighted(tensor: &Tensor, weight: f64) -> candle_core::Result<Tensor> {
    if weight == 1.0 { Ok(tensor.clone()) } else { tensor.affine(weight, 0.0) }
}
