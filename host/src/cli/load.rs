//! Opening a manifest for a command: its mistakes are printed, or listed as JSON.

use super::ManifestArgs;
use crate::exec::use_threads;
use crate::manifest::{self, Diagnostic, Diagnostics, LoadError, Manifest, Severity, Sources, wants_color};
use crate::plugin::last_words;
use crate::receipt::{self, Given, differing_data};
use crate::report::tell;
use crate::train::{Lock, RunPlan, Setup, lock_path, plan};
use std::path::Path;

/// Why a manifest cannot be used; it was not shown yet.
pub(super) struct Wrong {
    pub(super) found: Diagnostics,
    pub(super) sources: Sources,
}

impl Wrong {
    pub(super) fn new(found: Diagnostics, sources: Sources) -> Box<Wrong> {
        Box::new(Wrong { found, sources })
    }

    /// Prints everything that was found.
    pub(super) fn print(&self) {
        let errors = self.found.iter().filter(|one| one.severity == Severity::Error).count();
        let ending = if errors == 1 { "" } else { "s" };
        tell(&format!("{}\n\n{errors} error{ending} in the manifest", self.found.render(&self.sources, wants_color())));
    }
}

/// Loads the manifest, its data and plugins, which are held to the lock file beside it; a receipt is a manifest and a lock in one.
pub(super) fn open(args: &ManifestArgs) -> Result<Setup, Box<Wrong>> {
    match receipt::given(&args.manifest) {
        Ok(Some(given)) => return open_receipt(args, &given),
        Ok(None) => {}
        Err(message) => return Err(Wrong::new(Diagnostic::error(message).into(), Sources::none())),
    }
    let lock = if args.ignore_lock { Ok(None) } else { Lock::read(&lock_path(&args.manifest)) };
    match lock {
        Ok(lock) => open_with(args, lock),
        Err(message) => {
            let (_, sources) = read(args)?;
            let hint = format!("`stillhouse lock {}` writes it anew", args.manifest.display());
            Err(Wrong::new(Diagnostic::error(message).hint(hint).into(), sources))
        }
    }
}

/// Reads the manifest and what it extends.
fn read(args: &ManifestArgs) -> Result<(Manifest, Sources), Box<Wrong>> {
    let from = args.set_from.as_deref().unwrap_or(Path::new(""));
    manifest::load_with(&args.manifest, &args.set, from).map_err(|error| unread(&error))
}

fn unread(error: &LoadError) -> Box<Wrong> {
    Wrong::new(error.diagnostics().clone(), error.sources().clone())
}

/// The run of a receipt, once more: plugins, files and data have to be those that it names.
fn open_receipt(args: &ManifestArgs, given: &Given) -> Result<Setup, Box<Wrong>> {
    let set = [&given.overrides[..], &args.set].concat();
    let (manifest, mut sources) =
        manifest::load_str(&args.manifest, &given.text, &set).map_err(|error| unread(&error))?;
    let folder = args.manifest.parent().unwrap_or(Path::new(""));
    sources.look_for_presets_in(&folder.join(&given.receipt.presets));
    let lock = (!args.ignore_lock).then(|| given.receipt.lock());
    let setup = open_all(args, manifest, sources, lock)?;
    let found = if args.ignore_lock { Diagnostics::default() } else { differing_data(&given.receipt, &setup.data) };
    if found.is_empty() { Ok(setup) } else { Err(Wrong::new(found, setup.sources)) }
}

/// Likewise, held to this lock.
pub(super) fn open_with(args: &ManifestArgs, lock: Option<Lock>) -> Result<Setup, Box<Wrong>> {
    let (manifest, sources) = read(args)?;
    open_all(args, manifest, sources, lock)
}

fn open_all(
    args: &ManifestArgs,
    manifest: Manifest,
    sources: Sources,
    lock: Option<Lock>,
) -> Result<Setup, Box<Wrong>> {
    use_threads(manifest.run.threads);
    Setup::open(manifest, sources, lock, args.allow_abort).map_err(|wrong| Wrong::new(wrong.0, wrong.1))
}

/// Plans the run of a seed; gives warnings beside it.
pub(super) fn plan_seed(setup: &Setup, seed: u64) -> Result<(RunPlan, Diagnostics), Box<Wrong>> {
    let with_warnings = |found: Diagnostics| {
        let mut all = setup.sources.warnings().clone();
        all.extend(found);
        all
    };
    last_words::arm(Path::new(""), Path::new(""));
    match plan(setup, seed) {
        Ok((run, found)) => Ok((run, with_warnings(found))),
        Err(found) => Err(Wrong::new(with_warnings(found), setup.sources.clone())),
    }
}
