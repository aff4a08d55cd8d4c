//! `stillhouse describe`.

use super::plugins::{discover_named, hint_for};
use super::settings::{Setting, settings};
use super::{WRONG, print_error, show};
use crate::plugin::{Component, PluginError};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use stillhouse_plugin::desc::{Desc, Kind, Port, Source};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of a component, `kd` or `plugin::kd`; with its kind, `loss/kd`, where two kinds share it.
    name: String,
    /// Files or folders to search first.
    #[arg(long = "plugins", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print as JSON, configuration schema included.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let registry = match discover_named(&args.paths) {
        Ok(registry) => registry,
        Err(error) => return refuse(&error, &args.paths, &[]),
    };
    let (kind, name) = match args.name.split_once('/') {
        None => (None, args.name.as_str()),
        Some((kind, name)) => match Kind::from_name(kind) {
            Some(kind) => (Some(kind), name),
            None => {
                let hint = "kinds are loss, connector, module and distiller";
                print_error(&format!("`{kind}` is no kind of part"), &[], Some(hint));
                return ExitCode::from(WRONG);
            }
        },
    };
    match registry.find(kind, name) {
        Ok(component) if args.json => {
            let plugin = &component.plugin;
            let from = json!({
                "name": plugin.name, "version": plugin.version, "file": plugin.path, "sha256": plugin.sha256,
                "abi": format!("{}.{}", plugin.abi.0, plugin.abi.1), "built_with": plugin.built_with,
            });
            show(&format!("{:#}\n", json!({ "component": component.desc, "plugin": from })))
        }
        Ok(component) => show(&text(component)),
        // One that was refused may have had it.
        Err(error) => {
            let refused = registry.refused().iter().map(|refused| format!("refused: {}", refused.error));
            refuse(&error, &args.paths, &refused.take(3).collect::<Vec<_>>())
        }
    }
}

fn refuse(error: &PluginError, paths: &[PathBuf], notes: &[String]) -> ExitCode {
    print_error(&error.to_string(), notes, hint_for(error, paths).as_deref());
    ExitCode::from(WRONG)
}

fn text(component: &Component) -> String {
    let (desc, plugin) = (&component.desc, &component.plugin);
    let mut text = format!("{} {}\n", desc.kind.name(), component.full_name());
    wrapped(&desc.doc, 98).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    if !desc.citation.is_empty() {
        wrapped(&format!("source: {}", desc.citation), 98)
            .iter()
            .for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    if desc.batch_coupled {
        text.push_str("  compares the samples of a batch, so batches cannot be accumulated\n");
    }
    if desc.dynamic {
        text.push_str("  reads values, so it cannot be traced\n");
    }
    let ports: Vec<(&str, String)> = match desc.kind {
        Kind::Connector => vec![
            ("from", "what the student's tap, or the connector before, gives".into()),
            ("to", "the other end; its shape is read when the part is bound".into()),
        ],
        Kind::Module => vec![
            ("input", "input of the replaced layer".into()),
            ("replaced", "its output; the shape is read when the part is bound".into()),
        ],
        Kind::Loss | Kind::Distiller => desc.ports.iter().map(|port| (port.name.as_str(), port_text(port))).collect(),
    };
    if !ports.is_empty() {
        text.push_str("\nports\n");
        ports.iter().for_each(|(name, what)| text.push_str(&format!("  {name:<18} {what}\n")));
    }
    let all = settings(&desc.schema);
    text.push_str(&format!("\nsettings\n{}\nin a manifest\n  {}\n", settings_text(&all), usage(desc, &all)));
    text.push_str(&format!(
        "\nplugin\n  {} {}, ABI {}.{}, built with {}\n  {}\n  sha256 {}\n",
        plugin.name,
        plugin.version,
        plugin.abi.0,
        plugin.abi.1,
        plugin.built_with,
        plugin.path.display(),
        plugin.sha256
    ));
    text
}

fn port_text(port: &Port) -> String {
    let source = match port.source {
        Source::Student => "tap of the student",
        Source::Teacher => "tap of the teacher",
        Source::Data => "field of the data",
        Source::StudentParameter => "parameter of the student",
        Source::TeacherParameter => "parameter of the teacher",
    };
    let mut text = source.to_owned();
    let notes = [(port.many, "any number"), (port.optional, "optional"), (port.over_time, "every frame")];
    notes.iter().filter(|(is, _)| *is).for_each(|(_, note)| text.push_str(&format!(", {note}")));
    if let Some(default) = &port.default {
        text.push_str(&format!(", `{default}` unless bound"));
    }
    text
}

/// Two lines a setting: name, default, what it may be; what it is.
fn settings_text(all: &[Setting]) -> String {
    let left = |one: &Setting| {
        one.default.as_ref().map_or_else(|| one.name.clone(), |default| format!("{} = {default}", one.name))
    };
    let width = all.iter().map(|one| left(one).chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for one in all {
        let need = match (&one.default, one.required) {
            (Some(_), _) => "",
            (None, true) => ", required",
            (None, false) => ", optional",
        };
        text.push_str(&format!("  {:<width$}  {}{need}\n", left(one), one.kind));
        wrapped(&one.doc, 96).iter().for_each(|line| text.push_str(&format!("      {line}\n")));
    }
    if text.is_empty() { "  none\n".into() } else { text }
}

/// How a manifest uses it, with what has no default.
fn usage(desc: &Desc, all: &[Setting]) -> String {
    let ports = desc.ports.iter().filter(|port| port.default.is_none() && !port.optional);
    let ports = ports.map(|port| match port.name.as_str() {
        "student" | "teacher" => format!(", {} = \"...\"", port.name),
        name => format!(", ports.{name} = \"...\""),
    });
    let needed: String = all.iter().filter(|one| one.required).map(|one| format!(", {} = ...", one.name)).collect();
    let name = &desc.name;
    match desc.kind {
        Kind::Connector if needed.is_empty() => format!("connector = \"{name}\""),
        Kind::Connector => format!("connector = {{ use = \"{name}\"{needed} }}"),
        Kind::Module => format!("modules.\"layer3.0\" = {{ use = \"{name}\"{needed} }}"),
        Kind::Loss | Kind::Distiller => {
            format!("terms.{name} = {{ use = \"{name}\"{}{needed} }}", ports.collect::<String>())
        }
    }
}

/// The words in lines of at most `width` columns.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => line.push_str(&format!(" {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
