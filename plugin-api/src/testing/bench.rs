//! A component on the bench: made, bound, traced, run.

use super::host;
use super::ports::{Bound, Given, port_value, values};
use super::run::{Outcome, Produced, Run};
use super::session::{Mode, Place, Session};
use super::store::Store;
use crate::abi::abi_stable::std_types::{RResult, RSlice, RVec};
use crate::abi::{AbiResult, Ctx, Named, PartBox, PortValue, StepInfo, event, role};
use crate::desc::{Desc, Kind, Plan, RESERVED_SETTINGS, Site};
use crate::op::Meta;
use crate::sdk::{self, Connector, Distiller, Entry, Error, Loss, Module, Result};

/// One component with inputs, parameters and a place in training. See the [module](super) for an example.
pub struct Bench {
    pub(super) desc: Desc,
    part: PartBox,
    pub(super) inputs: Vec<Given>,
    pub(super) overwrites: Vec<(String, Vec<f64>)>,
    pub(super) cotangents: Vec<(String, Vec<f64>)>,
    pub(super) place: Place,
    pub(super) site: Site,
    pub(super) fault: Option<Error>,
    pub(super) store: Store,
    bound: bool,
}

impl Bench {
    /// A loss with this configuration.
    ///
    /// # Errors
    /// A configuration that the component refuses.
    pub fn loss<T: Loss>(config: &str) -> Result<Bench> {
        Bench::new(&sdk::loss_entry::<T>(), config)
    }

    /// A connector with this configuration; its ports are `from` and `to`.
    ///
    /// # Errors
    /// A configuration that the component refuses.
    pub fn connector<T: Connector>(config: &str) -> Result<Bench> {
        Bench::new(&sdk::connector_entry::<T>(), config)
    }

    /// A module with this configuration; its ports are `input` and `replaced`.
    ///
    /// # Errors
    /// A configuration that the component refuses.
    pub fn module<T: Module>(config: &str) -> Result<Bench> {
        Bench::new(&sdk::module_entry::<T>(), config)
    }

    /// A distiller with this configuration.
    ///
    /// # Errors
    /// A configuration that the component refuses.
    pub fn distiller<T: Distiller>(config: &str) -> Result<Bench> {
        Bench::new(&sdk::distiller_entry::<T>(), config)
    }

    fn new(entry: &Entry, config: &str) -> Result<Bench> {
        sdk::guard::leave_hook();
        let desc = (entry.desc)();
        let settings = desc.settings();
        if let Some(key) = RESERVED_SETTINGS.iter().find(|key| settings.contains(**key)) {
            let taken = RESERVED_SETTINGS.map(|key| format!("`{key}`")).join(", ");
            let text = format!("`{}` has a setting `{key}`, a key that hosts read themselves: {taken}", desc.name);
            return Err(Error::new(text));
        }
        let info = StepInfo { training: 1, steps_per_epoch: 1, ..StepInfo::default() };
        Ok(Bench {
            desc,
            part: (entry.create)(config, host::table())?,
            inputs: vec![],
            overwrites: vec![],
            cotangents: vec![],
            place: Place { info, stage: String::new(), phase: String::new() },
            site: Site::default(),
            fault: None,
            store: Store::default(),
            bound: false,
        })
    }

    /// What the component says of itself.
    pub fn desc(&self) -> &Desc {
        &self.desc
    }

    /// What a distiller asks of the host.
    ///
    /// # Errors
    /// A site on which it cannot work.
    pub fn plan(&mut self) -> Result<Plan> {
        let site = serde_json::to_string(&self.site).map_err(|error| Error::new(error.to_string()))?;
        let plan = part_result(self.part.plan(site.as_str().into()))?;
        serde_json::from_str(plan.as_str()).map_err(|error| Error::new(format!("plan: {error}")))
    }

    /// Runs the component on its inputs and goes back through it.
    ///
    /// # Errors
    /// What the component or an operation refuses; ports that are unknown or unbound; terms that are not finite scalars.
    pub fn run(&mut self) -> Result<Run> {
        let outcome = self.evaluate()?;
        outcome.into_run(&self.cotangents, &self.store)
    }

    /// Names, shapes and types of what the component gives, found without computing: terms by name (`loss` for a loss),
    /// `output`, `state.NAME`, values.
    ///
    /// # Errors
    /// As [`run`](Bench::run), and for components that read values.
    pub fn trace(&mut self) -> Result<Vec<(String, Meta)>> {
        self.prepare()?;
        let outcome = self.call(Mode::Trace)?;
        Ok(outcome.produced.iter().map(|given| (given.key(), outcome.session.tape.meta(given.node).clone())).collect())
    }

    /// Takes over the buffers that a run wrote, as a host does after a successful update.
    pub fn adopt(&mut self, run: &Run) {
        for (name, array) in &run.buffers {
            self.overwrites.push((name.clone(), array.values.clone()));
        }
    }

    /// Tells the component that an epoch ended; buffers that it writes are taken over.
    ///
    /// # Errors
    /// What the component refuses.
    pub fn epoch_end(&mut self) -> Result<()> {
        self.prepare()?;
        let cx = host::open(self.session(Mode::Step));
        let told = part_result(self.part.event(cx, event::EPOCH_END, RSlice::from_slice(&[])));
        let session = closed(cx)?;
        told?;
        session.staged.into_iter().for_each(|(name, array)| self.overwrites.push((name, array.values)));
        Ok(())
    }

    fn session(&self, mode: Mode) -> Session {
        Session::new(mode, self.place.clone(), self.store.clone(), self.desc.dynamic)
    }

    /// Plans, binds and traces once; overwrites parameters.
    fn prepare(&mut self) -> Result<()> {
        if let Some(fault) = self.fault.clone() {
            return Err(fault);
        }
        if !self.bound {
            self.check_ports()?;
            self.bind()?;
            self.bound = true;
            if !self.desc.dynamic {
                self.call(Mode::Trace)?;
            }
        }
        for (name, values) in std::mem::take(&mut self.overwrites) {
            self.store.overwrite(&name, &values).map_err(Error::new)?;
        }
        Ok(())
    }

    fn bind(&mut self) -> Result<()> {
        let mut session = self.session(Mode::Bind);
        let bound = self.place_inputs(&mut session, |_| true);
        let cx = host::open(session);
        let result = part_result(self.part.bind(cx, RSlice::from_slice(&values(&bound))));
        let session = closed(cx)?;
        result?;
        self.store = session.store;
        Ok(())
    }

    /// One step on values, not yet differentiated.
    pub(super) fn evaluate(&mut self) -> Result<Outcome> {
        self.prepare()?;
        let outcome = self.call(Mode::Step)?;
        outcome.check_terms(&self.desc.name)?;
        Ok(outcome)
    }

    /// Calls the part once, or once a frame for a module.
    fn call(&mut self, mode: Mode) -> Result<Outcome> {
        let mut session = self.session(mode);
        let bound = self.place_inputs(&mut session, |port| !matches!(port, "to" | "replaced"));
        let frames = self.frames();
        let cx = host::open(session);
        let result = if self.desc.kind == Kind::Module && frames > 1 {
            self.call_frames(cx, &bound, frames)
        } else {
            part_result(self.part.run(cx, RSlice::from_slice(&values(&bound)))).map(|given| vec![given])
        };
        let mut session = closed(cx)?;
        let mut produced = vec![];
        for (frame, given) in result?.into_iter().enumerate() {
            for Named { role, name, handle, .. } in given {
                let node = session.node(handle).map_err(Error::from_abi)?;
                produced.push(Produced { role, name: name.into_string(), frame, node });
            }
        }
        Ok(Outcome { session, bound, produced })
    }

    /// A module frame by frame, its state handed on.
    fn call_frames(&mut self, cx: Ctx, bound: &[Bound], frames: usize) -> Result<Vec<RVec<Named>>> {
        let mut all: Vec<RVec<Named>> = vec![];
        for frame in 0..frames {
            host::with(cx, |session| session.place.info.frame = frame as u64);
            let state =
                |given: &Named| (given.role == role::STATE).then(|| (format!("state.{}", given.name), [given.handle]));
            let state: Vec<_> = all.last().map(|given| given.iter().filter_map(state).collect()).unwrap_or_default();
            let is_used = |port: &Bound| frame == 0 || !port.port.starts_with("state.");
            let mut ports: Vec<PortValue<'_>> =
                bound.iter().filter(|port| is_used(port)).map(|port| port.frame(frame)).collect();
            ports.extend(state.iter().map(|(name, handle)| port_value(name, handle, 1)));
            all.push(part_result(self.part.run(cx, RSlice::from_slice(&ports)))?);
        }
        Ok(all)
    }

    fn frames(&self) -> usize {
        self.inputs.iter().map(|given| given.frames).max().unwrap_or(1)
    }
}

fn closed(cx: Ctx) -> Result<Session> {
    host::close(cx).ok_or_else(|| Error::new("the call lost its session"))
}

fn part_result<T>(result: AbiResult<T>) -> Result<T> {
    match result {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(error) => Err(Error::from_abi(error)),
    }
}
