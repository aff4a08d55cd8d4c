//! The JSON schema of the manifest, as the host checks it.

use super::document::Manifest;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The schema with named data sets only, as the host checks it after `[data]` has been brought to that form.
static CHECKED: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    drop_null(&mut schema);
    schema
});

/// The schema that the host checks.
pub(super) fn checked() -> &'static Value {
    &CHECKED
}

/// What a schema says about a key of a table.
pub(super) enum Entry<'s> {
    /// A key that it names.
    Named(&'s Value),
    /// A key that the user chooses, of a value that it describes.
    Chosen(&'s Value),
    /// A key that it leaves to someone else.
    Free,
    /// None of these.
    Unknown,
}

/// What `schema` says about `key`.
pub(super) fn entry<'s>(root: &'s Value, schema: &'s Value, key: &str) -> Entry<'s> {
    let branches = branches(root, schema);
    if let Some(named) = branches.iter().find_map(|branch| branch.get("properties")?.get(key)) {
        return Entry::Named(named);
    }
    let mut others = branches.iter().filter(|branch| accepts(branch, "object"));
    match others.find_map(|branch| branch.get("additionalProperties")) {
        Some(Value::Bool(false)) => Entry::Unknown,
        Some(other) if other.is_object() => Entry::Chosen(other),
        _ => Entry::Free,
    }
}

/// The keys that `schema` names.
pub(super) fn named_keys<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s str> {
    let mut names = Vec::new();
    for properties in branches(root, schema).iter().filter_map(|branch| branch.get("properties")?.as_object()) {
        for name in properties.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
    }
    names
}

/// The schema itself, or what it chooses from, with references followed.
pub(super) fn branches<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let schema = follow(root, schema);
    let choices = ["oneOf", "anyOf", "allOf"].iter().find_map(|word| schema.get(word)?.as_array());
    match choices {
        Some(choices) => choices.iter().flat_map(|choice| branches(root, choice)).collect(),
        None => vec![schema],
    }
}

/// The schema that a reference names.
fn follow<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    match target.and_then(|pointer| root.pointer(pointer)) {
        Some(target) => follow(root, target),
        None => schema,
    }
}

/// Whether a schema without choices lets this type of JSON in.
pub(super) fn accepts(schema: &Value, json_type: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == json_type || (only == "number" && json_type == "integer"),
        Some(Value::Array(several)) => {
            several.iter().any(|one| one == json_type || (one == "number" && json_type == "integer"))
        }
        _ => true,
    }
}

/// Removes `null` everywhere, since TOML has none, and defaults that stand for none.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            drop_null_here(map);
            map.values_mut().for_each(drop_null);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        _ => {}
    }
}

fn drop_null_here(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            map.remove("anyOf");
            map.extend(only);
        }
    }
    if map.get("default").is_some_and(|default| default.is_null() || default == "") {
        map.remove("default");
    }
}
