//! What a seed's event log says of its stages.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// A stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Seconds of training, evaluation not counted.
    pub seconds: f64,
    /// Epochs.
    pub epochs: u64,
    /// Updates.
    pub updates: u64,
    /// Updates that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The best epoch, by the metric that the stage is judged on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<EpochRecord>,
    /// The last epoch.
    pub last: EpochRecord,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: u64,
    /// The part of the data that the metrics are of.
    pub part: String,
    /// Mean of the weighted sum of the terms.
    pub objective: f64,
    /// Mean of every term, as its part gave it.
    pub terms: Table,
    /// Of the student.
    pub metrics: Table,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The stages of a log, in its order.
///
/// # Errors
/// A line cannot be read: its number, and why.
pub(super) fn stages(log: &str) -> Result<Vec<StageRecord>, String> {
    let mut all: Vec<StageRecord> = vec![];
    for (at, line) in log.lines().enumerate() {
        // Most lines are of steps, and may be long.
        if !line.starts_with(r#"{"event":"epoch""#) {
            continue;
        }
        let read = || {
            let line = table(line)?;
            Some((text(&line, "stage")?, line.get("best")?.as_bool()?, number(&line, "step")?, epoch(&line)?, line))
        };
        let Some((name, is_best, updates, epoch, line)) = read() else {
            return Err(format!("line {} is no epoch as this host writes it", at + 1));
        };
        if all.last().is_none_or(|stage| stage.name != name) {
            let (last, best) = (epoch.clone(), None);
            all.push(StageRecord { name, seconds: 0.0, epochs: 0, updates: 0, left_out: 0, best, last });
        }
        if let Some(stage) = all.last_mut() {
            stage.seconds += line.get("seconds").and_then(Value::as_float).unwrap_or_default();
            stage.left_out += number(&line, "skipped").unwrap_or_default();
            (stage.epochs, stage.updates) = (epoch.epoch, updates);
            if is_best {
                stage.best = Some(epoch.clone());
            }
            stage.last = epoch;
        }
    }
    Ok(all)
}

fn epoch(line: &Table) -> Option<EpochRecord> {
    let terms = line.get("terms")?.as_array()?.iter().filter_map(|term| {
        let term = term.as_table()?;
        Some((text(term, "name")?, term.get("raw")?.clone()))
    });
    Some(EpochRecord {
        epoch: number(line, "epoch")?,
        part: text(line, "part")?,
        objective: line.get("total")?.as_float()?,
        terms: terms.collect(),
        metrics: line.get("metrics")?.as_table()?.clone(),
    })
}

fn text(table: &Table, key: &str) -> Option<String> {
    table.get(key)?.as_str().map(str::to_owned)
}

fn number(table: &Table, key: &str) -> Option<u64> {
    u64::try_from(table.get(key)?.as_integer()?).ok()
}

/// A JSON object as TOML has it, every number to the bit; one that JSON could not say (`null`) is not a number.
pub(super) fn table(json: &str) -> Option<Table> {
    let (mut text, mut is_string, mut is_escaped) = (String::from("object = "), false, false);
    for letter in json.chars() {
        match letter {
            ':' if !is_string => text.push('='),
            _ => text.push(letter),
        }
        is_string ^= letter == '"' && !is_escaped;
        is_escaped = is_string && letter == '\\' && !is_escaped;
        if !is_string && text.ends_with("null") {
            text.truncate(text.len() - "null".len());
            text.push_str("nan");
        }
    }
    match toml::from_str::<Table>(&text).ok()?.remove("object")? {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_json_has_every_number_to_the_bit() {
        let numbers = [0.1 + 0.2, 1e-300, 12_345_678.901_234_567, 2.0f64.powi(70), -0.0];
        let json = serde_json::json!({ "a": numbers, "b": { "say: \"null\"\\": [f64::NAN, 7, true] } }).to_string();
        let read = table(&json).expect("is read");
        let floats: Vec<u64> =
            read["a"].as_array().expect("a list").iter().filter_map(Value::as_float).map(f64::to_bits).collect();
        assert_eq!(floats, numbers.map(f64::to_bits));
        let list = read["b"]["say: \"null\"\\"].as_array().expect("a list");
        assert!(list[0].as_float().is_some_and(f64::is_nan), "{list:?}");
        assert_eq!((list[1].as_integer(), list[2].as_bool()), (Some(7), Some(true)));
    }

    #[test]
    fn stages_of_a_log_have_best_and_last() {
        let epoch = |stage: &str, epoch: u64, best: bool| {
            format!(
                "{{\"event\":\"epoch\",\"stage\":\"{stage}\",\"seed\":0,\"epoch\":{epoch},\"step\":{},\"lr\":0.1,\
                 \"terms\":[{{\"name\":\"task\",\"raw\":0.5,\"weight\":1.0}}],\"total\":0.{epoch},\
                 \"metrics\":{{\"samples\":9,\"accuracy\":0.{epoch}5}},\"part\":\"val\",\"best\":{best},\"skipped\":1,\
                 \"seconds\":1.5,\"samples_per_second\":3.0}}\n",
                epoch * 4
            )
        };
        let said = "{\"event\":\"said\",\"text\":\"x\"}\n";
        let log: [&str; 5] =
            [&epoch("a", 1, true), said, &epoch("a", 2, true), &epoch("a", 3, false), &epoch("b", 1, false)];
        let all = stages(&log.concat()).expect("is read");
        let [a, b] = &all[..] else { panic!("{all:?}") };
        assert_eq!((a.name.as_str(), a.seconds, a.epochs, a.updates, a.left_out), ("a", 4.5, 3, 12, 3));
        let best = a.best.as_ref().expect("one was best");
        assert_eq!((best.epoch, best.objective, best.metrics["accuracy"].as_float()), (2, 0.2, Some(0.25)));
        assert_eq!((a.last.epoch, a.last.terms["task"].as_float()), (3, Some(0.5)));
        assert!(b.best.is_none() && b.updates == 4);
        assert_eq!(stages("{\"event\":\"epoch\"}\n"), Err("line 1 is no epoch as this host writes it".into()));
    }
}
