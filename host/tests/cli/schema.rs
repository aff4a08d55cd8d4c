//! `schema`: what editors get.

use super::json;
use super::support::command::Place;
use serde_json::{Map, Value};
use std::path::Path;

/// Keywords that say something of a value, or nothing that is checked here (`format` and `pattern` of texts among them).
const KEYWORDS: &[&str] = &[
    "$schema",
    "$id",
    "title",
    "description",
    "default",
    "format",
    "$defs",
    "$ref",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "pattern",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "if",
    "else",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
];

/// A validator of the keywords above.
struct Schema(Value);

impl Schema {
    fn follow<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        pointer.map_or(schema, |pointer| self.0.pointer(pointer).unwrap_or_else(|| panic!("{schema} leads nowhere")))
    }

    /// The first thing that is wrong with a value.
    fn check(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        let Some(own) = schema.as_object() else {
            return if schema == false { Err(format!("{at}: nothing fits")) } else { Ok(()) };
        };
        if let Some(word) = own.keys().find(|word| !KEYWORDS.contains(&word.as_str())) {
            return Err(format!("{at}: unknown keyword `{word}`"));
        }
        if own.contains_key("$ref") {
            self.check(value, self.follow(schema), at)?;
        }
        self.combined(value, own, at)?;
        if let (Some(condition), Some(other)) = (own.get("if"), own.get("else"))
            && self.check(value, condition, at).is_err()
        {
            self.check(value, other, at)?;
        }
        let is_type = |name: &Value| match name.as_str() {
            Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Some(name) => kind(value) == name,
            None => false,
        };
        let fits = own
            .get("type")
            .is_none_or(|types| types.as_array().map_or_else(|| is_type(types), |all| all.iter().any(is_type)));
        let allowed = own.get("enum").and_then(Value::as_array).is_none_or(|all| all.contains(value));
        if !fits || !allowed || own.get("const").is_some_and(|one| one != value) {
            return Err(format!("{at}: {value} does not fit {schema}"));
        }
        self.range(value, own, at)?;
        self.inside(value, own, at)
    }

    fn combined(&self, value: &Value, own: &Map<String, Value>, at: &str) -> Result<(), String> {
        for (word, least, most) in [("anyOf", 1, usize::MAX), ("oneOf", 1, 1), ("allOf", usize::MAX, usize::MAX)] {
            let Some(branches) = own.get(word).and_then(Value::as_array) else { continue };
            let wrong: Vec<String> = branches.iter().filter_map(|branch| self.check(value, branch, at).err()).collect();
            let fitting = branches.len() - wrong.len();
            if fitting < least.min(branches.len()) || fitting > most {
                return Err(format!("{at}: {fitting} of {word} fit: {}", wrong.join("; ")));
            }
        }
        Ok(())
    }

    fn range(&self, value: &Value, own: &Map<String, Value>, at: &str) -> Result<(), String> {
        let Some(number) = value.as_f64() else { return Ok(()) };
        let bound = |word: &str| own.get(word).and_then(Value::as_f64);
        let fits = bound("minimum").is_none_or(|least| number >= least)
            && bound("maximum").is_none_or(|most| number <= most)
            && bound("exclusiveMinimum").is_none_or(|least| number > least)
            && bound("exclusiveMaximum").is_none_or(|most| number < most);
        if fits { Ok(()) } else { Err(format!("{at}: {number} is out of range")) }
    }

    fn inside(&self, value: &Value, own: &Map<String, Value>, at: &str) -> Result<(), String> {
        let nothing = Map::new();
        let properties = own.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        for (key, inner) in value.as_object().into_iter().flatten() {
            if let Some(schema) = properties.get(key).or_else(|| own.get("additionalProperties")) {
                self.check(inner, schema, &format!("{at}.{key}"))?;
            }
        }
        let required = own.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        if let Some(key) = required.filter(|_| value.is_object()).find(|key| value.get(key).is_none()) {
            return Err(format!("{at}: `{key}` is missing"));
        }
        let first = own.get("prefixItems").and_then(Value::as_array);
        for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(schema) = first.and_then(|first| first.get(index)).or_else(|| own.get("items")) {
                self.check(inner, schema, &format!("{at}[{index}]"))?;
            }
        }
        Ok(())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn schema() -> Schema {
    Schema(json(&Place::new().succeed(&["schema"]).out))
}

#[test]
fn schema_names_its_dialect_and_its_references_lead_somewhere() {
    let Schema(root) = schema();
    assert_eq!(root["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let text = root.to_string();
    let references: Vec<&str> = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 5, "{references:?}");
    assert!(references.iter().all(|pointer| root.pointer(pointer).is_some()), "{references:?}");
}

#[test]
fn schema_accepts_every_example() {
    let schema = schema();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("an example is read");
        let value: Value = toml::from_str(&text).expect("an example is TOML");
        // A sweep names its manifest, which is an example of its own.
        if let Some(manifest) = value["manifest"].as_str() {
            assert!(path.with_file_name(manifest).exists(), "{}", path.display());
            continue;
        }
        assert_eq!(schema.check(&value, &schema.0, &path.display().to_string()), Ok(()));
        seen += 1;
    }
    assert!(seen >= 2, "{seen} examples");
}

#[test]
fn schema_refuses_wrong_manifests() {
    let schema = schema();
    let fine: Value = toml::from_str(super::TINY).expect("the manifest is TOML");
    assert_eq!(schema.check(&fine, &schema.0, ""), Ok(()));
    for (pointer, wrong) in
        [("/manifest", 2.into()), ("/run/baseline", "yes".into()), ("/stage/distil/batch", 0.into())]
    {
        let mut value = fine.clone();
        *value.pointer_mut(pointer).expect("the key is there") = wrong;
        assert!(schema.check(&value, &schema.0, "").is_err(), "{pointer}");
    }
}

#[test]
fn schema_requires_nothing_of_a_manifest_that_extends_another() {
    let schema = schema();
    let check = |text: &str| {
        let value: Value = toml::from_str(text).expect("the manifest is TOML");
        schema.check(&value, &schema.0, "")
    };
    let part = "run.seeds = [3]\nstage.distil.epochs = 5\nstage.distil.terms.kd.weight.to = 2.0\nmodels.student.frozen = 'bf16'\n";
    let extending = format!("extends = 'base.toml'\n{part}");
    assert_eq!(check(&extending), Ok(()));
    assert!(check(part).expect_err("no base").contains("is missing"));
    // What is there is checked as ever, and lists are whole.
    assert!(check(&format!("{extending}stage.distil.batch = 0\n")).is_err());
    assert!(check(&format!("{extending}stage.distil.btach = 3\n")).is_err());
    assert!(check(&format!("{extending}models.student.layers = [{{ name = 'one' }}]\n")).is_err());
}
