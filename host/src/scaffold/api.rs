//! Where a new plugin takes `stillhouse-plugin` from.

use super::ScaffoldError;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A dependency on `stillhouse-plugin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// A folder with its source.
    Path(PathBuf),
    /// A version of the registry.
    Version(String),
}

impl Api {
    /// What was asked for: the folder of the crate, the root of a checkout, or a version.
    ///
    /// # Errors
    /// It is neither.
    pub fn given(text: &str) -> Result<Api, ScaffoldError> {
        let path = Path::new(text);
        if let Some(found) = [path.to_owned(), path.join("plugin-api")].into_iter().find_map(|folder| source(&folder)) {
            return Ok(Api::Path(found));
        }
        let bare = text.trim_start_matches(['^', '=', '~']);
        let is_version = !bare.is_empty()
            && bare.split('.').take(2).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
        if is_version { Ok(Api::Version(text.into())) } else { Err(ScaffoldError::Api { given: text.into() }) }
    }

    /// The source beside which this binary was built, if it is still there, else this host's version.
    pub fn usual() -> Api {
        let binary = env::current_exe().ok();
        let above = binary.iter().flat_map(|binary| binary.ancestors()).map(|folder| folder.join("plugin-api"));
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join("plugin-api"));
        let found = above.chain(built).find_map(|folder| source(&folder));
        found.map_or_else(|| Api::Version(env!("CARGO_PKG_VERSION").into()), Api::Path)
    }

    /// As `Cargo.toml` has it.
    pub(super) fn toml(&self) -> String {
        match self {
            Api::Path(path) => format!("{{ path = {} }}", toml::Value::from(path.display().to_string())),
            Api::Version(version) => format!("{:?}", version),
        }
    }
}

/// The folder, absolute, if it holds the source of `stillhouse-plugin`.
fn source(folder: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = text.parse().ok()?;
    let is_api = manifest.get("package")?.get("name")?.as_str()? == "stillhouse-plugin";
    if is_api { fs::canonicalize(folder).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_is_a_version_or_the_source() {
        assert_eq!(Api::given("0.1").expect("a version"), Api::Version("0.1".into()));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let source = root.join("plugin-api").canonicalize().expect("the source");
        for text in [root.clone(), root.join("plugin-api")] {
            assert_eq!(Api::given(&text.display().to_string()).expect("a source"), Api::Path(source.clone()));
        }
        for wrong in ["", "no/such/folder", "latest", "1.x"] {
            assert!(matches!(Api::given(wrong), Err(ScaffoldError::Api { .. })), "{wrong}");
        }
    }

    #[test]
    fn api_by_default_is_the_source_of_this_build() {
        assert!(matches!(Api::usual(), Api::Path(path) if path.ends_with("plugin-api")));
    }
}
