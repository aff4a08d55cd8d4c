//! Distillation whose teacher is kept: an epoch beside one of the student alone, and whole trainings beside PyTorch's with and
//! without kept logits.

use super::agree::{parameters, write};
use super::side::median;
use super::step::{SGD, built};
use super::{Outcome, python};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use stillhouse::manifest;
use stillhouse::ops::ParamKind;
use stillhouse::train::{Setup, plan};

/// Depths of teacher and student, both 16 channels wide.
const NETWORKS: [&str; 2] = ["32", "8"];
const PICTURES: &str = "6400";
const BATCH: &str = "128";
/// Epochs of a whole training, and augmentations of a picture where what the teacher gave is kept.
const EPOCHS: usize = 12;
const VARIANTS: &str = "4";

/// A run of the binary in its own folder.
struct Ran {
    /// Seconds of each epoch of the last stage.
    seconds: Vec<f64>,
    /// Of the student, on the test part, in percent.
    accuracy: f64,
}

/// Where runs are, and with how many threads.
struct Bench {
    folder: PathBuf,
    threads: String,
}

/// Prints both tables.
pub fn table(threads: &str, rounds: usize, rivals: &str) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("stillhouse-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let bench = Bench { folder, threads: threads.into() };
    let told = bench.tables(rounds, rivals);
    fs::remove_dir_all(&bench.folder)?;
    told
}

impl Bench {
    fn tables(&self, rounds: usize, rivals: &str) -> Outcome<()> {
        let learn = format!("{}[stage.teacher]\ntrain = \"teacher\"\n{}", self.model("teacher", ""), stage(4));
        self.run("teach", 1, &self.data(""), &format!("{learn}terms.task = {{ use = \"cross_entropy\" }}\n"))?;
        fs::copy(self.seed("teach", 1).join("teacher/best.safetensors"), self.folder.join("teacher.safetensors"))?;
        self.epochs(rounds)?;
        self.trainings(rounds, rivals)
    }

    /// An epoch of the student alone, with the teacher, and with what the teacher gave before.
    fn epochs(&self, rounds: usize) -> Outcome<()> {
        let ways = [("alone", "", false), ("teacher runs", "", true), ("teacher kept", "cache = true", true)];
        let mut times = [const { Vec::<f64>::new() }; 3];
        let once = |name: &str, cache: &str, taught: bool| {
            let ran = self.run(name, 1, &self.data("variants = 1"), &self.distil(cache, taught, 5))?;
            // What a process does once is in its first epoch.
            Ok::<f64, Box<dyn std::error::Error>>(median(ran.seconds[1..].to_vec()))
        };
        once("kept", "cache = true", true)?;
        for _ in 0..rounds {
            for ((_, cache, taught), times) in ways.iter().zip(&mut times) {
                times.push(once("epoch", cache, *taught)?);
            }
        }
        println!("{:<28} {:>7} {:>8} {:>18}", "epoch of 6,400 pictures", "threads", "s", "to student alone");
        for ((name, ..), own) in ways.iter().zip(&times) {
            let ratio = median(own.iter().zip(&times[0]).map(|(own, alone)| own / alone).collect());
            println!("{name:<28} {:>7} {:>8.2} {ratio:>18.2}", self.threads, median(own.clone()));
        }
        Ok(())
    }

    /// Whole trainings, as many seeds as rounds.
    fn trainings(&self, rounds: usize, rivals: &str) -> Outcome<()> {
        let fresh = self.data("");
        let few = self.data(&format!("variants = {VARIANTS}"));
        let half = "cache = { numbers = \"f16\", top = 5 }";
        let ways = [
            ("teacher runs", &fresh, ""),
            ("teacher runs, 4 variants", &few, ""),
            ("kept, 4 variants", &few, "cache = true"),
            ("kept, 5 logits in 16 bits", &few, half),
        ];
        let file = self.teacher_for_rival()?;
        let mut found: Vec<(String, Vec<[f64; 2]>)> = vec![];
        let mut add = |name: String, one: [f64; 2]| match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(one),
            None => found.push((name, vec![one])),
        };
        for seed in 1..=rounds as u64 {
            for (at, (name, data, cache)) in ways.iter().enumerate() {
                // Each training begins with an empty folder.
                let own = format!("[cache]\ndir = \"kept-{at}-{seed}\"\n{data}");
                let ran = self.run("whole", seed, &own, &self.distil(cache, true, EPOCHS))?;
                add((*name).into(), [ran.seconds.iter().sum(), ran.accuracy]);
            }
            for mode in rivals.split(',') {
                for (name, variants) in [("teacher runs", "0"), ("kept, 4 variants", VARIANTS)] {
                    let mut command = python("cached.py");
                    let (epochs, seed) = (EPOCHS.to_string(), seed.to_string());
                    command.arg(&file).args([NETWORKS[0], NETWORKS[1], PICTURES, &self.threads, mode, variants]);
                    let output = command.args([epochs, seed]).stderr(std::process::Stdio::inherit()).output()?;
                    let text = String::from_utf8(output.stdout)?;
                    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
                    let [seconds, accuracy] = numbers.as_slice() else {
                        return Err("PyTorch's side ended early: is torch installed?".into());
                    };
                    add(format!("PyTorch {mode}, {name}"), [*seconds, *accuracy]);
                }
            }
        }
        println!("\n{:<44} {:>7} {:>8} {:>12}", format!("{EPOCHS} epochs"), "seeds", "s", "accuracy");
        for (name, all) in found {
            let count = all.len() as f64;
            let accuracy: Vec<f64> = all.iter().map(|[_, accuracy]| *accuracy).collect();
            let mean = accuracy.iter().sum::<f64>() / count;
            let spread = (accuracy.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt();
            let seconds = median(all.iter().map(|[seconds, _]| *seconds).collect());
            println!("{name:<44} {:>7} {seconds:>8.1} {mean:>7.2} ± {spread:.2}", all.len());
        }
        Ok(())
    }

    fn data(&self, more: &str) -> String {
        format!(
            "[data]\nuse = \"fashion-mnist\"\nlimit = {PICTURES}\naugment = [\"flip\", {{ crop = 2 }}]\n{more}\n\
             [plugins]\npaths = [{:?}]\n",
            built().unwrap_or_default()
        )
    }

    fn model(&self, name: &str, more: &str) -> String {
        let depth = if name == "teacher" { NETWORKS[0] } else { NETWORKS[1] };
        format!("[models.{name}]\narch = {{ kind = \"resnet\", depth = {depth}, width = 16 }}\n{more}\n")
    }

    fn distil(&self, cache: &str, taught: bool, epochs: usize) -> String {
        let mut text = self.model("student", "");
        if taught {
            text += &self.model("teacher", &format!("weights = \"teacher.safetensors\"\n{cache}"));
        }
        text += &format!("[stage.distil]\ntrain = \"student\"\n{}", stage(epochs));
        text += match taught {
            true => {
                "terms.task = { use = \"cross_entropy\", weight = 0.1 }\n\
                     terms.kd = { use = \"kd\", temperature = 4.0, weight = 0.9 }\n"
            }
            false => "terms.task = { use = \"cross_entropy\" }\n",
        };
        text
    }

    fn seed(&self, name: &str, seed: u64) -> PathBuf {
        self.folder.join(format!("runs/{name}/seed-{seed}"))
    }

    fn run(&self, name: &str, seed: u64, head: &str, body: &str) -> Outcome<Ran> {
        let path = self.folder.join(format!("{name}.toml"));
        let run = format!("[run]\nseeds = [{seed}]\nthreads = {}\n", self.threads);
        fs::write(&path, format!("manifest = 1\n{run}{head}{body}"))?;
        let _ = fs::remove_dir_all(self.folder.join("runs").join(name));
        let output =
            Command::new(built()?.join("stillhouse")).args(["run", "--quiet", "--json"]).arg(&path).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let log = fs::read_to_string(self.seed(name, seed).join("metrics.jsonl"))?;
        let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let seconds = lines.iter().filter(|line| line["event"] == "epoch").filter_map(|line| line["seconds"].as_f64());
        let table: Value = serde_json::from_slice(&output.stdout)?;
        let rows = table["rows"].as_array().ok_or("no rows")?;
        let accuracy = rows.last().and_then(|row| row["accuracy"].as_f64()).ok_or("no accuracy")?;
        Ok(Ran { seconds: seconds.collect(), accuracy: if accuracy <= 1.0 { 100.0 * accuracy } else { accuracy } })
    }

    /// Parameters and statistics of the teacher, in the order of layers.
    fn teacher_for_rival(&self) -> Outcome<PathBuf> {
        let text = format!("manifest = 1\n{}{}", self.data(""), self.distil("", true, 1));
        let (manifest, sources) =
            manifest::load_str(&self.folder.join("rival.toml"), &text, &[]).map_err(|error| error.to_string())?;
        let setup = Setup::open(manifest, sources, None, false).map_err(|found| found.0.render(&found.1, false))?;
        let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
        let params = &run.models.get("teacher").ok_or("no teacher")?.network.params;
        let mut all = parameters("teacher", params);
        let buffers = params.names(ParamKind::Buffer).into_iter();
        let statistics = buffers.filter(|name| name.ends_with("running_mean") || name.ends_with("running_var"));
        all.extend(statistics.filter_map(|name| Some((format!("buffer.{name}"), params.value(&name)?))));
        let file = self.folder.join("teacher.bin");
        write(Path::new(&file), &all)?;
        Ok(file)
    }
}

fn stage(epochs: usize) -> String {
    format!("epochs = {epochs}\nbatch = {BATCH}\noptimizer = {SGD}\nschedule = {{ kind = \"cosine\" }}\n")
}
