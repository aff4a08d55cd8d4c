//! Where in the author's source the first failing operation of a call stands.

use super::error::Error;
use crate::abi::code;
use std::cell::Cell;
use std::panic::Location;

thread_local! {
    static FIRST: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// A call begins.
pub(super) fn clear() {
    FIRST.set(None);
}

/// An operation failed here; the first one counts.
pub(super) fn note(place: &'static Location<'static>) {
    if FIRST.get().is_none() {
        FIRST.set(Some(place));
    }
}

/// The error of an operation, with its place if that is known.
pub(super) fn told(error: Error) -> Error {
    match FIRST.take().filter(|_| error.code() == code::OPERATION) {
        Some(place) => error.at(place),
        None => error,
    }
}
