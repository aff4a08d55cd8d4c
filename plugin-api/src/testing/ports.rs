//! The ports of the part on the bench.

use super::array::Array;
use super::bench::Bench;
use super::session::{Mode, Session};
use super::tape::NodeId;
use crate::abi::{Handle, PortValue};
use crate::desc::{Kind, Port, Source};
use crate::sdk::{Error, Result};

/// Values of a port, tap by tap, each with its frames.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) port: String,
    pub(super) arrays: Vec<Array>,
    pub(super) frames: usize,
}

/// A port of one call: its name, the nodes behind it and their handles.
pub(super) struct Bound {
    pub(super) port: String,
    pub(super) nodes: Vec<NodeId>,
    handles: Vec<Handle>,
    frames: usize,
}

impl Bench {
    /// Brings the inputs of the ports that are wanted into a session.
    pub(super) fn place_inputs(&self, session: &mut Session, wanted: impl Fn(&str) -> bool) -> Vec<Bound> {
        let mut bound = vec![];
        for given in self.inputs.iter().filter(|given| wanted(&given.port)) {
            let tracked = self.is_tracked(&given.port);
            // A module sees one frame when it is bound.
            let first = session.mode == Mode::Bind && self.desc.kind == Kind::Module;
            let node = |array: &Array| {
                let values = (!session.symbolic()).then(|| array.clone());
                session.tape.leaf(array.meta.clone(), values, tracked)
            };
            let taken = if first { &given.arrays[..1.min(given.arrays.len())] } else { &given.arrays[..] };
            let nodes: Vec<NodeId> = taken.iter().map(node).collect();
            let handles = nodes.iter().map(|node| session.handle(*node)).collect();
            bound.push(Bound {
                port: given.port.clone(),
                nodes,
                handles,
                frames: if first { 1 } else { given.frames },
            });
        }
        bound
    }

    /// True for the ports through which a host sends gradients.
    pub(super) fn is_tracked(&self, port: &str) -> bool {
        match self.desc.kind {
            Kind::Connector | Kind::Module => !matches!(port, "to" | "replaced"),
            Kind::Loss | Kind::Distiller => {
                let source = self.desc.ports.iter().find(|known| known.name == port).map(|known| known.source);
                matches!(source, Some(Source::Student | Source::StudentParameter))
            }
        }
    }

    /// Plans (distillers), then compares the inputs with the ports.
    pub(super) fn check_ports(&mut self) -> Result<()> {
        if self.desc.kind == Kind::Distiller {
            let plan = self.plan()?;
            if !plan.ports.is_empty() {
                self.desc.ports = plan.ports;
            }
        }
        let fixed = |names: [&str; 2]| names.map(|name| Port::student().named(name)).to_vec();
        let ports = match self.desc.kind {
            Kind::Connector => fixed(["from", "to"]),
            Kind::Module => fixed(["input", "replaced"]),
            Kind::Loss | Kind::Distiller => self.desc.ports.clone(),
        };
        let given = |port: &Port| self.inputs.iter().any(|given| given.port == port.name);
        if let Some(missing) = ports.iter().find(|port| !port.optional && !given(port)) {
            return Err(Error::new(format!("port `{}` is not bound", missing.name)));
        }
        let known = |name: &str| name.starts_with("state.") || ports.iter().any(|port| port.name == name);
        match self.inputs.iter().find(|given| !known(&given.port)) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
                Err(Error::new(format!("there is no port `{}`, only: {}", unknown.port, names.join(", "))))
            }
        }
    }
}

impl Bound {
    /// The values of one frame.
    pub(super) fn frame(&self, frame: usize) -> PortValue<'_> {
        let handles = if self.frames == 1 { &self.handles[..] } else { &self.handles[frame..=frame] };
        port_value(&self.port, handles, 1)
    }
}

/// A port as it crosses.
pub(super) fn port_value<'a>(name: &'a str, handles: &'a [Handle], frames: usize) -> PortValue<'a> {
    PortValue::new(name, handles, frames)
}

/// All ports as they cross.
pub(super) fn values(bound: &[Bound]) -> Vec<PortValue<'_>> {
    bound.iter().map(|port| port_value(&port.port, &port.handles, port.frames)).collect()
}
