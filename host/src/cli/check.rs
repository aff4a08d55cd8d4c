//! `stillhouse check`.

use super::explain::explain;
use super::load::{Wrong, open, plan_seed};
use super::preflight::{self, Estimate};
use super::{ManifestArgs, WRONG, show};
use crate::manifest::{Diagnostics, Place, Severity, Sources, wants_color};
use crate::report::tell;
use crate::train::{BoundPort, BoundTerm, Depth, Preflight, RunPlan, Setup, StagePlan};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Print findings as JSON.
    #[arg(long)]
    json: bool,
    /// Print who taps what, connectors, groups of parameters, and every layer of every model: its shape, and what runs it.
    #[arg(long)]
    explain: bool,
    /// Trace shapes alone: without a step of every stage, and without estimates.
    #[arg(long)]
    no_preflight: bool,
}

/// A manifest that is fine.
struct Fine {
    setup: Setup,
    plan: RunPlan,
    found: Diagnostics,
    tried: Option<(Preflight, Estimate)>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match look(args) {
        Ok(Fine { setup, plan, found, tried }) => {
            let sources = &setup.sources;
            if args.json {
                let estimate = tried.map(|(tried, estimate)| {
                    let Estimate { seconds, memory, disk, .. } = estimate;
                    json!({ "seconds": seconds, "memory": memory, "disk": disk, "notes": tried.notes })
                });
                let told = json!({ "ok": true, "findings": findings(&found, sources), "estimate": estimate });
                return show(&format!("{told:#}\n"));
            }
            if !found.is_empty() {
                tell(&format!("{}\n", found.render(sources, wants_color())));
            }
            let layers = if args.explain { explain(&plan, &setup) } else { String::new() };
            let tried = tried.map_or(String::new(), |(tried, estimate)| {
                let notes: String = tried.notes.iter().map(|note| format!("note: {note}\n")).collect();
                format!("\n{notes}{}", estimate.text())
            });
            show(&format!("{}{layers}{tried}", describe(&plan, &setup)))
        }
        Err(wrong) => {
            if args.json {
                let _ = show(&format!(
                    "{:#}\n",
                    json!({ "ok": false, "findings": findings(&wrong.found, &wrong.sources) })
                ));
            } else {
                wrong.print();
            }
            ExitCode::from(WRONG)
        }
    }
}

/// Plans the run of the first seed and takes every stage through a step.
fn look(args: &Args) -> Result<Fine, Box<Wrong>> {
    let setup = open(&args.manifest)?;
    let seed = setup.manifest.run.seeds.first().copied().unwrap_or_default();
    let (plan, found) = plan_seed(&setup, seed)?;
    let try_all = || {
        preflight::writable(&setup)?;
        preflight::room(&setup, &plan, false)?;
        let tried = preflight::steps(&setup, &plan, Depth::Timed)?;
        let estimate = Estimate::of(&setup, &plan, &tried);
        Ok((tried, estimate))
    };
    match (!args.no_preflight).then(try_all).transpose() {
        Ok(tried) => Ok(Fine { setup, plan, found, tried }),
        Err(wrong) => {
            let mut all = found;
            all.push(wrong);
            Err(Wrong::new(all, setup.sources.clone()))
        }
    }
}

/// Findings for programs: severity, message, file, line, column, notes, hint.
fn findings(found: &Diagnostics, sources: &Sources) -> Vec<Value> {
    let place = |place: &Place| {
        let span = match place {
            Place::Path(path, part) => sources.locate(path, *part),
            Place::Span(span) => Some(span.clone()),
            Place::Manifest => None,
        }?;
        let source = sources.all().get(span.source)?;
        let before = source.text.get(..span.range.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        Some(json!({ "file": source.path, "line": line, "column": column }))
    };
    let one = |finding: &crate::manifest::Diagnostic| {
        json!({
            "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
            "message": finding.message,
            "place": place(&finding.place),
            "notes": finding.details.notes,
            "hint": finding.details.hint,
        })
    };
    found.iter().map(one).collect()
}

/// What will run, for people.
fn describe(plan: &RunPlan, setup: &Setup) -> String {
    let mut text = String::from("the manifest is fine; it runs\n");
    for stage in &plan.stages {
        text.push_str(&describe_stage(stage, plan, setup));
    }
    text
}

fn describe_stage(stage: &StagePlan, plan: &RunPlan, setup: &Setup) -> String {
    let mut text = format!("\nstage {}\n", stage.name);
    if let Some(set) = setup.data.get(&stage.data) {
        let count = set.train.len();
        let validate = set.val.as_ref().map_or(String::new(), |part| format!(", {} to validate", part.len()));
        let test = set.test.len();
        text.push_str(&format!("  data {}: {count} samples to train{validate}, {test} to test\n", stage.data));
    }
    for name in &stage.trained {
        if let Some(model) = plan.models.get(name) {
            let count: usize = model.network.sets().iter().map(|(_, set)| set.parameter_count()).sum();
            text.push_str(&format!(
                "  trains {name}: {}, {count} parameters, sees {:?}\n",
                model.network.graph.name, model.network.graph.input
            ));
        }
    }
    for phase in &stage.phases {
        if stage.phases.len() > 1 {
            let groups: Vec<&str> = phase.updates.iter().map(|group| stage.groups[*group].name.as_str()).collect();
            text.push_str(&format!("  phase {} updates {}\n", phase.name, groups.join(", ")));
        }
        for active in &phase.terms {
            for inner in &active.inner {
                let reads = active.term.ports.iter().filter(|port| !port.reads.is_empty());
                let reads: Vec<String> =
                    reads.map(|port| format!("{} = {}", port.name, list(port, &active.term))).collect();
                let label = active.term.label(inner);
                text.push_str(&format!("  term {label}: {} ({})\n", active.term.part.desc().name, reads.join(", ")));
            }
        }
    }
    text
}

/// What a port reads, with the connectors on the way.
fn list(port: &BoundPort, term: &BoundTerm) -> String {
    let one = |(tap, read): (usize, &crate::train::Read)| {
        let connector = term.connectors.iter().find(|connector| connector.port == port.name && connector.tap == tap);
        let chain = connector.into_iter().flat_map(|connector| &connector.chain);
        chain.fold(read.text(), |text, part| format!("{text} -> {}", part.desc().name))
    };
    port.reads.iter().enumerate().map(one).collect::<Vec<_>>().join(" + ")
}
