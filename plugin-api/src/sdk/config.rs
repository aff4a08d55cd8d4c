//! The settings of a component, from JSON.

use super::culprit::culprit;
use super::error::{Error, Result};
use crate::abi::code;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The settings; the error names the path of what is wrong.
pub(super) fn read<T: DeserializeOwned + JsonSchema>(config: &str) -> Result<T> {
    let given = parse(config)?;
    refuse_unknown(&schema::<T>(), &given)?;
    decode(given.clone()).map_err(|message| misplaced(&given, &message, &|config| decode::<T>(config).err()))
}

pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::coded(code::CONFIG, error.to_string()))
}

/// Once for each type, or a small plugin would hold several copies.
#[inline(never)]
pub(super) fn schema<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// From a parsed value rather than from text: a parser for each type would be most of a plugin's size.
#[inline(never)]
pub(super) fn decode<T: DeserializeOwned>(value: Value) -> std::result::Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn misplaced(config: &Value, message: &str, parse: &dyn Fn(Value) -> Option<String>) -> Error {
    let path = culprit(config, message, parse);
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
