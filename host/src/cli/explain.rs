//! `stillhouse check --explain`: who taps what, what is built between, what is updated by what, which layers there are.

use crate::exec::Executor;
use crate::manifest::Optimizer;
use crate::ops::BoundPart;
use crate::train::{BoundTerm, GroupPlan, PassPlan, PhasePlan, Read, RunPlan, Setup, StagePlan, kept};
use std::fmt::Write as _;

/// The plan, stage by stage, and every layer of every model.
pub(super) fn explain(plan: &RunPlan, setup: &Setup) -> String {
    let mut text = String::new();
    for stage in &plan.stages {
        let _ = writeln!(text, "\nplan of stage {}", stage.name);
        stage.phases.iter().for_each(|phase| text.push_str(&in_phase(phase, stage, plan, setup)));
        stage.groups.iter().for_each(|group| text.push_str(&of_group(group)));
    }
    for (name, model) in &plan.models {
        let network = &model.network;
        let fallbacks = network.fallbacks();
        let all_by = match network.executor() {
            Executor::Fast => "fast",
            Executor::Candle => "candle",
        };
        let _ = writeln!(text, "\nmodel {name}: {}, {all_by} executor", network.graph.name);
        for (layer, shape) in network.graph.layers.iter().zip(&network.shapes) {
            let by = if fallbacks.contains(&layer.path.as_str()) { "candle" } else { all_by };
            let _ = writeln!(text, "  {:<32} {:<20} {by}", layer.path, format!("{shape:?}"));
        }
    }
    text
}

fn in_phase(phase: &PhasePlan, stage: &StagePlan, plan: &RunPlan, setup: &Setup) -> String {
    let mut text = String::new();
    if !phase.name.is_empty() {
        let every = if phase.every > 1 { format!(", every {} steps", phase.every) } else { String::new() };
        let _ = writeln!(text, "  phase {}{every}", phase.name);
    }
    let read = |read: &Read| if let Read::Tap { pass, .. } = read { Some(pass.clone()) } else { None };
    let ports = phase.terms.iter().flat_map(|active| &active.term.ports).filter(|port| port.is_read_in(&phase.name));
    let mut passes: Vec<String> = vec![];
    for pass in ports.flat_map(|port| &port.reads).filter_map(read) {
        if !passes.contains(&pass) {
            passes.push(pass);
        }
    }
    for name in passes {
        if let Some(pass) = stage.passes.get(&name) {
            let kept =
                kept(plan, stage, pass).map_or(String::new(), |model| format!(", kept in the cache as {}", model.keep));
            let _ = writeln!(text, "  pass {name}: {}{kept}", of_pass(pass));
        }
    }
    for active in &phase.terms {
        let inner: Vec<String> = active.inner.iter().map(|inner| active.term.label(inner)).collect();
        let _ = writeln!(text, "  term {}: {}", inner.join(", "), active.term.part.desc().name);
        text.push_str(&of_term(&active.term, phase, stage, plan, setup));
    }
    text
}

fn of_pass(pass: &PassPlan) -> String {
    let mode = if pass.training { "training" } else { "evaluation" };
    let gradient = if pass.track { "gradient" } else { "no gradient" };
    let reversed = if pass.reverse_time { ", from the last frame to the first" } else { "" };
    format!("model {}, sees `{}`, {mode}, {gradient}{reversed}", pass.model, pass.view)
}

/// What each port reads, with the connectors on the way.
fn of_term(term: &BoundTerm, phase: &PhasePlan, stage: &StagePlan, plan: &RunPlan, setup: &Setup) -> String {
    let mut text = String::new();
    for port in term.ports.iter().filter(|port| port.is_read_in(&phase.name)) {
        for (tap, read) in port.reads.iter().enumerate() {
            let shape = shape(read, stage, plan, setup).map_or(String::new(), |shape| format!(" {shape:?}"));
            let time = if port.over_time { ", every frame" } else { "" };
            let _ = writeln!(text, "    {} -> {}{shape}{time}", read.text(), port.name);
            let own = term.connectors.iter().filter(|connector| connector.port == port.name && connector.tap == tap);
            for part in own.flat_map(|connector| &connector.chain) {
                let _ = writeln!(text, "      by {}: {}", part.desc().name, of_connector(part));
            }
        }
    }
    let own = term.part.params().parameter_count();
    if own > 0 {
        let _ = writeln!(text, "    {own} parameters of its own");
    }
    text
}

fn of_connector(part: &BoundPart) -> String {
    let shown = part.shown();
    let of = |name: &str| {
        let port = shown.iter().find(|port| port.name == name);
        port.and_then(|port| port.values.first()).map_or("[]".to_owned(), |meta| format!("{:?}", &meta.shape[1..]))
    };
    format!("{} to {}, {} parameters", of("from"), of("to"), part.params().parameter_count())
}

/// Shape of a value for one sample; of a parameter as it is.
fn shape(read: &Read, stage: &StagePlan, plan: &RunPlan, setup: &Setup) -> Option<Vec<usize>> {
    match read {
        Read::Tap { pass, point, .. } => plan.models.get(&stage.passes.get(pass)?.model)?.network.shape(point),
        Read::Parameter { model, name } => {
            let (set, name) = plan.models.get(model)?.network.parameter(name)?;
            Some(set.value(&name)?.dims().to_vec())
        }
        Read::Field(name) => Some(setup.data.get(&stage.data)?.train.field(name)?.shape().to_vec()),
    }
}

fn of_group(group: &GroupPlan) -> String {
    let (tensors, values) = (group.members.len(), group.members.iter());
    let values: usize =
        values.filter_map(|member| member.set.get(&member.name)).map(|entry| entry.var.elem_count()).sum();
    let kind = match group.optimizer {
        Optimizer::Sgd { .. } => "sgd",
        Optimizer::Adam { .. } => "adam",
        Optimizer::AdamW { .. } => "adamw",
    };
    let rate = if group.scheduled { "" } else { ", constant" };
    let lr = group.optimizer.lr();
    format!("  updates {}: {values} parameters in {tensors} tensors, {kind}, learning rate {lr}{rate}\n", group.name)
}
