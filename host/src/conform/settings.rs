//! Settings that are wrong are refused in words.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::schema::{defaults, fits, followed, properties};
use crate::ops::host_api;
use crate::plugin::PluginError;
use serde_json::{Map, Value, json};
use stillhouse_plugin::abi::code;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let schema = &kit.component.desc.schema;
    let mut right: Map<String, Value> = defaults(schema);
    let given: Value = serde_json::from_str(kit.config).unwrap_or_default();
    right.extend(given.as_object().cloned().unwrap_or_default());
    let mut wrong = vec![("an unknown key `no_such_setting`".to_owned(), with(&right, "no_such_setting", json!(1)))];
    for (key, own) in properties(schema).into_iter().flatten() {
        let own = followed(own, schema);
        let others = [json!("no such value"), json!(-1.5), json!([[]]), json!({ "no such": 1 }), json!(true)];
        let misfits = others.into_iter().chain(beyond(own)).filter(|value| fits(value, own, schema).is_err());
        wrong.extend(misfits.map(|value| (format!("`{key}` = {value}"), with(&right, key, value))));
    }
    for (what, config) in &wrong {
        match kit.component.create(&Value::Object(config.clone()).to_string(), host_api()) {
            Ok(_) => return Ok(Verdict::Failed(format!("takes {what}, which its schema does not allow"))),
            Err(PluginError::Failed { code: code::PANIC, message, .. }) => {
                return Ok(Verdict::Failed(format!("{what}: {message}")));
            }
            Err(error) if error.to_string().len() < 12 => {
                return Ok(Verdict::Failed(format!("{what}: says only {:?}", error.to_string())));
            }
            Err(_) => {}
        }
    }
    Ok(Verdict::Ok(format!("{} wrong ones refused", wrong.len())))
}

fn with(right: &Map<String, Value>, key: &str, value: Value) -> Map<String, Value> {
    let mut all = right.clone();
    all.insert(key.into(), value);
    all
}

/// Numbers just beyond each bound.
fn beyond(schema: &Value) -> Vec<Value> {
    let step = |key: &str, by: f64| {
        let bound = schema.get(key)?.as_f64()?;
        let value = bound + by;
        let is_whole = schema.get("type").and_then(Value::as_str) == Some("integer");
        Some(if is_whole { json!(value as i64) } else { json!(value) })
    };
    let all =
        [step("minimum", -1.0), step("exclusiveMinimum", 0.0), step("maximum", 1.0), step("exclusiveMaximum", 0.0)];
    all.into_iter().flatten().collect()
}
