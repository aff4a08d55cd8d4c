//! Other values of the settings, one by one: what holds for the defaults holds for them.

use super::kit::{Check, Kit, Seen};
use super::report::Verdict;
use super::schema::{configured, fits, followed, properties};
use super::subject::Trouble;
use super::{extremes, gradients, reach, values};
use serde_json::{Value, json};

/// At most so many values of a setting are tried.
const MOST: usize = 8;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (schema, usual) = (&kit.component.desc.schema, configured(kit));
    let (mut held, mut refused) = (0, 0);
    for (key, named) in properties(schema).into_iter().flatten() {
        for value in others(usual.get(key), named, schema).into_iter().take(MOST) {
            let mut config = usual.clone();
            config.insert(key.clone(), value.clone());
            let config = Value::Object(config).to_string();
            let mut other = Kit::new(kit.component, &config);
            let wrong = match other.accept() {
                Ok(()) => broken(&other, &kit.failed),
                // It wants another setting beside it, or other inputs than are generated, and says so.
                Err(Trouble::Refused(_)) => {
                    refused += 1;
                    continue;
                }
                Err(trouble) => Some(trouble.text().to_owned()),
            };
            if let Some(wrong) = wrong {
                return Ok(Verdict::Failed(format!("`{key}` = {value}: {wrong}")));
            }
            held += 1;
        }
    }
    Ok(match (held, refused) {
        (0, 0) => Verdict::NotApplicable("no setting has another value that could be guessed".into()),
        (_, 0) => Verdict::Ok(format!("with {held} other values of settings all holds, too")),
        _ => Verdict::Ok(format!("with {held} other values of settings all holds, too; {refused} refused in words")),
    })
}

/// What does not hold, apart from checks that failed before.
fn broken(kit: &Kit<'_>, failed: &[&str]) -> Option<String> {
    let all: [(&str, Check); 4] = [
        ("values", values::check),
        ("extremes", extremes::check),
        ("gradients", gradients::check),
        ("reach", reach::check),
    ];
    all.into_iter().filter(|(name, _)| !failed.contains(name)).find_map(|(name, check)| match check(kit) {
        Ok(Verdict::Failed(why)) => Some(format!("{name}: {why}")),
        Err(trouble) => Some(format!("{name}: {}", trouble.text())),
        Ok(_) => None,
    })
}

/// Values that a setting may have and has not: the other choices, the other answer, a number twice as large or else half.
fn others(usual: Option<&Value>, named: &Value, root: &Value) -> Vec<Value> {
    let own = followed(named, root);
    let guessed = match usual {
        Some(Value::Bool(answer)) => vec![json!(!answer)],
        Some(Value::Number(number)) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let larger = if number == 0.0 { 1.0 } else { 2.0 * number };
            [larger, number / 2.0]
                .into_iter()
                .map(|value| json!(value))
                .find(|value| allowed(value, named, root))
                .into_iter()
                .collect()
        }
        Some(Value::Number(number)) => {
            let number = number.as_i64().unwrap_or_default();
            [number + 1, number - 1]
                .into_iter()
                .map(|value| json!(value))
                .find(|value| allowed(value, named, root))
                .into_iter()
                .collect()
        }
        _ => choices(own, root, 4),
    };
    guessed.into_iter().filter(|value| usual != Some(value) && allowed(value, named, root)).collect()
}

fn allowed(value: &Value, named: &Value, root: &Value) -> bool {
    fits(value, named, root).is_ok()
}

/// Names among which a setting chooses.
fn choices(schema: &Value, root: &Value, depth: usize) -> Vec<Value> {
    let Some(depth) = depth.checked_sub(1) else { return vec![] };
    let own = followed(schema, root);
    let listed = own.get("enum").and_then(Value::as_array).into_iter().flatten().cloned();
    let single = own.get("const").cloned();
    let branches = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| own.get(key)?.as_array()).flatten();
    let inner = branches.flat_map(|branch| choices(branch, root, depth));
    listed.chain(single).chain(inner).filter(Value::is_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_a_setting_may_be_and_is_not() {
        let root = json!({ "$defs": { "Mode": { "oneOf": [{ "const": "mean" }, { "enum": ["sum", "none"] }] } } });
        let of = |usual: Value, schema: Value| others(Some(&usual), &schema, &root);
        assert_eq!(of(json!("sum"), json!({ "$ref": "#/$defs/Mode" })), [json!("mean"), json!("none")]);
        assert_eq!(of(json!(true), json!({ "type": "boolean" })), [json!(false)]);
        assert_eq!(of(json!(0.5), json!({ "type": "number", "maximum": 0.8 })), [json!(0.25)]);
        assert_eq!(of(json!(3), json!({ "type": "integer", "maximum": 3 })), [json!(2)]);
        assert_eq!(of(json!([1.0]), json!({ "type": "array" })), Vec::<Value>::new());
        let optional = json!({ "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] });
        assert_eq!(others(None, &optional, &root), [json!("mean"), json!("sum"), json!("none")]);
    }
}
