//! A folder in which the real binary runs a manifest, and what it leaves there.

use super::cargo;
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Handwritten digits and two small networks; `teacher` is trained first.
pub const DIGITS: &str = r#"
[data]
use = "digits"
split = { val = 0.1, seed = 1 }

[models.teacher]
arch = { kind = "mlp", hidden = [32] }

[models.student]
arch = { kind = "mlp", hidden = [16] }

[stage.teacher]
train = "teacher"
epochs = 3
batch = 32
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }
terms.task = { use = "cross_entropy" }
baseline = false
"#;

/// The head of a stage that trains the student.
pub const DISTIL: &str = r#"
[stage.distil]
train = "student"
epochs = 3
batch = 32
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9 }
"#;

/// The built file of a plugin that is sound.
pub fn plugin(package: &str) -> &'static Path {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let of =
            |package: &str| cargo(&["build".to_owned(), "--lib".to_owned()], vec!["-p".into(), package.into()], &[]);
        let mut built = of("general");
        built.extend(of("stillhouse-basics"));
        built.extend(of("stillhouse-tmu"));
        built
    });
    built.get(package).unwrap_or_else(|| panic!("no plugin `{package}` was built"))
}

/// A folder of one test, with the binary in it: beside it there are no plugins but those that the test names.
pub struct Lab {
    folder: TempDir,
    plugins: Vec<PathBuf>,
}

impl Lab {
    /// With the sound plugins.
    pub fn new() -> Lab {
        Lab::with(["general", "stillhouse-basics", "stillhouse-kd", "stillhouse-fitnet"].map(plugin))
    }

    /// With these plugin files.
    pub fn with<P: AsRef<Path>>(plugins: impl IntoIterator<Item = P>) -> Lab {
        let folder = super::folder();
        let (real, here) = (Path::new(env!("CARGO_BIN_EXE_stillhouse")), folder.path().join("stillhouse"));
        if fs::hard_link(real, &here).is_err() {
            fs::copy(real, &here).expect("the binary is copied");
        }
        Lab { folder, plugins: plugins.into_iter().map(|path| path.as_ref().to_owned()).collect() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the manifest `name.toml`: its head, then `body`.
    pub fn manifest(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path().join(format!("{name}.toml"));
        let paths: Vec<&str> = self.plugins.iter().filter_map(|path| path.to_str()).collect();
        fs::write(&path, format!("manifest = 1\n\n[plugins]\npaths = {paths:?}\n{body}"))
            .expect("the manifest is written");
        path
    }

    /// The binary with these arguments, not yet begun.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path().join("stillhouse"));
        command.args(arguments).current_dir(self.path()).env("HOME", self.path()).env("NO_COLOR", "1");
        command.env_remove("STILLHOUSE_PLUGINS").env_remove("XDG_DATA_HOME");
        command
    }

    /// Writes a manifest and runs it.
    pub fn run(&self, name: &str, body: &str) -> Ran {
        self.run_with(name, body, &[])
    }

    /// Likewise, with more arguments.
    pub fn run_with(&self, name: &str, body: &str, more: &[&str]) -> Ran {
        self.manifest(name, body);
        let file = format!("{name}.toml");
        let arguments = [&["run", "--quiet", "--json", &file], more].concat();
        Ran::of(&self.command(&arguments).output().expect("the binary runs"))
    }

    /// What the binary says to these arguments.
    pub fn ask(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the binary runs"))
    }

    /// Writes a manifest and runs it; gives the most memory that the process held, in bytes.
    #[cfg(target_os = "linux")]
    pub fn run_and_watch(&self, name: &str, body: &str) -> u64 {
        self.manifest(name, body);
        let mut command = self.command(&["run", "--quiet", &format!("{name}.toml")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
        let kilobytes = |text: &str| text.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        while child.try_wait().expect("the child can be asked").is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            peak = text.lines().find(|line| line.starts_with("VmHWM")).and_then(kilobytes).unwrap_or(0).max(peak);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().expect("the child ends").success());
        peak * 1024
    }

    /// Writes a manifest, and gives what `check --explain` says of it.
    pub fn explain(&self, name: &str, body: &str) -> String {
        self.manifest(name, body);
        let said = self.command(&["check", &format!("{name}.toml"), "--explain"]).output().expect("the binary runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Likewise, but the process is killed once `epochs` lines of finished epochs are in the event log. A run that was through
    /// before this was seen is run again.
    pub fn run_and_kill(&self, name: &str, body: &str, epochs: usize) {
        self.manifest(name, body);
        for _ in 0..10 {
            if self.kill_after(name, &[], epochs) {
                return;
            }
            fs::remove_dir_all(self.path().join("runs").join(name)).expect("is removed");
        }
        panic!("`{name}` is always through before {epochs} epochs are seen");
    }

    /// A run that is there goes on, and is killed once so many epochs are in the event log of seed 0.
    pub fn resume_and_kill(&self, name: &str, epochs: usize) {
        assert!(self.kill_after(name, &["--resume"], epochs), "it was through before {epochs} epochs were seen");
    }

    /// True when it was killed, false when it ended well.
    fn kill_after(&self, name: &str, more: &[&str], epochs: usize) -> bool {
        let mut child = self.start(name, more);
        let log = self.seed_folder(name, 0).join("metrics.jsonl");
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.lines().filter(|line| line.contains(r#""event":"epoch""#)).count() >= epochs {
                break;
            }
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                assert!(status.success(), "ended too early: {status}");
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().expect("the child is killed");
        !child.wait().expect("the child ends").success()
    }

    /// Checks a manifest; gives the findings.
    pub fn check(&self, body: &str) -> Vec<Value> {
        self.manifest("checked", body);
        let ran = Ran::of(&self.command(&["check", "--json", "checked.toml"]).output().expect("the binary runs"));
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("no answer: {}", ran.err));
        assert_eq!(ran.code, Some(if answer["ok"] == true { 0 } else { 2 }), "{}", ran.err);
        answer["findings"].as_array().cloned().unwrap_or_default()
    }

    /// The one error of a manifest that is refused: its message, then its hint if it has one.
    pub fn refusal(&self, body: &str) -> (String, String) {
        let all = self.check(body);
        let text =
            |value: &Value| value.as_str().unwrap_or_default().replace(self.path().to_str().unwrap_or_default(), "DIR");
        let errors: Vec<&Value> = all.iter().filter(|one| one["severity"] == "error").collect();
        assert_eq!(errors.len(), 1, "{all:#?}");
        assert!(errors[0]["place"]["line"].is_u64(), "has no line: {all:#?}");
        (text(&errors[0]["message"]), text(&errors[0]["hint"]))
    }

    /// Folder of a seed of a run.
    pub fn seed_folder(&self, run: &str, seed: u64) -> PathBuf {
        self.path().join("runs").join(run).join(format!("seed-{seed}"))
    }

    /// Lines of the event log of seed 0 with this event.
    pub fn events(&self, run: &str, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.seed_folder(run, 0).join("metrics.jsonl")).expect("there is a log");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        lines.filter(|line| line["event"] == event).collect()
    }

    /// Epochs of a stage.
    pub fn epochs(&self, run: &str, stage: &str) -> Vec<Value> {
        self.events(run, "epoch").into_iter().filter(|line| line["stage"] == stage).collect()
    }

    /// Raw mean of a term in each epoch of a stage.
    pub fn term(&self, run: &str, stage: &str, term: &str) -> Vec<f64> {
        let of = |epoch: &Value| {
            let terms = epoch["terms"].as_array()?.iter().find(|one| one["name"] == term)?;
            terms["raw"].as_f64()
        };
        self.epochs(run, stage).iter().filter_map(of).collect()
    }

    /// Weights of a stage of seed 0: `best` or `last`.
    pub fn weights(&self, run: &str, stage: &str, which: &str) -> Weights {
        Weights::read(&self.seed_folder(run, 0).join(stage).join(format!("{which}.safetensors")))
    }

    /// Files of the checkpoints of a seed, the newest first.
    pub fn checkpoints(&self, run: &str, seed: u64) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.seed_folder(run, seed).join("checkpoints"));
        let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let files = folder.into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|end| end == "checkpoint")).collect();
        files.sort_by_key(|path| std::cmp::Reverse(number(path)));
        files
    }

    /// The trainer's state of a seed: tensors of the newest checkpoint.
    pub fn checkpoint_of(&self, run: &str, seed: u64) -> Weights {
        let bytes = fs::read(self.checkpoints(run, seed).first().expect("there is a checkpoint")).expect("reads");
        let (content, _) = bytes.split_last_chunk::<32>().expect("a checksum");
        let (length, rest) = content[24..].split_first_chunk::<8>().expect("a length");
        Weights::of(&rest[u64::from_le_bytes(*length) as usize..])
    }

    /// That of seed 0.
    pub fn checkpoint(&self, run: &str) -> Weights {
        self.checkpoint_of(run, 0)
    }

    /// Begins a run whose manifest is written, with nobody to hear what it says.
    pub fn start(&self, name: &str, more: &[&str]) -> Child {
        let file = format!("{name}.toml");
        let mut command = self.command(&[&["run", "--quiet", &file], more].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }
}

/// What a process said.
pub struct Ran {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Of a process that ended.
    pub fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The final table; the run must have worked.
    pub fn table(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Accuracy of a model on the test part.
    pub fn accuracy(&self, model: &str) -> f64 {
        self.row(model)["accuracy"].as_f64().expect("it has an accuracy")
    }

    /// The table's row of a model.
    pub fn row(&self, model: &str) -> Value {
        let table = self.table();
        let rows = table["rows"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["model"] == model).unwrap_or_else(|| panic!("no row `{model}`: {table:#}"))
    }
}

/// Tensors of a file, by name: shape and bits.
#[derive(Clone, PartialEq)]
pub struct Weights(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights {
    /// Reads a file.
    pub fn read(path: &Path) -> Weights {
        Weights::of(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Reads the content of a file.
    pub fn of(bytes: &[u8]) -> Weights {
        let tensors =
            candle_core::safetensors::load_buffer(bytes, &Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>();
        let one = |(name, tensor): (String, Tensor)| (name, (tensor.dims().to_vec(), values(&tensor).expect("values")));
        Weights(tensors.into_iter().map(one).collect())
    }

    /// All names.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Values of a tensor.
    pub fn get(&self, name: &str) -> &[f32] {
        self.0
            .get(name)
            .map(|(_, values)| values.as_slice())
            .unwrap_or_else(|| panic!("no `{name}` in {:?}", self.names()))
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> &[usize] {
        self.0
            .get(name)
            .map(|(shape, _)| shape.as_slice())
            .unwrap_or_else(|| panic!("no `{name}` in {:?}", self.names()))
    }

    /// Tensors whose name starts with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Weights {
        let inner =
            self.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())));
        Weights(inner.collect())
    }

    /// Names of tensors that differ in any bit, or are on one side only.
    pub fn differing(&self, other: &Weights) -> Vec<String> {
        let bits = |weights: &Weights, name: &str| {
            weights
                .0
                .get(name)
                .map(|(shape, values)| (shape.clone(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()))
        };
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| bits(self, name) != bits(other, name)).cloned().collect()
    }

    /// Largest difference of two files of the same tensors.
    pub fn distance(&self, other: &Weights) -> f32 {
        assert_eq!(self.names(), other.names());
        type Values = (Vec<usize>, Vec<f32>);
        let of = |(a, b): (&Values, &Values)| a.1.iter().zip(&b.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        self.0.values().zip(other.0.values()).map(of).fold(0.0, f32::max)
    }
}
