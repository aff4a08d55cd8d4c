//! The final table: teacher, student alone, student distilled.

use super::measures::{Measures, measures, write_maps};
use crate::train::{FrameMetrics, Metrics, Nearness, Outcome, Role};
use serde::Serialize;

/// One model over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the model.
    pub model: String,
    /// What it is.
    pub role: Role,
    /// Trained values.
    pub parameters: usize,
    /// Number of seeds.
    pub seeds: usize,
    /// Mean accuracy, 0 to 1.
    pub accuracy: Option<f64>,
    /// Standard deviation of the accuracy over seeds (of the sample, n - 1).
    pub accuracy_deviation: Option<f64>,
    /// Mean negative log-likelihood, nats.
    pub nll: Option<f64>,
    /// Of a predictor of frames: means over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameMetrics>,
    /// Standard deviation of its error over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse_deviation: Option<f64>,
    /// Of a predictor of maps.
    #[serde(skip_serializing_if = "Measures::is_empty")]
    pub maps: Measures,
}

/// The rows, and how far the distilled student is ahead of the one that learned alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// One row a model.
    pub rows: Vec<Summary>,
    /// Accuracy (of maps correlation) of the distilled student less that of the student alone: mean over seeds and its standard error.
    pub gain: Vec<Gain>,
}

/// What a student gained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// The student.
    pub model: String,
    /// What is compared: `accuracy`, or `cc`.
    pub metric: &'static str,
    /// Mean difference of the metric at the same seed.
    pub mean: f64,
    /// Standard error of that mean; absent with one seed.
    pub standard_error: Option<f64>,
}

/// Brings the outcomes of all seeds together.
pub fn summarise(outcomes: &[Outcome]) -> Table {
    let mut names: Vec<&str> = vec![];
    for outcome in outcomes {
        if !names.contains(&outcome.model.as_str()) {
            names.push(&outcome.model);
        }
    }
    let mut rows: Vec<Summary> = names.into_iter().filter_map(|name| summary(name, outcomes)).collect();
    rows.sort_by_key(|row| row.role as u8);
    let gain =
        rows.iter().filter(|row| row.role == Role::Distilled).filter_map(|row| gain(&row.model, outcomes)).collect();
    Table { rows, gain }
}

fn summary(name: &str, outcomes: &[Outcome]) -> Option<Summary> {
    let own: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.model == name).collect();
    let first = own.first()?;
    let accuracies: Vec<f64> = own.iter().filter_map(|outcome| outcome.metrics.accuracy).collect();
    let nlls: Vec<f64> = own.iter().filter_map(|outcome| outcome.metrics.nll).collect();
    let frames: Vec<FrameMetrics> = own.iter().filter_map(|outcome| outcome.metrics.frames).collect();
    let errors: Vec<f64> = frames.iter().map(|frames| frames.predicted.mse).collect();
    Some(Summary {
        frames: mean_frames(&frames),
        mse_deviation: deviation(&errors),
        maps: measures(&own),
        model: name.into(),
        role: first.role,
        parameters: first.parameters,
        seeds: own.len(),
        accuracy: mean(&accuracies),
        accuracy_deviation: deviation(&accuracies),
        nll: mean(&nlls),
    })
}

fn mean_frames(all: &[FrameMetrics]) -> Option<FrameMetrics> {
    let mean = |of: fn(&FrameMetrics) -> Nearness| {
        let mean = |value: fn(&Nearness) -> f64| mean(&all.iter().map(|frames| value(&of(frames))).collect::<Vec<_>>());
        Some(Nearness { mse: mean(|near| near.mse)?, ssim: mean(|near| near.ssim)?, psnr: mean(|near| near.psnr)? })
    };
    Some(FrameMetrics { predicted: mean(|frames| frames.predicted)?, persistence: mean(|frames| frames.persistence)? })
}

fn gain(name: &str, outcomes: &[Outcome]) -> Option<Gain> {
    let of = |model: &str, seed: u64, metric: &str| {
        outcomes
            .iter()
            .find(|outcome| outcome.model == model && outcome.seed == seed)
            .and_then(|outcome| outcome.metrics.get(metric))
    };
    let alone = format!("{name}-alone");
    let seeds: Vec<u64> = outcomes.iter().filter(|outcome| outcome.model == name).map(|outcome| outcome.seed).collect();
    Metrics::MAIN.into_iter().find_map(|metric| {
        let difference = |seed: &u64| Some(of(name, *seed, metric)? - of(&alone, *seed, metric)?);
        let differences: Vec<f64> = seeds.iter().filter_map(difference).collect();
        let standard_error = deviation(&differences).map(|deviation| deviation / (differences.len() as f64).sqrt());
        Some(Gain { model: name.into(), metric, mean: mean(&differences)?, standard_error })
    })
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Of the sample; `None` with fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    Some((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt())
}

impl Summary {
    /// As the table names it.
    pub fn label(&self) -> String {
        let origin = self.model.strip_suffix("-alone").unwrap_or(&self.model);
        match self.role {
            Role::Teacher if self.model == "teacher" => "teacher".into(),
            Role::Teacher => format!("{} (teacher)", self.model),
            Role::Alone => format!("{origin} alone"),
            Role::Distilled => format!("{} distilled", self.model),
            Role::Trained => self.model.clone(),
        }
    }
}

/// Lines of cells, the first column to the left.
pub(crate) fn write_columns<const N: usize>(
    f: &mut std::fmt::Formatter<'_>,
    lines: &[[String; N]],
) -> std::fmt::Result {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    for line in lines {
        write!(f, "{:<1$}", line[0], width(0))?;
        for (column, cell) in line.iter().enumerate().skip(1) {
            write!(f, "  {cell:>0$}", width(column))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

impl Table {
    fn write_gain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Gain { model, metric, mean, standard_error } in &self.gain {
            let (factor, digits, unit) = if *metric == "accuracy" { (100.0, 2, "points") } else { (1.0, 4, *metric) };
            let error =
                standard_error.map_or(String::new(), |error| format!(" (standard error {:.digits$})", factor * error));
            writeln!(f, "{model}: {:+.digits$} {unit} by distillation{error}", factor * mean)?;
        }
        Ok(())
    }

    /// Predictors of frames, and what the last given frame would reach on the data of each.
    fn write_frames(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows: Vec<(&Summary, FrameMetrics)> = self.rows.iter().filter_map(|row| Some((row, row.frames?))).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let head = [
            "predictor",
            "parameters",
            "test mse a frame",
            "persistence",
            "ssim",
            "persistence",
            "psnr",
            "persistence",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        for (row, FrameMetrics { predicted, persistence }) in rows {
            let spread = row.mse_deviation.map_or(String::new(), |spread| format!(" ± {spread:.2}"));
            lines.push([
                row.label(),
                row.parameters.to_string(),
                format!("{:.2}{spread}", predicted.mse),
                format!("{:.2}", persistence.mse),
                format!("{:.4}", predicted.ssim),
                format!("{:.4}", persistence.ssim),
                format!("{:.2}", predicted.psnr),
                format!("{:.2}", persistence.psnr),
            ]);
        }
        write_columns(f, &lines)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write_frames(f)?;
        write_maps(f, &self.rows)?;
        let classes: Vec<&Summary> =
            self.rows.iter().filter(|row| row.frames.is_none() && row.maps.is_empty()).collect();
        if classes.is_empty() {
            return self.write_gain(f);
        }
        let mut lines = vec![["model".to_owned(), "parameters".into(), "test accuracy".into(), "test nll".into()]];
        for row in classes {
            let accuracy = match (row.accuracy, row.accuracy_deviation) {
                (Some(mean), Some(spread)) => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * spread),
                (Some(mean), None) => format!("{:.2} %", 100.0 * mean),
                _ => "-".into(),
            };
            let nll = row.nll.map_or("-".into(), |nll| format!("{nll:.4}"));
            lines.push([row.label(), row.parameters.to_string(), accuracy, nll]);
        }
        write_columns(f, &lines)?;
        self.write_gain(f)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report) fn outcome(model: &str, role: Role, seed: u64, accuracy: f64) -> Outcome {
        let metrics = Metrics { samples: 10, accuracy: Some(accuracy), nll: Some(0.5), ..Metrics::default() };
        Outcome { model: model.into(), role, stage: None, seed, parameters: 100, metrics, weights: String::new() }
    }

    #[test]
    fn table_of_two_seeds_shows_mean_spread_and_gain() {
        let outcomes = [
            outcome("student", Role::Distilled, 1, 0.92),
            outcome("student-alone", Role::Alone, 1, 0.90),
            outcome("student", Role::Distilled, 2, 0.96),
            outcome("student-alone", Role::Alone, 2, 0.90),
            outcome("teacher", Role::Teacher, 1, 0.98),
        ];
        let wanted = "\
model              parameters   test accuracy  test nll
teacher                   100         98.00 %    0.5000
student alone             100  90.00 ± 0.00 %    0.5000
student distilled         100  94.00 ± 2.83 %    0.5000
student: +4.00 points by distillation (standard error 2.00)
";
        assert_eq!(summarise(&outcomes).to_string(), wanted);
    }

    #[test]
    fn table_of_predictors_has_persistence_beside_them() {
        let near = |mse| Nearness { mse, ssim: 0.5, psnr: 20.0 };
        let frames = |mse| Some(FrameMetrics { predicted: near(mse), persistence: near(90.0) });
        let of = |seed, mse| {
            let mut outcome = outcome("student", Role::Distilled, seed, 0.0);
            outcome.metrics = Metrics { samples: 10, frames: frames(mse), ..Metrics::default() };
            outcome
        };
        let wanted = "\
predictor          parameters  test mse a frame  persistence    ssim  persistence   psnr  persistence
student distilled         100      42.00 ± 2.83        90.00  0.5000       0.5000  20.00        20.00
";
        assert_eq!(summarise(&[of(1, 40.0), of(2, 44.0)]).to_string(), wanted);
    }
}
