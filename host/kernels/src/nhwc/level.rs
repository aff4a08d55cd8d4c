//! Which instructions kernels use.

use std::cell::Cell;
use std::sync::OnceLock;

/// Instruction sets that kernels are compiled for, each a superset of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the target has.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

thread_local!(static CHOSEN: Cell<Option<Level>> = const { Cell::new(None) });

impl Level {
    /// The highest level of this processor, asked once.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        *DETECTED.get_or_init(detect)
    }

    /// The level of kernels called from this thread: [`Level::detected`] outside of [`Level::with`].
    pub fn current() -> Self {
        CHOSEN.get().unwrap_or_else(Self::detected)
    }

    /// Runs `task` with kernels at this level, as tests and measurements do. Kernels that `task` itself calls obey; it may
    /// not move to other threads first.
    ///
    /// # Panics
    /// When the processor lacks the level.
    pub fn with<R>(self, task: impl FnOnce() -> R) -> R {
        assert!(self <= Self::detected(), "this processor has no {self:?}");
        struct Restore(Option<Level>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CHOSEN.set(self.0);
            }
        }
        let _restore = Restore(CHOSEN.replace(Some(self)));
        task()
    }

    /// The levels of this processor, lowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|level| *level <= Self::detected())
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Level::Portable;
    }
    let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    if wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
        return Level::Avx512;
    }
    Level::Avx2
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}
