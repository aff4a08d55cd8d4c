//! `stillhouse plugin check`.

mod alone;
mod golden;

use super::loaded;
use crate::cli::{FAILED, WRONG, print_error, show};
use crate::conform::{Checked, PartReport, Verdict, check_part};
use crate::plugin::{Component, Plugin};
use golden::GoldenReport;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's file.
    file: PathBuf,
    /// Settings of a component that has none by itself, or other ones than its defaults: `--config kd='{"temperature": 2}'`.
    #[arg(long = "config", value_name = "NAME=JSON", value_parser = config)]
    configs: Vec<(String, String)>,
    /// This component alone, `kd` or `loss/kd`.
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
    /// Golden cases of this folder, for parts of this plugin.
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// A golden case, `X.json` beside `X.safetensors`; may be given several times.
    #[arg(long = "case", value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// How cases become parts; `map.toml` above a case unless given.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Check a plugin that was built to abort on a panic.
    #[arg(long)]
    allow_abort: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Check the part in this process, and print its report as JSON: what the command runs for every part.
    #[arg(long, hide = true, requires = "part")]
    here: bool,
}

fn config(text: &str) -> Result<(String, String), String> {
    let (name, json) = text.split_once('=').ok_or("write `NAME={...}`")?;
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Object(_)) => Ok((name.into(), json.into())),
        Ok(other) => Err(format!("wants an object in JSON, got {other}")),
        Err(error) => Err(format!("wants an object in JSON: {error}")),
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let registry = match loaded(&args.file, args.allow_abort) {
        Ok(registry) => registry,
        Err(error) if args.json => {
            let _ =
                show(&format!("{:#}\n", json!({ "passed": false, "error": error.to_string(), "hint": error.hint() })));
            return ExitCode::from(FAILED);
        }
        Err(error) => {
            print_error(&error.to_string(), &[], error.hint().as_deref());
            return ExitCode::from(FAILED);
        }
    };
    let parts: Vec<&Component> = registry.components().iter().filter(|component| is_meant(args, component)).collect();
    if parts.is_empty() {
        let Some(name) = args.part.as_deref() else {
            let hint = "`register!(loss Mine);` stands beside each type, whose module is named in `lib.rs`";
            print_error("this plugin has no parts", &[], Some(hint));
            return ExitCode::from(FAILED);
        };
        let known = registry.components().iter().map(|component| component.desc.name.as_str());
        let hint = crate::cli::known_hint(name, known);
        print_error(&format!("this plugin has no part `{name}`"), &[], Some(&hint));
        return ExitCode::from(WRONG);
    }
    if let Some((name, _)) =
        args.configs.iter().find(|(name, _)| !registry.components().iter().any(|c| c.desc.name == *name))
    {
        print_error(&format!("`--config {name}=...`: this plugin has no part `{name}`"), &[], None);
        return ExitCode::from(WRONG);
    }
    if args.here {
        return show(
            &json!(parts.iter().map(|part| check_part(part, settings(args, part))).collect::<Vec<_>>()).to_string(),
        );
    }
    let reports: Vec<PartReport> = parts.iter().map(|part| alone::check(args, part)).collect();
    let golden = match golden::check(args, &registry) {
        Ok(golden) => golden,
        Err(error) => {
            print_error(&error.to_string(), &[], error.hint().as_deref());
            return ExitCode::from(WRONG);
        }
    };
    let passed = reports.iter().all(PartReport::passed) && golden.iter().all(GoldenReport::passed);
    let plugin = &parts[0].plugin;
    let shown =
        show(&if args.json { as_json(plugin, &reports, &golden, passed) } else { as_text(plugin, &reports, &golden) });
    if passed { shown } else { ExitCode::from(FAILED) }
}

fn is_meant(args: &Args, component: &Component) -> bool {
    let desc = &component.desc;
    args.part.as_deref().is_none_or(|name| name == desc.name || name == format!("{}/{}", desc.kind.name(), desc.name))
}

/// Settings of a component: those of the command line, or none.
fn settings<'a>(args: &'a Args, component: &Component) -> &'a str {
    let own = args.configs.iter().rev().find(|(name, _)| *name == component.desc.name);
    own.map_or("{}", |(_, json)| json.as_str())
}

fn as_json(plugin: &Plugin, reports: &[PartReport], golden: &[GoldenReport], passed: bool) -> String {
    let all = json!({
        "passed": passed,
        "plugin": plugin.name, "version": plugin.version, "abi": format!("{}.{}", plugin.abi.0, plugin.abi.1),
        "built_with": plugin.built_with, "file": plugin.path, "sha256": plugin.sha256,
        "parts": reports, "golden": golden,
    });
    format!("{all:#}\n")
}

fn as_text(plugin: &Plugin, reports: &[PartReport], golden: &[GoldenReport]) -> String {
    let mut text = format!(
        "{} {}, ABI {}.{}, built with {}\n  preamble, layout and descriptions are sound: {}\n",
        plugin.name,
        plugin.version,
        plugin.abi.0,
        plugin.abi.1,
        plugin.built_with,
        plugin.path.display()
    );
    reports.iter().for_each(|report| text.push_str(&format!("\n{report}")));
    if !golden.is_empty() {
        text.push_str("\ngolden cases\n");
        golden.iter().for_each(|case| text.push_str(&format!("  {case}\n")));
    }
    let checks = || reports.iter().flat_map(|report| &report.checks);
    let count = |which: fn(&Verdict) -> bool| checks().filter(|checked| which(&checked.verdict)).count();
    let failed = count(Verdict::is_failure) + golden.iter().filter(|case| !case.passed()).count();
    let sound = count(|verdict| matches!(verdict, Verdict::Ok(_))) + golden.iter().filter(|case| case.passed()).count();
    text.push_str(&format!(
        "\n{} part{}: {sound} ok, {failed} failed, {} not applicable\n",
        reports.len(),
        if reports.len() == 1 { "" } else { "s" },
        count(|verdict| matches!(verdict, Verdict::NotApplicable(_)))
    ));
    text
}

/// The report of a part whose process ended before it could say anything.
fn ended(component: &Component, how: String) -> PartReport {
    let checks = vec![Checked { check: "process".into(), verdict: Verdict::Failed(how) }];
    PartReport { kind: component.desc.kind, name: component.desc.name.clone(), checks }
}
