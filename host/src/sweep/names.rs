//! Names of points: short, readable, and good for folders.

use toml::Value;

/// Most letters of a value's word.
const LONGEST: usize = 40;

/// Whether a text names a folder on any system.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_kept)
}

/// Whether TOML takes a key without quotes.
pub(super) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
}

fn is_kept(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | '_' | '+' | '-')
}

/// A value on one line of TOML, large and small numbers in short.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Float(number) if number.is_finite() => format!("{number:?}"),
        value => value.to_string(),
    }
}

/// A value in a name: numbers and texts as they are, lists by their items, tables by what they name, else by their place.
pub(super) fn word(value: &Value, place: usize) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| word(item, place)).collect::<Vec<_>>().join("+"),
        Value::Table(table) => {
            let named = ["use", "kind"].into_iter().find_map(|key| table.get(key)?.as_str());
            named.map_or_else(|| (place + 1).to_string(), str::to_owned)
        }
        value => written(value),
    };
    let kept: String = text.chars().map(|letter| if is_kept(letter) { letter } else { '-' }).take(LONGEST).collect();
    // A sign at the front stays.
    kept.trim_start_matches('.').trim_end_matches(['-', '.']).to_owned()
}

/// The shortest end of each path that no other has: `temperature`, or `kd.temperature` beside `dkd.temperature`.
pub(super) fn labels(paths: &[Vec<String>]) -> Vec<String> {
    let end = |path: &Vec<String>, count: usize| path[path.len().saturating_sub(count)..].join(".");
    let label = |path: &Vec<String>| {
        let is_own = |count: &usize| paths.iter().filter(|other| end(other, *count) == end(path, *count)).count() == 1;
        end(path, (1..path.len()).find(is_own).unwrap_or(path.len()))
    };
    let tidy = |text: String| text.chars().map(|letter| if is_kept(letter) { letter } else { '-' }).collect();
    paths.iter().map(label).map(tidy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_short_as_they_may_be() {
        let paths = ["stage.a.lr", "stage.a.terms.kd.weight", "stage.a.terms.fit.weight"];
        let split = |path: &str| path.split('.').map(str::to_owned).collect();
        assert_eq!(labels(&paths.map(split)), ["lr", "kd.weight", "fit.weight"]);
        assert_eq!(labels(&[split("lr"), split("a.lr")]), ["lr", "a.lr"]);
    }

    #[test]
    fn words_of_values_are_good_for_folders() {
        let text = "a = [0.5, 4, true, 1e30, -1e-5, 'a b/c', ['x', 2], { kind = 'sgd', lr = 1 }, { lr = 1 }, '../..']";
        let table: toml::Table = toml::from_str(text).expect("is TOML");
        let words: Vec<String> =
            table["a"].as_array().expect("a list").iter().enumerate().map(|(at, value)| word(value, at)).collect();
        assert_eq!(words, ["0.5", "4", "true", "1e30", "-1e-5", "a-b-c", "x+2", "sgd", "9", ""]);
        assert!(is_plain("kd+fit_2") && !is_plain("..") && !is_plain("a/b") && !is_plain(""));
    }
}
