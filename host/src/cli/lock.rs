//! `stillhouse lock`.

use super::load::{Wrong, open_with, plan_seed};
use super::{FAILED, ManifestArgs, WRONG, print_error, show};
use crate::receipt;
use crate::train::{Lock, lock_path};
use std::path::Path;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let path = lock_path(&args.manifest.manifest);
    if let Some((message, hint)) = no_manifest(&args.manifest.manifest, &path) {
        print_error(&message, &[], Some(hint));
        return ExitCode::from(WRONG);
    }
    // A lock that cannot be read is written anew, as one that is not there.
    let before = Lock::read(&path).ok().flatten();
    match now(args) {
        Ok(lock) => match lock.write(&path) {
            Ok(()) => show(&told(&lock, before.as_ref(), &path.display().to_string())),
            Err(error) => {
                print_error(&format!("`{}` cannot be written: {error}", path.display()), &[], None);
                ExitCode::from(FAILED)
            }
        },
        Err(wrong) => {
            wrong.print();
            ExitCode::from(WRONG)
        }
    }
}

/// Why a file is not one to be locked.
fn no_manifest(file: &Path, lock: &Path) -> Option<(String, &'static str)> {
    if file == lock {
        let hint = "name the manifest; its lock lies beside it and ends with `.lock`";
        return Some((format!("`{}` is the name of a lock file", file.display()), hint));
    }
    let is_receipt = matches!(receipt::given(file), Ok(Some(_)));
    is_receipt.then(|| {
        (
            format!("`{}` is a receipt", file.display()),
            "it names its plugins and files already; `run` and `check` hold it to them",
        )
    })
}

/// What the manifest is used with now: its parts are made, as for a run.
fn now(args: &Args) -> Result<Lock, Box<Wrong>> {
    let setup = open_with(&args.manifest, None)?;
    let seed = setup.manifest.run.seeds.first().copied().unwrap_or_default();
    plan_seed(&setup, seed)?;
    Ok(Lock::of_use(&setup.manifest, &setup.sources, &setup.registry))
}

fn told(lock: &Lock, before: Option<&Lock>, path: &str) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let head = format!("{path}: {} and {}", count(lock.plugins.len(), "plugin"), count(lock.files.len(), "file"));
    let changes = lock.changes(before.unwrap_or(&Lock::default()));
    let lines: Vec<String> = changes.iter().map(|change| format!("\n  {change}")).collect();
    let as_before = if before.is_some() && lines.is_empty() { ", as before" } else { "" };
    format!("{head}{as_before}{}\n", lines.concat())
}
