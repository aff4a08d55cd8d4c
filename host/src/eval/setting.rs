//! Values and conditions of a map, worked out for a case.

use super::case::Case;
use serde_json::{Map, Value};

/// A value of the map for this case; `None` where it is left out, so that the part's own default holds.
///
/// ```text
/// 4.0, true, "mean"                                  as it is
/// "$temperature", "$lambda.start"                    the hyperparameter, which must be there
/// { take = "$bias", default = true, map = { .. } }   the hyperparameter or a default, translated where `map` has it
/// { given = "param.*.bias", then = .., else = .. }   whether there is such a tensor (or hyperparameter); true and false
/// { initial = "$initial", .. }                       an object of such values
/// ```
///
/// # Errors
/// A hyperparameter that must be there is not.
pub(super) fn resolve(setting: &Value, case: &Case) -> Result<Option<Value>, String> {
    match setting {
        Value::String(text) if text.starts_with('$') => hyperparameter(text, case).map(Some),
        Value::Object(table) if table.contains_key("take") => take(table, case),
        Value::Object(table) if table.contains_key("given") => {
            let name = table.get("given").and_then(Value::as_str).unwrap_or_default();
            let (key, otherwise) = if case.has(name) { ("then", true) } else { ("else", false) };
            resolve(table.get(key).unwrap_or(&Value::Bool(otherwise)), case)
        }
        Value::Object(table) => Ok(Some(Value::Object(object(table, case)?))),
        Value::Array(list) => {
            let all = list.iter().map(|value| resolve(value, case)).collect::<Result<Vec<_>, _>>()?;
            Ok(Some(Value::Array(all.into_iter().flatten().collect())))
        }
        plain => Ok(Some(plain.clone())),
    }
}

/// Every value of an object.
///
/// # Errors
/// As [`resolve`].
pub(super) fn object(table: &Map<String, Value>, case: &Case) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    for (key, setting) in table {
        if let Some(value) = resolve(setting, case)? {
            all.insert(key.clone(), value);
        }
    }
    Ok(all)
}

/// A number.
///
/// # Errors
/// As [`resolve`], or the value is no number.
pub(super) fn number(setting: &Value, case: &Case) -> Result<Option<f64>, String> {
    match resolve(setting, case)? {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("{value} is no number")),
    }
}

fn hyperparameter(text: &str, case: &Case) -> Result<Value, String> {
    let name = text.trim_start_matches('$');
    case.hyperparameter(name).cloned().ok_or_else(|| format!("the case has no hyperparameter `{name}`"))
}

fn take(table: &Map<String, Value>, case: &Case) -> Result<Option<Value>, String> {
    let name = table.get("take").and_then(Value::as_str).unwrap_or_default();
    let value = match (hyperparameter(name, case), table.get("default")) {
        (Ok(value), _) => value,
        (Err(_), default) => return Ok(default.cloned()),
    };
    let key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(Some(table.get("map").and_then(|map| map.get(&key)).cloned().unwrap_or(value)))
}

/// True when all conditions hold.
///
/// ```text
/// dist = true, reduction = ["mean", "sum"]     the hyperparameter has this value, or one of these
/// class_dim = { or_absent = 1 }                likewise, or it is not there
/// "param.**" = { given = true }                there is such a tensor (or hyperparameter), or there is none
/// ```
pub(super) fn holds(conditions: &Map<String, Value>, case: &Case) -> bool {
    conditions.iter().all(|(name, wanted)| {
        let value = case.hyperparameter(name);
        match wanted {
            Value::Object(table) => {
                let given = table.get("given").and_then(Value::as_bool).is_none_or(|given| given == case.has(name));
                let allowed =
                    table.get("or_absent").is_none_or(|wanted| value.is_none_or(|value| is_one_of(value, wanted)));
                given && allowed
            }
            wanted => value.is_some_and(|value| is_one_of(value, wanted)),
        }
    })
}

fn is_one_of(value: &Value, wanted: &Value) -> bool {
    let same = |wanted: &Value| match (value.as_f64(), wanted.as_f64()) {
        (Some(value), Some(wanted)) => value == wanted,
        _ => value == wanted,
    };
    match wanted {
        Value::Array(list) => list.iter().any(same),
        one => same(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Float32, Tensors};
    use candle_core::{DType, Device, Tensor};
    use serde_json::json;
    use std::path::Path;

    fn case() -> Case {
        let tensor = Tensor::zeros(1, DType::F64, &Device::Cpu).expect("small");
        let names = ["input.student.0", "param.conv.bias"];
        Case {
            name: "x".into(),
            algorithm: "a".into(),
            variant: "v".into(),
            hyperparameters: json!({ "t": 2.5, "reduction": "sum", "norm": { "eps": 1e-5 }, "dim": 1 }),
            training: true,
            float32: Float32::default(),
            informative: vec![],
            tensors: Tensors::new(Path::new("x"), names.map(|name| (name.into(), tensor.clone())).into()),
        }
    }

    #[test]
    fn resolve_takes_hyperparameters_defaults_and_translations() {
        let resolved = |setting: Value| resolve(&setting, &case());
        assert_eq!(resolved(json!("$t")), Ok(Some(json!(2.5))));
        assert_eq!(resolved(json!("$norm.eps")), Ok(Some(json!(1e-5))));
        assert_eq!(resolved(json!({ "take": "$none" })), Ok(None));
        assert_eq!(resolved(json!({ "take": "$none", "default": 3 })), Ok(Some(json!(3))));
        assert_eq!(resolved(json!({ "take": "$reduction", "map": { "sum": "total" } })), Ok(Some(json!("total"))));
        assert_eq!(resolved(json!({ "take": "$reduction", "map": { "mean": "average" } })), Ok(Some(json!("sum"))));
        assert_eq!(resolved(json!({ "given": "param.*.bias" })), Ok(Some(json!(true))));
        assert_eq!(resolved(json!({ "given": "$none", "else": 0.5 })), Ok(Some(json!(0.5))));
        assert_eq!(
            resolved(json!({ "a": { "b": "$dim", "c": { "take": "$none" } } })),
            Ok(Some(json!({ "a": { "b": 1 } })))
        );
        assert_eq!(resolved(json!("$none")), Err("the case has no hyperparameter `none`".into()));
    }

    #[test]
    fn holds_compares_values_and_presence() {
        let holds = |conditions: Value| conditions.as_object().is_some_and(|table| holds(table, &case()));
        assert!(holds(json!({ "dim": 1.0, "reduction": ["mean", "sum"] })));
        assert!(!holds(json!({ "reduction": "mean" })) && !holds(json!({ "none": 1 })));
        assert!(holds(json!({ "none": { "or_absent": 1 }, "dim": { "or_absent": [1, 2] } })));
        assert!(!holds(json!({ "dim": { "or_absent": 2 } })));
        assert!(holds(
            json!({ "param.**": { "given": true }, "buffer.**": { "given": false }, "norm": { "given": true } })
        ));
    }
}
