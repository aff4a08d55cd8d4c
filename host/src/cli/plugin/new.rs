//! `stillhouse plugin new`.

use crate::cli::plugins::discover;
use crate::cli::{WRONG, print_error, show};
use crate::scaffold::{self, Api, Name, ScaffoldError, Starter};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use stillhouse_plugin::desc::Kind;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the crate; its part is named like it, with `_` for `-`.
    name: String,
    /// Kind of the part; a loss where `--reads` is given.
    #[arg(long, value_parser = kind, required_unless_present = "reads")]
    kind: Option<Kind>,
    /// What a loss begins with: a formula on logits, on logits and labels, or on features.
    #[arg(long, value_enum)]
    reads: Option<Reads>,
    /// Folder of the crate; a new one named like the crate, unless given.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where `stillhouse-plugin` comes from: a version, or the folder of its source. Unless given, the source that this binary
    /// was built from, if it is there, else the binary's version.
    #[arg(long, value_name = "PATH-or-VERSION")]
    api: Option<String>,
}

/// What a loss reads.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reads {
    /// Logits of both sides; the default.
    Logits,
    /// Logits of both sides, and labels.
    Labels,
    /// Features of both sides.
    Features,
}

impl Args {
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Loss)
    }

    /// None where a part other than a loss shall read something.
    fn starter(&self) -> Option<Starter> {
        match (self.kind(), self.reads) {
            (Kind::Loss, None | Some(Reads::Logits)) => Some(Starter::Logits),
            (Kind::Loss, Some(Reads::Labels)) => Some(Starter::Labels),
            (Kind::Loss, Some(Reads::Features)) => Some(Starter::Features),
            (Kind::Connector, None) => Some(Starter::Connector),
            (Kind::Module, None) => Some(Starter::Module),
            (Kind::Distiller, None) => Some(Starter::Distiller),
            (_, Some(_)) => None,
        }
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).ok_or_else(|| "kinds are loss, connector, module and distiller".into())
}

pub(super) fn run(args: &Args) -> ExitCode {
    let Some(starter) = args.starter() else {
        let text = format!("`--reads` is for a loss: a {} reads what it is put at", args.kind().name());
        print_error(&text, &[], None);
        return ExitCode::from(WRONG);
    };
    written(args, starter).map_or_else(
        |error| {
            print_error(&error.to_string(), &[], error.hint().as_deref());
            ExitCode::from(WRONG)
        },
        |text| show(&text),
    )
}

fn written(args: &Args, starter: Starter) -> Result<String, ScaffoldError> {
    let name = Name::new(&args.name)?;
    let api = args.api.as_deref().map_or_else(|| Ok(Api::usual()), Api::given)?;
    let folder = args.path.clone().unwrap_or_else(|| name.krate().into());
    let files = scaffold::files(&name, starter, &api);
    scaffold::write(&folder, &files)?;
    scaffold::format(&folder, &files);
    let listed: String = files.iter().map(|file| format!("  {}\n", file.path)).collect();
    let source = match &api {
        Api::Path(path) => format!("`stillhouse-plugin` of `{}`", path.display()),
        Api::Version(version) => format!("`stillhouse-plugin` {version} of the registry"),
    };
    let (kind, part) = (args.kind().name(), name.part());
    Ok(format!(
        "wrote the {kind} `{part}` to `{}`, with {source}\n{listed}{}\n{}",
        folder.display(),
        namesakes(args.kind(), &name),
        next(&folder, &part)
    ))
}

/// Parts of this name that are there already: without the plugin's name a manifest cannot tell them apart.
fn namesakes(kind: Kind, name: &Name) -> String {
    let part = name.part();
    let found = discover(&[], false);
    let same = found.components().iter().filter(|known| known.desc.kind == kind && known.desc.name == part);
    let line = |plugin: &str| {
        let full = format!("{}::{part}", name.krate());
        format!(
            "note: plugin `{plugin}` has a {} `{part}`, too: write `use = \"{full}\"`, or give yours another name\n",
            kind.name()
        )
    };
    same.map(|known| line(&known.plugin.name)).collect()
}

fn next(folder: &Path, part: &str) -> String {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let library = Path::new(target.as_deref().unwrap_or("target".as_ref()))
        .join("release")
        .join(format!("{DLL_PREFIX}{part}{DLL_SUFFIX}"));
    // The manifest names the library in the crate's own folder.
    let path = target.map(|_| format!(" --set 'plugins.paths=[\"{}\"]'", library.display())).unwrap_or_default();
    format!(
        "next:\n  cd {}\n  cargo test --release\n  cargo build --release\n  stillhouse plugin check {}\n  \
         stillhouse run example.toml{path}\n",
        folder.display(),
        library.display()
    )
}
