//! Opening a manifest for a command: its mistakes are printed, or listed as JSON.

use super::ManifestArgs;
use crate::exec::use_threads;
use crate::manifest::{self, Diagnostics, Severity, Sources, wants_color};
use crate::report::tell;
use crate::train::{RunPlan, Setup, plan};

/// Why a manifest cannot be used; it was not shown yet.
pub(super) struct Wrong {
    pub(super) found: Diagnostics,
    pub(super) sources: Sources,
}

impl Wrong {
    fn new(found: Diagnostics, sources: Sources) -> Box<Wrong> {
        Box::new(Wrong { found, sources })
    }

    /// Prints everything that was found.
    pub(super) fn print(&self) {
        let errors = self.found.iter().filter(|one| one.severity == Severity::Error).count();
        let ending = if errors == 1 { "" } else { "s" };
        tell(&format!("{}\n\n{errors} error{ending} in the manifest", self.found.render(&self.sources, wants_color())));
    }
}

/// Loads the manifest, its data and plugins.
pub(super) fn open(args: &ManifestArgs) -> Result<Setup, Box<Wrong>> {
    let (manifest, sources) = manifest::load(&args.manifest, &args.set)
        .map_err(|error| Wrong::new(error.diagnostics().clone(), error.sources().clone()))?;
    use_threads(manifest.run.threads);
    Setup::open(manifest, sources, args.allow_abort).map_err(|wrong| Wrong::new(wrong.0, wrong.1))
}

/// Plans the run of a seed; gives warnings beside it.
pub(super) fn plan_seed(setup: &Setup, seed: u64) -> Result<(RunPlan, Diagnostics), Box<Wrong>> {
    let with_warnings = |found: Diagnostics| {
        let mut all = setup.sources.warnings().clone();
        all.extend(found);
        all
    };
    match plan(setup, seed) {
        Ok((run, found)) => Ok((run, with_warnings(found))),
        Err(found) => Err(Wrong::new(with_warnings(found), setup.sources.clone())),
    }
}
