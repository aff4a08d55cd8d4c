//! Targets for libFuzzer: damaged inputs for what reads files that may come from anybody.
//!
//! ```text
//! cargo install cargo-fuzz && cd host
//! cargo +nightly fuzz run image -- -max_total_time=3600 -timeout=5
//! mkdir -p fuzz/corpus/manifest
//! cargo +nightly fuzz run manifest fuzz/corpus/manifest ../examples -- -max_total_time=3600 -timeout=5
//! ```
//! and `checkpoint`, `recording`, `cache`. What each is shown to, [`looks`], is also compiled and run on some damages by the tests of
//! the host (`tests/damaged.rs`).

pub mod looks;

/// The smallest file that is taken for a plugin's; its source is `seeds/plugin.c`.
pub fn plugin() -> Vec<u8> {
    include_bytes!(concat!(env!("OUT_DIR"), "/plugin.so")).to_vec()
}

/// A small manifest; that of the first steps.
pub fn small() -> Vec<u8> {
    include_bytes!("../../../examples/quickstart.toml").to_vec()
}

/// The next input: what libFuzzer makes of the last one; the whole file where it has nothing yet.
pub fn mutated(data: &mut [u8], size: usize, most: usize, whole: &[u8]) -> usize {
    if size < 2 && whole.len() <= most {
        data[..whole.len()].copy_from_slice(whole);
        return whole.len();
    }
    libfuzzer_sys::fuzzer_mutate(data, size, most)
}

/// A target: a whole file to begin with, and what reads damaged ones.
#[macro_export]
macro_rules! target {
    ($whole:expr, $look:expr) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $look(input);
        });

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, _seed: u32| {
            $crate::mutated(data, size, most, &$whole())
        });
    };
}
