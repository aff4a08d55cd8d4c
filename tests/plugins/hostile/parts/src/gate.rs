//! A loss through which a test reaches into a step of a run.

use std::path::Path;
use std::time::{Duration, Instant};
use stillhouse_plugin::prelude::*;

/// Settings of [`Gate`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateConfig {
    /// The steps of the stage in which it looks for its file.
    steps: Vec<u64>,
    /// This file without a word: it writes `waits` beside it, and waits until the file is gone. With the number of a signal: it
    /// takes the file away, and the signal is raised on its thread.
    file: String,
}

/// The mean of the student's values; in some steps a file tells it to do something first.
pub(crate) struct Gate(GateConfig);

impl Component for Gate {
    type Config = GateConfig;
    const NAME: &'static str = "gate";
    const DOC: &'static str = "Gate in a step while a file is there";
    fn new(config: GateConfig) -> Result<Self> {
        Ok(Gate(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Gate {
    fn pass(&self) -> std::io::Result<()> {
        let (file, start) = (Path::new(&self.0.file), Instant::now());
        if let Ok(signal) = std::fs::read_to_string(file).unwrap_or_default().parse() {
            std::fs::remove_file(file)?;
            return signal_hook::low_level::raise(signal);
        }
        if file.exists() {
            std::fs::write(file.with_file_name("waits"), "")?;
        }
        while file.exists() {
            if start.elapsed() > Duration::from_secs(300) {
                return Err(std::io::Error::other("nobody took the file away"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Loss for Gate {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let student = x.one("student")?;
        // Asked in the trace, too, so that no graph stands for this part.
        let moment = cx.moment();
        if !student.is_symbolic()? && moment.training && self.0.steps.contains(&moment.step) {
            self.pass().map_err(|error| Error::new(error.to_string()))?;
        }
        Ok(student.mean_all())
    }
}

register!(loss Gate);
