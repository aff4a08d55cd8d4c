//! Templates, and how they get a plugin's name.

use super::{Api, Name};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use stillhouse_plugin::desc::Kind;

/// A file of a new crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the crate.
    pub path: &'static str,
    /// Its text.
    pub text: String,
}

/// What differs from kind to kind.
struct OfKind {
    source: (&'static str, &'static str),
    test: (&'static str, &'static str),
    /// How a manifest uses the part.
    fragment: &'static str,
}

macro_rules! template {
    ($($piece:literal),+) => {
        include_str!(concat!("../../templates/plugin/", $($piece),+))
    };
}

macro_rules! of_kind {
    ($kind:literal) => {
        OfKind {
            source: (concat!("src/", $kind, ".rs"), template!($kind, "/src.rs")),
            test: (concat!("tests/", $kind, ".rs"), template!($kind, "/test.rs")),
            fragment: template!($kind, "/fragment.toml"),
        }
    };
}

fn of_kind(kind: Kind) -> OfKind {
    match kind {
        Kind::Loss => of_kind!("loss"),
        Kind::Connector => of_kind!("connector"),
        Kind::Module => of_kind!("module"),
        Kind::Distiller => of_kind!("distiller"),
    }
}

/// The files of a plugin with one part of this kind.
pub fn files(name: &Name, kind: Kind, api: &Api) -> Vec<File> {
    let own = of_kind(kind);
    let fill = |text: &str| filled(text, name, kind, api, own.fragment);
    let all = [
        ("Cargo.toml", template!("Cargo.toml.in")),
        ("README.md", template!("README.md.in")),
        (".gitignore", template!("gitignore.in")),
        (".github/workflows/ci.yml", template!("ci.yml.in")),
        ("rustfmt.toml", template!("rustfmt.toml.in")),
        ("example.toml", template!("example.toml.in")),
        ("src/lib.rs", template!("lib.rs.in")),
        own.source,
        own.test,
    ];
    all.into_iter().map(|(path, text)| File { path, text: fill(text) }).collect()
}

fn filled(text: &str, name: &Name, kind: Kind, api: &Api, fragment: &str) -> String {
    // A module belongs to the student; everything else is a term.
    let is_module = kind == Kind::Module;
    let in_student = fragment.replace("models.student.", "");
    let (module, term) = if is_module { (in_student.as_str(), "") } else { ("", fragment) };
    let library = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", name.part());
    let text = text.replace("{module}\n", module).replace("{term}\n", term);
    text.replace("{fragment}", fragment.trim_end())
        .replace("{kind}", kind.name())
        .replace("{library}", &library)
        .replace("{api}", &api.toml())
        .replace("{rust}", env!("CARGO_PKG_RUST_VERSION"))
        .replace("template-name", name.krate())
        .replace("template_name", &name.part())
        .replace("TemplateName", &name.type_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_no_placeholder_left() {
        let name = Name::new("soft-rank").expect("a name");
        for kind in [Kind::Loss, Kind::Connector, Kind::Module, Kind::Distiller] {
            for file in files(&name, kind, &Api::Version("0.1".into())) {
                let left = ["emplate", "{kind}", "{library}", "{api}", "{rust}", "{fragment}", "{module}", "{term}"];
                assert!(left.iter().all(|mark| !file.text.contains(mark)), "{} of a {}", file.path, kind.name());
                assert!(file.text.ends_with('\n'), "{}", file.path);
            }
        }
    }
}
