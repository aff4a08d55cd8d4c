//! The call that a part is in: where training stands, its parameters and buffers, random numbers, the host's threads.

use super::error::{Error, Result};
use super::fused::{self, FusedOp};
use super::init::Init;
use super::place;
use super::tensor::Tensor;
use super::threads;
use crate::abi::{
    self, Ctx, Handle, HostApi_Ref, StepInfo,
    abi_stable::std_types::{ROption, RSlice},
    distribution, text,
};
use crate::op::{DType, Op};
use std::ops::Deref;

/// The host's table in the name of one call.
#[derive(Clone, Copy)]
pub(crate) struct Door {
    pub(crate) ctx: Ctx,
    pub(crate) host: HostApi_Ref,
}

impl Door {
    /// The first error of the call, taken.
    pub(crate) fn error(self) -> Error {
        match self.host.take_error()(self.ctx) {
            ROption::RSome(error) => place::told(Error::from_abi(error)),
            ROption::RNone => Error::coded(abi::code::MISUSE, "a tensor of an earlier call was used"),
        }
    }

    /// `Err` when an operation of this call failed.
    pub(crate) fn check(self) -> Result<()> {
        match self.host.take_error()(self.ctx) {
            ROption::RSome(error) => Err(place::told(Error::from_abi(error))),
            ROption::RNone => Ok(()),
        }
    }
}

/// Where in training a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Epoch within the stage, from 0.
    pub epoch: u64,
    /// Updates done in the stage, from 0.
    pub step: u64,
    /// Updates of an epoch.
    pub steps_per_epoch: u64,
    /// Frame of the sequence that a module works on, from 0.
    pub frame: u64,
    /// True in training, false in evaluation.
    pub training: bool,
    /// Samples of the training set.
    pub samples: u64,
}

/// The call that a part is in. It is not kept: tensors and context end with the call.
pub struct Cx {
    pub(super) door: Door,
}

impl Cx {
    pub(crate) fn new(door: Door) -> Cx {
        Cx { door }
    }

    /// Where training stands.
    pub fn moment(&self) -> Moment {
        let mut info = StepInfo::default();
        self.door.host.step_info()(self.door.ctx, &mut info);
        Moment {
            epoch: info.epoch,
            step: info.step,
            steps_per_epoch: info.steps_per_epoch,
            frame: info.frame,
            training: info.training != 0,
            samples: info.samples,
        }
    }

    /// True in training, false in evaluation.
    pub fn training(&self) -> bool {
        self.moment().training
    }

    /// Name of the stage: the method's own where it planned stages.
    pub fn stage(&self) -> String {
        self.door.host.text()(self.door.ctx, text::STAGE).into_string()
    }

    /// Name of the phase; empty when there is one only.
    pub fn phase(&self) -> String {
        self.door.host.text()(self.door.ctx, text::PHASE).into_string()
    }

    /// A parameter of this part.
    pub fn param(&self, name: &str) -> Tensor {
        Tensor::own(self.door, self.door.host.state()(self.door.ctx, name.into()))
    }

    /// A buffer of this part, as it was at the start of the step.
    pub fn buffer(&self, name: &str) -> Tensor {
        self.param(name)
    }

    /// A new value for a buffer. It is taken over after the update succeeded; until then [`buffer`](Cx::buffer) gives the
    /// old one.
    pub fn set(&self, name: &str, value: &Tensor) {
        self.door.host.set()(self.door.ctx, name.into(), value.handle);
    }

    /// New rows for a buffer `[K, ...]`: `index` `i64` `[B]`, `rows` `[B, ...]`. Taken over like [`set`](Cx::set).
    pub fn set_rows(&self, name: &str, index: &Tensor, rows: &Tensor) {
        self.door.host.set_rows()(self.door.ctx, name.into(), index.handle, rows.handle);
    }

    fn random(&self, purpose: &str, kind: u32, shape: &[usize], dtype: DType, a: f64, b: f64) -> Tensor {
        let shape = RSlice::from_slice(shape);
        Tensor::own(self.door, self.door.host.random()(self.door.ctx, purpose.into(), kind, dtype as u32, shape, a, b))
    }

    /// Uniform in `[low, high)`. Equal for equal manifest, seed, step and purpose.
    pub fn uniform(&self, purpose: &str, shape: &[usize], dtype: DType, low: f64, high: f64) -> Tensor {
        self.random(purpose, distribution::UNIFORM, shape, dtype, low, high)
    }

    /// Standard normal times `std`. Equal for equal manifest, seed, step and purpose.
    pub fn normal(&self, purpose: &str, shape: &[usize], dtype: DType, std: f64) -> Tensor {
        self.random(purpose, distribution::NORMAL, shape, dtype, 0.0, std)
    }

    /// 1 with this probability, else 0. Equal for equal manifest, seed, step and purpose.
    pub fn bernoulli(&self, purpose: &str, shape: &[usize], dtype: DType, probability: f64) -> Tensor {
        self.random(purpose, distribution::BERNOULLI, shape, dtype, probability, 0.0)
    }

    /// A generator for draws of the part's own. Equal for equal manifest, seed, step and purpose.
    pub fn rng(&self, purpose: &str) -> Rng {
        Rng { state: self.door.host.seed()(self.door.ctx, purpose.into()) }
    }

    /// Hands a tensor to the run's log and report.
    pub fn emit(&self, name: &str, value: &Tensor) {
        self.door.host.emit()(self.door.ctx, name.into(), value.handle);
    }

    /// Hands a matrix to the run's report: its mean over each epoch stands there as a table, and as a picture. The names of its
    /// rows and columns are what the two ports read, in order.
    pub fn report(&self, name: &str, value: &Tensor, axes: [&str; 2]) {
        self.emit(&crate::report::full_name(name, axes), value);
    }

    /// A warning in the run's log.
    pub fn warn(&self, line: &str) {
        self.door.host.log()(self.door.ctx, 2, line.into());
    }

    /// A line of information in the run's log.
    pub fn info(&self, line: &str) {
        self.door.host.log()(self.door.ctx, 3, line.into());
    }

    /// A constant from row-major values, in the type given.
    pub fn constant(&self, values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
        let bytes: Vec<u8> = match dtype {
            DType::F32 => values.iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
            DType::F64 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            DType::I64 => values.iter().flat_map(|v| (*v as i64).to_ne_bytes()).collect(),
            DType::U8 => values.iter().map(|v| *v as u8).collect(),
        };
        let shape = RSlice::from_slice(shape);
        Tensor::own(self.door, self.door.host.constant()(self.door.ctx, bytes.as_slice().into(), dtype as u32, shape))
    }

    #[track_caller]
    fn make(&self, op: &Op) -> Tensor {
        let [out] = Tensor::call(self.door, op, &[]);
        out
    }

    /// A tensor of one value.
    #[track_caller]
    pub fn full(&self, value: f64, shape: &[usize], dtype: DType) -> Tensor {
        self.make(&Op::Full { value, dtype, shape: shape.to_vec() })
    }

    /// Identity matrix.
    #[track_caller]
    pub fn eye(&self, n: usize, dtype: DType) -> Tensor {
        self.make(&Op::Eye { n, dtype })
    }

    /// `0, 1, ..., n - 1`.
    #[track_caller]
    pub fn arange(&self, n: usize, dtype: DType) -> Tensor {
        self.make(&Op::Arange { n, dtype })
    }

    /// Runs an operation of the part's own, with its own gradient. Where the tensors are not in the memory of the process,
    /// the operation's composite form runs in its place.
    pub fn fused<F: FusedOp>(&self, op: F, inputs: &[&Tensor]) -> Result<Tensor> {
        if inputs.iter().any(|tensor| tensor.known().is_some_and(|info| info.device != 0)) {
            return op.composite(self, inputs);
        }
        let handles: Vec<Handle> = inputs.iter().map(|tensor| tensor.handle).collect();
        let handles = RSlice::from_slice(&handles);
        let boxed = fused::boxed(op, self.door.host);
        Ok(Tensor::own(self.door, self.door.host.fused()(self.door.ctx, F::NAME.into(), handles, boxed)))
    }

    /// Runs `work(start, end)` over pieces of `0 .. n`, each of at least `grain` but the last, on the host's threads. No
    /// tensor operation is allowed inside. Hold no lock across it.
    ///
    /// # Errors
    /// A piece panicked.
    pub fn parallel_for(&self, n: usize, grain: usize, work: impl Fn(usize, usize) + Sync) -> Result<()> {
        threads::pieces(self.door.host, self.door.ctx, n, grain, work)
    }
}

/// The call in which a part sees its inputs for the first time and makes its parameters and buffers.
pub struct BindCx {
    cx: Cx,
}

impl Deref for BindCx {
    type Target = Cx;
    fn deref(&self) -> &Cx {
        &self.cx
    }
}

impl BindCx {
    pub(crate) fn new(door: Door) -> BindCx {
        BindCx { cx: Cx::new(door) }
    }

    /// Makes a parameter. The host keeps, updates and saves it as `<term>.<name>`; steps read it with [`Cx::param`].
    pub fn add_param(&self, name: &str, shape: &[usize], init: &Init) -> Tensor {
        let json = init.json();
        let door = self.cx.door;
        Tensor::own(door, door.host.parameter()(door.ctx, name.into(), RSlice::from_slice(shape), json.as_str().into()))
    }

    /// Makes a buffer of the training float type: kept and saved, never trained. Steps read it with [`Cx::buffer`] and
    /// change it with [`Cx::set`].
    pub fn add_buffer(&self, name: &str, shape: &[usize], init: &Init) -> Tensor {
        self.add_buffer_of(name, shape, DType::F32, init)
    }

    /// Makes a buffer of another element type. `F32` and `F64` both mean the training float type.
    pub fn add_buffer_of(&self, name: &str, shape: &[usize], dtype: DType, init: &Init) -> Tensor {
        let (json, door) = (init.json(), self.cx.door);
        let shape = RSlice::from_slice(shape);
        Tensor::own(door, door.host.buffer()(door.ctx, name.into(), dtype as u32, shape, json.as_str().into()))
    }
}

/// A small generator (SplitMix64) for draws of a part's own, seeded by [`Cx::rng`].
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn from_seed(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `n`, which must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n.max(1))) >> 64) as u64
    }
}
