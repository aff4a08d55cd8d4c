//! Which value of a configuration an error is about.
//!
//! serde's errors say what, not where. The value without which parsing fails differently, or not at all, is the one; found so,
//! no configuration needs a second parser compiled for it, which would be a good part of a small plugin.

use serde_json::Value;

/// Path of the value that `message` is about, `regressor.kernel[1]`; empty for the whole. `parse` gives the error of a
/// configuration.
pub(super) fn culprit(config: &Value, message: &str, parse: &dyn Fn(Value) -> Option<String>) -> String {
    let mut path: Vec<Step> = vec![];
    let differs = |path: &[Step]| without(config, path).and_then(parse).as_deref() != Some(message);
    while let Some(step) = children(config, &path).into_iter().find(|step| {
        path.push(step.clone());
        let differs = differs(&path);
        path.pop();
        differs
    }) {
        path.push(step);
    }
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn children(config: &Value, path: &[Step]) -> Vec<Step> {
    let mut at = config;
    for step in path {
        at = match step {
            Step::Key(key) => &at[key.as_str()],
            Step::Index(index) => &at[*index],
        };
    }
    match at {
        Value::Object(table) => table.keys().cloned().map(Step::Key).collect(),
        Value::Array(list) => (0..list.len()).map(Step::Index).collect(),
        _ => vec![],
    }
}

/// The configuration without the value at `path`.
fn without(config: &Value, path: &[Step]) -> Option<Value> {
    let mut config = config.clone();
    let (last, parents) = path.split_last()?;
    let mut at = &mut config;
    for step in parents {
        at = match step {
            Step::Key(key) => at.get_mut(key.as_str())?,
            Step::Index(index) => at.get_mut(*index)?,
        };
    }
    match (last, at) {
        (Step::Key(key), Value::Object(table)) => drop(table.shift_remove(key)),
        (Step::Index(index), Value::Array(list)) => drop(list.remove(*index)),
        _ => return None,
    }
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::culprit;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        #[serde(default)]
        kernel: Option<[usize; 2]>,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        rate: f64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        size: usize,
        #[serde(default)]
        name: String,
    }

    fn found(config: Value) -> String {
        let parse = |config: Value| serde_json::from_value::<Outer>(config).err().map(|error| error.to_string());
        let message = parse(config.clone()).expect("an error");
        culprit(&config, &message, &parse)
    }

    #[test]
    fn culprit_of_an_error_is_the_innermost_value() {
        assert_eq!(found(json!({"rate": "fast"})), "rate");
        assert_eq!(found(json!({"rate": 1.0, "speed": 2})), "speed");
        assert_eq!(found(json!({"kernel": [1, "x"]})), "kernel[1]");
        assert_eq!(found(json!({"inner": {"size": 1, "name": 3}})), "inner.name");
        assert_eq!(found(json!({"inner": {"size": 1, "colour": 3}})), "inner.colour");
        assert_eq!(found(json!({"inner": {"name": "a"}})), "inner");
        assert_eq!(found(json!({"list": [{"size": 1}, {"size": -1}]})), "list[1].size");
        assert_eq!(found(json!(3)), "");
    }

    #[test]
    fn culprit_of_several_errors_is_the_one_that_is_reported() {
        assert_eq!(found(json!({"rate": "fast", "inner": {"size": "big"}})), "rate");
        assert_eq!(found(json!({"inner": {"size": "big"}, "rate": "fast"})), "inner.size");
    }
}
