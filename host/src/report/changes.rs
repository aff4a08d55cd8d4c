//! What changed between two manifests, for a run that is to go on.

use crate::train::{has_checkpoint, stage_of};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Keys that change nothing of what is trained: the last names of paths, or whole paths.
///
/// The table `cache` says where values are kept and how much of them, never which: that is said of a model.
const HARMLESS: &[&str] =
    &["run.name", "run.dir", "run.seeds", "run.threads", "run.checkpoint", "run.dump_inputs", "plugins.paths", "cache"];
/// Keys of a data set: how it is read, and how much of it may be damaged.
const HARMLESS_IN_DATA: &[&str] = &["stream", "cache_mb", "damaged"];
const HARMLESS_IN_STAGES: &[&str] = &["log_every", "gradient_norms"];

/// What of a manifest changed since a run began, a line for each key: `stage.distil.batch: 32, now 64`. Left out are keys that
/// change nothing of what was trained, and stages that no seed has begun. `order` has the names of the stages.
///
/// Nothing changed for a folder without a checkpoint.
pub fn changed_since(folder: &Path, manifest: &str, order: &[&str]) -> Vec<String> {
    let begun = begun(folder, order);
    let (Some(begun), Some(before), Some(now)) =
        (begun, fs::read_to_string(folder.join("manifest.toml")).ok().and_then(|text| table(&text)), table(manifest))
    else {
        return vec![];
    };
    let mut found = vec![];
    differences("", &before, &now, &mut found);
    let counts = |path: &str| {
        let names: Vec<&str> = path.split('.').collect();
        let is_harmless = HARMLESS.iter().any(|key| is_at_or_in(path, key));
        let in_stage = match names.as_slice() {
            ["stage"] | [] => return true,
            ["data", rest @ ..] if rest.iter().any(|key| HARMLESS_IN_DATA.contains(key)) => return false,
            ["stage", stage, rest @ ..] => {
                Some((*stage, rest.last().is_some_and(|key| HARMLESS_IN_STAGES.contains(key))))
            }
            _ => None,
        };
        !is_harmless && in_stage.is_none_or(|(stage, is_harmless)| !is_harmless && begun.contains(&stage))
    };
    found.retain(|(path, _)| counts(path));
    found.into_iter().map(|(path, text)| format!("{path}: {text}")).collect()
}

/// Whether some seed of a run has a checkpoint.
pub fn has_begun(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| has_checkpoint(&entry.path()))
}

/// The stages that some seed has begun; none where nothing was saved.
fn begun<'a>(folder: &Path, order: &[&'a str]) -> Option<Vec<&'a str>> {
    let of_seed = |entry: fs::DirEntry| {
        let name = stage_of(&entry.path())?;
        // `<stage>`, `<stage>-alone`, `<stage>.<inner>`: the longest that fits.
        let fits = |stage: &&str| {
            name.strip_prefix(*stage)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("-alone"))
        };
        let at = order.iter().enumerate().filter(|(_, stage)| fits(stage)).max_by_key(|(_, stage)| stage.len());
        Some(at.map_or(order.len(), |(at, _)| at + 1))
    };
    let furthest = fs::read_dir(folder).ok()?.flatten().filter_map(of_seed).max()?;
    Some(order[..furthest].to_vec())
}

/// Whether two resolved manifests describe the same run: they differ in keys at most that change nothing of what comes out.
pub fn same_run(first: &str, other: &str) -> bool {
    let is_harmless = |path: &str| {
        let last = path.rsplit('.').next().unwrap_or(path);
        let of_run = HARMLESS.iter().any(|key| *key != "run.seeds" && is_at_or_in(path, key));
        of_run || path.starts_with("stage.") && HARMLESS_IN_STAGES.contains(&last)
    };
    differing(first, other).iter().all(|(path, _)| is_harmless(path))
}

/// Whether a path is this key, or lies in it.
fn is_at_or_in(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

/// Paths at which two manifests differ, with what stands in both.
pub(super) fn differing(first: &str, other: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    if let (Some(first), Some(other)) = (table(first), table(other)) {
        differences("", &first, &other, &mut found);
    }
    found
}

fn table(text: &str) -> Option<Value> {
    serde_json::to_value(toml::from_str::<toml::Table>(text).ok()?).ok()
}

/// Paths at which two values differ, with what stood and stands there.
fn differences(path: &str, before: &Value, now: &Value, found: &mut Vec<(String, String)>) {
    if before == now {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        found.push((path.to_owned(), format!("{before}, now {now}")));
        return;
    };
    let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, before) in old {
        match new.get(key) {
            Some(now) => differences(&within(key), before, now, found),
            None => found.push((within(key), format!("{before}, now not there"))),
        }
    }
    for (key, now) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        found.push((within(key), format!("was not there, now {now}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "manifest = 1\n[run]\nseeds = [1]\n[data]\nuse = \"digits\"\n[stage.a]\nbatch = 32\nlog_every = 1\n\
                          [stage.b]\nbatch = 16\nterms.kd = { use = \"kd\", weight = 0.5 }\n";

    fn changed(stage: &str, now: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        crate::train::stand_in(&folder.path().join("seed-1"), stage);
        fs::write(folder.path().join("manifest.toml"), BEFORE).expect("is written");
        changed_since(folder.path(), now, &["a", "b"])
    }

    #[test]
    fn changes_are_told_by_key() {
        assert_eq!(changed("b", BEFORE), [""; 0]);
        let now = BEFORE.replace("batch = 32", "batch = 64").replace("weight = 0.5", "temperature = 2.0");
        let wanted = ["a.batch: 32, now 64", "b.terms.kd.weight: 0.5, now not there"];
        let found = changed("b", &now);
        assert_eq!(found[..2], wanted.map(|line| format!("stage.{line}")));
        assert_eq!(found[2..], ["stage.b.terms.kd.temperature: was not there, now 2.0"]);
    }

    #[test]
    fn changes_of_stages_ahead_and_of_logs_are_none() {
        let now = BEFORE.replace("batch = 16", "batch = 8").replace("log_every = 1", "log_every = 9");
        let now = now.replace("seeds = [1]", "seeds = [1, 2]\nthreads = 1");
        assert_eq!(changed("a-alone", &now), [""; 0]);
        assert_eq!(changed("b.hint", &now), ["stage.b.batch: 16, now 8"]);
    }

    #[test]
    fn runs_of_the_same_kind_differ_in_harmless_keys_alone() {
        let now = BEFORE.replace("log_every = 1", "log_every = 9").replace("seeds = [1]", "seeds = [1]\nthreads = 4");
        assert!(same_run(BEFORE, BEFORE) && same_run(BEFORE, &now));
        assert!(!same_run(BEFORE, &BEFORE.replace("seeds = [1]", "seeds = [1, 2]")));
        assert!(!same_run(BEFORE, &BEFORE.replace("batch = 16", "batch = 8")));
        assert!(!same_run(BEFORE, &BEFORE.replace("[run]", "[run]\nthreads_ = 1")));
    }

    #[test]
    fn cache_that_lies_elsewhere_or_holds_more_is_no_change() {
        let cache = |dir: &str, limit: &str| format!("{BEFORE}[cache]\ndir = \"{dir}\"\nlimit_gb = {limit}\n");
        assert_eq!(changed("b", &cache("kept", "2.0")), [""; 0], "a table that was not there");
        for (first, other) in
            [(cache("kept", "2.0"), cache("far", "2.0")), (cache("kept", "2.0"), cache("kept", "9.0"))]
        {
            assert!(same_run(&first, &other) && same_run(&first, BEFORE) && same_run(BEFORE, &other));
        }
        let of_model = |kept: &str| format!("{BEFORE}[models.s]\ncache = {kept}\n");
        assert!(!same_run(&of_model("true"), &of_model("\"f16\"")), "how values are rounded is a change");
    }

    #[test]
    fn changes_without_a_checkpoint_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("manifest.toml"), BEFORE).expect("is written");
        assert_eq!(changed_since(folder.path(), "manifest = 2", &["a", "b"]), [""; 0]);
    }
}
