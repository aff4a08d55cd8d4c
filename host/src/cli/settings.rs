//! The settings of a component, from its JSON schema.

use serde_json::Value;

/// One setting; those of a table inside have dotted names.
#[derive(Debug, PartialEq)]
pub(super) struct Setting {
    /// Its name.
    pub(super) name: String,
    /// What it may be: a type with its range, or the values.
    pub(super) kind: String,
    /// Its default, as TOML writes it.
    pub(super) default: Option<String>,
    /// Whether it must be given.
    pub(super) required: bool,
    /// What it is.
    pub(super) doc: String,
}

/// Tables in tables are opened so far.
const DEPTH: usize = 3;

/// The settings of a schema in its order.
pub(super) fn settings(schema: &Value) -> Vec<Setting> {
    let mut all = vec![];
    gather(schema, schema, "", None, DEPTH, &mut all);
    all
}

fn gather(table: &Value, root: &Value, prefix: &str, defaults: Option<&Value>, depth: usize, all: &mut Vec<Setting>) {
    let required: Vec<&str> =
        table.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, own) in table.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let name = format!("{prefix}{key}");
        let default = defaults.and_then(|defaults| defaults.get(key)).or_else(|| own.get("default"));
        let target = followed(own, root);
        if target.get("properties").is_some() && depth > 0 {
            gather(target, root, &format!("{name}."), default, depth - 1, all);
            continue;
        }
        let doc =
            own.get("description").or_else(|| target.get("description")).and_then(Value::as_str).unwrap_or_default();
        all.push(Setting {
            name,
            kind: kind(own, root),
            default: default.filter(|default| !default.is_null()).map(Value::to_string),
            required: required.contains(&key.as_str()),
            doc: doc.split_whitespace().collect::<Vec<_>>().join(" "),
        });
    }
}

/// The schema behind a reference.
fn followed<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
    name.and_then(|name| root.get("$defs")?.get(name)).unwrap_or(schema)
}

/// What a value may be.
fn kind(own: &Value, root: &Value) -> String {
    let own = followed(own, root);
    if let Some(one) = own.get("const") {
        return word(one);
    }
    let join = |words: Vec<String>| words.into_iter().filter(|word| word != "null").collect::<Vec<_>>().join(" | ");
    if let Some(choices) = own.get("enum").and_then(Value::as_array) {
        return join(choices.iter().map(word).collect());
    }
    if let Some(branches) = own.get("oneOf").or_else(|| own.get("anyOf")).and_then(Value::as_array) {
        return join(branches.iter().map(|branch| kind(branch, root)).collect());
    }
    let mut text = match own.get("type") {
        Some(Value::Array(list)) => join(list.iter().map(word).collect()),
        Some(Value::String(name)) if name == "array" => {
            own.get("items").map_or("list".into(), |items| format!("list of {}", kind(items, root)))
        }
        Some(Value::String(name)) if name == "object" => "table".into(),
        Some(Value::String(name)) => name.clone(),
        _ => "anything".into(),
    };
    for (key, sign) in [("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")] {
        if let Some(bound) = own.get(key) {
            text.push_str(&format!(" {sign} {bound}"));
        }
    }
    text
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_schema_have_type_range_and_default() {
        let schema = json!({
            "properties": {
                "temperature": { "type": "number", "exclusiveMinimum": 0, "default": 4.0, "description": "Softens\nboth." },
                "margin": { "type": ["number", "null"] },
                "mode": { "$ref": "#/$defs/Mode", "default": "mean" },
                "taps": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["taps"],
            "$defs": { "Mode": { "oneOf": [{ "const": "mean" }, { "const": "sum" }] } },
        });
        let lines: Vec<String> = settings(&schema)
            .into_iter()
            .map(|one| format!("{} {} {:?} {} {}", one.name, one.kind, one.default, one.required, one.doc))
            .collect();
        let wanted = [
            "temperature number > 0 Some(\"4.0\") false Softens both.",
            "margin number None false ",
            "mode mean | sum Some(\"\\\"mean\\\"\") false ",
            "taps list of string None true ",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn settings_of_inner_table_have_dotted_names() {
        let schema = json!({
            "properties": { "regressor": { "$ref": "#/$defs/R", "default": { "bias": false } } },
            "$defs": { "R": { "properties": { "bias": { "type": "boolean", "default": true } } } },
        });
        let all = settings(&schema);
        assert_eq!((all.len(), all[0].name.as_str(), all[0].default.as_deref()), (1, "regressor.bias", Some("false")));
    }
}
