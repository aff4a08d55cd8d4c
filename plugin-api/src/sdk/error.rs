//! The error of a part.

use crate::abi::{AbiError, code};

/// Result of anything that a part does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a part could not go on: a message (lower case, no final period) and what it happened in.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{message}", context.iter().rev().map(|c| format!("{c}: ")).collect::<String>())]
pub struct Error {
    code: u32,
    message: String,
    context: Vec<String>,
}

impl Error {
    /// An error of the component itself.
    pub fn new(message: impl Into<String>) -> Error {
        Error { code: code::COMPONENT, message: message.into(), context: vec![] }
    }

    pub(crate) fn coded(code: u32, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), context: vec![] }
    }

    /// The same error, with what it happened in.
    pub fn within(mut self, context: impl Into<String>) -> Error {
        self.context.push(context.into());
        self
    }

    /// The same error, with a place in the source at its end.
    pub(crate) fn at(mut self, place: &std::panic::Location<'_>) -> Error {
        self.message += &format!(" ({place})");
        self
    }

    /// The message without its context.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Number of the cause; see [`crate::abi::code`].
    pub fn code(&self) -> u32 {
        self.code
    }

    pub(crate) fn from_abi(error: AbiError) -> Error {
        let context = error.context.into_iter().map(|c| c.into_string()).collect();
        Error { code: error.code, message: error.message.into_string(), context }
    }

    pub(crate) fn into_abi(self) -> AbiError {
        let context = self.context.into_iter().map(Into::into).collect();
        AbiError::within(self.code, self.message.into(), context)
    }
}

/// Returns an [`Error`] with the formatted message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return ::std::result::Result::Err($crate::Error::new(::std::format!($($message)+)));
        }
    };
}
