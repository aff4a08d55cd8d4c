//! The settings of a component, from JSON.

use super::error::{Error, Result};
use super::reader::{Misfit, Reader};
use crate::abi::code;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The settings; the error names the path of what is wrong.
pub(super) fn read<T: DeserializeOwned + JsonSchema>(config: &str) -> Result<T> {
    let given = parse(config)?;
    refuse_unknown(&schema::<T>(), &given)?;
    decode(&given).map_err(misplaced)
}

pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::coded(code::CONFIG, error.to_string()))
}

/// Once for each type, or a small plugin would hold several copies.
#[inline(never)]
pub(super) fn schema<T: JsonSchema>() -> Value {
    let mut generator = SchemaGenerator::default();
    let schema = T::json_schema(&mut generator);
    complete(generator, schema, &T::schema_name())
}

/// What does not depend on the type, once for all.
fn complete(mut generator: SchemaGenerator, mut schema: Schema, title: &str) -> Value {
    let dialect = generator.settings().meta_schema.as_deref().map(Value::from);
    if let Some(dialect) = dialect {
        schema.insert("$schema".into(), dialect);
    }
    if schema.get("title").is_none() {
        schema.insert("title".into(), title.into());
    }
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema.insert("$defs".into(), definitions.into());
    }
    schema.to_value()
}

/// From a parsed value rather than from text: a parser for each type would be most of a plugin's size.
#[inline(never)]
pub(super) fn decode<T: DeserializeOwned>(value: &Value) -> std::result::Result<T, Misfit> {
    T::deserialize(Reader(value))
}

fn misplaced(Misfit { path, message }: Misfit) -> Error {
    let place = if path.is_empty() { path } else { format!("at `{path}`: ") };
    Error::coded(code::CONFIG, format!("{place}{message}"))
}

/// Refuses keys that the schema does not list, should the configuration's type let them through.
fn refuse_unknown(schema: &Value, given: &Value) -> Result<()> {
    let (Some(given), Some(known)) = (given.as_object(), schema.get("properties").and_then(|p| p.as_object())) else {
        return Ok(());
    };
    match given.keys().find(|key| !known.contains_key(*key)) {
        None => Ok(()),
        Some(key) => {
            let expected: Vec<String> = known.keys().map(|name| format!("`{name}`")).collect();
            let message = format!("unknown field `{key}`, expected {}", expected.join(", "));
            Err(Error::coded(code::CONFIG, message))
        }
    }
}
