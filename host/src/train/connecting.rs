//! Connectors between a port and its counterpart, and what a part sees in a trace.

use super::explain::with_samples;
use super::models::create;
use super::problem::{AtPath, Problem};
use super::setup::{check_settings, find_part};
use super::term::{BoundConnector, BoundTerm, Found};
use crate::manifest::{self, Part, Side};
use crate::ops::TracePort;
use stillhouse_plugin::desc::Kind;
use stillhouse_plugin::op::Meta;

use super::binding::Scene;

impl Scene<'_> {
    pub(super) fn connect(&self, term: &manifest::Term, bound: &mut BoundTerm) -> Found<()> {
        if term.connector.is_empty() {
            return Ok(());
        }
        let own = format!("{}.connector", bound.name);
        let ends = [("student", "teacher"), ("teacher", "student")];
        let sides = match term.connector_on {
            Side::Student => vec![(ends[0], own)],
            Side::Teacher => vec![(ends[1], own)],
            Side::Both => ends.map(|(from, to)| ((from, to), format!("{own}.{from}"))).to_vec(),
        };
        for (ends, owner) in sides {
            let connectors = self.chains(term, bound, ends, &owner)?;
            bound.connectors.extend(connectors);
        }
        Ok(())
    }

    /// The connectors of each tap of one side.
    fn chains(
        &self,
        term: &manifest::Term,
        bound: &BoundTerm,
        (from, to): (&str, &str),
        owner: &str,
    ) -> Found<Vec<BoundConnector>> {
        let path = bound.path.key("connector");
        let count = |name: &str| bound.port(name).map_or(0, |port| port.reads.len());
        if count(from) == 0 || count(from) != count(to) {
            let message = format!(
                "a connector joins `{from}` to `{to}`, and {} has {} and {} values there",
                bound.part.label(),
                count(from),
                count(to)
            );
            return Err(Problem::new(message).at(&path, Part::Key));
        }
        let (several, mut connectors) = (count(from) > 1, vec![]);
        for tap in 0..count(from) {
            let meta = |name: &str| bound.port(name).and_then(|port| self.meta(port.reads.get(tap)?));
            let (Some(mut x), Some(end)) = (meta(from), meta(to)) else { continue };
            let mut chain = vec![];
            for (i, part) in term.connector.iter().enumerate() {
                let here = if term.connector.len() > 1 { path.index(i) } else { path.clone() };
                // A table is told at its `use`, a bare name at itself.
                let named =
                    if self.setup.sources.is_written(&here.key("use")) { here.key("use") } else { here.clone() };
                let component = find_part(&self.setup.registry, &[Kind::Connector], &part.use_, &named)?;
                if let Some(wrong) = check_settings(&self.setup.sources, &here, component, &["use"]).into_iter().next()
                {
                    return Err(Problem(wrong));
                }
                let mut owner = owner.to_owned();
                if several {
                    owner = format!("{owner}.{tap}");
                }
                if term.connector.len() > 1 {
                    owner = format!("{owner}.{i}");
                }
                let label = format!("`{owner}` (`{}`)", component.desc.name);
                let part = create(component, &part.config, &label, self.params(&owner), &here)?;
                let ports = [trace_port("from", &x), trace_port("to", &end)];
                let moment = self.moment("", "");
                let traced = part.bind(&moment, &ports).and_then(|()| part.trace(&moment, &ports)).at_path(&named);
                let traced = traced.map_err(|problem| match self.batch() {
                    // One sample is refused by statistics alone.
                    1 if part.trace(&moment, &with_samples(&ports, 2)).is_ok() => self.wants_batch(problem),
                    _ => problem,
                })?;
                x = traced.results.first().map_or(x, |(.., meta, _)| meta.clone());
                chain.push(part);
            }
            connectors.push(BoundConnector { port: from.into(), tap, to: to.into(), chain });
        }
        Ok(connectors)
    }

    /// The ports of a term for a trace, connectors applied.
    pub fn trace_ports(&self, term: &BoundTerm) -> Found<Vec<TracePort>> {
        let mut ports = vec![];
        for port in term.ports.iter().filter(|port| !port.reads.is_empty()) {
            let frames = self.frames(port, &port.reads[0]);
            let mut values = vec![];
            for (tap, read) in port.reads.iter().enumerate() {
                let missing = || Problem::new(format!("{} has no shape", read.text())).at(&term.path, Part::Key);
                let mut meta = self.meta(read).ok_or_else(missing)?;
                if let Some(connector) = term.connectors.iter().find(|c| c.port == port.name && c.tap == tap) {
                    let end = term
                        .port(&connector.to)
                        .and_then(|port| self.meta(port.reads.get(tap)?))
                        .ok_or_else(missing)?;
                    for part in &connector.chain {
                        let traced = part
                            .trace(&self.moment("", ""), &[trace_port("from", &meta), trace_port("to", &end)])
                            .at_key(&term.path)?;
                        meta = traced.results.first().map_or(meta, |(.., meta, _)| meta.clone());
                    }
                }
                values.extend(std::iter::repeat_n(meta, frames));
            }
            ports.push(TracePort { name: port.name.clone(), values, frames });
        }
        Ok(ports)
    }
}

fn trace_port(name: &str, meta: &Meta) -> TracePort {
    TracePort { name: name.into(), values: vec![meta.clone()], frames: 1 }
}
