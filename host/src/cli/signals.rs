//! Signals that ask a run to stop.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The first signal is noted, so that a run ends where it can go on; a second one ends the process at once.
#[derive(Debug, Clone)]
pub(super) struct Signals(Arc<AtomicUsize>);

/// A signal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal(usize);

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn listen() -> io::Result<Signals> {
        let (first, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            register(signal, Arc::clone(&again))?;
            register_usize(signal, Arc::clone(&first), signal.unsigned_abs() as usize)?;
        }
        Ok(Signals(first))
    }

    /// Listens from now on, and no signal ends this process: [`Signals::take`] gives one after the other.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn listen_to_all() -> io::Result<Signals> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            register_usize(signal, Arc::clone(&last), signal.unsigned_abs() as usize)?;
        }
        Ok(Signals(last))
    }

    /// The end of standard input counts as `SIGTERM`: whoever holds its other end is gone, or wants this.
    pub(super) fn listen_to_input(&self) {
        let first = Arc::clone(&self.0);
        std::thread::spawn(move || {
            // An input that cannot be read has ended, too.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = first.compare_exchange(0, SIGTERM.unsigned_abs() as usize, Ordering::Relaxed, Ordering::Relaxed);
        });
    }

    /// The signal that came since this was last asked.
    pub(super) fn take(&self) -> Option<Signal> {
        match self.0.swap(0, Ordering::Relaxed) {
            0 => None,
            signal => Some(Signal(signal)),
        }
    }

    /// The signal that came.
    pub(super) fn received(&self) -> Option<Signal> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(Signal(signal)),
        }
    }
}

impl Signal {
    /// The exit code of a process that it ended, as shells count.
    pub(super) fn code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(u8::MAX)
    }
}
