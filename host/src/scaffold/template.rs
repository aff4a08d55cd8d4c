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
        of_kind!($kind, $kind)
    };
    ($kind:literal, $folder:literal) => {
        OfKind {
            source: (concat!("src/", $kind, ".rs"), template!($folder, "/src.rs")),
            test: (concat!("tests/", $kind, ".rs"), template!($folder, "/test.rs")),
            fragment: template!($folder, "/fragment.toml"),
        }
    };
}

/// The part of a new plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// A loss on logits.
    Logits,
    /// A loss on logits and labels.
    Labels,
    /// A loss on features.
    Features,
    /// A connector.
    Connector,
    /// A module.
    Module,
    /// A distiller.
    Distiller,
}

impl Starter {
    /// All of them.
    pub const ALL: [Starter; 6] =
        [Starter::Logits, Starter::Labels, Starter::Features, Starter::Connector, Starter::Module, Starter::Distiller];

    /// Kind of the part.
    pub fn kind(self) -> Kind {
        match self {
            Starter::Logits | Starter::Labels | Starter::Features => Kind::Loss,
            Starter::Connector => Kind::Connector,
            Starter::Module => Kind::Module,
            Starter::Distiller => Kind::Distiller,
        }
    }

    fn template(self) -> OfKind {
        match self {
            Starter::Logits => of_kind!("loss"),
            Starter::Labels => of_kind!("loss", "loss-labels"),
            Starter::Features => of_kind!("loss", "loss-features"),
            Starter::Connector => of_kind!("connector"),
            Starter::Module => of_kind!("module"),
            Starter::Distiller => of_kind!("distiller"),
        }
    }
}

/// The files of a plugin with this part.
pub fn files(name: &Name, starter: Starter, api: &Api) -> Vec<File> {
    let (own, kind) = (starter.template(), starter.kind());
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
        for starter in Starter::ALL {
            for file in files(&name, starter, &Api::Version("0.1".into())) {
                let left = ["emplate", "{kind}", "{library}", "{api}", "{rust}", "{fragment}", "{module}", "{term}"];
                assert!(left.iter().all(|mark| !file.text.contains(mark)), "{} of {starter:?}", file.path);
                assert!(file.text.ends_with('\n'), "{}", file.path);
            }
        }
    }
}
