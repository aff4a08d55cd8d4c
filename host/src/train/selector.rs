//! What a port reads, as a manifest writes it.

use std::fmt;

/// `[pass:]path[:in]`: a tap of a forward pass, or a parameter. The pass may be a model's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Pass or model; the port's own side when absent.
    pub pass: Option<String>,
    /// Path of a layer, group or parameter, perhaps with `*`.
    pub path: String,
    /// The value that goes in, rather than the one that comes out.
    pub of_input: bool,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// More colons than a selector has.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let (rest, of_input) = match text.strip_suffix(":in") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (pass, path) = match rest.split_once(':') {
            Some((pass, path)) => (Some(pass.to_owned()), path),
            None => (None, rest),
        };
        if path.is_empty() || path.contains(':') || pass.as_deref() == Some("") {
            return Err(format!("`{text}` is no selector; write `path`, `pass:path` or `pass:path:in`"));
        }
        Ok(Selector { pass, path: path.into(), of_input })
    }

    /// The tap of the graph: path, and `:in` where the input is meant.
    pub fn tap(&self) -> String {
        if self.of_input { format!("{}:in", self.path) } else { self.path.clone() }
    }

    /// True when the path stands for any number of points.
    pub fn is_pattern(&self) -> bool {
        self.path.contains('*')
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pass) = &self.pass {
            write!(f, "{pass}:")?;
        }
        f.write_str(&self.tap())
    }
}

#[cfg(test)]
mod tests {
    use super::Selector;

    #[test]
    fn selector_reads_pass_path_and_input() {
        let parts = |text| Selector::parse(text).map(|s| (s.pass, s.path, s.of_input));
        assert_eq!(parts("layer2"), Ok((None, "layer2".into(), false)));
        assert_eq!(parts("layer2:in"), Ok((None, "layer2".into(), true)));
        assert_eq!(parts("big:layer1.*:in"), Ok((Some("big".into()), "layer1.*".into(), true)));
        assert!(parts("a:b:c").is_err() && parts(":b").is_err() && parts("a:").is_err());
    }

    #[test]
    fn selector_displays_as_it_was_read() {
        for text in ["layer2", "layer2:in", "big:fc", "big:fc:in"] {
            assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
        }
    }
}
