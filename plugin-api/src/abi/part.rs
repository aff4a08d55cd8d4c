//! The one object that crosses.

use super::types::{AbiResult, Ctx, Handle};
use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RSlice, RStr, RString, RVec};

/// Values bound to a port. `handles` holds `taps * frames` tensors, tap by tap; `frames` is 1 for a port that is not over
/// time.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct PortValue<'a> {
    pub name: RStr<'a>,
    pub handles: RSlice<'a, Handle>,
    pub frames: usize,
    pub reserved: [u64; 2],
}

impl<'a> PortValue<'a> {
    /// `handles` of a port, `frames` for each tap.
    pub fn new(name: &'a str, handles: &'a [Handle], frames: usize) -> PortValue<'a> {
        PortValue { name: name.into(), handles: RSlice::from_slice(handles), frames, reserved: [0; 2] }
    }
}

/// A tensor that a part gives back.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct Named {
    pub role: u32,
    /// Reserved.
    pub flags: u32,
    pub name: RString,
    pub handle: Handle,
    pub reserved: u64,
}

impl Named {
    /// A tensor in a role, under a name that may be empty.
    pub fn new(role: u32, name: impl Into<RString>, handle: Handle) -> Named {
        Named { role, flags: 0, name: name.into(), handle, reserved: 0 }
    }
}

/// Roles of [`Named`].
pub mod role {
    /// A raw term of the objective, a scalar.
    pub const TERM: u32 = 0;
    /// The output of a connector or module.
    pub const OUTPUT: u32 = 1;
    /// State for the next frame.
    pub const STATE: u32 = 2;
    /// A value that can be tapped, for other parts.
    pub const VALUE: u32 = 3;
}

/// Kinds of [`Part::event`].
pub mod event {
    pub const STAGE_START: u32 = 0;
    pub const EPOCH_START: u32 = 1;
    pub const EPOCH_END: u32 = 2;
    pub const STAGE_END: u32 = 3;
}

/// What a plugin makes, whatever its kind. The order of calls: `plan` (distillers), `bind` once, then `run` and `event`.
#[sabi_trait]
pub trait Part: Send + Sync + 'static {
    /// What the method needs, as JSON, for a site described in JSON.
    fn plan(&mut self, site: RStr<'_>) -> AbiResult<RString>;
    /// Sees symbolic inputs and makes its parameters and buffers.
    fn bind(&mut self, cx: Ctx, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<()>;
    /// One step.
    fn run(&self, cx: Ctx, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<RVec<Named>>;
    /// Something happened; `ports` is reserved and empty. Kinds that a part does not know are no error.
    #[sabi(last_prefix_field)]
    fn event(&self, cx: Ctx, kind: u32, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<()>;
}

/// A part as it crosses.
pub type PartBox = Part_TO<RBox<()>>;
