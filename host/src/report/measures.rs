//! Rows of predictors of maps.

use super::table::{Summary, deviation, mean, write_columns};
use crate::train::{Metrics, Outcome};
use indexmap::IndexMap;
use serde::Serialize;

/// Metrics by name.
pub type Measures = IndexMap<&'static str, Measure>;

/// A metric over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the sample, n - 1); absent with one seed.
    pub deviation: Option<f64>,
    /// That of the map at the newest frame, in place of every prediction, where the data know it.
    pub persistence: Option<f64>,
}

/// Metrics of maps over the outcomes of one model.
pub(super) fn measures(outcomes: &[&Outcome]) -> Measures {
    let measure = |name: &'static str| {
        let maps = || outcomes.iter().filter_map(|outcome| outcome.metrics.maps);
        let values: Vec<f64> = maps().filter_map(|maps| maps.predicted.get(name)).collect();
        let still: Vec<f64> = maps().filter_map(|maps| maps.persistence?.get(name)).collect();
        Some((name, Measure { mean: mean(&values)?, deviation: deviation(&values), persistence: mean(&still) }))
    };
    Metrics::OF_MAPS.into_iter().filter_map(measure).collect()
}

/// Predictors of maps, then what the newest frame would reach on their data.
pub(super) fn write_maps(f: &mut std::fmt::Formatter<'_>, rows: &[Summary]) -> std::fmt::Result {
    let rows: Vec<&Summary> = rows.iter().filter(|row| !row.maps.is_empty()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let line = |name: &str, parameters: &str, cell: &dyn Fn(&str) -> Option<String>| {
        let [mse, cc, sim, nss, auc] = Metrics::OF_MAPS.map(|name| cell(name).unwrap_or_else(|| "-".into()));
        [name.into(), parameters.into(), mse, cc, sim, nss, auc]
    };
    let mut lines = vec![line("predictor of maps", "parameters", &|name| Some(format!("test {name}")))];
    let mut still: Vec<[String; 7]> = vec![];
    for row in rows {
        lines.push(line(&row.label(), &row.parameters.to_string(), &|name| {
            let measure = row.maps.get(name)?;
            let spread = measure.deviation.map_or(String::new(), |spread| format!(" ± {spread:.4}"));
            Some(format!("{:.4}{spread}", measure.mean))
        }));
        let last = line("persistence", "-", &|name| Some(format!("{:.4}", row.maps.get(name)?.persistence?)));
        if last[2] != "-" && !still.contains(&last) {
            still.push(last);
        }
    }
    lines.extend(still);
    write_columns(f, &lines)
}

#[cfg(test)]
mod tests {
    use crate::report::summarise;
    use crate::report::table::tests::outcome;
    use crate::train::{MapMetrics, MapScores, Metrics, Outcome, Role};

    #[test]
    fn table_of_maps_shows_their_metrics_persistence_and_the_gain_in_correlation() {
        let of = |model: &str, role, seed, cc| {
            let predicted = MapScores { mse: Some(0.25), cc: Some(cc), ..MapScores::default() };
            let persistence = Some(MapScores { mse: Some(0.5), cc: Some(0.375), ..MapScores::default() });
            let maps = Some(MapMetrics { predicted, persistence });
            Outcome { metrics: Metrics { samples: 10, maps, ..Metrics::default() }, ..outcome(model, role, seed, 0.0) }
        };
        let outcomes = [
            of("student", Role::Distilled, 1, 0.75),
            of("student-alone", Role::Alone, 1, 0.5),
            of("student", Role::Distilled, 2, 0.75),
            of("student-alone", Role::Alone, 2, 0.75),
            outcome("teacher", Role::Teacher, 1, 0.5),
        ];
        let wanted = "\
predictor of maps  parameters         test mse          test cc  test sim  test nss  test auc
student alone             100  0.2500 ± 0.0000  0.6250 ± 0.1768         -         -         -
student distilled         100  0.2500 ± 0.0000  0.7500 ± 0.0000         -         -         -
persistence                 -           0.5000           0.3750         -         -         -
";
        let gain = "student: +0.1250 cc by distillation (standard error 0.1250)\n";
        assert_eq!(summarise(&outcomes[..4]).to_string(), format!("{wanted}{gain}"));
        let teacher = "model    parameters  test accuracy  test nll\nteacher         100        50.00 %    0.5000\n";
        assert_eq!(summarise(&outcomes).to_string(), format!("{wanted}{teacher}{gain}"));
    }
}
