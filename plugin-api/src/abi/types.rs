//! Handles and errors.

use abi_stable::StableAbi;
use abi_stable::std_types::{RResult, RString, RVec};

/// A tensor of the host: a slot of the current call and the slot's generation, so that a stale handle is an error.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Handle {
    pub slot: u32,
    pub generation: u32,
}

/// The call in whose name the host is asked. It is a number, not an address.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ctx(pub u64);

/// Codes of [`AbiError`].
pub mod code {
    /// The component refused its inputs or failed.
    pub const COMPONENT: u32 = 1;
    /// The component panicked.
    pub const PANIC: u32 = 2;
    /// Its configuration is wrong.
    pub const CONFIG: u32 = 3;
    /// An operation of the host failed.
    pub const OPERATION: u32 = 4;
    /// The host lacks what was asked for.
    pub const UNSUPPORTED: u32 = 5;
    /// A call that is not allowed here (a parameter made in a step, say).
    pub const MISUSE: u32 = 6;
}

/// An error on its way across: a code, a message and what it happened in, innermost first.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiError {
    pub code: u32,
    /// Reserved.
    pub flags: u32,
    pub message: RString,
    pub context: RVec<RString>,
    /// Further facts as a JSON object, which only grows; empty when there are none.
    pub facts: RString,
}

impl AbiError {
    /// An error without context.
    pub fn new(code: u32, message: impl Into<String>) -> AbiError {
        AbiError::within(code, message.into().into(), RVec::new())
    }

    /// An error with what it happened in.
    pub fn within(code: u32, message: RString, context: RVec<RString>) -> AbiError {
        AbiError { code, flags: 0, message, context, facts: RString::new() }
    }
}

/// Result of a call across the boundary.
pub type AbiResult<T> = RResult<T, AbiError>;
