//! `stillhouse eval`.

use super::load::{open, plan_seed};
use super::{FAILED, ManifestArgs, WRONG, known_hint, print_error, show};
use crate::train::{MapScores, Metrics, Nearness, Setup, TrainError, evaluate, load_model};
use clap::ValueEnum;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The model; the first one unless given.
    #[arg(long)]
    model: Option<String>,
    /// A file of weights; those that the manifest names unless given.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Part of the data.
    #[arg(long, value_enum, default_value_t = Part::Test)]
    part: Part,
    /// Print the metrics as JSON.
    #[arg(long)]
    json: bool,
}

/// Part of the data.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// Training samples, not augmented.
    Train,
    /// Validation samples.
    Val,
    /// Test samples.
    Test,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let setup = match open(&args.manifest) {
        Ok(setup) => setup,
        Err(wrong) => {
            wrong.print();
            return ExitCode::from(WRONG);
        }
    };
    match measure(&setup, args) {
        Ok((model, metrics)) => show(&match args.json {
            true => format!("{:#}\n", json!({ "model": model, "metrics": metrics })),
            false => format!("{model}: {}\n", text(&metrics)),
        }),
        Err(code) => code,
    }
}

fn measure(setup: &Setup, args: &Args) -> Result<(String, Metrics), ExitCode> {
    let seed = setup.manifest.run.seeds.first().copied().unwrap_or_default();
    let (plan, _) = plan_seed(setup, seed).map_err(|wrong| {
        wrong.print();
        ExitCode::from(WRONG)
    })?;
    let name = args.model.clone().or_else(|| plan.models.keys().next().cloned()).unwrap_or_default();
    let Some(model) = plan.models.get(&name) else {
        let hint = known_hint(&name, plan.models.keys().map(String::as_str));
        return Err(wrong(&format!("there is no model `{name}`"), &hint));
    };
    let has_weights = setup.manifest.models.get(&name).is_some_and(|entry| entry.weights.is_some());
    match &args.weights {
        Some(file) => load_model(model, file).map_err(|error| failed(&error))?,
        None if !has_weights => {
            return Err(wrong(&format!("model `{name}` has no weights in the manifest"), "give `--weights FILE`"));
        }
        None => {}
    }
    let set = &setup.data[&model.data];
    let samples = match args.part {
        Part::Train => Some(&set.train),
        Part::Val => set.val.as_ref(),
        Part::Test => Some(&set.test),
    };
    let samples =
        samples.ok_or_else(|| wrong("the data has no validation part", "add `split = { val = 0.1 }` to the data"))?;
    let metrics = evaluate(model, samples, 256, setup.float, &setup.device).map_err(|error| failed(&error))?;
    Ok((name, metrics))
}

fn wrong(message: &str, hint: &str) -> ExitCode {
    print_error(message, &[], Some(hint));
    ExitCode::from(WRONG)
}

fn failed(error: &TrainError) -> ExitCode {
    print_error(&error.to_string(), &error.notes(), error.hint().as_deref());
    ExitCode::from(FAILED)
}

fn text(metrics: &Metrics) -> String {
    let mut text = format!("{} samples", metrics.samples);
    if let Some(accuracy) = metrics.accuracy {
        text.push_str(&format!(", accuracy {:.2} %", 100.0 * accuracy));
    }
    if let Some(nll) = metrics.nll {
        text.push_str(&format!(", nll {nll:.4}"));
    }
    if let Some(frames) = metrics.frames {
        let of =
            |near: Nearness| format!("mse {:.3} a frame, ssim {:.4}, psnr {:.2} dB", near.mse, near.ssim, near.psnr);
        text.push_str(&format!(", {}; persistence: {}", of(frames.predicted), of(frames.persistence)));
    }
    if let Some(maps) = &metrics.maps {
        let of = |scores: &MapScores| {
            let one = |name: &str| Some(format!("{name} {:.4}", scores.get(name)?));
            Metrics::OF_MAPS.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
        };
        text.push_str(&format!(", {}", of(&maps.predicted)));
        maps.persistence.iter().for_each(|still| text.push_str(&format!("; persistence: {}", of(still))));
    }
    text
}
