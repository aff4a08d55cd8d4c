//! `stillhouse plugin`: the way of a plugin's author.

mod check;
mod eval;
mod install;
mod new;

use clap::Subcommand;
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
