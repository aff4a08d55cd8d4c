//! The schema of the settings: closed, and in keeping with its own defaults.

use super::kit::{Kit, Seen};
use super::repeat::bits;
use super::report::Verdict;
use super::scene::Fill;
use super::subject::{Subject, Trouble};
use crate::ops::host_api;
use candle_core::DType;
use serde_json::{Map, Value};

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let schema = &kit.component.desc.schema;
    let mut wrong = vec![];
    let mut loose = vec![];
    walk(schema, schema, "", &mut |path, own| {
        let is_table = own.get("properties").is_some();
        if is_table && own.get("additionalProperties") != Some(&Value::Bool(false)) {
            let place = if path.is_empty() { "the settings are".into() } else { format!("`{path}` is") };
            wrong.push(format!("{place} not closed: `#[serde(deny_unknown_fields)]`"));
        }
        if let Some(Err(why)) = own.get("default").map(|default| fits(default, own, schema)) {
            wrong.push(format!("the default of `{path}` does not fit: {why}"));
        }
        let is_number = matches!(own.get("type").and_then(Value::as_str), Some("number" | "integer"));
        if is_number && !BOUNDS.iter().any(|key| own.get(key).is_some()) && own.get("enum").is_none() {
            loose.push(format!("`{path}`"));
        }
    });
    if let Some(first) = wrong.into_iter().next() {
        return Ok(Verdict::Failed(first));
    }
    let whole = configured(kit);
    kit.component.create(kit.config, host_api()).map(drop).map_err(|error| {
        let hint = format!("give settings: `--config {}='{{...}}'`", kit.component.desc.name);
        Trouble::Refused(format!("{error}\nhint: {}", error.hint().unwrap_or(hint)))
    })?;
    let whole = Value::Object(whole).to_string();
    let made = kit.component.create(&whole, host_api());
    made.map(drop).map_err(|error| Trouble::Refused(format!("the defaults, written out, are refused: {error}")))?;
    if let Some(wrong) = means_other(kit, &whole)? {
        return Ok(Verdict::Failed(wrong));
    }
    let count = properties(schema).map_or(0, Map::len);
    let note = if loose.is_empty() { String::new() } else { format!("; numbers of any size: {}", loose.join(", ")) };
    Ok(Verdict::Ok(format!("{count} setting{}{note}", if count == 1 { "" } else { "s" })))
}

/// What is other when the defaults are written out: the schema tells others than those that count.
fn means_other(kit: &Kit<'_>, whole: &str) -> Result<Option<String>, Trouble> {
    for scene in &kit.scenes {
        let usual = kit.subject(DType::F64, scene)?;
        let within = |trouble: Trouble| trouble.within("the defaults, written out");
        let written = Subject::bound(kit.component, whole, DType::F64, scene).map_err(within)?;
        let mean = "the defaults, written out, do not mean what no settings mean";
        if usual.plan != written.plan {
            return Ok(Some(format!("{mean}: another plan")));
        }
        let ports = scene.values(DType::F64, Fill::Random(0))?;
        for at in usual.moments() {
            let values = bits(&usual.run(&at, &ports)?)?;
            // A part that gives other values each time is told by `repeat`.
            let is_same = bits(&kit.subject(DType::F64, scene)?.run(&at, &ports)?)? == values;
            if is_same && values != bits(&written.run(&at, &ports).map_err(within)?)? {
                return Ok(Some(format!("{mean}: other values on {}", scene.name)));
            }
        }
    }
    Ok(None)
}

const BOUNDS: [&str; 4] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];

/// The settings at the top.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// The settings of a component, defaults written out.
pub(super) fn configured(kit: &Kit<'_>) -> Map<String, Value> {
    let given: Value = serde_json::from_str(kit.config).unwrap_or_default();
    let mut all = defaults(&kit.component.desc.schema);
    all.extend(given.as_object().cloned().unwrap_or_default());
    all
}

/// Defaults of the settings at the top that are not absent.
pub(super) fn defaults(schema: &Value) -> Map<String, Value> {
    let all = properties(schema).into_iter().flatten();
    all.filter_map(|(key, own)| Some((key.clone(), own.get("default").filter(|default| !default.is_null())?.clone())))
        .collect()
}

/// The schema behind references.
pub(super) fn followed<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// The schema of a table that a setting is, or may be: behind references and among alternatives.
pub(super) fn table<'s>(schema: &'s Value, root: &'s Value) -> Option<&'s Value> {
    fn inner<'s>(schema: &'s Value, root: &'s Value, depth: usize) -> Option<&'s Value> {
        let depth = depth.checked_sub(1)?;
        let target = followed(schema, root);
        if properties(target).is_some() {
            return Some(target);
        }
        let branches = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| target.get(key)?.as_array());
        branches.flatten().find_map(|branch| inner(branch, root, depth))
    }
    inner(schema, root, 8)
}

/// Every schema inside, with its path; references are followed, eight deep.
fn walk(schema: &Value, root: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    fn inner(schema: &Value, root: &Value, path: &str, depth: usize, visit: &mut dyn FnMut(&str, &Value)) {
        let Some(depth) = depth.checked_sub(1) else { return };
        visit(path, schema);
        let target = followed(schema, root);
        if !std::ptr::eq(target, schema) {
            return inner(target, root, path, depth, visit);
        }
        for (key, own) in properties(schema).into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            inner(own, root, &path, depth, visit);
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            let branches = schema.get(key).and_then(Value::as_array);
            branches.into_iter().flatten().for_each(|branch| inner(branch, root, path, depth, visit));
        }
        if let Some(items) = schema.get("items") {
            inner(items, root, &format!("{path}[]"), depth, visit);
        }
    }
    inner(schema, root, path, 8, visit);
}

/// Whether a value is one that the schema allows.
///
/// # Errors
/// What it wants, and what it got.
pub(super) fn fits(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let target = followed(schema, root);
    if !std::ptr::eq(target, schema) {
        fits(value, target, root)?;
    }
    let branches = |key: &str| schema.get(key).and_then(Value::as_array);
    for key in ["anyOf", "oneOf"] {
        if branches(key).is_some_and(|all| !all.iter().any(|branch| fits(value, branch, root).is_ok())) {
            return Err(format!("{value} is none of the alternatives"));
        }
    }
    branches("allOf").into_iter().flatten().try_for_each(|branch| fits(value, branch, root))?;
    if schema.get("const").is_some_and(|only| only != value) || branches("enum").is_some_and(|all| !all.contains(value))
    {
        return Err(format!("{value} is none of the values"));
    }
    match schema.get("type") {
        Some(Value::String(name)) if !is_of(value, name) => return Err(format!("wants {name}, got {value}")),
        Some(Value::Array(names)) if !names.iter().filter_map(Value::as_str).any(|name| is_of(value, name)) => {
            return Err(format!("wants one of {names:?}, got {value}"));
        }
        _ => {}
    }
    if let Some(number) = value.as_f64() {
        for key in BOUNDS {
            let Some(bound) = schema.get(key).and_then(Value::as_f64) else { continue };
            let kept = match key {
                "minimum" => number >= bound,
                "maximum" => number <= bound,
                "exclusiveMinimum" => number > bound,
                _ => number < bound,
            };
            if !kept {
                return Err(format!("{number} breaks `{key}` {bound}"));
            }
        }
    }
    for (key, own) in value.as_object().into_iter().flatten() {
        match properties(schema).and_then(|known| known.get(key)) {
            Some(known) => fits(own, known, root).map_err(|why| format!("`{key}`: {why}"))?,
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                return Err(format!("unknown key `{key}`"));
            }
            None => {}
        }
    }
    let items = schema.get("items");
    value.as_array().into_iter().flatten().try_for_each(|own| items.map_or(Ok(()), |items| fits(own, items, root)))
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn value_fits_or_says_why_not() {
        let root = json!({ "$defs": { "Mode": { "oneOf": [{ "const": "mean" }, { "enum": ["sum", "none"] }] } } });
        let fit = |value: Value, schema: Value| fits(&value, &schema, &root).err().unwrap_or_default();
        assert_eq!(fit(json!(1.5), json!({ "type": "number", "exclusiveMinimum": 0 })), "");
        assert_eq!(fit(json!(0), json!({ "type": "number", "exclusiveMinimum": 0 })), "0 breaks `exclusiveMinimum` 0");
        assert_eq!(fit(json!(1.5), json!({ "type": "integer" })), "wants integer, got 1.5");
        assert_eq!(fit(json!(null), json!({ "type": ["number", "null"] })), "");
        assert_eq!(fit(json!("none"), json!({ "$ref": "#/$defs/Mode" })), "");
        assert_eq!(fit(json!("max"), json!({ "$ref": "#/$defs/Mode" })), "\"max\" is none of the alternatives");
        let table = json!({ "properties": { "a": { "type": "boolean" } }, "additionalProperties": false });
        assert_eq!(fit(json!({ "a": 1 }), table.clone()), "`a`: wants boolean, got 1");
        assert_eq!(fit(json!({ "b": 1 }), table), "unknown key `b`");
        assert_eq!(fit(json!([1, "x"]), json!({ "items": { "type": "integer" } })), "wants integer, got \"x\"");
    }
}
