//! A part with its parameters: traced, then run, through one door.

use super::error::OpError;
use super::failed::{self, Origin};
use super::params::ParamSet;
use super::replay::{Replays, is_traceable};
use super::session::{Emitted, Manner, Moment, Opening, Session, Stage, Staged, Value};
use super::trace::{Leaf, Trace};
use crate::plugin::last_words;
use candle_core::Tensor;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use stillhouse_plugin::abi::abi_stable::std_types::RSlice;
use stillhouse_plugin::abi::{Handle, Named, PartBox, PortValue, event, role};
use stillhouse_plugin::desc::{Desc, Kind, Plan, Site};
use stillhouse_plugin::op::Meta;

/// A part and its parameters.
pub struct BoundPart {
    label: String,
    desc: Desc,
    part: RefCell<PartBox>,
    params: Rc<ParamSet>,
    replays: RefCell<Replays>,
    manner: Cell<Manner>,
    origin: Origin,
    /// What the part is in the last words of the process.
    words: String,
    /// What it was bound to.
    shown: RefCell<Vec<TracePort>>,
}

/// Values of a port for a run: tap by tap, each with all its frames.
#[derive(Debug, Clone)]
pub struct PortIn<'a> {
    /// Name of the port.
    pub name: Cow<'a, str>,
    /// `taps * frames` values.
    pub values: Vec<Tensor>,
    /// Frames of each tap; 1 without time.
    pub frames: usize,
}

/// The same for a trace.
#[derive(Debug, Clone)]
pub struct TracePort {
    /// Name of the port.
    pub name: String,
    /// Shapes and types, `taps * frames`.
    pub values: Vec<Meta>,
    /// Frames of each tap; 1 without time.
    pub frames: usize,
}

impl TracePort {
    /// The shapes of values.
    pub fn of(port: &PortIn<'_>) -> TracePort {
        TracePort {
            name: port.name.clone().into_owned(),
            values: port.values.iter().map(super::eager::meta_of).collect(),
            frames: port.frames,
        }
    }
}

/// What a part gave in a run.
#[derive(Debug, Default)]
pub struct Given {
    /// Raw terms by name; a loss has one, without a name.
    pub terms: Vec<(String, Tensor)>,
    /// Output of a connector or module.
    pub output: Option<Tensor>,
    /// State for the next frame.
    pub state: Vec<(String, Tensor)>,
    /// Values for taps.
    pub values: Vec<(String, Tensor)>,
    /// Buffers to change after the update.
    pub staged: Vec<Staged>,
    /// Tensors for log and report.
    pub emitted: Vec<Emitted>,
    /// Lines for the log, with their level.
    pub log: Vec<(u32, String)>,
    /// The part asked for something that differs from call to call.
    pub varies: bool,
}

/// What a part gave in a trace.
#[derive(Debug, Default)]
pub struct Traced {
    /// Role ([`role`]), name, shape and type, node of the trace.
    pub results: Vec<(u32, String, Meta, usize)>,
    /// Everything that was done.
    pub trace: Trace,
}

/// Where a call stands.
pub type Call<'a> = &'a Moment;

impl BoundPart {
    /// A part that is not bound yet. `label` names it in errors (`` `hint` (`mse`) ``).
    pub fn new(label: &str, desc: Desc, part: PartBox, params: Rc<ParamSet>) -> BoundPart {
        let (part, replays, manner, shown) =
            (RefCell::new(part), RefCell::default(), Cell::default(), RefCell::default());
        let (origin, words) = (Origin::default(), format!("{} `{}`", desc.kind.name(), desc.name));
        BoundPart { label: label.into(), desc, part, params, replays, manner, origin, words, shown }
    }

    /// The same, with what it was made from, for messages.
    pub fn made_from(mut self, origin: Origin) -> BoundPart {
        let kind = self.desc.kind.name();
        self.words = format!("plugin `{}`, {kind} `{}` (`{}`)", origin.plugin, self.desc.name, self.params.owner());
        self.origin = origin;
        self
    }

    /// What it was made from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `plugin::name`, or the name where the plugin is not known.
    pub fn full_name(&self) -> String {
        if self.origin.plugin.is_empty() {
            self.desc.name.clone()
        } else {
            format!("{}::{}", self.origin.plugin, self.desc.name)
        }
    }

    /// What it was bound to.
    pub fn shown(&self) -> Vec<TracePort> {
        self.shown.borrow().clone()
    }

    /// From now on calls are of this manner; graphs of another one are forgotten.
    pub fn set_manner(&self, manner: Manner) {
        self.replays.take();
        self.manner.set(manner);
    }

    /// Its description.
    pub fn desc(&self) -> &Desc {
        &self.desc
    }

    /// Its parameters and buffers.
    pub fn params(&self) -> &Rc<ParamSet> {
        &self.params
    }

    /// Its name in errors.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What a distiller asks of the host.
    ///
    /// # Errors
    /// It cannot work on this site, or its plan is not readable.
    pub fn plan(&self, site: &Site) -> Result<Plan, OpError> {
        let wrong = |message: String| OpError::Result { part: self.label.clone(), message };
        let site = serde_json::to_string(site).map_err(|error| wrong(format!("got an unreadable site: {error}")))?;
        let plan = || self.part.borrow_mut().plan(site.as_str().into()).into_result();
        let plan = last_words::during(&self.words, "", 0, plan);
        let plan = plan.map_err(|error| OpError::of_part(&self.label, error))?;
        serde_json::from_str(plan.as_str()).map_err(|error| wrong(format!("gave an unreadable plan: {error}")))
    }

    /// Shows the part its inputs, so that it makes its parameters.
    ///
    /// # Errors
    /// What the part says.
    pub fn bind(&self, moment: Call<'_>, ports: &[TracePort]) -> Result<(), OpError> {
        self.shown.replace(ports.to_vec());
        let bind = || {
            self.within(Stage::Bind, true, moment, |session| {
                let handles = symbolic(session, ports);
                let ports = port_values(ports.iter().map(|port| (port.name.as_str(), port.frames)), &handles);
                let result = self.part.borrow_mut().bind(session.ctx(), RSlice::from_slice(&ports)).into_result();
                self.finish(session, result)
            })
        };
        last_words::during(&self.words, &moment.run_stage, moment.step, bind)
    }

    /// Runs the part on shapes alone.
    ///
    /// # Errors
    /// What the part says, or results that its kind must not give.
    pub fn trace(&self, moment: Call<'_>, ports: &[TracePort]) -> Result<Traced, OpError> {
        self.within(Stage::Run, true, moment, |session| {
            let handles = symbolic(session, ports);
            let ports = port_values(ports.iter().map(|port| (port.name.as_str(), port.frames)), &handles);
            let run = || self.part.borrow().run(session.ctx(), RSlice::from_slice(&ports)).into_result();
            let named = last_words::during(&self.words, &moment.run_stage, moment.step, run);
            let named = self.finish(session, named)?;
            let mut results = vec![];
            for result in &named {
                let value = session.get(result.handle);
                let (Value::Symbolic(node), Some(meta)) = (&value, session.meta(&value)) else {
                    return Err(self.wrong("gave a value of another call".into()));
                };
                self.check(result, &meta)?;
                results.push((result.role, result.name.to_string(), meta, *node));
            }
            let trace = session.trace.as_ref().map(RefCell::take).unwrap_or_default();
            Ok(Traced { results, trace })
        })
    }

    /// Runs the part; where its graph is known for these shapes, the graph.
    ///
    /// # Errors
    /// What the part says, or results that its kind must not give.
    pub fn run(&self, moment: Call<'_>, ports: &[PortIn<'_>]) -> Result<Given, OpError> {
        last_words::during(&self.words, &moment.run_stage, moment.step, || self.run_or_repeat(moment, ports))
    }

    fn run_or_repeat(&self, moment: Call<'_>, ports: &[PortIn<'_>]) -> Result<Given, OpError> {
        if failed::are_kept() {
            failed::begins(self, moment, ports);
            let given = self.cross(moment, ports);
            if given.is_ok() {
                failed::ended();
            }
            return given;
        }
        if let Some(given) = self.replays.borrow().run(ports, &self.params) {
            return Ok(given);
        }
        if self.desc.dynamic || !is_traceable(ports) || !self.replays.borrow().is_new(ports) {
            return self.cross(moment, ports);
        }
        let shapes: Vec<TracePort> = ports.iter().map(TracePort::of).collect();
        let traced = self.trace(moment, &shapes).ok();
        self.replays.borrow_mut().learn(ports, traced, &self.params, || self.cross(moment, ports))
    }

    /// Runs the part through the boundary.
    ///
    /// # Errors
    /// As [`BoundPart::run`].
    pub fn cross(&self, moment: Call<'_>, ports: &[PortIn<'_>]) -> Result<Given, OpError> {
        self.within(Stage::Run, false, moment, |session| {
            let put = |value: &Tensor| session.put(Value::Concrete(value.clone()));
            let handles: Vec<Vec<Handle>> = ports.iter().map(|port| port.values.iter().map(put).collect()).collect();
            let values = port_values(ports.iter().map(|port| (port.name.as_ref(), port.frames)), &handles);
            let named = self.part.borrow().run(session.ctx(), RSlice::from_slice(&values)).into_result();
            let named = self.finish(session, named)?;
            let mut given = Given {
                staged: session.staged.take(),
                emitted: session.emitted.take(),
                log: session.log.take(),
                varies: session.has_varied(),
                ..Given::default()
            };
            for result in &named {
                let Value::Concrete(tensor) = session.get(result.handle) else {
                    return Err(self.wrong("gave a value of another call".into()));
                };
                self.check(result, &super::eager::meta_of(&tensor))?;
                given.take(result.role, result.name.to_string(), tensor);
            }
            Ok(given)
        })
        .map_err(|error| error.at(|message| self.circumstances(moment, ports, message)))
    }

    /// Tells the part that an epoch of the stage ended.
    ///
    /// # Errors
    /// What the part says.
    pub fn epoch_end(&self, moment: Call<'_>) -> Result<Given, OpError> {
        let told = || {
            self.within(Stage::Run, false, moment, |session| {
                let result = self.part.borrow().event(session.ctx(), event::EPOCH_END, RSlice::EMPTY).into_result();
                self.finish(session, result)?;
                Ok(Given {
                    staged: session.staged.take(),
                    emitted: session.emitted.take(),
                    log: session.log.take(),
                    ..Given::default()
                })
            })
        };
        last_words::during(&self.words, &moment.run_stage, moment.step, told)
            .map_err(|error: OpError| error.at(|message| self.circumstances(moment, &[], message)))
    }

    fn within<T>(&self, stage: Stage, symbolic: bool, moment: &Moment, work: impl FnOnce(&Session) -> T) -> T {
        let opening = Opening {
            stage,
            symbolic,
            params: self.params.clone(),
            moment: moment.clone(),
            dynamic: self.desc.dynamic,
            manner: self.manner.get(),
        };
        Session::within(opening, work)
    }

    /// The call's result, or the error that the part did not ask for.
    fn finish<T>(&self, session: &Session, result: Result<T, stillhouse_plugin::abi::AbiError>) -> Result<T, OpError> {
        match (result, session.take_error()) {
            (Err(error), _) | (Ok(_), Some(error)) => Err(OpError::of_part(&self.label, error)),
            (Ok(value), None) => Ok(value),
        }
    }

    fn wrong(&self, message: String) -> OpError {
        OpError::Result { part: self.label.clone(), message }
    }

    /// A term is a float scalar; losses give one, connectors and modules one output.
    fn check(&self, result: &Named, meta: &Meta) -> Result<(), OpError> {
        let allowed = match self.desc.kind {
            Kind::Loss | Kind::Distiller => result.role == role::TERM || result.role == role::VALUE,
            Kind::Connector => result.role == role::OUTPUT,
            Kind::Module => result.role != role::TERM,
        };
        if !allowed {
            return Err(self.wrong(format!("gave a result of role {} for a {}", result.role, self.desc.kind.name())));
        }
        if result.role == role::TERM && (!meta.shape.is_empty() || !meta.dtype.is_float()) {
            let name = if result.name.is_empty() { String::new() } else { format!(" for its term `{}`", result.name) };
            return Err(self.wrong(format!("must give a float scalar{name}, got {meta}")));
        }
        Ok(())
    }
}

impl Given {
    pub(super) fn take(&mut self, role: u32, name: String, tensor: Tensor) {
        match role {
            role::TERM => self.terms.push((name, tensor)),
            role::OUTPUT => self.output = Some(tensor),
            role::STATE => self.state.push((name, tensor)),
            _ => self.values.push((name, tensor)),
        }
    }
}

fn symbolic(session: &Session, ports: &[TracePort]) -> Vec<Vec<Handle>> {
    let nothing = || Err(candle_core::Error::Msg("a trace computes nothing".into()));
    let port = |port: &TracePort| {
        let frames = port.frames.max(1);
        let handle = |(i, meta): (usize, &Meta)| {
            let leaf = Leaf::Port { port: port.name.clone(), tap: i / frames, frame: i % frames };
            session.put(session.leaf(leaf, meta.clone(), nothing))
        };
        port.values.iter().enumerate().map(handle).collect()
    };
    ports.iter().map(port).collect()
}

fn port_values<'a>(ports: impl Iterator<Item = (&'a str, usize)>, handles: &'a [Vec<Handle>]) -> Vec<PortValue<'a>> {
    let value = |((name, frames), handles): ((&'a str, usize), &'a Vec<Handle>)| PortValue::new(name, handles, frames);
    ports.zip(handles).map(value).collect()
}
