//! What the loaded plugins offer, by name.

use super::component::{Component, Plugin};
use super::error::PluginError;
use super::find::{Place, listed};
use crate::manifest::nearest;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stillhouse_plugin::desc::Kind;

/// All kinds, in the order of lists.
const KINDS: [Kind; 4] = [Kind::Loss, Kind::Connector, Kind::Module, Kind::Distiller];

/// A file or folder that was not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Its path.
    pub path: PathBuf,
    /// True when the manifest names this very path, so that the run cannot go on without it.
    pub named: bool,
    /// Why.
    pub error: PluginError,
}

/// A plugin that was not loaded, since one of its name was found before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub path: PathBuf,
    /// The plugin in its place.
    pub by: Arc<Plugin>,
}

/// A file that a search came across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path.
    pub path: PathBuf,
    /// Which of [`Registry::places`] it lies in.
    pub place: usize,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is loaded, as the plugin of this name.
    Taken(String),
    /// Its bytes are those of a file before it, the plugin of this name.
    Same(String),
    /// A plugin of its name was found before it.
    Shadowed(String),
    /// It was refused; [`Registry::refused`] says why.
    Refused,
}

/// All plugins of a run; see [`Registry::discover`].
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) places: Vec<Place>,
    pub(super) plugins: Vec<Arc<Plugin>>,
    pub(super) components: Vec<Component>,
    pub(super) shadowed: Vec<Shadowed>,
    pub(super) refused: Vec<Refused>,
    pub(super) seen: Vec<Seen>,
}

impl Registry {
    /// Loaded plugins, in the order of the search.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// All components, plugin by plugin.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Plugins of which parts were made, in the order of the search.
    pub fn used(&self) -> impl Iterator<Item = &Plugin> {
        let is_used = |plugin: &&Arc<Plugin>| {
            let own = self.components.iter().filter(|component| Arc::ptr_eq(&component.plugin, plugin));
            own.into_iter().any(|component| component.used.load(Ordering::Relaxed))
        };
        self.plugins.iter().filter(is_used).map(AsRef::as_ref)
    }

    /// Plugins that were not loaded, since one of their name came before them.
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    /// What was not taken, and why.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// All files that were looked at, in the order of the search; ordinary libraries beside the binary are none.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Where plugins were looked for, in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Checks that every path that the manifest names itself was taken.
    ///
    /// # Errors
    /// The reason of the first one that was not.
    pub fn check_named(&self) -> Result<(), &PluginError> {
        self.refused.iter().find(|refused| refused.named).map_or(Ok(()), |refused| Err(&refused.error))
    }

    /// The component of this name, which may be `plugin::name`; of this kind, or of any.
    ///
    /// # Errors
    /// No plugin has it, or several have.
    pub fn find(&self, kind: Option<Kind>, name: &str) -> Result<&Component, PluginError> {
        match kind {
            Some(kind) => self.find_of(&[kind], name),
            None => self.find_of(&KINDS, name),
        }
    }

    /// Likewise, of one of these kinds: a term is a loss or a distiller.
    ///
    /// # Errors
    /// No plugin has it, or several have, or several kinds have.
    pub fn find_of(&self, kinds: &[Kind], name: &str) -> Result<&Component, PluginError> {
        let (plugin, part) = match name.split_once("::") {
            Some((plugin, part)) => (Some(plugin), part),
            None => (None, name),
        };
        if let Some(plugin) = plugin.filter(|plugin| !self.plugins.iter().any(|known| same_name(&known.name, plugin))) {
            return Err(self.unknown_plugin(plugin));
        }
        let within = |c: &&Component| plugin.is_none_or(|plugin| same_name(&c.plugin.name, plugin));
        let fits = |c: &&Component| c.desc.name == part && kinds.contains(&c.desc.kind) && within(c);
        let found: Vec<&Component> = self.components.iter().filter(fits).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(self.unknown(kinds, name, part, plugin)),
            [first, ..] => Err(ambiguous(part, first, &found)),
        }
    }

    fn unknown_plugin(&self, plugin: &str) -> PluginError {
        let names = || self.plugins.iter().map(|known| known.name.as_str());
        let near = nearest(plugin, names()).map(|name| format!("did you mean `{name}`?"));
        let hint = near.unwrap_or_else(|| list("plugins", names().collect()));
        PluginError::UnknownPlugin { plugin: plugin.into(), hint, searched: self.searched() }
    }

    fn unknown(&self, kinds: &[Kind], name: &str, part: &str, plugin: Option<&str>) -> PluginError {
        let within = |c: &&Component| plugin.is_none_or(|plugin| same_name(&c.plugin.name, plugin));
        let others = || self.components.iter().filter(within);
        let elsewhere = others().find(|c| c.desc.name == part);
        let names = || others().filter(|c| kinds.contains(&c.desc.kind)).map(|c| c.desc.name.as_str());
        let wanted = if kinds.len() == KINDS.len() { "part".into() } else { joined(kinds) };
        let hint = match (elsewhere, nearest(part, names())) {
            (Some(other), _) => format!("`{part}` is a {}", other.desc.kind.name()),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) if self.plugins.is_empty() => {
                "no plugin was found; name a file or folder in `plugins.paths`".into()
            }
            (None, None) => list("there are", names().collect()),
        };
        PluginError::Unknown { wanted, name: name.into(), hint, searched: self.searched() }
    }

    /// Where plugins were looked for, and what was refused there.
    fn searched(&self) -> String {
        let mut text = format!("plugins were looked for in\n{}", listed(&self.places));
        if !self.refused.is_empty() {
            text += "\nand these were refused";
        }
        for refused in &self.refused {
            text += &format!("\n  {}", refused.error);
        }
        text
    }
}

/// True for equal names of crates, however they are written.
pub fn same_name(a: &str, b: &str) -> bool {
    a.replace('_', "-") == b.replace('_', "-")
}

fn joined(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
}

/// Names in backticks, in the order of the search; there may be many.
fn list(what: &str, mut names: Vec<&str>) -> String {
    const MOST: usize = 30;
    let mut known = HashSet::new();
    names.retain(|name| known.insert(*name));
    let shown: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => format!("{what}: none"),
        count if count > MOST => format!("{what}: {}, and {} more", shown.join(", "), count - MOST),
        _ => format!("{what}: {}", shown.join(", ")),
    }
}

fn ambiguous(part: &str, first: &Component, found: &[&Component]) -> PluginError {
    let name = part.to_owned();
    if found.iter().all(|c| c.desc.kind == first.desc.kind) {
        let offers = found.iter().map(|c| (c.plugin.name.clone(), c.plugin.path.clone())).collect();
        return PluginError::Ambiguous { kind: first.desc.kind, name, offers };
    }
    let offers = found.iter().map(|c| format!("a {} of `{}`", c.desc.kind.name(), c.plugin.name)).collect();
    PluginError::AmbiguousKind { name, offers }
}
