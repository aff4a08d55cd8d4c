//! Writing a receipt when a run ends.

use super::parts::Parts;
use super::stages::{stages, table};
use super::{FORMAT, HashedData, Machine, ModelRecord, NAME, Receipt, SeedRecord, Text};
use crate::disk::replace;
use crate::manifest::load_str;
use crate::train::{Lock, Outcome, Setup};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use stillhouse_plugin::abi::{ABI_MAJOR, ABI_MINOR};

const HEAD: &str = "# Written at the end of a run: what was run, with what, where, and what came out. `stillhouse run` with this file\n\
                    # runs it again and says whether the numbers agree.\n";

/// What a receipt is made of.
pub struct Made<'a> {
    /// What was run.
    pub setup: &'a Setup,
    /// Its folder.
    pub folder: &'a Path,
    /// What came out, of all seeds.
    pub outcomes: &'a [Outcome],
    /// Its processes.
    pub parts: &'a Parts,
}

/// Writes the receipt of a run that ended.
///
/// # Errors
/// A file of the run cannot be read, or the receipt cannot be written: one line.
pub fn write(made: &Made<'_>) -> Result<Receipt, String> {
    let path = made.folder.join(NAME);
    let receipt = receipt(made, &path)?;
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let text = receipt.text().map_err(told)?;
    replace(&path, |file| file.write_all(text.as_bytes())).map_err(told)?;
    Ok(receipt)
}

fn receipt(made: &Made<'_>, path: &Path) -> Result<Receipt, String> {
    let Made { setup, folder, outcomes, parts } = made;
    let text = setup.sources.resolved_toml(folder);
    // Files are named as the receipt's own manifest names them.
    let (manifest, sources) = load_str(path, &text, &[]).map_err(|error| format!("the resolved manifest: {error}"))?;
    let lock = Lock::of_use(&manifest, &sources, &setup.registry);
    let total = parts.total();
    let seed = |seed: &u64| {
        let log = folder.join(format!("seed-{seed}")).join("metrics.jsonl");
        let told = |why: String| format!("{}: {why}", log.display());
        let text = fs::read_to_string(&log).map_err(|error| told(error.to_string()))?;
        let models = outcomes.iter().filter(|outcome| outcome.seed == *seed).map(model).collect();
        Ok(SeedRecord { seed: *seed, stages: stages(&text).map_err(told)?, models })
    };
    Ok(Receipt {
        receipt: FORMAT,
        name: setup.manifest.run.name.clone(),
        stillhouse: env!("CARGO_PKG_VERSION").into(),
        interface: format!("{ABI_MAJOR}.{ABI_MINOR}"),
        presets: setup.sources.folder_from(folder).to_string_lossy().into_owned(),
        started: total.started,
        seconds: total.seconds,
        resumed: total.resumed,
        peak_memory: total.peak_memory,
        machine: Machine::of(&setup.manifest.run),
        plugins: lock.plugins,
        files: lock.files,
        data: setup.data.iter().map(|(name, set)| HashedData::of(name, set)).collect(),
        seeds: setup.manifest.run.seeds.iter().map(seed).collect::<Result<_, String>>()?,
        manifest: Text { text },
    })
}

fn model(outcome: &Outcome) -> ModelRecord {
    let role = serde_json::to_value(outcome.role).unwrap_or_default();
    ModelRecord {
        name: outcome.model.clone(),
        role: role.as_str().unwrap_or_default().into(),
        stage: outcome.stage.clone(),
        parameters: outcome.parameters,
        weights: outcome.weights.clone(),
        metrics: serde_json::to_string(&outcome.metrics).ok().and_then(|json| table(&json)).unwrap_or_default(),
    }
}

impl Receipt {
    /// As the file has it, with the manifest's text as it is at the end.
    fn text(&self) -> io::Result<String> {
        let text = &self.manifest.text;
        let is_plain = |letter: char| letter == '\n' || letter == '\t' || !letter.is_control();
        let quoted = if text.contains("'''") || !text.chars().all(is_plain) {
            toml::Value::String(text.clone()).to_string()
        } else {
            format!("'''\n{text}'''")
        };
        let before = toml::to_string(self).map_err(io::Error::other)?;
        Ok(format!("{HEAD}{before}\n[manifest]\ntext = {quoted}\n"))
    }
}
