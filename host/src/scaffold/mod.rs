//! The files of a new plugin: a crate that builds alone, with one working part of a kind.
//!
//! Templates are real files under `host/templates/plugin`; the code in them compiles as it stands, under the name
//! `template_name`. [`files`] gives them that of the plugin, [`write`] puts them in a folder.

mod api;
mod name;
mod template;

pub use api::Api;
pub use name::Name;
pub use template::{File, Starter, files};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a crate was not written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// A name that no crate or part can bear.
    #[error("`{name}` is no name for a plugin: {cause}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        cause: String,
        /// One that would do.
        hint: String,
    },
    /// A source of `stillhouse-plugin` that is none.
    #[error("`--api {given}` is neither a version nor the folder of `stillhouse-plugin`")]
    Api {
        /// What was given.
        given: String,
    },
    /// A folder that has something in it.
    #[error("`{}` exists and is not empty", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused to write.
    #[error("`{}` cannot be written: {cause}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl ScaffoldError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { hint, .. } => Some(hint.clone()),
            Self::Api { .. } => Some("write a version such as `0.1`, or the folder `plugin-api` of a checkout".into()),
            Self::Occupied { .. } => Some("name another folder with `--path`".into()),
            Self::Write { .. } => None,
        }
    }
}

/// Writes files into a folder that is new or empty.
///
/// # Errors
/// The folder has something in it, or the system refuses.
pub fn write(folder: &Path, files: &[File]) -> Result<(), ScaffoldError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |cause| ScaffoldError::Write { path, cause }
    };
    if folder.exists() && !fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(ScaffoldError::Occupied { path: folder.to_owned() });
    }
    for file in files {
        let path = folder.join(file.path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(refused(parent))?;
        fs::write(&path, &file.text).map_err(refused(&path))?;
    }
    Ok(())
}

/// Lets rustfmt break lines anew, which the length of a name decides; where there is no rustfmt they stay.
pub fn format(folder: &Path, files: &[File]) {
    let code = files.iter().map(|file| file.path).filter(|path| path.ends_with(".rs"));
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.current_dir(folder).args(["--edition", "2024"]).args(code);
    let _ = rustfmt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
