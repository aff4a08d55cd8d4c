//! Paths into a manifest, by which every finding is located.

use std::fmt;

/// One step down a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// A path into a manifest: `stage.distil.terms.kd.temperature`, `run.seeds[0]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ManifestPath(Vec<Segment>);

/// Which end of `key = value` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl ManifestPath {
    /// The whole manifest.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path along these keys.
    pub fn of<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| Segment::Key(key.into())).collect())
    }

    /// Reads a dotted path, quoted keys as in TOML.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys = toml_edit::Key::parse(text).map_err(|error| error.message().to_owned())?;
        Ok(Self::of(keys.iter().map(|key| key.get())))
    }

    /// One step further, to a key of the table.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// One step further, to a place in the list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// One step further.
    #[must_use]
    pub fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether it is the whole manifest.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last key and what follows it: `seeds[0]` of `run.seeds[0]`.
    pub fn tail(&self) -> Self {
        let start = self.0.iter().rposition(|segment| matches!(segment, Segment::Key(_))).unwrap_or(0);
        Self(self.0[start..].to_vec())
    }
}

impl fmt::Display for ManifestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", toml_edit::Key::new(key).display_repr())?;
                }
            }
        }
        Ok(())
    }
}
