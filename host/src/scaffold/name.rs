//! The name of a plugin, as crate, part and type.

use super::ScaffoldError;

/// Names that the code of a plugin uses already, in the style of types.
const TAKEN: [&str; 27] = [
    "BatchNorm",
    "BindCx",
    "Box",
    "Component",
    "Connector",
    "Conv2d",
    "Cx",
    "Deserialize",
    "Distiller",
    "Error",
    "Float",
    "FusedOp",
    "Init",
    "Inputs",
    "JsonSchema",
    "Linear",
    "Loss",
    "Module",
    "Option",
    "Plan",
    "Port",
    "Result",
    "Self",
    "State",
    "Stepped",
    "Tensor",
    "Vec",
];

/// Words of the language.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names that no crate may have, or that mean something else to the compiler.
const RESERVED: [&str; 17] = [
    "alloc",
    "bench",
    "build",
    "core",
    "doc",
    "examples",
    "incremental",
    "deps",
    "proc-macro",
    "std",
    "stillhouse",
    "stillhouse-plugin",
    "serde",
    "schemars",
    "test",
    "tests",
    "plugin",
];

/// A checked name: letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// It is no name of a crate, or one that the code of a plugin cannot bear.
    pub fn new(name: &str) -> Result<Name, ScaffoldError> {
        let wrong = |cause: &str, hint: String| {
            Err(ScaffoldError::Name { name: name.into(), cause: cause.into(), hint: format!("try `{hint}`") })
        };
        let cleaned: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        let cleaned = cleaned.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_lowercase();
        let suggested = if cleaned.starts_with(|c: char| c.is_ascii_alphabetic()) { cleaned } else { "my-loss".into() };
        if name != suggested {
            return wrong("it wants lower-case letters, digits, `-` and `_`, a letter first", suggested);
        }
        let own = Name(name.into());
        if KEYWORDS.contains(&own.part().as_str()) {
            return wrong("it is a word of the language", format!("my-{name}"));
        }
        if TAKEN.contains(&own.type_name().as_str()) || RESERVED.contains(&name.replace('_', "-").as_str()) {
            return wrong("it means something else in a plugin", format!("my-{name}"));
        }
        if own.part().contains("__") {
            return wrong("two separators follow each other", own.part().replace("__", "_"));
        }
        Ok(own)
    }

    /// That of the crate.
    pub fn krate(&self) -> &str {
        &self.0
    }

    /// That of the part and of the library.
    pub fn part(&self) -> String {
        self.0.replace('-', "_")
    }

    /// That of the type.
    pub fn type_name(&self) -> String {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
        };
        self.part().split('_').map(|word| -> String { capital(word) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_three_styles() {
        let name = Name::new("soft-rank_2").expect("a name");
        assert_eq!(
            (name.krate(), name.part().as_str(), name.type_name().as_str()),
            ("soft-rank_2", "soft_rank_2", "SoftRank2")
        );
    }

    #[test]
    fn name_that_is_none_gets_a_suggestion() {
        for (name, suggestion) in [
            ("My Loss", "my-loss"),
            ("", "my-loss"),
            ("3d", "my-loss"),
            ("loss", "my-loss"),
            ("../up", "up"),
            ("test", "my-test"),
            ("fn", "my-fn"),
            ("a--b", "a_b"),
        ] {
            let error = Name::new(name).expect_err(name);
            assert_eq!(error.hint(), Some(format!("try `{suggestion}`")), "{name}");
        }
    }
}
