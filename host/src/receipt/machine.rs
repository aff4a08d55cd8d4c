//! Where a run runs.

use crate::manifest;
use serde::{Deserialize, Serialize};
use std::fs;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};
use stillhouse_kernels::nhwc::{Level, conv};

/// A machine, and what of it a run used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Operating system and architecture: `linux x86_64`.
    pub system: String,
    /// The processor's name, where the system tells.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Threads that computed.
    pub threads: usize,
    /// The instruction set of the kernels: `portable`, `avx2`, `avx512` or `avx512 bf16`.
    pub instructions: String,
    /// Where tensors were.
    pub device: String,
    /// What executed the graphs.
    pub executor: String,
}

impl Machine {
    /// This one, as a run of this manifest uses it.
    pub fn of(run: &manifest::Run) -> Machine {
        Machine {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: available_parallelism().map_or(1, usize::from),
            memory: field("/proc/meminfo", "MemTotal").and_then(|text| bytes(&text)),
            threads: rayon::current_num_threads(),
            instructions: instructions().into(),
            device: run.device.to_string(),
            executor: match run.executor {
                manifest::Executor::Candle => "candle",
                manifest::Executor::Auto | manifest::Executor::Fast => "fast",
            }
            .into(),
        }
    }
}

fn instructions() -> &'static str {
    match Level::detected() {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 if conv::has_bf16() => "avx512 bf16",
        Level::Avx512 => "avx512",
    }
}

/// The value behind `name` and a colon, in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

/// `12 kB` in bytes.
fn bytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The time in UTC, to the second: `2026-11-28T17:00:00Z`.
pub(super) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Counted in eras of 400 years from 1 March of the year 0, so that a leap day ends a year.
    let day_of = days + 719_468;
    let (era, day) = (day_of / 146_097, day_of % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", clock / 3600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn utc_of_known_times() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn bytes_of_what_the_system_says() {
        assert_eq!((bytes("12 kB"), bytes("12"), bytes("x kB")), (Some(12_288), None, None));
    }
}
