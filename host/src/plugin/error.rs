//! What can be wrong with a plugin: one variant per cause.

use super::component::Pinned;
use std::path::PathBuf;
use stillhouse_plugin::desc::{Kind, RESERVED_SETTINGS};

/// Why a file is no usable plugin, or why a part could not be found or made.
///
/// The text is one line. [`hint`](PluginError::hint) says what to do, [`detail`](PluginError::detail) has what is too long
/// for a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// A path leads nowhere.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The system refused to read it.
    #[error("`{}` cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A path that leads to something else than a file.
    #[error("`{}` is {what}, not a library", path.display())]
    NotFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file of another format.
    #[error("`{}` is not a shared library: it {got}", path.display())]
    NotLibrary {
        /// The file.
        path: PathBuf,
        /// What it is or begins with.
        got: String,
    },
    /// A library for another machine or system.
    #[error("`{}` is built for {got}, this host runs on {wanted}", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it is built for.
        got: String,
        /// This machine.
        wanted: String,
    },
    /// A library whose headers describe more than there is.
    #[error("`{}` is cut off: its headers describe {wanted} bytes, the file has {got}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        got: u64,
        /// The length that it should have.
        wanted: u64,
    },
    /// A library whose headers make no sense.
    #[error("`{}` is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        cause: String,
    },
    /// A library without a preamble.
    #[error("`{}` is not a plugin; was `export_plugin!` forgotten?", path.display())]
    NotPlugin {
        /// The file.
        path: PathBuf,
    },
    /// A library whose preamble makes no sense.
    #[error("`{}` has a preamble that makes no sense: {cause}", path.display())]
    BadPreamble {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        cause: String,
    },
    /// A plugin of another major version of the interface.
    #[error(
        "plugin `{plugin}` speaks version {}.{} of the plugin interface, this host speaks {}.{}: `{}`",
        got.0, got.1, wanted.0, wanted.1, path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// Its version of the interface.
        got: (u32, u32),
        /// The host's.
        wanted: (u32, u32),
    },
    /// A plugin in which a panic ends the process.
    #[error("plugin `{plugin}` is built with `panic = \"abort\"`, so that a panic in it would end the host: `{}`", path.display())]
    Aborts {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
    },
    /// An installed plugin whose bytes are not those that were installed.
    #[error("plugin `{plugin}` changed since it was installed: its SHA-256 is {got:.12}.., not {noted:.12}..: `{}`", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// SHA-256 that was noted.
        noted: String,
        /// SHA-256 of the file.
        got: String,
    },
    /// A plugin that is not the file which the lock file names.
    #[error(
        "plugin `{plugin}` is not the one that was locked: {} ({:.12}..) was, {} ({:.12}..) is found: `{}`",
        locked.version, locked.sha256, got.version, got.sha256, path.display()
    )]
    NotLocked {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What was locked.
        locked: Box<Pinned>,
        /// The file.
        got: Box<Pinned>,
    },
    /// A plugin that the lock file does not name.
    #[error("plugin `{plugin}` {version} was not locked, so it was not opened: `{}`", path.display())]
    Unlisted {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// Its version.
        version: String,
    },
    /// An installed plugin in whose place another one would be put.
    #[error("plugin `{plugin}` cannot be installed: `{}` is plugin `{got}`, not an earlier `{plugin}`", path.display())]
    Occupied {
        /// The file that is there.
        path: PathBuf,
        /// The plugin that was to be installed.
        plugin: String,
        /// The one that is there.
        got: String,
    },
    /// The system cannot open the library.
    #[error("plugin `{plugin}` cannot be opened: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What the system said, with all its causes.
        cause: String,
    },
    /// A preamble without the header that belongs to it, or with one that cannot be used.
    #[error("plugin `{plugin}` has no usable header: {cause}: `{}`", path.display())]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What is wrong with the header.
        cause: String,
    },
    /// A plugin whose types differ from the host's.
    #[error("plugin `{plugin}` was built against another interface: {difference}: `{}`", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// Path to the type that differs, what was expected and found.
        difference: String,
        /// The whole comparison.
        report: String,
    },
    /// A plugin that does not start.
    #[error("plugin `{plugin}` did not start: {cause}: `{}`", path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What it said.
        cause: String,
    },
    /// A plugin that does not describe itself well.
    #[error("plugin `{plugin}` describes its components badly: {cause}: `{}`", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What is wrong.
        cause: String,
    },
    /// A component with a setting that a manifest could not reach.
    #[error("plugin `{plugin}`: the {} `{component}` has a setting `{key}`, a key that the host reads itself", kind.name())]
    ReservedKey {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// Kind of the component.
        kind: Kind,
        /// The component.
        component: String,
        /// The setting.
        key: String,
    },
    /// No plugin has this name.
    #[error("no plugin is named `{plugin}`")]
    UnknownPlugin {
        /// The name.
        plugin: String,
        /// What to write.
        hint: String,
        /// Where plugins were looked for and what was refused.
        searched: String,
    },
    /// No plugin has a component of this name.
    #[error("no plugin has a {wanted} `{name}`")]
    Unknown {
        /// The kinds that were looked for.
        wanted: String,
        /// The name.
        name: String,
        /// What to write.
        hint: String,
        /// Where plugins were looked for and what was refused.
        searched: String,
    },
    /// Several plugins have it.
    #[error("{} plugins offer the {} `{name}`: {}", offers.len(), kind.name(), offered(offers))]
    Ambiguous {
        /// The kind.
        kind: Kind,
        /// The name.
        name: String,
        /// Plugins and their files.
        offers: Vec<(String, PathBuf)>,
    },
    /// Components of several kinds have the name.
    #[error("`{name}` is the name of several parts: {}", offers.join(", "))]
    AmbiguousKind {
        /// The name.
        name: String,
        /// Kinds and plugins.
        offers: Vec<String>,
    },
    /// Wrong settings of a component.
    #[error("component `{component}`: {message}")]
    Config {
        /// The component.
        component: String,
        /// Where and what.
        message: String,
        /// What to write.
        hint: Option<String>,
    },
    /// A component that failed.
    #[error("plugin `{plugin}`, {} `{component}`: {message}", kind.name())]
    Failed {
        /// The plugin.
        plugin: String,
        /// Kind of the component.
        kind: Kind,
        /// The component.
        component: String,
        /// What it said; after a panic with the line of its source.
        message: String,
        /// Code of the cause; see [`stillhouse_plugin::abi::code`].
        code: u32,
    },
}

/// Plugins and files, in one line.
fn offered(offers: &[(String, PathBuf)]) -> String {
    offers.iter().map(|(plugin, path)| format!("`{plugin}` (`{}`)", path.display())).collect::<Vec<_>>().join(" and ")
}

impl PluginError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::OtherMachine { wanted, .. } => format!("build the plugin for {wanted}"),
            Self::CutOff { .. } | Self::Damaged { .. } => "build the plugin or copy it again".into(),
            Self::Version { wanted, .. } => {
                format!("build it with a `stillhouse-plugin` of interface {}.{}", wanted.0, wanted.1)
            }
            Self::Aborts { .. } => "build it with `panic = \"unwind\"`, or allow it with `--allow-abort`".into(),
            Self::Open { cause, .. } if cause.contains("failed to map segment") => {
                "its file system may be mounted with `noexec`; put it elsewhere".into()
            }
            Self::Occupied { got, .. } => {
                format!("give the file another name, or take the other away with `stillhouse plugin remove {got}`")
            }
            Self::Changed { .. } => "install it again with `stillhouse plugin install`".into(),
            Self::Layout { .. } => "build it with the `stillhouse-plugin` that belongs to this host".into(),
            Self::ReservedKey { .. } => {
                let taken: Vec<String> = RESERVED_SETTINGS.iter().map(|key| format!("`{key}`")).collect();
                format!("rename the setting in the plugin; names that are taken: {}", taken.join(", "))
            }
            Self::UnknownPlugin { hint, .. } | Self::Unknown { hint, .. } => hint.clone(),
            Self::Ambiguous { name, offers, .. } => {
                let full: Vec<String> = offers.iter().map(|(plugin, _)| format!("`{plugin}::{name}`")).collect();
                format!("write {}", full.join(" or "))
            }
            Self::AmbiguousKind { .. } => "name the kind, too".into(),
            Self::Config { hint, .. } => return hint.clone(),
            _ => return None,
        };
        Some(hint)
    }

    /// What is too long for a line: the whole comparison of types, or where plugins were looked for.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Layout { report, .. } => Some(report),
            Self::UnknownPlugin { searched, .. } | Self::Unknown { searched, .. } => Some(searched),
            _ => None,
        }
    }

    /// The text, with the hint below it where there is one.
    pub fn with_hint(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}\n\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}
