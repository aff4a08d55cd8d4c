//! The commands.

mod check;
mod compare;
mod describe;
mod evaluate;
mod explain;
mod load;
mod lock;
mod plugin;
mod plugins;
mod preflight;
mod repeat;
mod run;
mod settings;
mod signals;
mod sweep;

use crate::manifest::nearest;
use crate::report;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Knowledge distillation and transfer, with every method a plugin loaded at run time.
#[derive(Debug, Parser)]
#[command(name = "stillhouse", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train what a manifest describes, and print how teacher, student alone and distilled student compare.
    Run(run::Args),
    /// Find everything that is wrong with a manifest, before any training.
    Check(check::Args),
    /// Note which plugins and files a manifest is used with, so that `run` and `check` refuse others.
    Lock(lock::Args),
    /// Measure a model of a manifest or of a finished run on its data.
    Eval(evaluate::Args),
    /// Show runs side by side: means, spreads, differences at equal seeds, settings that differ.
    Compare(compare::Args),
    /// Run a grid of settings, methods and seeds, point by point, and compare them; goes on where it was left.
    Sweep(sweep::Args),
    /// Show which plugins are found where, and why a file was refused.
    Plugins(plugins::Args),
    /// Show a component: what it is, its ports, its settings.
    Describe(describe::Args),
    /// Write, check, install and remove plugins; run single parts.
    Plugin(plugin::Args),
    /// Print the JSON schema of manifests, for editors.
    Schema,
}

/// What every command on a manifest takes.
#[derive(Debug, clap::Args)]
struct ManifestArgs {
    /// The manifest; or the receipt of a run, `runs/<name>/receipt.toml`, to do the same again beside it.
    manifest: PathBuf,
    /// Overrides, `stage.distil.terms.kd.weight=0.5`; may be given several times.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Where relative paths in overrides begin; here unless given.
    #[arg(long, value_name = "FOLDER", hide = true)]
    set_from: Option<PathBuf>,
    /// Load plugins that were built to abort on a panic; such a panic ends the process.
    #[arg(long)]
    allow_abort: bool,
    /// Go on although plugins, files or data are not those of the lock file or of the receipt.
    #[arg(long)]
    ignore_lock: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Eval(args) => evaluate::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Plugins(args) => plugins::run(&args),
        Command::Describe(args) => describe::run(&args),
        Command::Plugin(args) => plugin::run(&args),
        Command::Schema => show(&format!("{:#}\n", crate::manifest::schema())),
    }
}

/// The code of a run that did not work out.
const FAILED: u8 = 1;
/// The code of a manifest or command line with mistakes.
const WRONG: u8 = 2;

/// Prints the result of a command.
fn show(text: &str) -> ExitCode {
    if report::show(text) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// The text without the frames that candle's errors carry where `RUST_BACKTRACE` is set.
fn without_frames(text: &str) -> String {
    let is_frame = |line: &&str| {
        let inner = line.trim_start();
        let number = inner.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        let ends_with_place = || inner.rsplit(':').take(2).filter(|part| part.parse::<u32>().is_ok()).count() == 2;
        line.starts_with("  ") && (number || inner.starts_with("at ") && ends_with_place())
    };
    text.lines().filter(|line| !is_frame(line)).collect::<Vec<_>>().join("\n")
}

/// Prints an error with notes and hint.
fn print_error(message: &str, notes: &[String], hint: Option<&str>) {
    let mut text = format!("error: {}", without_frames(message));
    notes.iter().for_each(|note| text.push_str(&format!("\n  {note}")));
    if let Some(hint) = hint {
        text.push_str(&format!("\n\nhint: {hint}"));
    }
    report::tell(&text);
}

/// The nearest of the known names, or all of them.
fn known_hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("there are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::without_frames;

    #[test]
    fn frames_of_backtraces_are_left_out() {
        let text = "wanted [2], got [3]\n   0: candle_core::error::bt\n             at /a/error.rs:3:9\n  \
                    61: clone\n             at ./misc/clone3.S:81:0\n  at port `x`: f32";
        assert_eq!(without_frames(text), "wanted [2], got [3]\n  at port `x`: f32");
    }
}
