//! `stillhouse describe`.

use super::plugins::discover;
use super::{WRONG, print_error};
use crate::plugin::Component;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use stillhouse_plugin::desc::{Kind, Port, Source};

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
    let registry = discover(&args.paths, false);
    let (kind, name) = match args.name.split_once('/') {
        Some((kind, name)) => (Kind::from_name(kind), name),
        None => (None, args.name.as_str()),
    };
    match registry.find(kind, name) {
        Ok(component) if args.json => {
            let plugin = &component.plugin;
            let from = json!({ "name": plugin.name, "version": plugin.version, "file": plugin.path, "sha256": plugin.sha256, "built_with": plugin.built_with });
            println!("{:#}", json!({ "component": component.desc, "plugin": from }));
            ExitCode::SUCCESS
        }
        Ok(component) => {
            print!("{}", text(component));
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error.to_string(), &[], error.hint().as_deref());
            ExitCode::from(WRONG)
        }
    }
}

fn text(component: &Component) -> String {
    let (desc, plugin) = (&component.desc, &component.plugin);
    let mut text = format!("{} {}\n", desc.kind.name(), component.full_name());
    desc.doc.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    if !desc.citation.is_empty() {
        text.push_str(&format!("  source: {}\n", desc.citation));
    }
    if desc.batch_coupled {
        text.push_str("  compares the samples of a batch, so batches cannot be accumulated\n");
    }
    if desc.dynamic {
        text.push_str("  reads values, so it cannot be traced\n");
    }
    if !desc.ports.is_empty() {
        text.push_str("\nports\n");
        desc.ports.iter().for_each(|port| text.push_str(&format!("  {:<18} {}\n", port.name, port_text(port))));
    }
    text.push_str("\nsettings\n");
    text.push_str(&settings(&desc.schema));
    text.push_str(&format!("\n{} {}, {}\n  {}\n", plugin.name, plugin.version, plugin.built_with, plugin.path.display()));
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

/// One line a setting: name, type, default, what it is.
fn settings(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return "  none\n".into() };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if properties.is_empty() {
        return "  none\n".into();
    }
    let line = |(name, own): (&String, &Value)| {
        let value = match own.get("default") {
            Some(default) => format!("default {default}"),
            None if required.contains(&name.as_str()) => "required".into(),
            None => "optional".into(),
        };
        let what = own.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        format!("  {name:<18} {:<22} {value:<20} {what}\n", kind_text(own, schema))
    };
    properties.iter().map(line).collect()
}

/// Type and range of a setting.
fn kind_text(own: &Value, schema: &Value) -> String {
    if let Some(name) = own.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/")) {
        return schema.get("$defs").and_then(|defs| defs.get(name)).map_or(name.to_owned(), |target| kind_text(target, schema));
    }
    let words = |list: &Value| list.as_array().map(|list| list.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect::<Vec<_>>().join(" | "));
    if let Some(choices) = own.get("enum").and_then(words) {
        return choices;
    }
    if let Some(list) = own.get("oneOf").or_else(|| own.get("anyOf")).and_then(Value::as_array) {
        return list.iter().map(|one| one.get("const").and_then(Value::as_str).map_or_else(|| kind_text(one, schema), str::to_owned)).collect::<Vec<_>>().join(" | ");
    }
    let mut text = own.get("type").and_then(|kind| kind.as_str().map(str::to_owned).or_else(|| words(kind))).unwrap_or_default();
    for (key, sign) in [("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")] {
        if let Some(bound) = own.get(key) {
            text.push_str(&format!(" {sign} {bound}"));
        }
    }
    text
}
