//! What can still be said when a part ends the process: by `exit`, a stack that overflows, a wrong address, `abort`.
//!
//! The command arms it once. From then on the line of the call that runs lies where a handler of the system finds it; the handler
//! writes it and nothing else, without allocating.

use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);
/// The call that runs, on the stack of the thread that trains.
static CALL: AtomicPtr<Call<'static>> = AtomicPtr::new(null_mut());

/// A call into a plugin, of a stage's step, or without a stage of what comes before.
struct Call<'a> {
    who: &'a str,
    stage: &'a str,
    step: u64,
}

/// Runs `work`, a call into the part that `who` names. Of all threads only the one that trains may call it once
/// [`arm`] was called.
pub fn during<T>(who: &str, stage: &str, step: u64, work: impl FnOnce() -> T) -> T {
    if !ARMED.load(Ordering::Relaxed) {
        return work();
    }
    /// Puts back what was there, also when the call unwinds.
    struct Before(*mut Call<'static>);
    impl Drop for Before {
        fn drop(&mut self) {
            CALL.store(self.0, Ordering::SeqCst);
        }
    }
    let call = Call { who, stage, step };
    let _before = Before(CALL.swap(std::ptr::from_ref(&call).cast_mut().cast(), Ordering::SeqCst));
    work()
}

/// Runs `work`, a piece of the training that is in a call already, or in none.
pub fn within<T>(who: impl FnOnce() -> String, work: impl FnOnce() -> T) -> T {
    let call = CALL.load(Ordering::SeqCst);
    // SAFETY: a pointer that is not null is that of a call on the stack of the thread that trains; only that thread stores one, and
    // it is in that call. On another thread the call that is read is that of the thread that waits for this one.
    match unsafe { call.as_ref() } {
        Some(Call { stage, step, .. }) => during(&who(), stage, *step, work),
        None => work(),
    }
}

/// From now on the end of the process within a part is told. `checkpoint` is the file that says that there is something to go on
/// with; `folder` is where it lies.
pub fn arm(checkpoint: &Path, folder: &Path) {
    system::install();
    system::note(checkpoint, folder);
    ARMED.store(true, Ordering::Relaxed);
}

#[cfg(unix)]
mod system {
    use super::{CALL, Call};
    use libc::{c_int, c_void, siginfo_t};
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::ptr::null_mut;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    const SIGNALS: [(c_int, &str); 5] = [
        (libc::SIGSEGV, "a wrong address, or its stack is full (SIGSEGV)"),
        (libc::SIGBUS, "a wrong address (SIGBUS)"),
        (libc::SIGILL, "an instruction that this processor does not have (SIGILL)"),
        (libc::SIGFPE, "an impossible division (SIGFPE)"),
        (libc::SIGABRT, "it aborted (SIGABRT)"),
    ];

    /// What handled each signal before.
    static BEFORE: [OnceLock<libc::sigaction>; 5] = [const { OnceLock::new() }; 5];
    static NOTE: AtomicPtr<Note> = AtomicPtr::new(null_mut());

    struct Note {
        checkpoint: CString,
        text: String,
    }

    pub(super) fn note(checkpoint: &Path, folder: &Path) {
        let Ok(checkpoint) = CString::new(checkpoint.as_os_str().as_bytes()) else { return };
        let text = format!("\n  the last checkpoint is in {}; go on with `--resume`", folder.display());
        // Kept for good, since a handler may read it at any time; there is one for each seed of a run.
        NOTE.store(Box::into_raw(Box::new(Note { checkpoint, text })), Ordering::SeqCst);
    }

    pub(super) fn install() {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            // SAFETY: `at_exit` neither unwinds nor takes anything.
            unsafe { libc::atexit(at_exit) };
            for ((signal, _), before) in SIGNALS.iter().zip(&BEFORE) {
                // SAFETY: all zeros is an empty action; both structs live for the call, and `on_signal` has the signature that
                // `SA_SIGINFO` says. It runs on the thread's own stack for signals where there is one.
                unsafe {
                    let (mut new, mut old): (libc::sigaction, libc::sigaction) =
                        (std::mem::zeroed(), std::mem::zeroed());
                    new.sa_sigaction = on_signal as *const () as usize;
                    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                    if libc::sigaction(*signal, &new, &mut old) == 0 {
                        let _ = before.set(old);
                    }
                }
            }
        });
    }

    extern "C" fn at_exit() {
        say("it called `exit`");
    }

    extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let at = SIGNALS.iter().position(|(known, _)| *known == signal);
        say(at.map_or("a signal", |at| SIGNALS[at].1));
        let before = at.and_then(|at| BEFORE[at].get());
        match before {
            Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 && before.sa_sigaction > libc::SIG_IGN => {
                type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                // SAFETY: an action with `SA_SIGINFO` has the address of a function of this signature.
                let handler: Handler = unsafe { std::mem::transmute(before.sa_sigaction) };
                handler(signal, info, context);
            }
            // The system's own way takes its course when the instruction is tried again.
            // SAFETY: setting the default action is allowed in a handler.
            _ => unsafe {
                libc::signal(signal, libc::SIG_DFL);
            },
        }
    }

    /// Writes the line of the call that runs, once.
    fn say(what: &str) {
        let call = CALL.swap(null_mut(), Ordering::SeqCst);
        // SAFETY: a pointer that is not null is that of a call on the stack of the thread that trains, which is in that call.
        let Some(Call { who, stage, step }) = (unsafe { call.as_ref() }) else { return };
        let mut digits = [0; 20];
        let when = match *stage {
            "" => ["when the run was planned", "", "", ""],
            stage => ["at step ", number(*step, &mut digits), " of stage `", stage],
        };
        let end = if stage.is_empty() { ": " } else { "`: " };
        for text in ["error: ", who, " ended the process "].into_iter().chain(when).chain([end, what]) {
            write(text);
        }
        // SAFETY: the note is never freed.
        if let Some(note) = unsafe { NOTE.load(Ordering::SeqCst).as_ref() } {
            // SAFETY: the path ends with a zero; `access` is allowed in a handler.
            if unsafe { libc::access(note.checkpoint.as_ptr(), libc::R_OK) } == 0 {
                write(&note.text);
            }
        }
        write("\n");
    }

    fn write(text: &str) {
        // SAFETY: the bytes live for the call, which a handler may make; there is nobody to tell of an error.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }

    /// A number in decimal, without allocating.
    fn number(mut value: u64, digits: &mut [u8; 20]) -> &str {
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        std::str::from_utf8(&digits[start..]).unwrap_or_default()
    }

    #[cfg(test)]
    mod tests {
        use super::number;

        #[test]
        fn number_is_decimal() {
            let text = |value| number(value, &mut [0; 20]).to_owned();
            assert_eq!([text(0), text(10), text(u64::MAX)], ["0", "10", "18446744073709551615"]);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::path::Path;

    pub(super) fn install() {}
    pub(super) fn note(_: &Path, _: &Path) {}
}
