//! The binary as a user has it: in a folder with the plugins that it ships with, called in a folder of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The binary, beside the plugins `kd`, `fitnet` and `basics` and nothing else.
pub fn installed() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(install)
}

/// The files of the plugins that are shipped, built once.
pub fn shipped() -> Vec<PathBuf> {
    let registry = super::plugins(&["kd", "fitnet", "basics"]);
    registry.plugins().iter().map(|plugin| plugin.path.clone()).collect()
}

fn install() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_stillhouse"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("installed-", env!("CARGO_CRATE_NAME")));
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the last installation is removed");
    }
    fs::create_dir_all(&folder).expect("the folder is made");
    for file in shipped().iter().map(PathBuf::as_path).chain([built]) {
        let name = file.file_name().expect("a file has a name");
        fs::copy(file, folder.join(name)).expect("the file is copied");
    }
    folder.join(built.file_name().expect("the binary has a name"))
}

/// A folder in which commands run.
pub struct Place {
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Place {
    /// An empty one.
    pub fn new() -> Place {
        Place { folder: super::folder() }
    }

    /// One with the manifest `m.toml`.
    pub fn with(manifest: &str) -> Place {
        let place = Place::new();
        place.write("m.toml", manifest);
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in a folder that may be new.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is made");
        fs::write(path, bytes).expect("the file is written");
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command, not yet begun, that sees nothing of the user's own plugins, data and colours.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(installed());
        command.args(args).current_dir(self.folder.path()).env("XDG_DATA_HOME", self.path("home"));
        for name in ["STILLHOUSE_PLUGINS", "STILLHOUSE_DATA", "NO_COLOR", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(args).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the binary speaks UTF-8");
        Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// Runs a command that must succeed.
    pub fn succeed(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}\n{}", said.err);
        said
    }
}
