//! `stillhouse plugin new`.

use crate::cli::{WRONG, print_error, show};
use crate::scaffold::{self, Api, Name, ScaffoldError};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::PathBuf;
use std::process::ExitCode;
use stillhouse_plugin::desc::Kind;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the crate; its part is named like it, with `_` for `-`.
    name: String,
    /// Kind of the part.
    #[arg(long, value_parser = kind)]
    kind: Kind,
    /// Folder of the crate; a new one named like the crate, unless given.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where `stillhouse-plugin` comes from: a version, or the folder of its source. Unless given, the source that this binary
    /// was built from, if it is there, else the binary's version.
    #[arg(long, value_name = "PATH-or-VERSION")]
    api: Option<String>,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).ok_or_else(|| "kinds are loss, connector, module and distiller".into())
}

pub(super) fn run(args: &Args) -> ExitCode {
    written(args).map_or_else(
        |error| {
            print_error(&error.to_string(), &[], error.hint().as_deref());
            ExitCode::from(WRONG)
        },
        |text| show(&text),
    )
}

fn written(args: &Args) -> Result<String, ScaffoldError> {
    let name = Name::new(&args.name)?;
    let api = args.api.as_deref().map_or_else(|| Ok(Api::usual()), Api::given)?;
    let folder = args.path.clone().unwrap_or_else(|| name.krate().into());
    let files = scaffold::files(&name, args.kind, &api);
    scaffold::write(&folder, &files)?;
    scaffold::format(&folder, &files);
    let listed: String = files.iter().map(|file| format!("  {}\n", file.path)).collect();
    let source = match &api {
        Api::Path(path) => format!("`stillhouse-plugin` of `{}`", path.display()),
        Api::Version(version) => format!("`stillhouse-plugin` {version} of the registry"),
    };
    Ok(format!(
        "wrote the {} `{}` to `{}`, with {source}\n{listed}\nnext:\n  cd {}\n  cargo test --release\n  cargo build --release\n  \
         stillhouse plugin check target/release/{DLL_PREFIX}{}{DLL_SUFFIX}\n  stillhouse run example.toml\n",
        args.kind.name(),
        name.part(),
        folder.display(),
        folder.display(),
        name.part()
    ))
}
