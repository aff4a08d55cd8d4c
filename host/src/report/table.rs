//! The final table: teacher, student alone, student distilled.

use crate::train::{Metrics, Outcome, Role};
use indexmap::IndexMap;
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
    /// Metrics of maps.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub maps: IndexMap<&'static str, Measure>,
}

/// A metric over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the sample, n - 1); absent with one seed.
    pub deviation: Option<f64>,
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
    let measure = |name: &'static str| {
        let values: Vec<f64> = own.iter().filter_map(|outcome| outcome.metrics.get(name)).collect();
        Some((name, Measure { mean: mean(&values)?, deviation: deviation(&values) }))
    };
    Some(Summary {
        model: name.into(),
        role: first.role,
        parameters: first.parameters,
        seeds: own.len(),
        accuracy: mean(&accuracies),
        accuracy_deviation: deviation(&accuracies),
        nll: mean(&nlls),
        maps: Metrics::OF_MAPS.into_iter().filter_map(measure).collect(),
    })
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

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Of the sample; `None` with fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
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

/// How a metric is shown.
fn shown(metric: &str, mean: f64, deviation: Option<f64>) -> String {
    let (factor, digits, unit) = if metric == "accuracy" { (100.0, 2, " %") } else { (1.0, 4, "") };
    let spread = deviation.map_or(String::new(), |spread| format!(" ± {:.digits$}", factor * spread));
    format!("{:.digits$}{spread}{unit}", factor * mean)
}

impl Table {
    /// Names of the columns behind the parameters: of classes unless all that was measured is maps.
    fn columns(&self) -> Vec<&'static str> {
        let is_measured = |name: &&str| self.rows.iter().any(|row| row.maps.contains_key(*name));
        let maps: Vec<&str> = Metrics::OF_MAPS.into_iter().filter(is_measured).collect();
        let classes = maps.is_empty() || self.rows.iter().any(|row| row.accuracy.is_some());
        let classes = if classes { &["accuracy", "nll"][..] } else { &[] };
        [classes, &maps].concat()
    }
}

impl Summary {
    fn cell(&self, column: &str) -> String {
        let value = match column {
            "accuracy" => self.accuracy.map(|mean| shown(column, mean, self.accuracy_deviation)),
            "nll" => self.nll.map(|mean| shown(column, mean, None)),
            other => self.maps.get(other).map(|measure| shown(column, measure.mean, measure.deviation)),
        };
        value.unwrap_or_else(|| "-".into())
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.columns();
        let head = columns.iter().map(|name| format!("test {name}"));
        let mut lines: Vec<Vec<String>> = vec![["model".into(), "parameters".into()].into_iter().chain(head).collect()];
        for row in &self.rows {
            let cells = columns.iter().map(|column| row.cell(column));
            lines.push([row.label(), row.parameters.to_string()].into_iter().chain(cells).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len() + 2).map(width).collect();
        for line in &lines {
            write!(f, "{:<1$}", line[0], widths[0])?;
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        for Gain { model, metric, mean, standard_error } in &self.gain {
            let (factor, digits, unit) = if *metric == "accuracy" { (100.0, 2, "points") } else { (1.0, 4, *metric) };
            let error =
                standard_error.map_or(String::new(), |error| format!(" (standard error {:.digits$})", factor * error));
            writeln!(f, "{model}: {:+.digits$} {unit} by distillation{error}", factor * mean)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Metrics;

    fn outcome(model: &str, role: Role, seed: u64, accuracy: f64) -> Outcome {
        let metrics = Metrics { samples: 10, accuracy: Some(accuracy), nll: Some(0.5), ..Metrics::default() };
        Outcome { model: model.into(), role, stage: None, seed, parameters: 100, metrics }
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
    fn table_of_maps_shows_their_metrics_and_the_gain_in_correlation() {
        let of = |model: &str, role, seed, cc| {
            let metrics = Metrics { samples: 10, cc: Some(cc), mse: Some(0.25), ..Metrics::default() };
            Outcome { metrics, ..outcome(model, role, seed, 0.0) }
        };
        let outcomes = [
            of("student", Role::Distilled, 1, 0.75),
            of("student-alone", Role::Alone, 1, 0.5),
            of("student", Role::Distilled, 2, 0.75),
            of("student-alone", Role::Alone, 2, 0.75),
            outcome("teacher", Role::Teacher, 1, 0.5),
        ];
        let wanted = "\
model              parameters         test mse          test cc
student alone             100  0.2500 ± 0.0000  0.6250 ± 0.1768
student distilled         100  0.2500 ± 0.0000  0.7500 ± 0.0000
student: +0.1250 cc by distillation (standard error 0.1250)
";
        assert_eq!(summarise(&outcomes[..4]).to_string(), wanted);
        let both = summarise(&outcomes).to_string();
        assert!(both.starts_with("model              parameters  test accuracy  test nll         test mse "), "{both}");
    }
}
