//! The four faces of a part. Each becomes the one object that crosses the boundary.

use super::context::{BindCx, Cx};
use super::error::Result;
use super::inputs::Inputs;
use super::tensor::Tensor;
use crate::desc::{Plan, Port, Site};

/// What every component has, whatever its kind.
///
/// The order of a component's life: `new` (configuration checked), `plan` (distillers), `bind` (inputs seen, parameters
/// made; once), then steps and events. `&self` in steps: what changes from step to step lives in buffers of the host.
pub trait Component: Send + Sync + Sized + 'static {
    /// Settings, read from the manifest. Unknown keys are refused with their path.
    type Config: serde::de::DeserializeOwned + schemars::JsonSchema;
    /// Name in manifests, unique within its kind and plugin.
    const NAME: &'static str;
    /// What it is, in a sentence.
    const DOC: &'static str = "";
    /// Paper or repository that defines it.
    const CITATION: &'static str = "";
    /// True when the value of one sample depends on the others of the batch.
    const BATCH_COUPLED: bool = false;
    /// True when it reads values ([`Tensor::to_vec`]) and so cannot be traced.
    const DYNAMIC: bool = false;

    /// A component with these settings; checks what the types cannot.
    ///
    /// # Errors
    /// Settings out of range.
    fn new(config: Self::Config) -> Result<Self>;

    /// Inputs of a loss or distiller. Connectors and modules have theirs already.
    fn ports() -> Vec<Port> {
        vec![]
    }
}

/// Values to a scalar.
pub trait Loss: Component {
    /// Sees symbolic inputs; makes parameters and buffers.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn bind(&mut self, _cx: &BindCx, _x: &Inputs) -> Result<()> {
        Ok(())
    }

    /// The raw value, `[]`.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor>;
}

/// A tensor to a tensor, between two feature spaces.
pub trait Connector: Component {
    /// Sees both ends; makes parameters and buffers.
    ///
    /// # Errors
    /// Ends that it cannot connect.
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()>;

    /// `x`, shaped like the other end.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor>;
}

/// State of a module from frame to frame: tensors by name; empty at the first frame.
#[derive(Default)]
pub struct State {
    tensors: Vec<(String, Tensor)>,
}

impl State {
    pub(super) fn from_inputs(x: &Inputs) -> Result<State> {
        let names = x.names().filter_map(|name| name.strip_prefix("state."));
        let tensors = names.map(|name| Ok((name.to_owned(), x.one(&format!("state.{name}"))?)));
        Ok(State { tensors: tensors.collect::<Result<_>>()? })
    }

    /// The tensor of this name; `None` at the first frame.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone())
    }

    /// True at the first frame.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

/// What a module gives for one frame.
pub struct Stepped {
    pub(super) output: Tensor,
    pub(super) state: Vec<(String, Tensor)>,
    pub(super) values: Vec<(String, Tensor)>,
}

impl Stepped {
    /// An output without state.
    pub fn new(output: Tensor) -> Stepped {
        Stepped { output, state: vec![], values: vec![] }
    }

    /// The same with a tensor for the next frame.
    pub fn state(mut self, name: &str, tensor: &Tensor) -> Stepped {
        self.state.push((name.into(), tensor.clone()));
        self
    }

    /// The same with an inner value that others can tap as `<path>.<name>`.
    pub fn value(mut self, name: &str, tensor: &Tensor) -> Stepped {
        self.values.push((name.into(), tensor.clone()));
        self
    }
}

/// Takes the place of a layer of a student.
pub trait Module: Component {
    /// Sees the input and the output of the replaced layer; makes parameters and buffers.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn bind(&mut self, cx: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()>;

    /// One frame (the only one, where the model has no time).
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn step(&self, cx: &Cx, x: &Tensor, state: &State) -> Result<Stepped>;
}

/// A whole method: plans taps, phases, parameter groups and stages; gives named raw terms.
pub trait Distiller: Component {
    /// What the method asks of the host.
    ///
    /// # Errors
    /// A site on which it cannot work.
    fn plan(&mut self, site: &Site) -> Result<Plan>;

    /// Sees symbolic inputs; makes parameters and buffers.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn bind(&mut self, _cx: &BindCx, _x: &Inputs) -> Result<()> {
        Ok(())
    }

    /// The raw terms of this stage and phase, each `[]`.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>>;

    /// An epoch of the stage ended.
    ///
    /// # Errors
    /// Whatever must end the run.
    fn epoch_end(&self, _cx: &Cx) -> Result<()> {
        Ok(())
    }
}
