//! `stillhouse plugin`: the way of a plugin's author.

mod check;
mod eval;
mod install;
mod new;

use crate::manifest::RESERVED_TERM_KEYS;
use crate::plugin::{self, PluginError, Registry, SearchPaths, Surroundings};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the crate of a new plugin: a working part of a kind, tests, README.
    New(new::Args),
    /// Find out whether every part of a plugin file keeps the rules.
    Check(check::Args),
    /// Check a plugin file and put it where every run of this user finds it.
    Install(install::InstallArgs),
    /// Remove an installed plugin.
    Remove(install::RemoveArgs),
    /// Run one part on given tensors, or a golden case, by the code path that training uses.
    Eval(eval::Args),
}

pub(super) fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::New(args) => new::run(args),
        Command::Check(args) => check::run(args),
        Command::Install(args) => install::install(args),
        Command::Remove(args) => install::remove(args),
        Command::Eval(args) => eval::run(args),
    }
}

/// What a file alone offers, once it was read, opened and has described itself.
fn loaded(file: &PathBuf, allow_abort: bool) -> Result<Registry, PluginError> {
    plugin::verify(file, allow_abort)?;
    let alone = SearchPaths::new(std::slice::from_ref(file), &Surroundings::default());
    let registry = Registry::discover(&alone, allow_abort, RESERVED_TERM_KEYS);
    registry.check_named().map_err(Clone::clone)?;
    Ok(registry)
}
