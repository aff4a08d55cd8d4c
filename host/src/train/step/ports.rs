//! Values that terms read, from the passes of a step to the ports of parts.

use super::{Cache, Stepper};
use crate::exec::StagedIn;
use crate::ops::{Moment, PortIn, native};
use crate::train::batch::Fields;
use crate::train::error::TrainError;
use crate::train::term::{BoundConnector, BoundPort, BoundTerm, Read};
use candle_core::Tensor;
use stillhouse_plugin::desc::Source as From;

impl Stepper<'_> {
    /// What a term reads of passes that gradients go back over.
    pub(super) fn student_taps<'c>(&self, term: &BoundTerm, cache: &'c Cache) -> impl Iterator<Item = &'c Tensor> {
        let ports = term.ports.iter().filter(|port| matches!(port.from, From::Student));
        let taps = ports.flat_map(|port| &port.reads).filter_map(|read| match read {
            Read::Tap { pass, point, .. } if self.stage.passes[pass].track => cache.get(pass)?.taps.get(point),
            _ => None,
        });
        taps.flatten().collect::<Vec<_>>().into_iter()
    }

    /// Values of the ports, connectors applied. Where the phase does not update a model, its values carry no gradient.
    pub(super) fn ports<'t>(
        &self,
        term: &'t BoundTerm,
        fields: &Fields,
        moment: &Moment,
        cache: &Cache,
        into_model: bool,
        staged: &mut Vec<StagedIn>,
    ) -> Result<Vec<PortIn<'t>>, TrainError> {
        let raw = |port: &BoundPort, read: &Read| -> Vec<Tensor> {
            let student = matches!(port.from, From::Student | From::StudentParameter) && into_model;
            let finish = |tensor: &Tensor| if student { tensor.clone() } else { native::detach(tensor) };
            match read {
                Read::Tap { pass, point, .. } => {
                    let frames = cache
                        .get(pass)
                        .and_then(|forward| forward.taps.get(point))
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    let frames = if port.over_time { frames } else { &frames[frames.len().saturating_sub(1)..] };
                    frames.iter().map(finish).collect()
                }
                Read::Parameter { model, name } => {
                    let value = self
                        .models
                        .get(model)
                        .and_then(|model| model.network.parameter(name))
                        .and_then(|(set, name)| set.value(&name));
                    value.iter().map(finish).collect()
                }
                Read::Field(name) => fields.get(name).into_iter().cloned().collect(),
            }
        };
        let mut ports = vec![];
        for port in term.ports.iter().filter(|port| !port.reads.is_empty() && port.is_read_in(&moment.phase)) {
            let (mut values, mut frames) = (vec![], 1);
            for (tap, read) in port.reads.iter().enumerate() {
                let mut series = raw(port, read);
                frames = series.len().max(1);
                if let Some(connector) = term.connectors.iter().find(|c| c.port == port.name && c.tap == tap) {
                    let end = term.port(&connector.to).and_then(|port| raw(port, port.reads.get(tap)?).pop());
                    for value in &mut series {
                        *value = connect(connector, value, end.as_ref(), moment, staged)?;
                    }
                }
                values.extend(series);
            }
            ports.push(PortIn { name: port.name.as_str().into(), values, frames });
        }
        Ok(ports)
    }
}

/// A value through its connectors.
fn connect(
    connector: &BoundConnector,
    value: &Tensor,
    end: Option<&Tensor>,
    moment: &Moment,
    staged: &mut Vec<StagedIn>,
) -> Result<Tensor, TrainError> {
    let port =
        |name: &'static str, value: &Tensor| PortIn { name: name.into(), values: vec![value.clone()], frames: 1 };
    let mut x = value.clone();
    for part in &connector.chain {
        let ports: Vec<PortIn<'_>> =
            std::iter::once(port("from", &x)).chain(end.map(|end| port("to", &native::detach(end)))).collect();
        let given = part.run(moment, &ports)?;
        staged.extend(given.staged.into_iter().map(|change| StagedIn { params: part.params().clone(), change }));
        x = given.output.unwrap_or(x);
    }
    Ok(x)
}
