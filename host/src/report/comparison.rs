//! Runs side by side: every model of every folder, and how far each is from the first run, seed by seed.
//!
//! A run is one by its place among those given; its name is as much of its path as tells it from the others. A metric that a
//! seed has no number of (`null`: it was none) leaves that seed out, and no other.

use super::changes::differing;
use super::folder::tidy;
use super::table::{deviation, mean};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf, absolute};

/// What a folder holds: outcomes as [`super::RunFolder::results`] wrote them, and the resolved manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    /// The run's folder, absolute.
    folder: PathBuf,
    outcomes: Vec<Told>,
    manifest: String,
}

/// An outcome, read again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Told {
    model: String,
    seed: u64,
    parameters: usize,
    metrics: Value,
}

/// A model of a run over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The run.
    pub run: String,
    /// The model.
    pub model: String,
    /// Trained values.
    pub parameters: usize,
    /// Seeds, in the order of the file.
    pub seeds: Vec<u64>,
    /// Values of the metrics, a value a seed; none where it has no number there.
    pub metrics: IndexMap<String, Vec<Option<f64>>>,
}

/// A model of a run against the model of that name in the first run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The run.
    pub run: String,
    /// The model.
    pub model: String,
    /// Seeds at which both runs have the metric.
    pub seeds: usize,
    /// Seeds that both runs have, with the metric or without.
    pub common: usize,
    /// Mean of the differences at equal seeds.
    pub mean: f64,
    /// Half the width of its 95 % interval, by Student's t; absent with fewer than two seeds.
    pub within: Option<f64>,
}

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub metric: String,
    /// Models of all runs.
    pub rows: Vec<Row>,
    /// Against the first run.
    pub differences: Vec<Difference>,
    /// Settings of each later run that are not those of the first: path, there, here.
    pub settings: IndexMap<String, Vec<String>>,
}

/// Reads a run's folder.
///
/// # Errors
/// A message: the folder has no results (no run ended there), or they cannot be read.
pub fn read_run(folder: &Path) -> Result<Reached, String> {
    let path = folder.join("results.json");
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound if folder.is_dir() => {
            format!("{} has no `results.json`: no run ended there", folder.display())
        }
        _ => format!("{}: {error}", path.display()),
    })?;
    let outcomes: Vec<Told> = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest = fs::read_to_string(folder.join("manifest.toml")).unwrap_or_default();
    Ok(Reached { folder: tidy(&absolute(folder).unwrap_or_else(|_| folder.into())), outcomes, manifest })
}

/// Compares runs with the first of them, by a metric or by the first that they have. `model` leaves one out of many.
///
/// # Errors
/// A message: no run has the metric or the model; then it says which there are.
pub fn compare_runs(runs: &[Reached], model: Option<&str>, metric: Option<&str>) -> Result<Comparison, String> {
    let names = names(runs);
    let all: Vec<(usize, Row)> = runs
        .iter()
        .enumerate()
        .flat_map(|(at, run)| rows(run, &names[at]).into_iter().map(move |row| (at, row)))
        .collect();
    let kept = all.iter().filter(|(_, row)| model.is_none_or(|model| row.model == model));
    let rows: Vec<(usize, Row)> = kept.cloned().collect();
    if let (Some(model), true) = (model, rows.is_empty()) {
        let models = listed(all.iter().map(|(_, row)| &row.model));
        return Err(format!("no run has a model `{model}`; there are {models}"));
    }
    let has_value = |(_, values): &(&String, &Vec<Option<f64>>)| values.iter().any(Option::is_some);
    let known = || rows.iter().flat_map(|(_, row)| row.metrics.iter().filter(has_value).map(|(name, _)| name));
    let metric = match metric {
        Some(metric) if known().any(|known| known == metric) => metric.to_owned(),
        Some(metric) => return Err(format!("no run has the metric `{metric}`; there are {}", listed(known()))),
        None => known().next().cloned().ok_or("the runs have no metrics")?,
    };
    let first = |model: &str| rows.iter().find(|(at, base)| *at == 0 && base.model == model).map(|(_, base)| base);
    let others = rows.iter().filter(|(at, _)| *at > 0);
    let differences = others.filter_map(|(_, row)| difference(row, first(&row.model)?, &metric)).collect();
    let mut settings = IndexMap::new();
    for (run, name) in runs.iter().zip(&names).skip(1) {
        let found = differing(&runs[0].manifest, &run.manifest).into_iter();
        let told = found.filter(|(path, _)| !matches!(path.as_str(), "run.name" | "run.dir" | "run.threads"));
        settings.insert(name.clone(), told.map(|(path, text)| format!("{path}: {text}")).collect());
    }
    Ok(Comparison { metric, rows: rows.into_iter().map(|(_, row)| row).collect(), differences, settings })
}

/// How far a row is from that of the first run, seed by seed; none without a seed at which both have the metric.
fn difference(row: &Row, base: &Row, metric: &str) -> Option<Difference> {
    let (ours, theirs) = (row.metrics.get(metric)?, base.metrics.get(metric)?);
    let at = |seed: &u64| base.seeds.iter().position(|known| known == seed);
    let common: Vec<(Option<f64>, Option<f64>)> =
        row.seeds.iter().zip(ours).filter_map(|(seed, value)| Some((*value, theirs[at(seed)?]))).collect();
    let pairs: Vec<f64> = common.iter().filter_map(|(our, their)| Some((*our)? - (*their)?)).collect();
    let error = deviation(&pairs).map(|deviation| deviation / (pairs.len() as f64).sqrt());
    let within = error.map(|error| error * student_t(pairs.len() - 1));
    let (run, model) = (row.run.clone(), row.model.clone());
    Some(Difference { run, model, seeds: pairs.len(), common: common.len(), mean: mean(&pairs)?, within })
}

/// Names that tell runs apart: of each folder its last name, behind as many of those before it as that takes. One that is given
/// twice has its number.
fn names(runs: &[Reached]) -> Vec<String> {
    let folders: Vec<Vec<Component<'_>>> = runs.iter().map(|run| run.folder.components().collect()).collect();
    let name = |(at, own): (usize, &Vec<Component<'_>>)| {
        let is_told_apart =
            |count: &usize| folders.iter().all(|other| other == own || tail(other, *count) != tail(own, *count));
        let count = (1..own.len()).find(is_told_apart).unwrap_or(own.len());
        let name = tail(own, count).iter().collect::<PathBuf>().display().to_string();
        match folders[..at].iter().filter(|other| *other == own).count() {
            0 => name,
            before => format!("{name} ({})", before + 1),
        }
    };
    folders.iter().enumerate().map(name).collect()
}

fn tail<'f, 'p>(folder: &'f [Component<'p>], count: usize) -> &'f [Component<'p>] {
    &folder[folder.len().saturating_sub(count)..]
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    all.sort();
    all.dedup();
    all.join(", ")
}

fn rows(run: &Reached, name: &str) -> Vec<Row> {
    let mut rows: IndexMap<&str, Row> = IndexMap::new();
    for told in &run.outcomes {
        let row = rows.entry(&told.model).or_insert_with(|| Row {
            run: name.to_owned(),
            model: told.model.clone(),
            parameters: told.parameters,
            seeds: vec![],
            metrics: IndexMap::new(),
        });
        let mut found = IndexMap::new();
        values("", &told.metrics, &mut found);
        for (metric, value) in found {
            let all = row.metrics.entry(metric).or_default();
            all.resize(row.seeds.len(), None);
            all.push(value);
        }
        row.seeds.push(told.seed);
    }
    for row in rows.values_mut() {
        row.metrics.values_mut().for_each(|values| values.resize(row.seeds.len(), None));
    }
    rows.into_values().collect()
}

/// Numbers of a seed by name, those of predictions under the metric's own name; not the count of samples, nor what persistence
/// reaches.
fn values(name: &str, value: &Value, into: &mut IndexMap<String, Option<f64>>) {
    match value {
        Value::Number(_) | Value::Null if name != "samples" => {
            let known = into.entry(name.to_owned()).or_default();
            *known = known.or(value.as_f64());
        }
        Value::Object(fields) => {
            fields.iter().filter(|(key, _)| *key != "persistence").for_each(|(key, value)| values(key, value, into));
        }
        _ => {}
    }
}

/// The 97.5 % quantile of Student's distribution.
fn student_t(freedom: usize) -> f64 {
    const FIRST: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    // Beyond, the expansion around the normal quantile.
    const Z: f64 = 1.959_964;
    let n = freedom as f64;
    let beyond = || Z + (Z.powi(3) + Z) / (4.0 * n) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * n * n);
    FIRST.get(freedom.saturating_sub(1)).copied().unwrap_or_else(beyond)
}

/// A value of a metric: shares in per cent.
fn shown(metric: &str, value: f64, sign: bool) -> String {
    match (metric, sign) {
        ("accuracy", false) => format!("{:.2}", 100.0 * value),
        ("accuracy", true) => format!("{:+.2}", 100.0 * value),
        (_, false) => format!("{value:.4}"),
        (_, true) => format!("{value:+.4}"),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.metric == "accuracy" { ", %" } else { "" };
        let head =
            ["run".into(), "model".into(), "parameters".into(), "seeds".into(), format!("{}{unit}", self.metric)];
        let mut lines = vec![head];
        for row in &self.rows {
            let Some(values) = row.metrics.get(&self.metric) else { continue };
            let values: Vec<f64> = values.iter().copied().flatten().collect();
            let spread = deviation(&values).map_or(String::new(), |d| format!(" ± {}", shown(&self.metric, d, false)));
            let cell = mean(&values).map_or("-".into(), |mean| shown(&self.metric, mean, false) + &spread);
            let seeds = of_all(values.len(), row.seeds.len());
            lines.push([row.run.clone(), row.model.clone(), row.parameters.to_string(), seeds, cell]);
        }
        super::table::write_columns(f, &lines)?;
        if !self.differences.is_empty() {
            writeln!(f)?;
        }
        for Difference { run, model, seeds, common, mean, within } in &self.differences {
            let told = match within {
                Some(within) if mean.abs() > *within => "more than chance",
                Some(_) => "within chance",
                None => "which tells nothing of chance",
            };
            let within = within.map_or(String::new(), |within| format!(" ± {}", shown(&self.metric, within, false)));
            let mean = shown(&self.metric, *mean, true);
            let told = if *seeds == 1 { told.to_owned() } else { format!("{told} at 95 %") };
            let seeds = match (seeds, common) {
                (1, 1) => "one common seed".to_owned(),
                _ => format!("{} common seeds", of_all(*seeds, *common)),
            };
            writeln!(f, "{run}, {model}: {mean}{within} over {seeds} ({told})")?;
        }
        for (run, settings) in self.settings.iter().filter(|(_, settings)| !settings.is_empty()) {
            writeln!(f, "\n{run} has other settings:")?;
            settings.iter().take(MOST).try_for_each(|setting| writeln!(f, "  {setting}"))?;
            if settings.len() > MOST {
                writeln!(f, "  and {} more", settings.len() - MOST)?;
            }
        }
        Ok(())
    }
}

/// How many of all: `3`, or `2 of 3`.
fn of_all(count: usize, all: usize) -> String {
    if count == all { count.to_string() } else { format!("{count} of {all}") }
}

/// Settings of a run that are shown.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::{Reached, Told, compare_runs, names, student_t};
    use serde_json::json;
    use std::path::Path;

    fn run(name: &str, accuracies: &[f64], temperature: f64) -> Reached {
        let told = |(seed, accuracy): (usize, &f64)| Told {
            model: "student".into(),
            seed: seed as u64,
            parameters: 10,
            metrics: json!({ "samples": 7, "accuracy": accuracy, "frames": { "predicted": { "mse": 1.5 }, "persistence": { "mse": 2.0 } } }),
        };
        let outcomes = accuracies.iter().enumerate().map(told).collect();
        let manifest = format!("[run]\nname = \"{name}\"\n[stage.a.terms.kd]\ntemperature = {temperature:?}\n");
        Reached { folder: Path::new("/runs").join(name), outcomes, manifest }
    }

    /// Differences 0.02, 0.04, 0.03: mean 0.03, deviation 0.01, standard error 0.00577, times 4.303.
    #[test]
    fn runs_are_compared_at_equal_seeds() {
        let runs = [run("a", &[0.5, 0.6, 0.7], 4.0), run("b", &[0.52, 0.64, 0.73, 0.9], 2.0)];
        let compared = compare_runs(&runs, None, None).unwrap();
        let wanted = "\
run    model  parameters  seeds    accuracy, %
a    student          10      3  60.00 ± 10.00
b    student          10      4  69.75 ± 16.01

b, student: +3.00 ± 2.48 over 3 common seeds (more than chance at 95 %)

b has other settings:
  stage.a.terms.kd.temperature: 4.0, now 2.0
";
        assert_eq!(compared.to_string(), wanted);
        let error = compare_runs(&runs, None, Some("mse")).unwrap();
        assert_eq!(error.differences[0].mean, 0.0);
        assert_eq!(error.rows[0].metrics["mse"], [Some(1.5); 3], "what persistence reaches is no metric of the model");
    }

    #[test]
    fn runs_of_one_name_are_told_apart_by_their_paths() {
        let runs = [run("a/x", &[0.5], 4.0), run("b/x", &[0.6], 2.0), run("b/y", &[0.4], 4.0), run("b/x", &[0.6], 2.0)];
        assert_eq!(names(&runs), ["a/x", "b/x", "y", "b/x (2)"]);
        assert_eq!(names(&[run("a/x/p", &[], 1.0), run("b/x/p", &[], 1.0)]), ["a/x/p", "b/x/p"]);
        let told = compare_runs(&runs, None, None).unwrap().to_string();
        let wanted = "\
run        model  parameters  seeds  accuracy, %
a/x      student          10      1        50.00
b/x      student          10      1        60.00
y        student          10      1        40.00
b/x (2)  student          10      1        60.00

b/x, student: +10.00 over one common seed (which tells nothing of chance)
y, student: -10.00 over one common seed (which tells nothing of chance)
b/x (2), student: +10.00 over one common seed (which tells nothing of chance)

b/x has other settings:
  stage.a.terms.kd.temperature: 4.0, now 2.0

b/x (2) has other settings:
  stage.a.terms.kd.temperature: 4.0, now 2.0
";
        assert_eq!(told, wanted);
    }

    /// Differences 0.02 and 0.04 at the first and the last seed: mean 0.03, standard error 0.01, times 12.706.
    #[test]
    fn seeds_without_the_metric_are_left_out_and_no_other_takes_their_place() {
        let none = f64::NAN;
        let runs =
            [run("a", &[0.5, none, 0.7, 0.8], 4.0), run("b", &[0.52, 0.64, none, 0.84], 4.0), run("c", &[none], 4.0)];
        let compared = compare_runs(&runs, None, Some("accuracy")).unwrap();
        assert_eq!(compared.rows[0].metrics["accuracy"], [Some(0.5), None, Some(0.7), Some(0.8)]);
        let wanted = "\
run    model  parameters   seeds    accuracy, %
a    student          10  3 of 4  66.67 ± 15.28
b    student          10  3 of 4  66.67 ± 16.17
c    student          10  0 of 1              -

b, student: +3.00 ± 12.71 over 2 of 4 common seeds (within chance at 95 %)
";
        assert_eq!(compared.to_string(), wanted);
        assert_eq!(compare_runs(&runs, None, None).unwrap().metric, "accuracy", "the order is that of the file");
        let none = compare_runs(&runs[2..], None, Some("accuracy")).unwrap_err();
        assert_eq!(none, "no run has the metric `accuracy`; there are `mse`");
    }

    #[test]
    fn what_is_not_there_is_named_with_what_there_is() {
        let runs = [run("a", &[0.5], 4.0)];
        assert_eq!(compare_runs(&runs, Some("x"), None).unwrap_err(), "no run has a model `x`; there are `student`");
        let unknown = compare_runs(&runs, None, Some("f1")).unwrap_err();
        assert_eq!(unknown, "no run has the metric `f1`; there are `accuracy`, `mse`");
        let alone = compare_runs(&[run("a", &[0.5], 4.0), run("b", &[0.4], 4.0)], None, None).unwrap().to_string();
        assert!(alone.contains("b, student: -10.00 over one common seed (which tells nothing of chance)"), "{alone}");
    }

    #[test]
    fn quantiles_go_on_where_the_table_ends() {
        assert!((student_t(31) - 2.0395).abs() < 2e-4);
        assert!((student_t(10_000) - 1.9602).abs() < 1e-3);
    }
}
