//! A training step beside PyTorch's, interleaved round by round: milliseconds, medians, and the median of the rounds' ratios.
//!
//! ```text
//! pip install torch
//! cargo build --release && cargo bench -p stillhouse --bench engine -- [part of a work's name] [--threads 1,2] [--rounds 9]
//! ```
//! `--rivals default,channels_last,bf16,compile` chooses PyTorch's ways, `PYTHON` another interpreter. The last columns are the
//! peaks of both processes' memory. A work of `module-` runs each cell as a plugin's module, beside our own cells. Each
//! side is a process of its own with a fixed number of threads. The step is the real one of a run: forward of teacher and
//! student, the terms of the plugins, backward, update; over time forward and backward alone. Data are there beforehand.

#[path = "engine/frames.rs"]
mod frames;

use candle_core::{DType, Device, Tensor};
use frames::Clip;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use stillhouse::data::{DataSet, Field, IMAGE, LABEL, Samples, Values};
use stillhouse::exec::{PassSpec, keep_freed_memory, use_threads};
use stillhouse::graph::Source;
use stillhouse::manifest;
use stillhouse::ops::Moment;
use stillhouse::plugin::{Registry, SearchPaths};
use stillhouse::train::{Fields, Model, RunPlan, Setup, StageRunner, Stepper, plan, view_field};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Names of the networks (`-` for none; without a student the teacher's forward is measured), batch, feature terms.
struct Work {
    name: &'static str,
    teacher: &'static str,
    student: &'static str,
    batch: usize,
    /// Layers that a mean squared error compares beside the softened logits: behind a 1x1 convolution, batch norm and ReLU.
    features: &'static [&'static str],
}

const WORKS: [Work; 17] = [
    Work::of("kd-r56-r20-b64", "resnet56", "resnet20", 64, &[]),
    Work::of("kd-r56-r20-b128", "resnet56", "resnet20", 128, &[]),
    Work::of("kd-r32x4-r8x4-b64", "resnet32x4", "resnet8x4", 64, &[]),
    Work::of("kd-r32x4-mobile-b64", "resnet32x4", "mobilenet", 64, &[]),
    Work::of("kd-r20-b64-one", "resnet56", "resnet20", 64, &["layer3"]),
    Work::of("kd-r20-b64-three", "resnet56", "resnet20", 64, &["layer1", "layer2", "layer3"]),
    Work::of("alone-r20-b64", "-", "resnet20", 64, &[]),
    Work::of("alone-r20-b512", "-", "resnet20", 512, &[]),
    Work::of("alone-mobile-b64", "-", "mobilenet", 64, &[]),
    Work::of("teacher-r56-b64", "resnet56", "-", 64, &[]),
    Work::of("teacher-r32x4-b64", "resnet32x4", "-", 64, &[]),
    Work::of("convlstm-k5-t10", "-", "conv_lstm:5:10", 8, &[]),
    Work::of("convlstm-k5-t20", "-", "conv_lstm:5:20", 8, &[]),
    Work::of("convlstm-k3-t10", "-", "conv_lstm:3:10", 8, &[]),
    Work::of("convlstm-k3-t20", "-", "conv_lstm:3:20", 8, &[]),
    Work::of("module-k5-t10", "-", "module:5:10", 8, &[]),
    Work::of("module-k3-t10", "-", "module:3:10", 8, &[]),
];

impl Work {
    const fn of(
        name: &'static str,
        teacher: &'static str,
        student: &'static str,
        batch: usize,
        features: &'static [&'static str],
    ) -> Work {
        Work { name, teacher, student, batch, features }
    }
}

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
    let rivals = after("--rivals", "default,channels_last,bf16");
    println!(
        "{:<20} {:>7}  {:<14} {:>9} {:>9} {:>7} {:>8} {:>8}",
        "work", "threads", "PyTorch", "ours ms", "its ms", "ratio", "ours MB", "its MB"
    );
    for threads in after("--threads", "1,2").split(',') {
        for work in WORKS.iter().filter(|work| work.name.contains(&part)) {
            compare(work, threads, rounds, &rivals)?;
        }
    }
    Ok(())
}

fn compare(work: &Work, threads: &str, rounds: usize, rivals: &str) -> Outcome<()> {
    let clip = Clip::of(work.student);
    let steps = match clip {
        Some(_) => "1",
        None if work.batch > 64 || work.teacher == "resnet32x4" => "2",
        None => "4",
    };
    let own = |name: &str| -> Outcome<Side> {
        let program = std::env::current_exe()?;
        Side::start(Command::new(program).args(["serve", name, steps]).env("RAYON_NUM_THREADS", threads))
    };
    let mut ours = own(work.name)?;
    let mut theirs = vec![];
    let is_module = clip.is_some_and(|clip| clip.kind == "module");
    if is_module {
        theirs.push(("own cells", own(&work.name.replace("module", "convlstm"))?, vec![]));
    }
    for mode in rivals.split(',').filter(|_| !is_module) {
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rival.py");
        let mut command = Command::new(python);
        command.arg(script).args([
            work.teacher,
            work.student,
            &work.batch.to_string(),
            threads,
            mode,
            steps,
            &work.features.join(","),
        ]);
        theirs.push((mode, Side::start(&mut command)?, vec![]));
    }
    let mut mine = vec![];
    for _ in 0..rounds {
        mine.push(ours.round()?);
        for (_, side, times) in &mut theirs {
            times.push(side.round()?);
        }
    }
    let memory = ours.ask("memory")?;
    for (mode, side, times) in &mut theirs {
        let ratios = mine.iter().zip(&*times).map(|(mine, theirs)| mine / theirs).collect();
        let (ours, its) = (median(mine.clone()), median(times.clone()));
        let (name, ratio, its_memory) = (work.name, median(ratios), side.ask("memory")?);
        print!("{name:<20} {threads:>7}  {mode:<14} {ours:>9.1} {its:>9.1} {ratio:>7.2}");
        println!(" {memory:>8.0} {its_memory:>8.0}");
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
        self.ask("round")
    }

    fn ask(&mut self, what: &str) -> Outcome<f64> {
        writeln!(self.to, "{what}")?;
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
    let arch = |name: &str| match name.trim_start_matches("resnet").split_once('x') {
        _ if name == "mobilenet" => "{ kind = \"mobilenet_v2\", images = \"small\", width = 0.5 }".to_owned(),
        Some((depth, factor)) => format!("{{ kind = \"resnet\", depth = {depth}, factor = {factor}, stem = 32 }}"),
        None => format!("\"{name}\""),
    };
    let sgd = "{ kind = \"sgd\", lr = 0.05, momentum = 0.9, weight_decay = 5e-4, nesterov = true }";
    let stage = |name: &str, train: &str, terms: &str| {
        let length = format!("epochs = 1\nbatch = {}\noptimizer = {sgd}\n", work.batch);
        format!("[stage.{name}]\ntrain = \"{train}\"\n{length}{terms}\n")
    };
    let model = |name: &str, of: &str| format!("[models.{name}]\narch = {}\n", arch(of));
    let task = "terms.task = { use = \"cross_entropy\" }";
    let mut both = "terms.task = { use = \"cross_entropy\", weight = 0.1 }\n\
                    terms.kd = { use = \"kd\", temperature = 4.0, weight = 0.9 }"
        .to_owned();
    for layer in work.features {
        let ends = format!("student = \"{layer}\", teacher = \"{layer}\", connector = \"conv_regressor\"");
        both += &format!("\nterms.{layer} = {{ use = \"mse\", {ends} }}");
    }
    let mut text = "manifest = 1\n[data]\nuse = \"digits\"\n".to_owned();
    if work.teacher != "-" {
        text += &(model("teacher", work.teacher) + &stage("teacher", "teacher", task));
    }
    if work.student != "-" {
        let terms = if work.teacher == "-" { task } else { &both };
        text += &(model("student", work.student) + &stage("distil", "student", terms));
    }
    text
}

fn serve(work: &Work, steps: usize) -> Outcome<()> {
    keep_freed_memory();
    use_threads(None);
    if let Some(clip) = Clip::of(work.student) {
        return rounds(steps, clip.step(work.batch, &registry())?);
    }
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
    let spec =
        PassSpec { want: vec![Source::Layer(model_of(&run, work)?.network.graph.output)], ..PassSpec::default() };
    let network = model_of(&run, work)?.network.clone();
    let step = || -> Outcome<()> {
        if work.student == "-" {
            network.forward(&x, &spec, &Moment::default())?;
            return Ok(());
        }
        let moment = Moment { step: done, steps_per_epoch: 1000, training: true, ..Moment::default() };
        done += 1;
        stepper.step(&fields, &moment, 1.0, false)?;
        Ok(())
    };
    rounds(steps, step)
}

/// A round of steps for each line.
fn rounds(steps: usize, mut step: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    (0..3).try_for_each(|_| step())?;
    println!("ready");
    for line in std::io::stdin().lines() {
        if line? == "memory" {
            println!("{}", peak_memory()?);
            continue;
        }
        let started = Instant::now();
        (0..steps).try_for_each(|_| step())?;
        println!("{}", started.elapsed().as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}

fn model_of<'r>(run: &'r RunPlan, work: &Work) -> Outcome<&'r Model> {
    let name = if work.student == "-" { "teacher" } else { "student" };
    Ok(run.models.get(name).ok_or("no model")?)
}

/// Megabytes, as the kernel counts the process.
fn peak_memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
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
    let registry = registry();
    let name = manifest.data.keys().next().cloned().unwrap_or_default();
    Ok(Setup { manifest, sources, registry, data: [(name, set)].into(), device: Device::Cpu, float: DType::F32 })
}

/// The plugins that were built beside the benchmark.
fn registry() -> Registry {
    let folder = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf()));
    Registry::discover(&SearchPaths::usual(&[folder.unwrap_or_default()]), false, manifest::RESERVED_TERM_KEYS)
}
