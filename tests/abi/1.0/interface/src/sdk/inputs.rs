//! The values bound to a part's ports.

use super::context::Door;
use super::error::{Error, Result};
use super::tensor::Tensor;
use crate::abi::PortValue;

/// Values by port.
pub struct Inputs {
    ports: Vec<(String, Vec<Tensor>, usize)>,
}

impl Inputs {
    pub(super) fn new(door: Door, ports: &[PortValue<'_>]) -> Inputs {
        let port = |value: &PortValue<'_>| {
            let tensors = value.handles.iter().map(|handle| Tensor::borrow(door, *handle)).collect();
            (value.name.as_str().to_owned(), tensors, value.frames.max(1))
        };
        Inputs { ports: ports.iter().map(port).collect() }
    }

    fn port(&self, name: &str) -> Option<(&[Tensor], usize)> {
        self.ports.iter().find(|(known, ..)| known == name).map(|(_, tensors, frames)| (tensors.as_slice(), *frames))
    }

    /// The one value of a port.
    ///
    /// # Errors
    /// The port is unbound or has several values.
    pub fn one(&self, name: &str) -> Result<Tensor> {
        match self.port(name) {
            Some(([tensor], _)) => Ok(tensor.clone()),
            Some((tensors, _)) => Err(Error::new(format!("port `{name}` wants one value, got {}", tensors.len()))),
            None => Err(Error::new(format!("port `{name}` is not bound"))),
        }
    }

    /// The one value of an optional port.
    ///
    /// # Errors
    /// The port has several values.
    pub fn optional(&self, name: &str) -> Result<Option<Tensor>> {
        match self.port(name) {
            None | Some(([], _)) => Ok(None),
            Some(_) => self.one(name).map(Some),
        }
    }

    /// All values of a port, in the order of the manifest; of a port over time, the frames of its first tap.
    ///
    /// # Errors
    /// The port is unbound.
    pub fn list(&self, name: &str) -> Result<Vec<Tensor>> {
        match self.port(name) {
            Some((tensors, _)) => Ok(tensors.to_vec()),
            None => Err(Error::new(format!("port `{name}` is not bound"))),
        }
    }

    /// All values of a port over time: for each tap its frames.
    ///
    /// # Errors
    /// The port is unbound.
    pub fn series(&self, name: &str) -> Result<Vec<Vec<Tensor>>> {
        match self.port(name) {
            Some((tensors, frames)) => Ok(tensors.chunks(frames).map(<[Tensor]>::to_vec).collect()),
            None => Err(Error::new(format!("port `{name}` is not bound"))),
        }
    }

    /// True when the port has a value.
    pub fn has(&self, name: &str) -> bool {
        self.port(name).is_some_and(|(tensors, _)| !tensors.is_empty())
    }

    /// Names of the bound ports.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ports.iter().map(|(name, ..)| name.as_str())
    }
}
