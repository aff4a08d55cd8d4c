//! A call of a part that failed: where it was, what it read, and its inputs as a case that `plugin eval --case` repeats.

use super::params::{ParamKind, ParamSet};
use super::part::{BoundPart, PortIn};
use super::session::Moment;
use candle_core::{DType, Result, Tensor};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a part was made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// Its plugin.
    pub plugin: String,
    /// The plugin's file.
    pub file: PathBuf,
    /// Its settings, a JSON object.
    pub config: String,
}

/// Where a call was, and what it read.
#[derive(Debug, Clone, PartialEq)]
pub struct Circumstances {
    /// Kind and full name, `loss hostile::name`.
    pub part: String,
    /// Stage, empty outside of one.
    pub stage: String,
    /// Updates done in the stage.
    pub step: u64,
    /// Ports with shapes.
    pub inputs: Vec<String>,
    /// The case that has its inputs.
    pub case: Option<PathBuf>,
}

impl Circumstances {
    /// Lines for the user.
    pub fn notes(&self) -> Vec<String> {
        let at = match self.stage.as_str() {
            "" => format!("in the {}", self.part),
            stage => format!("in the {}, at step {} of stage `{stage}`", self.part, self.step),
        };
        let inputs = self.inputs.iter().map(|input| format!("reading {input}"));
        let case = self.case.iter().map(|case| {
            format!("its inputs are in {0}; repeat it with `stillhouse plugin eval --case {0}`", case.display())
        });
        std::iter::once(at).chain(inputs).chain(case).collect()
    }
}

thread_local! {
    /// Where inputs are kept, when they are.
    static FOLDER: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// The case of the call that runs; it stays when the process ends in it.
const RUNNING: &str = "last-call";

/// From now on the inputs of failing calls of this thread are kept in `folder`. Every call then goes through the boundary, its
/// inputs written before it, so that they are there even when a part ends the process.
pub fn keep_inputs(folder: Option<&Path>) {
    FOLDER.set(folder.map(Path::to_owned));
}

/// True where inputs are kept.
pub(super) fn are_kept() -> bool {
    FOLDER.with_borrow(Option::is_some)
}

/// Writes the inputs of a call that begins, where they are kept.
pub(super) fn begins(part: &BoundPart, moment: &Moment, ports: &[PortIn<'_>]) {
    if let Some(folder) = FOLDER.with_borrow(Clone::clone) {
        // A full disk must not end a training that works.
        let _ = write(&folder, RUNNING, part, moment, ports, "the process ended");
    }
}

/// The call worked: its inputs are of no use.
pub(super) fn ended() {
    if let Some(folder) = FOLDER.with_borrow(Clone::clone) {
        for extension in ["json", "safetensors"] {
            let _ = fs::remove_file(folder.join(RUNNING).with_extension(extension));
        }
        // Only an empty one goes.
        let _ = fs::remove_dir(folder);
    }
}

impl BoundPart {
    /// What is told of a call that failed with this message; its inputs are written where they are to be kept.
    pub fn circumstances(&self, moment: &Moment, ports: &[PortIn<'_>], message: &str) -> Circumstances {
        let one = |port: &PortIn<'_>| {
            let shapes: Vec<String> =
                port.values.iter().take(4).map(|value| super::meta_of(value).to_string()).collect();
            let more =
                if port.values.len() > 4 { format!(", and {} more", port.values.len() - 4) } else { String::new() };
            format!("`{}`: {}{more}", port.name, shapes.join(", "))
        };
        let case = FOLDER.with_borrow(Clone::clone).and_then(|folder| {
            ended();
            let stage = if moment.run_stage.is_empty() { String::new() } else { format!("-{}", moment.run_stage) };
            let name = format!("{}{stage}-step-{}", self.params().owner(), moment.step);
            let name: String =
                name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
            write(&folder, &name, self, moment, ports, message).ok()
        });
        Circumstances {
            part: format!("{} `{}`", self.desc().kind.name(), self.full_name()),
            stage: moment.run_stage.to_string(),
            step: moment.step,
            inputs: ports.iter().map(one).collect(),
            case,
        }
    }
}

fn write(
    folder: &Path,
    name: &str,
    part: &BoundPart,
    moment: &Moment,
    ports: &[PortIn<'_>],
    message: &str,
) -> std::io::Result<PathBuf> {
    let tensors = tensors(part, ports).map_err(std::io::Error::other)?;
    fs::create_dir_all(folder)?;
    let (json, data) = (folder.join(format!("{name}.json")), folder.join(format!("{name}.safetensors")));
    candle_core::safetensors::save(&tensors, &data).map_err(std::io::Error::other)?;
    let float = match part.params().float() {
        DType::F64 => "float64",
        _ => "float32",
    };
    let config: Value = serde_json::from_str(&part.origin().config).unwrap_or_else(|_| json!({}));
    let case = json!({
        "case": name,
        "algorithm": "part",
        "variant": part.desc().name,
        "part": format!("{}/{}", part.desc().kind.name(), part.full_name()),
        "plugin": part.origin().file,
        "config": config,
        "mode": if moment.training { "train" } else { "eval" },
        "dtype": float,
        "call": {
            "owner": part.params().owner(), "run_stage": &*moment.run_stage, "stage": &*moment.stage, "phase": &*moment.phase, "seed": moment.seed, "step": moment.step,
            "epoch": moment.epoch, "steps_per_epoch": moment.steps_per_epoch, "frame": moment.frame, "samples": moment.samples,
        },
        "error": message,
    });
    fs::write(&json, format!("{case:#}\n"))?;
    Ok(json)
}

/// Inputs, parameters and buffers under the names of a case.
fn tensors(part: &BoundPart, ports: &[PortIn<'_>]) -> Result<HashMap<String, Tensor>> {
    let mut all = HashMap::new();
    for port in ports {
        let declared = part.desc().ports.iter().find(|own| own.name == port.name);
        let over_time = port.frames > 1 || declared.is_some_and(|own| own.over_time);
        let taps = port.values.chunks(port.frames.max(1));
        let many = taps.len() > 1 || declared.is_some_and(|own| own.many);
        for (tap, frames) in taps.enumerate() {
            let value = if over_time { Tensor::stack(frames, 1)? } else { frames[0].clone() };
            let name = if many { format!("input.{}.{tap}", port.name) } else { format!("input.{}", port.name) };
            all.insert(name, kept(&value)?);
        }
    }
    // What a part saw when it was bound and does not read in a step: a module's `replaced`.
    for shown in part.shown().iter().filter(|shown| !ports.iter().any(|port| port.name == shown.name)) {
        if let [meta] = shown.values.as_slice() {
            let value = Tensor::zeros(meta.shape.as_slice(), part.params().float(), part.params().device())?;
            all.insert(format!("input.{}", shown.name), value);
        }
    }
    states(part.params(), &mut all)?;
    Ok(all)
}

fn states(params: &ParamSet, all: &mut HashMap<String, Tensor>) -> Result<()> {
    for (name, entry) in params.entries() {
        let prefix = if entry.kind == ParamKind::Parameter { "param" } else { "buffer" };
        all.insert(format!("{prefix}.{name}"), kept(entry.var.as_tensor())?);
    }
    Ok(())
}

/// The values in an order and a type that a file takes.
fn kept(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.detach().force_contiguous()?;
    match tensor.dtype() {
        DType::F32 | DType::F64 | DType::I64 => Ok(tensor),
        other if other.is_float() => tensor.to_dtype(DType::F32),
        _ => tensor.to_dtype(DType::I64),
    }
}
