//! Work on the threads of the host: in a step by [`Cx::parallel_for`](super::Cx::parallel_for), in an own operation by
//! [`parallel_for`].

use super::error::{Error, Result};
use super::guard::piece;
use crate::abi::{self, Ctx, HostApi_Ref, NO_CALL, code};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// The host in whose name an own operation runs on this thread.
    static HOST: Cell<Option<HostApi_Ref>> = const { Cell::new(None) };
}

/// Runs an own operation in the name of a host.
pub(super) fn on<T>(host: HostApi_Ref, work: impl FnOnce() -> T) -> T {
    struct Before(Option<HostApi_Ref>);
    impl Drop for Before {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let _before = Before(HOST.replace(Some(host)));
    work()
}

/// Runs `work(start, end)` over pieces of `0 .. n`, each of `grain` but the last, on the host's threads: for
/// [`FusedOp`](super::FusedOp), whose functions have no context. Outside of them the pieces run here, one after the other. What a
/// piece gives must not depend on the number of threads. Hold no lock across it.
///
/// # Errors
/// A piece panicked.
pub fn parallel_for(n: usize, grain: usize, work: impl Fn(usize, usize) + Sync) -> Result<()> {
    match HOST.get() {
        Some(host) => pieces(host, NO_CALL, n, grain, work),
        None => {
            let grain = grain.max(1);
            (0..n).step_by(grain).for_each(|start| work(start, n.min(start.saturating_add(grain))));
            Ok(())
        }
    }
}

/// The same for any call; the words of the first panic are kept.
pub(super) fn pieces(
    host: HostApi_Ref,
    cx: Ctx,
    n: usize,
    grain: usize,
    work: impl Fn(usize, usize) + Sync,
) -> Result<()> {
    let first = Mutex::new(None);
    let done = abi::parallel_for(host, cx, n, grain.max(1), &|start, end| match piece(|| work(start, end)) {
        Ok(()) => true,
        Err(words) => {
            first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
            false
        }
    });
    if done {
        return Ok(());
    }
    let words = first.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(|| "panicked".into());
    Err(Error::coded(code::PANIC, format!("a piece of `parallel_for` {words}")))
}
