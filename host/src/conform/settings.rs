//! Settings that are wrong are refused in words, those of inner tables too.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::schema::{configured, defaults, fits, followed, properties, table};
use crate::ops::host_api;
use crate::plugin::PluginError;
use serde_json::{Map, Value, json};
use stillhouse_plugin::abi::code;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let schema = &kit.component.desc.schema;
    let right = configured(kit);
    let mut wrong = vec![("an unknown key `no_such_setting`".to_owned(), with(&right, "no_such_setting", json!(1)))];
    let takes = |config: &Map<String, Value>| kit.component.create(&text(config), host_api()).is_ok();
    misfits(schema, schema, &right, "", DEPTH, &mut |what, config| wrong.push((what, config)), &takes);
    for (what, config) in &wrong {
        match kit.component.create(&text(config), host_api()) {
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

/// Tables within tables that are looked at.
const DEPTH: usize = 6;

fn text(config: &Map<String, Value>) -> String {
    Value::Object(config.clone()).to_string()
}

/// Gives each wrong value of each setting of a table, and of the tables in it, to `add`, within settings that are right otherwise. `takes`
/// says whether such are: in a table that is not taken as it is, a refusal would say nothing.
fn misfits(
    schema: &Value,
    root: &Value,
    right: &Map<String, Value>,
    path: &str,
    depth: usize,
    add: &mut dyn FnMut(String, Map<String, Value>),
    takes: &dyn Fn(&Map<String, Value>) -> bool,
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (key, named) in properties(schema).into_iter().flatten() {
        let (own, path) = (followed(named, root), format!("{path}{key}"));
        let others = [json!("no such value"), json!(-1.5), json!([[]]), json!({ "no such": 1 }), json!(true)];
        for value in others.into_iter().chain(beyond(own)).filter(|value| fits(value, own, root).is_err()) {
            add(format!("`{path}` = {value}"), with(right, key, value));
        }
        let items = own.get("items");
        let Some(inner) = table(items.unwrap_or(own), root) else { continue };
        let wrap = |inner: Map<String, Value>| {
            let inner = Value::Object(inner);
            with(right, key, if items.is_some() { json!([inner]) } else { inner })
        };
        let given = right.get(key).and_then(|own| if items.is_some() { own.get(0) } else { Some(own) });
        let given = given.and_then(Value::as_object).cloned().unwrap_or_default();
        let inner_right: Map<String, Value> = defaults(inner).into_iter().chain(given).collect();
        let path = if items.is_some() { format!("{path}[].") } else { format!("{path}.") };
        if takes(&wrap(inner_right.clone())) {
            let mut add = |what, config| add(what, wrap(config));
            misfits(inner, root, &inner_right, &path, depth, &mut add, &|config| takes(&wrap(config.clone())));
        }
    }
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
