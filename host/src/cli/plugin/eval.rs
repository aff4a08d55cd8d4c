//! `stillhouse plugin eval`.

use crate::cli::plugins::{discover_named, hint_for};
use crate::cli::{FAILED, WRONG, print_error, show};
use crate::eval::{EvalError, FailedCall, Float, GoldenMap, PartEval, run_case, run_part};
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;
use stillhouse_plugin::desc::Kind;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The part, `loss/kd` or `distiller/plugin::name`.
    #[arg(value_name = "KIND/NAME", required_unless_present = "case", conflicts_with = "case")]
    part: Option<String>,
    /// Its settings, as a JSON object.
    #[arg(long, default_value = "", conflicts_with = "case")]
    config: String,
    /// Tensors: `input.* param.* frozen.* buffer.* cotangent.*` in a safetensors file.
    #[arg(long = "in", value_name = "FILE", required_unless_present = "case", conflicts_with = "case")]
    input: Option<PathBuf>,
    /// A golden case, `X.json` beside `X.safetensors`; or a call that failed in a run with `--dump-inputs`.
    #[arg(long)]
    case: Option<PathBuf>,
    /// How cases become parts; `map.toml` above the case unless given.
    #[arg(long, requires = "case")]
    map: Option<PathBuf>,
    /// Where results go: `out.*`, `grad.input.*`, `grad.param.*`, `buffer_after.*`; a list of them is printed with or without it. A case
    /// without it is compared with what it recorded.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Type of floats: `f64` unless given, for a call that failed that of the run.
    #[arg(long, value_enum)]
    dtype: Option<Type>,
    /// In training: batch statistics, staged buffers.
    #[arg(long, conflicts_with = "eval")]
    train: bool,
    /// In evaluation, the default.
    #[arg(long)]
    eval: bool,
    /// A distiller's stage; its first unless given.
    #[arg(long, default_value = "")]
    stage: String,
    /// A distiller's phase; its first unless given.
    #[arg(long, default_value = "")]
    phase: String,
    /// Files or folders to search for plugins first.
    #[arg(long = "plugins", value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Type of floats.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Type {
    /// 64 bits.
    F64,
    /// 32 bits, as in training.
    F32,
}

impl From<Type> for Float {
    fn from(dtype: Type) -> Float {
        match dtype {
            Type::F64 => Float::F64,
            Type::F32 => Float::F32,
        }
    }
}

impl Args {
    fn float(&self) -> Float {
        self.dtype.map_or(Float::F64, Into::into)
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let place = |path: &PathBuf| path.canonicalize().ok();
    let out = args.out.as_ref().and_then(place);
    if out.is_some() && [&args.input, &args.case].into_iter().flatten().any(|read| place(read) == out) {
        let hint = "results would replace what they come from: name another file";
        print_error("`--out` is the file that is read", &[], Some(hint));
        return ExitCode::from(WRONG);
    }
    let result = match &args.case {
        Some(case) => eval_case(args, case),
        None => eval_part(args),
    };
    result.unwrap_or_else(|error| {
        let hint = match &error {
            EvalError::Plugin(error) => hint_for(error, &args.paths),
            _ => error.hint(),
        };
        print_error(&error.to_string(), &[], hint.as_deref());
        ExitCode::from(WRONG)
    })
}

fn eval_case(args: &Args, case: &std::path::Path) -> Result<ExitCode, EvalError> {
    if let Some(failed) = FailedCall::open(case)? {
        // The plugin of the run, unless another is named.
        let paths: Vec<PathBuf> =
            args.paths.iter().cloned().chain(failed.plugin.is_file().then(|| failed.plugin.clone())).collect();
        let report = failed.repeat(&discover_named(&paths)?, case, args.out.as_deref(), args.dtype.map(Into::into))?;
        return Ok(show(&format!("{report}it worked this time; the run said: {}\n", failed.error)));
    }
    let map = match &args.map {
        Some(file) => GoldenMap::load(file)?,
        None => GoldenMap::find(case)?,
    };
    let report = run_case(&discover_named(&args.paths)?, &map, case, args.out.as_deref(), args.float())?;
    let shown = show(&format!("{report}\n"));
    Ok(if report.passed() { shown } else { ExitCode::from(FAILED) })
}

fn eval_part(args: &Args) -> Result<ExitCode, EvalError> {
    let text = args.part.as_deref().unwrap_or_default();
    let parsed = text.split_once('/').and_then(|(kind, name)| Some((Kind::from_name(kind)?, name)));
    let Some((kind, name)) = parsed else {
        let hint = "write `KIND/NAME`; kinds are loss, connector, module and distiller";
        print_error(&format!("`{text}` is no part"), &[], Some(hint));
        return Ok(ExitCode::from(WRONG));
    };
    let eval = PartEval {
        kind,
        name: name.into(),
        config_json: args.config.clone(),
        input: args.input.clone().unwrap_or_default(),
        output: args.out.clone(),
        dtype: args.float(),
        training: args.train,
        stage: args.stage.clone(),
        phase: args.phase.clone(),
    };
    let report = run_part(&discover_named(&args.paths)?, eval)?;
    Ok(show(&format!("{report}\n")))
}
