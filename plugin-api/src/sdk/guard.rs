//! No panic leaves a plugin: it becomes an error that names the component and the source line.

use super::error::{Error, Result};
use super::place;
use crate::abi::{AbiError, AbiResult, abi_stable::std_types::RResult, code};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// True where parts run inside a test, whose panics keep their usual message.
static AS_USUAL: AtomicBool = AtomicBool::new(false);

/// Leaves the panic hook of this process alone from now on; for parts that run in process.
pub(crate) fn leave_hook() {
    AS_USUAL.store(true, Ordering::Relaxed);
}

/// Notes where a panic starts, in place of printing it. Each plugin has its own copy of the standard library, so this hook is
/// the plugin's alone.
fn install_hook() {
    static ONCE: Once = Once::new();
    if AS_USUAL.load(Ordering::Relaxed) {
        return;
    }
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PLACE.set(info.location().map(ToString::to_string));
        }));
    });
}

/// Runs `work` for the component `name`.
pub(crate) fn guard<T>(name: &str, work: impl FnOnce() -> Result<T>) -> AbiResult<T> {
    install_hook();
    place::clear();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => RResult::ROk(value),
        Ok(Err(error)) => RResult::RErr(error.into_abi()),
        Err(payload) => RResult::RErr(panicked(name, payload)),
    }
}

/// What is told of a panic. Apart from [`guard`], since that is compiled once for every result.
#[cold]
fn panicked(name: &str, payload: Box<dyn Any + Send>) -> AbiError {
    Error::coded(code::PANIC, format!("`{name}` {}", words(payload))).into_abi()
}

/// Runs a piece of work on a thread of the host; a panic becomes words.
pub(crate) fn piece(work: impl FnOnce()) -> std::result::Result<(), String> {
    install_hook();
    catch_unwind(AssertUnwindSafe(work)).map_err(words)
}

/// Where a panic of this thread was, and what it said.
#[cold]
fn words(payload: Box<dyn Any + Send>) -> String {
    let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
    let said = said.unwrap_or_else(|| "a panic without text".into());
    // The payload may be of a type whose destructor panics again.
    std::mem::forget(payload);
    let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
    format!("panicked{place}: {said}")
}

/// Drops a value of `name`; a panic in its destructor ends here, and since no call waits for an error it is told at once.
pub(crate) fn quiet_drop<T>(name: &str, value: T) {
    install_hook();
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        eprintln!("warning: `{name}` {}, when it was dropped", words(payload));
    }
}
