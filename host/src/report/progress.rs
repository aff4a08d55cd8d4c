//! How a run shows its progress: a bar on a terminal, a line an epoch elsewhere.

use super::line::{NAME, NARROW, clock, epoch_line, epoch_of, fitted, grouped, number};
use super::output::tell;
use crate::train::{EpochEnd, Observer, Progress as Step, StageStart};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows stages and epochs on standard error.
pub struct Progress {
    /// Cleared when it is dropped, so that an error stands on a line of its own.
    bar: Option<ProgressBar>,
    terminal: bool,
    stage: String,
    epochs: u64,
    total: u64,
    steps_per_epoch: u64,
    seeds: usize,
    seed: u64,
    /// Updates that were made before: a resumed stage has some.
    before: u64,
    since: Instant,
    /// Samples of this epoch, and when it began.
    samples: u64,
    epoch_since: Instant,
    shown: Instant,
}

const TEMPLATE: &str = "{prefix} {bar:16} {wide_msg}";
/// Columns of prefix and bar with the spaces after them.
const TAKEN: usize = NAME + 1 + 16 + 1;

impl Progress {
    /// For a run over this many seeds.
    pub fn new(seeds: usize) -> Progress {
        let now = Instant::now();
        Progress {
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            stage: String::new(),
            epochs: 0,
            total: 0,
            steps_per_epoch: 1,
            seeds,
            seed: 0,
            before: 0,
            since: now,
            samples: 0,
            epoch_since: now,
            shown: now,
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => tell(line),
        }
    }

    fn name(&self) -> String {
        if self.seeds > 1 { format!("{} #{}", self.stage, self.seed) } else { self.stage.clone() }
    }

    /// Epoch, time left, and as many terms as a narrow terminal holds beside the bar.
    fn message(&self, step: &Step<'_>) -> String {
        let seconds = self.since.elapsed().as_secs_f64();
        let left =
            seconds / step.step.saturating_sub(self.before).max(1) as f64 * self.total.saturating_sub(step.step) as f64;
        let rate = self.samples as f64 / self.epoch_since.elapsed().as_secs_f64().max(1e-9);
        let start = format!("{} {} left {:>7}/s", epoch_of(step.epoch + 1, self.epochs), clock(left), grouped(rate));
        let terms: Vec<String> =
            step.report.terms.iter().map(|term| format!("  {} {}", term.name, number(term.raw))).collect();
        fitted(start, &terms, NARROW - TAKEN)
    }

    fn bar(&self, start: &StageStart) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(start.total_steps), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(format!("{:<NAME$}", self.name()));
        bar.set_position(self.before);
        bar
    }
}

impl Observer for Progress {
    fn stage_started(&mut self, start: &StageStart) {
        self.stage.clone_from(&start.stage);
        self.seed = start.seed;
        self.total = start.total_steps;
        self.steps_per_epoch = start.steps_per_epoch.max(1);
        self.epochs = start.total_steps.div_ceil(self.steps_per_epoch);
        self.before = start.steps_done;
        self.samples = 0;
        self.since = Instant::now();
        self.epoch_since = self.since;
        let within = start.steps_done.saturating_sub(start.epochs_done * self.steps_per_epoch);
        let goes_on = match (start.epochs_done, within) {
            (0, 0) => String::new(),
            (done, _) if done >= self.epochs => ", done before".to_owned(),
            (done, 0) => format!(", goes on after epoch {done}"),
            (done, within) => format!(", goes on in epoch {} after update {within}", done + 1),
        };
        self.say(&format!(
            "{:<NAME$} {} trained values, {} epochs of {} updates{goes_on}",
            self.name(),
            grouped(start.parameters as f64),
            self.epochs,
            self.steps_per_epoch
        ));
        self.bar = self.terminal.then(|| self.bar(start));
    }

    fn stepped(&mut self, step: &Step<'_>) {
        self.samples += step.samples as u64;
        let Some(bar) = &self.bar else { return };
        bar.set_position(step.step);
        if self.shown.elapsed() > Duration::from_millis(200) {
            self.shown = Instant::now();
            bar.set_message(self.message(step));
        }
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        self.say(&epoch_line(&self.name(), self.epochs, end, self.terminal));
        self.samples = 0;
        self.epoch_since = Instant::now();
    }

    fn said(&mut self, level: u32, term: &str, line: &str) {
        if level <= 3 {
            let kind = ["", "error", "warning", "note"][level.min(3) as usize];
            self.say(&format!("{kind}: {term}: {line}"));
        }
    }

    fn noted(&mut self, line: &str) {
        self.say(&format!("note: {line}"));
    }

    fn stage_ended(&mut self, _stage: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
