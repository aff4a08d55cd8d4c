//! A run and its repetition, number by number.

use super::{EpochRecord, ModelRecord, Receipt, SeedRecord, StageRecord};
use crate::report::write_columns;
use indexmap::IndexMap;
use serde::Serialize;
use std::fmt;
use toml::{Table, Value};

/// Whether the numbers of a repetition are those of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Every number agrees, to the bit; false where there is none to compare.
    pub agrees: bool,
    /// Seeds that both have.
    pub compared: Vec<u64>,
    /// Seeds of the repetition.
    pub repeated: Vec<u64>,
    /// Models, a row for their first metric and for every other one that differs.
    pub rows: Vec<Row>,
    /// Everything that differs, a line each.
    pub differing: Vec<String>,
    /// What else is not as it was.
    pub notes: Vec<String>,
}

/// A metric of a model, then and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Seed.
    pub seed: u64,
    /// Model.
    pub model: String,
    /// Metric.
    pub metric: String,
    /// In the receipt.
    pub before: String,
    /// In the repetition.
    pub now: String,
    /// Whether the weights are the same.
    pub same_weights: bool,
}

/// Compares a repetition with its receipt, seed by seed. Seeds that were not repeated are noted; without a common one nothing agrees.
pub fn agreement(then: &Receipt, now: &Receipt) -> Agreement {
    let (mut rows, mut differing, mut notes) = (vec![], vec![], notes(then, now));
    let mut compared = vec![];
    for before in &then.seeds {
        let Some(after) = now.seeds.iter().find(|seed| seed.seed == before.seed) else {
            notes.push(format!("seed {} was not repeated", before.seed));
            continue;
        };
        compared.push(before.seed);
        let (told, known) = (numbers(before), numbers(after));
        let names: IndexMap<&String, ()> = told.keys().chain(known.keys()).map(|name| (name, ())).collect();
        for name in names.into_keys() {
            let (was, is) = (told.get(name), known.get(name));
            if was.zip(is).is_none_or(|(was, is)| !same(was, is)) {
                differing.push(format!("seed {}, {name}: {} then, {} now", before.seed, shown(was), shown(is)));
            }
        }
        rows.extend(before.models.iter().flat_map(|model| model_rows(before.seed, model, after)));
    }
    let repeated = now.seeds.iter().map(|seed| seed.seed).collect();
    Agreement { agrees: differing.is_empty() && !compared.is_empty(), compared, repeated, rows, differing, notes }
}

fn notes(then: &Receipt, now: &Receipt) -> Vec<String> {
    let (was, is) = (&then.machine, &now.machine);
    let mut notes = vec![];
    let mut note = |what: &str, was: &str, is: &str, but: &str| {
        if was != is {
            notes.push(format!("{what}: {was} then, {is} now{but}"));
        }
    };
    note("version", &then.stillhouse, &now.stillhouse, "");
    let rounding = "; numbers may differ in their last digits";
    note("instruction set", &was.instructions, &is.instructions, rounding);
    note("executor", &was.executor, &is.executor, rounding);
    note("device", &was.device, &is.device, rounding);
    note("system", &was.system, &is.system, rounding);
    note("threads", &was.threads.to_string(), &is.threads.to_string(), "; numbers do not depend on them");
    notes
}

/// All numbers of a seed, by name: all but times and memory.
fn numbers(seed: &SeedRecord) -> IndexMap<String, Value> {
    let mut all = IndexMap::new();
    for StageRecord { name, epochs, updates, left_out, best, last, .. } in &seed.stages {
        let count = |count: &u64| Value::Integer(i64::try_from(*count).unwrap_or(i64::MAX));
        for (key, value) in [("epochs", epochs), ("updates", updates), ("updates left out", left_out)] {
            all.insert(format!("stage {name}, {key}"), count(value));
        }
        for (which, epoch) in best.iter().map(|best| ("best", best)).chain([("last", last)]) {
            let EpochRecord { epoch, part: _, objective, terms, metrics } = epoch;
            let mut add = |key: &str, value: Value| all.insert(format!("stage {name}, {which} {key}"), value);
            add("epoch", count(epoch));
            add("objective", Value::Float(*objective));
            flat("", terms).into_iter().for_each(|(key, value)| drop(add(&format!("term {key}"), value)));
            flat("", metrics).into_iter().for_each(|(key, value)| drop(add(&key, value)));
        }
    }
    for ModelRecord { name, parameters, weights, metrics, .. } in &seed.models {
        let mut add = |key: &str, value: Value| all.insert(format!("model {name}, {key}"), value);
        add("parameters", Value::Integer(i64::try_from(*parameters).unwrap_or(i64::MAX)));
        flat("", metrics).into_iter().for_each(|(key, value)| drop(add(&key, value)));
        add("weights", Value::String(weights.clone()));
    }
    all
}

/// Values of a table, those of inner ones by dotted names.
fn flat(before: &str, table: &Table) -> Vec<(String, Value)> {
    let one = |(key, value): (&String, &Value)| match value {
        Value::Table(inner) => flat(&format!("{before}{key}."), inner),
        value => vec![(format!("{before}{key}"), value.clone())],
    };
    table.iter().flat_map(one).collect()
}

/// Whether two values are the same to the bit; what is not a number is the same as itself.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        (a, b) => a == b,
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not there".into(),
        // A hash.
        Some(Value::String(text)) => format!("{text:.12}.."),
        Some(value) => value.to_string(),
    }
}

fn model_rows(seed: u64, model: &ModelRecord, after: &SeedRecord) -> Vec<Row> {
    let now = after.models.iter().find(|known| known.name == model.name);
    let known = now.map(|now| flat("", &now.metrics)).unwrap_or_default();
    let metrics = flat("", &model.metrics).into_iter().filter(|(metric, _)| metric != "samples");
    let told = metrics.enumerate().filter_map(|(at, (metric, was))| {
        let is = known.iter().find(|(name, _)| *name == metric).map(|(_, value)| value);
        let differs = is.is_none_or(|is| !same(&was, is));
        let row = Row {
            seed,
            model: model.name.clone(),
            before: shown(Some(&was)),
            now: shown(is),
            metric,
            same_weights: now.is_some_and(|now| now.weights == model.weights),
        };
        (at == 0 || differs).then_some(row)
    });
    told.collect()
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.compared.is_empty() {
            self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
            let seeds: Vec<String> = self.repeated.iter().map(u64::to_string).collect();
            return writeln!(
                f,
                "nothing could be compared: the repetition has no seed of the receipt, only {}",
                seeds.join(", ")
            );
        }
        let mut lines = vec![["seed", "model", "metric", "then", "now", "weights"].map(String::from)];
        for Row { seed, model, metric, before, now, same_weights } in &self.rows {
            let weights = if *same_weights { "identical" } else { "others" };
            let cells = [model, metric, before, now].map(String::clone);
            let [model, metric, before, now] = cells;
            lines.push([seed.to_string(), model, metric, before, now, weights.into()]);
        }
        write_columns(f, &lines)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        match self.differing.len() {
            0 => writeln!(f, "every number agrees, to the bit"),
            count => {
                let (noun, verb) = if count == 1 { ("number", "does") } else { ("numbers", "do") };
                writeln!(f, "{count} {noun} {verb} not agree:")?;
                self.differing.iter().try_for_each(|line| writeln!(f, "  {line}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(seeds: &[(u64, f64)]) -> Receipt {
        let head = "receipt = 1\nname = 'x'\nstillhouse = '0'\ninterface = '1.0'\npresets = ''\nstarted = ''\nseconds = 1.0\n\
                    resumed = 0\n[machine]\nsystem = ''\nprocessor = ''\ncores = 1\nthreads = 1\ninstructions = ''\n\
                    device = ''\nexecutor = ''\n[manifest]\ntext = ''\n";
        let seed = |(seed, accuracy): &(u64, f64)| {
            format!(
                "[[seed]]\nseed = {seed}\n[[seed.model]]\nname = 'student'\nrole = 'distilled'\nparameters = 1\n\
                 weights = 'aa'\nmetrics = {{ accuracy = {accuracy:?} }}\n"
            )
        };
        let text = seeds.iter().map(seed).fold(head.to_owned(), |all, one| all + &one);
        toml::from_str(&text).expect("a receipt")
    }

    #[test]
    fn repetition_without_a_common_seed_agrees_with_nothing() {
        let then = receipt(&[(0, 0.5), (1, 0.6)]);
        let told = agreement(&then, &receipt(&[(9, 0.5)]));
        assert!(!told.agrees && told.compared.is_empty());
        let wanted = "note: seed 0 was not repeated\nnote: seed 1 was not repeated\n\
                      nothing could be compared: the repetition has no seed of the receipt, only 9\n";
        assert_eq!(told.to_string(), wanted);
        let told = agreement(&then, &receipt(&[(1, 0.6), (9, 0.5)]));
        assert!(told.agrees && told.compared == [1], "{told}");
        assert!(!agreement(&then, &receipt(&[(1, 0.7)])).agrees);
    }
}
