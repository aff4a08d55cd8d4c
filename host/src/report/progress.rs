//! How a run shows its progress: a bar on a terminal, a line an epoch elsewhere.

use crate::train::{EpochEnd, Observer, Progress as Step, StageStart};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows stages and epochs on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    terminal: bool,
    stage: String,
    epochs: u64,
    steps_per_epoch: u64,
    seeds: usize,
    seed: u64,
    samples: u64,
    since: Instant,
    shown: Instant,
}

const TEMPLATE: &str = "{prefix} {bar:24} {pos:>5}/{len} {eta:>4} left  {msg}";

impl Progress {
    /// For a run over this many seeds.
    pub fn new(seeds: usize) -> Progress {
        let now = Instant::now();
        Progress {
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            stage: String::new(),
            epochs: 0,
            steps_per_epoch: 1,
            seeds,
            seed: 0,
            samples: 0,
            since: now,
            shown: now,
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn name(&self) -> String {
        if self.seeds > 1 { format!("{} seed {}", self.stage, self.seed) } else { self.stage.clone() }
    }
}

impl Observer for Progress {
    fn stage_started(&mut self, start: &StageStart) {
        self.stage.clone_from(&start.stage);
        self.seed = start.seed;
        self.steps_per_epoch = start.steps_per_epoch.max(1);
        self.epochs = start.total_steps.div_ceil(self.steps_per_epoch);
        self.samples = 0;
        self.since = Instant::now();
        if self.terminal {
            let bar = ProgressBar::with_draw_target(Some(start.total_steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(format!("{:<16}", self.name()));
            bar.set_position(start.epochs_done * self.steps_per_epoch);
            bar.reset_eta();
            self.bar = Some(bar);
        }
    }

    fn stepped(&mut self, step: &Step<'_>) {
        self.samples += step.samples as u64;
        let Some(bar) = &self.bar else { return };
        bar.set_position(step.step);
        if self.shown.elapsed() > Duration::from_millis(200) {
            self.shown = Instant::now();
            let terms: Vec<String> = step.report.terms.iter().map(|term| format!("{} {:.4}", term.name, term.raw)).collect();
            let rate = self.samples as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
            bar.set_message(format!("epoch {}/{}  {}  {} img/s", step.epoch + 1, self.epochs, terms.join("  "), grouped(rate)));
        }
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        let mut line = format!("{:<16} epoch {:>3}/{}  total {:.4}", self.name(), end.epoch, self.epochs, end.total);
        if end.terms.len() > 1 {
            for term in &end.terms {
                line.push_str(&format!("  {} {:.4}", term.name, term.raw));
                if let Some(norm) = term.gradient_norm {
                    line.push_str(&format!(" (gradient {norm:.3e})"));
                }
            }
        }
        if let Some(accuracy) = end.metrics.accuracy {
            let star = if end.best && end.part == "val" { " *" } else { "" };
            line.push_str(&format!("  {} {:.2} %{star}", end.part, 100.0 * accuracy));
        }
        line.push_str(&format!("  {} img/s", grouped(end.samples_per_second)));
        self.say(&line);
    }

    fn said(&mut self, level: u32, term: &str, line: &str) {
        if level <= 3 {
            let kind = ["", "error", "warning", "note"][level.min(3) as usize];
            self.say(&format!("{kind}: {term}: {line}"));
        }
    }

    fn stage_ended(&mut self, _stage: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A whole number with thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn grouped_sets_thousands_apart() {
        assert_eq!([0.4, 999.0, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
