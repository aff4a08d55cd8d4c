//! `stillhouse plugins`.

use super::{FAILED, show};
use crate::manifest::RESERVED_TERM_KEYS;
use crate::plugin::{Fate, PluginError, Registry, SearchPaths};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use stillhouse_plugin::desc::Desc;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders to search first, as `plugins.paths` of a manifest.
    paths: Vec<PathBuf>,
    /// The same, as other commands have it.
    #[arg(long = "plugins", value_name = "PATH")]
    also: Vec<PathBuf>,
    /// Load plugins that were built to abort on a panic.
    #[arg(long)]
    allow_abort: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Loads what is found, from these paths and the usual places.
pub(in crate::cli) fn discover(paths: &[PathBuf], allow_abort: bool) -> Registry {
    Registry::discover(&SearchPaths::usual(paths), allow_abort, RESERVED_TERM_KEYS)
}

/// Likewise, where every path has to be a plugin or a folder.
///
/// # Errors
/// Why the first one is not that is none.
pub(in crate::cli) fn discover_named(paths: &[PathBuf]) -> Result<Registry, PluginError> {
    let registry = discover(paths, false);
    registry.check_named().map_err(Clone::clone)?;
    Ok(registry)
}

/// What to do about a part that is not found: `hint`, or where to look for it.
pub(in crate::cli) fn hint_for(error: &PluginError, paths: &[PathBuf]) -> Option<String> {
    let hint = error.hint()?;
    let is_list = ["there are: ", "plugins: ", "no plugin was found"].iter().any(|start| hint.starts_with(start));
    let more =
        if paths.is_empty() && is_list { "; `--plugins PATH` names the file or folder of another one" } else { "" };
    Some(format!("{hint}{more}"))
}

pub(super) fn run(args: &Args) -> ExitCode {
    let paths = [&args.paths[..], &args.also].concat();
    let registry = discover(&paths, args.allow_abort);
    let shown = show(&if args.json { format!("{:#}\n", as_json(&registry)) } else { as_text(&registry) });
    // What was asked for by name is there, or the answer is no.
    if registry.check_named().is_err() { ExitCode::from(FAILED) } else { shown }
}

fn as_json(registry: &Registry) -> serde_json::Value {
    let components = |name: &str| {
        let own = registry.components().iter().filter(move |component| component.plugin.name == name);
        own.map(
            |component| json!({ "kind": component.desc.kind, "name": component.desc.name, "doc": component.desc.doc }),
        )
        .collect::<Vec<_>>()
    };
    let plugin = |plugin: &std::sync::Arc<crate::plugin::Plugin>| {
        json!({
            "name": plugin.name, "version": plugin.version, "file": plugin.path, "sha256": plugin.sha256,
            "abi": format!("{}.{}", plugin.abi.0, plugin.abi.1), "built_with": plugin.built_with, "notes": plugin.notes,
            "components": components(&plugin.name),
        })
    };
    json!({
        "files": registry.seen().iter().map(|seen| json!({
            "file": seen.path, "place": seen.place, "fate": match &seen.fate {
                Fate::Taken(_) => "taken",
                Fate::Same(_) => "copy",
                Fate::Shadowed(_) => "shadowed",
                Fate::Refused => "refused",
            },
        })).collect::<Vec<_>>(),
        "searched": registry.places().iter().map(|place| json!({ "path": place.path, "from": place.origin.name() })).collect::<Vec<_>>(),
        "plugins": registry.plugins().iter().map(plugin).collect::<Vec<_>>(),
        "shadowed": registry.shadowed().iter().map(|one| json!({ "name": one.name, "file": one.path, "by": one.by.path })).collect::<Vec<_>>(),
        "refused": registry.refused().iter().map(|one| json!({ "file": one.path, "reason": one.error.to_string(), "hint": one.error.hint() })).collect::<Vec<_>>(),
    })
}

fn as_text(registry: &Registry) -> String {
    let mut text = String::new();
    for plugin in registry.plugins() {
        text.push_str(&format!(
            "{} {}  (ABI {}.{}, {})\n  {}\n",
            plugin.name,
            plugin.version,
            plugin.abi.0,
            plugin.abi.1,
            plugin.built_with,
            plugin.path.display()
        ));
        for component in registry.components().iter().filter(|component| component.plugin.name == plugin.name) {
            text.push_str(&component_line(&component.desc));
        }
        plugin.notes.iter().for_each(|note| text.push_str(&format!("  note: {note}\n")));
        text.push('\n');
    }
    for one in registry.shadowed() {
        text.push_str(&format!("shadowed: {} by {}\n", one.path.display(), one.by.path.display()));
    }
    for one in registry.refused() {
        text.push_str(&format!("refused: {}\n", one.error));
        one.error.hint().iter().for_each(|hint| text.push_str(&format!("  hint: {hint}\n")));
    }
    if registry.plugins().is_empty() {
        text.push_str("no plugin was found\n");
    }
    text.push_str("searched:\n");
    for (at, place) in registry.places().iter().enumerate() {
        text.push_str(&format!("  {} ({})\n", place.path.display(), place.origin.name()));
        for seen in registry.seen().iter().filter(|seen| seen.place == at) {
            let file = seen.path.file_name().unwrap_or_default().to_string_lossy();
            let (word, plugin) = fate(&seen.fate);
            text.push_str(&format!("    {file:<32} {}\n", [word, plugin].join(" ").trim_end()));
        }
    }
    text
}

/// What became of a file, and the plugin that it is about.
fn fate(fate: &Fate) -> (&'static str, &str) {
    match fate {
        Fate::Taken(name) => ("taken:", name),
        Fate::Same(name) => ("a copy of", name),
        Fate::Shadowed(name) => ("shadowed: another file is", name),
        Fate::Refused => ("refused", ""),
    }
}

/// A component in a list: kind, name, first sentence.
pub(in crate::cli) fn component_line(desc: &Desc) -> String {
    format!("  {:<10} {:<18} {}\n", desc.kind.name(), desc.name, first_sentence(&desc.doc))
}

fn first_sentence(doc: &str) -> &str {
    doc.split(['\n', '.']).next().unwrap_or(doc)
}
