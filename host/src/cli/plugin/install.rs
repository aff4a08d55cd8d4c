//! `stillhouse plugin install` and `stillhouse plugin remove`.

use super::loaded;
use crate::cli::{WRONG, known_hint, plugins, print_error, show};
use crate::plugin::{self, Fate, Installed, Registry, Surroundings, same_name};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `install`.
#[derive(Debug, clap::Args)]
pub(super) struct InstallArgs {
    /// The plugin's file.
    file: PathBuf,
    /// Install a plugin that was built to abort on a panic.
    #[arg(long)]
    allow_abort: bool,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub(super) struct RemoveArgs {
    /// Name of the plugin, that of its crate.
    name: String,
}

pub(super) fn install(args: &InstallArgs) -> ExitCode {
    told(user_folder().and_then(|folder| {
        let checked = loaded(&args.file, args.allow_abort).map_err(|error| (error.to_string(), error.hint()))?;
        let done = plugin::install(&args.file, &folder, args.allow_abort);
        let done = done.map_err(|error| (error.to_string(), error.hint()))?;
        Ok(said(&done, &checked, args.allow_abort))
    }))
}

pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    told(user_folder().and_then(|folder| {
        let all = plugin::installed(&folder);
        let (found, others): (Vec<&Installed>, Vec<&Installed>) =
            all.iter().partition(|one| same_name(&one.verified.name, &args.name));
        if found.is_empty() {
            let hint = match others.is_empty() {
                true => format!("nothing is installed in `{}`", folder.display()),
                false => known_hint(&args.name, others.iter().map(|one| one.verified.name.as_str())),
            };
            return Err((format!("no plugin `{}` is installed", args.name), Some(hint)));
        }
        let mut text = String::new();
        for one in found {
            plugin::remove(one).map_err(|error| (error.to_string(), error.hint()))?;
            text.push_str(&format!(
                "removed {} {}\n  {}\n",
                one.verified.name,
                one.verified.version,
                one.path.display()
            ));
        }
        Ok(text)
    }))
}

/// A message and a hint.
type Wrong = (String, Option<String>);

fn told(result: Result<String, Wrong>) -> ExitCode {
    result.map_or_else(
        |(message, hint)| {
            print_error(&message, &[], hint.as_deref());
            ExitCode::from(WRONG)
        },
        |text| show(&text),
    )
}

fn user_folder() -> Result<PathBuf, Wrong> {
    let hint = "set `XDG_DATA_HOME` or `HOME` to an absolute path";
    let folder = Surroundings::of_process().user_folder();
    folder.ok_or_else(|| ("there is no folder for this user's data".into(), Some(hint.into())))
}

fn said(done: &Installed, checked: &Registry, allow_abort: bool) -> String {
    let Installed { path, verified, sha256 } = done;
    let mut text =
        format!("installed {} {}\n  file    {}\n  sha256  {sha256}\n", verified.name, verified.version, path.display());
    for component in checked.components() {
        text.push_str(&plugins::component_line(&component.desc));
    }
    let all = plugins::discover(&[], allow_abort);
    match all.seen().iter().find(|seen| seen.path == *path).map(|seen| &seen.fate) {
        Some(Fate::Shadowed(_)) => {
            let winner =
                all.shadowed().iter().find(|one| one.path == *path).map(|one| one.by.path.display().to_string());
            text.push_str(&format!("note: runs find `{}` before it\n", winner.unwrap_or_default()));
        }
        Some(Fate::Same(_)) => text.push_str("note: runs find a copy of the same bytes before it\n"),
        _ => {}
    }
    text
}
