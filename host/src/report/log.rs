//! The event log of a seed: one JSON object a line.
//!
//! `event` is `stage` (begins), `step` (every `log_every` updates: raw value, weight and, when asked for, gradient norm of each
//! term, and what parts emitted), `epoch` (means and metrics) or `said` (a part's own line).

use crate::ops::Emitted;
use crate::train::{EpochEnd, Observer, Progress, StageStart};
use candle_core::{DType, Result, Tensor};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Values of an emitted tensor that are written whole; of a larger one only shape, mean and range.
const WHOLE: usize = 256;

/// Writes events as JSON lines. A full disk stops the training at the next checkpoint, which would hold lines that are not there.
#[derive(Debug)]
pub struct EventLog {
    file: BufWriter<File>,
    failed: Option<io::Error>,
    stage: String,
    every: u64,
}

impl EventLog {
    pub(super) fn new(file: File) -> EventLog {
        EventLog { file: BufWriter::new(file), failed: None, stage: String::new(), every: 1 }
    }

    fn line(&mut self, event: &str, value: &impl Serialize) {
        let Ok(mut value) = serde_json::to_value(value) else { return };
        if let Some(object) = value.as_object_mut() {
            object.shift_insert(0, "event".into(), event.into());
        }
        let written = writeln!(self.file, "{value}").and_then(|()| self.file.flush());
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// Brings all lines to the disk and gives their length in bytes.
    ///
    /// # Errors
    /// A line could not be written.
    pub fn mark(&mut self) -> io::Result<u64> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.file.get_ref().metadata()?.len())
    }

    /// Drops the lines behind a mark; false when there are not as many.
    ///
    /// # Errors
    /// The file cannot be changed.
    pub fn rewind(&mut self, mark: u64) -> io::Result<bool> {
        self.file.flush()?;
        let length = self.file.get_ref().metadata()?.len();
        if length > mark {
            self.file.get_ref().set_len(mark)?;
        }
        Ok(length >= mark)
    }

    /// What went wrong first, if anything did.
    pub fn failure(self) -> Option<io::Error> {
        self.failed
    }
}

impl Observer for EventLog {
    fn stage_started(&mut self, start: &StageStart) {
        self.stage.clone_from(&start.stage);
        self.every = start.log_every.max(1);
        if !start.resumed {
            self.line("stage", start);
        }
    }

    fn stepped(&mut self, progress: &Progress<'_>) {
        if !progress.step.saturating_sub(1).is_multiple_of(self.every) {
            return;
        }
        let report = progress.report;
        let emitted: Vec<Value> = report.emitted.iter().filter_map(|(from, one)| emitted(from, one).ok()).collect();
        let mut line = json!({
            "stage": self.stage, "epoch": progress.epoch, "step": progress.step, "lr": progress.lr,
            "total": report.total, "terms": report.terms,
        });
        if let Some(error) = &report.skipped {
            line["left_out"] = error.to_string().into();
        }
        if !emitted.is_empty() {
            line["emitted"] = emitted.into();
        }
        self.line("step", &line);
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        self.line("epoch", end);
    }

    fn said(&mut self, level: u32, term: &str, line: &str) {
        self.line("said", &json!({ "level": level, "term": term, "text": line }));
    }
}

fn emitted(from: &str, one: &Emitted) -> Result<Value> {
    let flat: Tensor = one.value.flatten_all()?.to_dtype(DType::F64)?;
    let values = flat.to_vec1::<f64>()?;
    let mut line = json!({ "from": from, "name": one.name, "shape": one.value.dims() });
    if values.len() <= WHOLE {
        line["values"] = json!(values);
    } else {
        let range =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        line["mean"] = json!(values.iter().sum::<f64>() / values.len() as f64);
        line["range"] = json!([range.0, range.1]);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn emitted_small_is_whole_and_large_is_summed_up() {
        let of = |n: usize| Tensor::arange(0f32, n as f32, &Device::Cpu).expect("a tensor");
        let line = |n| emitted("term", &Emitted { name: "map".into(), value: of(n) }).expect("values");
        assert_eq!(line(3), json!({ "from": "term", "name": "map", "shape": [3], "values": [0.0, 1.0, 2.0] }));
        let large = line(301);
        assert_eq!((&large["mean"], &large["range"]), (&json!(150.0), &json!([0.0, 300.0])));
        assert!(large.get("values").is_none());
    }
}
