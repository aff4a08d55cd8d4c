//! A site from JSON, by hand: serde's reader of these nested lists would be a tenth of a small plugin.

use super::config::parse;
use super::error::{Error, Result};
use crate::desc::{FieldSite, ModelSite, Site};
use serde_json::Value;

/// The site; keys that a newer host adds are passed over, and absent ones are empty.
pub(super) fn read(text: &str) -> Result<Site> {
    let value = parse(text)?;
    let bindings = list(&value, "bindings", &mut |pair| Some((text_of(pair.get(0)?)?, texts(pair.get(1)?)?)))?;
    Ok(Site {
        student: value.get("student").map(model).transpose()?.unwrap_or_default(),
        teachers: list(&value, "teachers", &mut |each| model(each).ok())?,
        fields: list(&value, "fields", &mut field)?,
        samples: number(&value, "samples", Value::as_u64)? as usize,
        batch: number(&value, "batch", Value::as_u64)? as usize,
        epochs: number(&value, "epochs", Value::as_f64)?,
        bindings,
    })
}

fn model(value: &Value) -> Result<ModelSite> {
    Ok(ModelSite {
        name: value.get("name").and_then(text_of).unwrap_or_default(),
        layers: list(value, "layers", &mut |pair| Some((text_of(pair.get(0)?)?, text_of(pair.get(1)?)?)))?,
        parameters: list(value, "parameters", &mut text_of)?,
    })
}

fn field(value: &Value) -> Option<FieldSite> {
    let size = &mut |size: &Value| usize::try_from(size.as_u64()?).ok();
    Some(FieldSite {
        name: value.get("name").and_then(text_of).unwrap_or_default(),
        shape: list(value, "shape", size).ok()?,
    })
}

fn list<T>(value: &Value, key: &str, each: &mut dyn FnMut(&Value) -> Option<T>) -> Result<Vec<T>> {
    let Some(given) = value.get(key) else { return Ok(vec![]) };
    let items = given.as_array().and_then(|items| items.iter().map(each).collect());
    items.ok_or_else(|| misread(key, given))
}

fn number<T: Default>(value: &Value, key: &str, read: fn(&Value) -> Option<T>) -> Result<T> {
    value.get(key).map_or(Ok(T::default()), |given| read(given).ok_or_else(|| misread(key, given)))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text_of).collect()
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(String::from)
}

fn misread(key: &str, given: &Value) -> Error {
    Error::new(format!("site: `{key}` is not what this plugin's interface says: {given}"))
}
