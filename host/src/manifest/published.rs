//! The JSON schema of a manifest's file, for editors: what the host checks, before `[data]` has its one form and before files are merged.

use super::schema::checked;
use serde_json::{Map, Value, json};

/// The JSON schema of the manifest, for editors.
///
/// A file that `extends` another may leave out what that one says, in tables at any depth: for it no key is required.
pub fn schema() -> Value {
    let mut whole = checked().clone();
    allow_one_data_set(&mut whole);
    let mut whole = take_object(whole);
    let mut definitions = whole.remove("$defs").map(take_object).unwrap_or_default();

    let mut file = Value::Object(whole.clone());
    loosen(&mut file);
    let loose: Vec<(String, Value)> =
        definitions.iter().map(|(name, own)| (format!("{name}{PART}"), own.clone())).collect();
    for (name, mut own) in loose {
        loosen(&mut own);
        definitions.insert(name, own);
    }
    for word in ["$schema", "title", "description"] {
        whole.remove(word);
    }
    definitions.insert("Whole".to_owned(), Value::Object(whole));

    let mut file = take_object(file);
    file.insert("if".to_owned(), json!({ "required": ["extends"] }));
    file.insert("else".to_owned(), json!({ "$ref": "#/$defs/Whole" }));
    file.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(file)
}

/// Ends the names of definitions that require nothing.
const PART: &str = "Part";

/// Lets `[data]` be one data set beside several by name.
fn allow_one_data_set(schema: &mut Value) {
    if let Some(data) = schema.pointer_mut("/properties/data") {
        let description = data.as_object_mut().and_then(|data| data.remove("description"));
        *data = json!({ "anyOf": [{ "$ref": "#/$defs/Data" }, data.take()] });
        if let (Some(data), Some(description)) = (data.as_object_mut(), description) {
            data.insert("description".to_owned(), description);
        }
    }
}

/// Requires no key of a table any more, nor of those in it; lists, which replace what was there, stay as they are.
fn loosen(schema: &mut Value) {
    let Some(own) = schema.as_object_mut() else { return };
    own.remove("required");
    // Without its required keys a table may fit several.
    if let Some(choices) = own.remove("oneOf") {
        own.insert("anyOf".to_owned(), choices);
    }
    if let Some(Value::String(target)) = own.get_mut("$ref") {
        target.push_str(PART);
    }
    if let Some(properties) = own.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(loosen);
    }
    if let Some(other) = own.get_mut("additionalProperties") {
        loosen(other);
    }
    for word in ["anyOf", "allOf"] {
        own.get_mut(word).and_then(Value::as_array_mut).into_iter().flatten().for_each(loosen);
    }
}

fn take_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
