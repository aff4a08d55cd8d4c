//! What a model is shown must be of the size that it was built for, or make no difference to what is read of it.

use super::binding::Scene;
use super::models::{Model, shape_of};
use super::plan::StagePlan;
use super::problem::told;
use super::term::Read;
use crate::exec::Network;
use crate::graph::{Graph, Source};
use crate::manifest::{Diagnostic, Diagnostics, Part};
use crate::ops::ParamSet;
use candle_core::{DType, Device};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Checks the passes that terms read: a model is built on one data set, and a stage may show it another.
pub(super) fn check(stage: &StagePlan, scene: &Scene<'_>, found: &mut Diagnostics) {
    let Some(set) = scene.setup.data.get(scene.data) else { return };
    let mut read: Vec<(&str, Vec<&Source>)> = vec![];
    for port in stage.terms().into_iter().flat_map(|term| &term.ports) {
        for one in &port.reads {
            let Read::Tap { pass, point, .. } = one else { continue };
            match read.iter_mut().find(|(name, _)| name == pass) {
                Some((_, points)) => points.push(point),
                None => read.push((pass, vec![point])),
            }
        }
    }
    for (name, points) in read {
        let Some(pass) = stage.passes.get(name) else { continue };
        let view = stage.views.iter().find(|view| view.name == pass.view);
        let (Some(model), Some(view)) = (scene.models.get(&pass.model), view) else { continue };
        let wrong = match shape_of(view, &set.train) {
            Ok(shown) => {
                let shown = if model.network.over_time { shown.get(1..).unwrap_or_default() } else { &shown };
                if is_fit(model, shown, &points) {
                    continue;
                }
                let built = &model.network.graph.input;
                let message = format!("`{name}` is built for {built:?}, and `{}` shows it {shown:?}", scene.stage_name);
                Diagnostic::error(message)
                    .hint("bring both data sets to one size: `fit = { crop = ..., size = ... }` in the data")
            }
            Err(error) => told(&error).0,
        };
        found.push(wrong.at(&stage.path(), Part::Key));
    }
}

/// Whether the model runs on samples of a shape, and what is read of it has the shapes that its parts were bound to.
fn is_fit(model: &Model, shown: &[usize], points: &[&Source]) -> bool {
    let network = &model.network;
    if network.graph.input == shown {
        return true;
    }
    let params = Rc::new(ParamSet::new("size", 0, DType::F32, &Device::Cpu));
    let graph = Graph { input: shown.to_vec(), ..network.graph.clone() };
    let other = Network::new("size", graph, params, network.over_time, BTreeMap::new());
    let shapes = |network: &Network| -> HashMap<String, Vec<usize>> {
        network.params.entries().into_iter().map(|(name, entry)| (name, entry.var.dims().to_vec())).collect()
    };
    let reads_alike = |other: &Network| points.iter().all(|point| other.shape(point) == network.shape(point));
    other.is_ok_and(|other| network.modules.is_empty() && shapes(&other) == shapes(network) && reads_alike(&other))
}
