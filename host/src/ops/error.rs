//! Errors of parts and of the operations that they ask for.

use super::failed::Circumstances;
use stillhouse_plugin::abi::{AbiError, code};

/// Why a part, or an operation of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The part said so, panicked, or asked for an operation that failed.
    #[error("{}: {message}", ticked(part))]
    Part {
        /// Term or path of the part, and its component.
        part: String,
        /// What it said.
        message: String,
        /// Cause, as in [`stillhouse_plugin::abi::code`].
        code: u32,
        /// Where the call was; absent before training.
        at: Option<Box<Circumstances>>,
    },
    /// The part gave something that its kind must not give.
    #[error("{} {message}", ticked(part))]
    Result {
        /// Term or path of the part, and its component.
        part: String,
        /// What was wrong.
        message: String,
    },
    /// candle failed outside of a part.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A name in backticks, unless it has some.
fn ticked(part: &str) -> String {
    if part.contains('`') { part.to_owned() } else { format!("`{part}`") }
}

impl OpError {
    pub(super) fn of_part(part: &str, error: AbiError) -> OpError {
        let context: String = error.context.iter().rev().map(|c| format!("{c}: ")).collect();
        OpError::Part { part: part.into(), message: format!("{context}{}", error.message), code: error.code, at: None }
    }

    /// The same of a call in a step.
    pub(super) fn at(self, circumstances: impl FnOnce(&str) -> Circumstances) -> OpError {
        match self {
            OpError::Part { part, message, code, at: None } => {
                let at = Some(Box::new(circumstances(&message)));
                OpError::Part { part, message, code, at }
            }
            other => other,
        }
    }

    /// Lines beside the message: where the call was and what it read.
    pub fn notes(&self) -> Vec<String> {
        match self {
            OpError::Part { at: Some(at), .. } => at.notes(),
            _ => vec![],
        }
    }

    /// True when the part, or an operation of its own, panicked.
    pub fn is_panic(&self) -> bool {
        match self {
            OpError::Part { code, .. } => *code == code::PANIC,
            OpError::Candle(error) => super::native::is_panic(error),
            OpError::Result { .. } => false,
        }
    }
}
