//! A training step beside PyTorch's, interleaved round by round: milliseconds, medians, and the median of the rounds' ratios.
//!
//! ```text
//! pip install torch
//! cargo build --release && cargo bench -p stillhouse --bench engine -- [part of a work's name] [--threads 1,2] [--rounds 9]
//! ```
//! `PYTHON` names another interpreter. Each side is a process of its own with a fixed number of threads. The step is the real
//! one of a run: forward of teacher and student, the terms of the plugins, backward, update; data are there beforehand.

use candle_core::{DType, Device, Tensor};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use stillhouse::data::{DataSet, Field, IMAGE, LABEL, Samples, Values};
use stillhouse::manifest;
use stillhouse::ops::Moment;
use stillhouse::plugin::{Registry, SearchPaths};
use stillhouse::train::{Fields, Setup, StageRunner, Stepper, plan, view_field};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Depth and width multiple of teacher (0: none) and student, batch.
struct Work {
    name: &'static str,
    teacher: [usize; 2],
    student: [usize; 2],
    batch: usize,
}

const WORKS: [Work; 4] = [
    Work { name: "kd-r56-r20-b64", teacher: [56, 1], student: [20, 1], batch: 64 },
    Work { name: "kd-r56-r20-b128", teacher: [56, 1], student: [20, 1], batch: 128 },
    Work { name: "kd-r32x4-r8x4-b64", teacher: [32, 4], student: [8, 4], batch: 64 },
    Work { name: "alone-r20-b64", teacher: [0, 1], student: [20, 1], batch: 64 },
];

const RIVALS: [&str; 3] = ["default", "channels_last", "bf16"];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mark, name, steps] = arguments.as_slice()
        && mark == "serve"
    {
        let work = WORKS.iter().find(|work| work.name == name).ok_or("no such work")?;
        return serve(work, steps.parse()?);
    }
    let after = |flag: &str, otherwise: &str| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).map_or(otherwise, String::as_str).to_owned()
    };
    let rounds: usize = after("--rounds", "9").parse()?;
    let part = arguments.first().filter(|first| !first.starts_with("--")).cloned().unwrap_or_default();
    println!("{:<20} {:>7}  {:<14} {:>9} {:>9} {:>7}", "work", "threads", "PyTorch", "ours ms", "its ms", "ratio");
    for threads in after("--threads", "1,2").split(',') {
        for work in WORKS.iter().filter(|work| work.name.contains(&part)) {
            compare(work, threads, rounds)?;
        }
    }
    Ok(())
}

fn compare(work: &Work, threads: &str, rounds: usize) -> Outcome<()> {
    let steps = if work.batch > 64 || work.student[1] > 1 { "2" } else { "4" };
    let mut ours = Side::start(
        Command::new(std::env::current_exe()?).args(["serve", work.name, steps]).env("RAYON_NUM_THREADS", threads),
    )?;
    let mut theirs = vec![];
    for mode in RIVALS {
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rival.py");
        let numbers = [work.teacher[0], work.student[0], work.teacher[1], work.student[1], work.batch];
        let mut command = Command::new(python);
        command.arg(script).args(numbers.map(|number| number.to_string())).args([threads, mode, steps]);
        theirs.push((mode, Side::start(&mut command)?, vec![]));
    }
    let mut mine = vec![];
    for _ in 0..rounds {
        mine.push(ours.round()?);
        for (_, side, times) in &mut theirs {
            times.push(side.round()?);
        }
    }
    for (mode, _, times) in &theirs {
        let ratios = mine.iter().zip(times).map(|(mine, theirs)| mine / theirs).collect();
        let (ours, its) = (median(mine.clone()), median(times.clone()));
        println!("{:<20} {threads:>7}  {mode:<14} {ours:>9.1} {its:>9.1} {:>7.2}", work.name, median(ratios));
    }
    Ok(())
}

/// A process that runs a round for each line that it is sent.
struct Side {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Side {
    fn start(command: &mut Command) -> Outcome<Side> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut side = Side { child, to, from };
        side.line()?;
        Ok(side)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("a side ended early: see above; is torch installed?".into());
        }
        Ok(line)
    }

    fn round(&mut self) -> Outcome<f64> {
        writeln!(self.to)?;
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn manifest_of(work: &Work) -> String {
    let arch = |[depth, multiple]: [usize; 2]| match multiple {
        1 => format!("arch = {{ kind = \"resnet\", depth = {depth} }}"),
        _ => format!("arch = {{ kind = \"resnet\", depth = {depth}, factor = {multiple}, stem = 32 }}"),
    };
    let sgd = "{ kind = \"sgd\", lr = 0.05, momentum = 0.9, weight_decay = 5e-4, nesterov = true }";
    let stage = |name: &str, train: &str| {
        format!("[stage.{name}]\ntrain = \"{train}\"\nepochs = 1\nbatch = {}\noptimizer = {sgd}\n", work.batch)
    };
    let task = "terms.task = { use = \"cross_entropy\"";
    let mut text = format!(
        "manifest = 1\n[data]\nuse = \"digits\"\n[models.student]\n{}\n{}{task} }}\n",
        arch(work.student),
        stage("alone", "student")
    );
    if work.teacher[0] > 0 {
        text = format!(
            "manifest = 1\n[data]\nuse = \"digits\"\n[models.student]\n{}\n[models.teacher]\n{}\n\
             {}{task} }}\n{}{task}, weight = 0.1 }}\nterms.kd = {{ use = \"kd\", temperature = 4.0, weight = 0.9 }}\n",
            arch(work.student),
            arch(work.teacher),
            stage("teacher", "teacher"),
            stage("distil", "student"),
        );
    }
    text
}

fn serve(work: &Work, steps: usize) -> Outcome<()> {
    let setup = setup(work)?;
    let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
    let stage = run.stages.last().ok_or("no stage")?;
    let runner = StageRunner { setup: &setup, run: &run, folder: Path::new("nowhere").into() };
    let mut optimizers = runner.optimizers(run.stages.len() - 1, vec![]);
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let x = Tensor::randn(0f32, 1.0, (work.batch, 3, 32, 32), &Device::Cpu)?;
    let labels = Tensor::from_vec((0..work.batch as i64).map(|i| i % 100).collect(), work.batch, &Device::Cpu)?;
    let views = stage.passes.values().map(|pass| (view_field(&pass.view), x.clone()));
    let fields: Fields = views.chain([(LABEL.to_owned(), labels)]).collect();
    let mut done = 0;
    let mut step = || {
        let moment = Moment { step: done, steps_per_epoch: 1000, training: true, ..Moment::default() };
        done += 1;
        stepper.step(&fields, &moment, 1.0, false).map(drop)
    };
    (0..3).try_for_each(|_| step())?;
    println!("ready");
    for _ in std::io::stdin().lines() {
        let started = Instant::now();
        (0..steps).try_for_each(|_| step())?;
        println!("{}", started.elapsed().as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}

/// Samples of zeros give the shapes: the step's own data are random.
fn setup(work: &Work) -> Outcome<Setup> {
    let text = manifest_of(work);
    let (manifest, sources) =
        manifest::load_str(Path::new("engine.toml"), &text, &[]).map_err(|error| error.to_string())?;
    let part = || -> Outcome<Samples> {
        let pictures = Field::new(vec![3, 32, 32], Values::F32(vec![0.0; 100 * 3 * 32 * 32]))?;
        let labels = Field::new(vec![], Values::I64((0..100).collect()))?;
        Ok(Samples::new([(IMAGE.to_owned(), pictures), (LABEL.to_owned(), labels)].into())?)
    };
    let set = DataSet::new("zeros", (part()?, None, part()?), None)?;
    let folder = std::env::current_exe()?.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    let registry = Registry::discover(&SearchPaths::usual(&[folder]), false, manifest::RESERVED_TERM_KEYS);
    let name = manifest.data.keys().next().cloned().unwrap_or_default();
    Ok(Setup { manifest, sources, registry, data: [(name, set)].into(), device: Device::Cpu, float: DType::F32 })
}
