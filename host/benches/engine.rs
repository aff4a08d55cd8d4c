//! A training step beside PyTorch's, interleaved round by round: milliseconds, medians, and the median of the rounds' ratios.
//!
//! ```text
//! pip install torch
//! cargo build --release && cargo bench -p stillhouse --bench engine -- [part of a work's name] [--threads 1,2] [--rounds 9]
//! cargo bench -p stillhouse --bench engine -- [part of a work's name] --agree
//! cargo bench -p stillhouse --bench engine -- --floor [--threads 1,2] [--rounds 9]
//! cargo bench -p stillhouse --bench engine -- --growth
//! cargo bench -p stillhouse --bench engine -- --terms [--threads 1,2] [--rounds 9]
//! cargo bench -p stillhouse --bench engine -- --epochs [--threads 1,2] [--rounds 5]
//! cargo bench -p stillhouse --bench engine -- --cached [--threads 2] [--rounds 3]
//! ```
//! `--rivals default,channels_last,bf16,compile,bf16_compile` chooses PyTorch's ways, `PYTHON` another interpreter. The last columns are the
//! peaks of both processes' memory. A work of `module-` runs each cell as a plugin's module, beside our own cells. Each
//! side is a process of its own with a fixed number of threads. The step is the real one of a run: forward of teacher and
//! student, the terms of the plugins, backward, update; over time forward and backward alone. Data are there beforehand.
//! `--agree` gives both sides the same parameters and batches and fails where their losses over 50 steps are not the same;
//! `--floor` compares the step with what its products would take at the processor's peak; `--growth` shows what
//! batch, depth, width and terms cost, `--terms` what a term adds to the step without it; `--epochs` trains on Fashion-MNIST (`apt-get install dataset-fashion-mnist`), data path
//! included; `--cached` distils there with what the teacher gave kept, and not, beside PyTorch with kept logits.

#[path = "engine/agree.rs"]
mod agree;
#[path = "engine/cached.rs"]
mod cached;
#[path = "engine/epochs.rs"]
mod epochs;
#[path = "engine/floor.rs"]
mod floor;
#[path = "engine/frames.rs"]
mod frames;
#[path = "engine/growth.rs"]
mod growth;
#[path = "../kernels/examples/nhwc_conv_bench/peak.rs"]
mod peak;
#[path = "engine/side.rs"]
mod side;
#[path = "engine/step.rs"]
mod step;
#[path = "engine/terms.rs"]
mod terms;

use frames::Clip;
use side::{Side, median};
use std::path::Path;
use std::process::Command;
use step::Work;
use stillhouse::exec::{keep_freed_memory, use_threads};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Name, and what is measured: see [`Work::parse`].
const WORKS: [(&str, &str); 26] = [
    ("kd-r56-r20-b64", "resnet56 resnet20 64"),
    ("kd-r56-r20-b128", "resnet56 resnet20 128"),
    ("kd-r56-r20-b64-half", "resnet56 resnet20 64 - bf16"),
    ("kd-r56-r20-b128-half", "resnet56 resnet20 128 - bf16"),
    ("kd-r32x4-r8x4-b64", "resnet32x4 resnet8x4 64"),
    ("kd-r32x4-mobile-b64", "resnet32x4 mobile 64"),
    ("kd-r50-mobile-b64", "ResNet50 mobile 64"),
    ("kd-r50-shuffle-b64", "ResNet50 shuffle 64"),
    ("kd-r20-b64-one", "resnet56 resnet20 64 layer3"),
    ("kd-r20-b64-three", "resnet56 resnet20 64 layer1,layer2,layer3"),
    ("alone-r20-b64", "- resnet20 64"),
    ("alone-r20-b512", "- resnet20 512"),
    ("alone-mobile-b64", "- mobile 64"),
    ("alone-shuffle-b64", "- shuffle 64"),
    ("teacher-r56-b64", "resnet56 - 64"),
    ("teacher-r56-b64-half", "resnet56 - 64 - bf16"),
    ("teacher-r32x4-b64", "resnet32x4 - 64"),
    ("teacher-r32x4-b64-half", "resnet32x4 - 64 - bf16"),
    ("teacher-r50-b64", "ResNet50 - 64"),
    ("teacher-r50-b64-half", "ResNet50 - 64 - bf16"),
    ("convlstm-k5-t10", "- conv_lstm:5:10 8"),
    ("convlstm-k5-t20", "- conv_lstm:5:20 8"),
    ("convlstm-k3-t10", "- conv_lstm:3:10 8"),
    ("convlstm-k3-t20", "- conv_lstm:3:20 8"),
    ("module-k5-t10", "- module:5:10 8"),
    ("module-k3-t10", "- module:3:10 8"),
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mark, work, rest @ ..] = arguments.as_slice()
        && let "serve" | "losses" = mark.as_str()
    {
        keep_freed_memory();
        use_threads(None);
        let work = Work::parse(work)?;
        let Some(argument) = rest.first() else { return Err("an argument is missing".into()) };
        return if mark == "serve" { step::serve(&work, argument.parse()?) } else { agree::losses(&work, argument) };
    }
    if let [mark, teacher, student] = arguments.as_slice()
        && mark == "epochs"
    {
        keep_freed_memory();
        use_threads(None);
        return epochs::serve(teacher, student);
    }
    let after = |flag: &str, otherwise: &str| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).map_or(otherwise, String::as_str).to_owned()
    };
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--growth") {
        return growth::table(&after("--threads", "1,2"), after("--rounds", "3").parse()?);
    }
    if has("--floor") {
        return floor::table(&after("--threads", "1,2"), after("--rounds", "9").parse()?);
    }
    if has("--terms") {
        return terms::table(&after("--threads", "1,2"), after("--rounds", "9").parse()?);
    }
    if has("--epochs") {
        let (rounds, rivals) = (after("--rounds", "5").parse()?, after("--rivals", "default,channels_last,bf16"));
        return epochs::table(&after("--threads", "1,2"), rounds, &rivals);
    }
    if has("--cached") {
        return cached::table(
            &after("--threads", "2"),
            after("--rounds", "3").parse()?,
            &after("--rivals", "channels_last"),
        );
    }
    let part = arguments.first().filter(|first| !first.starts_with("--")).cloned().unwrap_or_default();
    let works = || WORKS.iter().filter(|(name, _)| name.contains(&part));
    if has("--agree") {
        return agree::table(works(), &after("--rivals", "default,channels_last"));
    }
    let rounds: usize = after("--rounds", "9").parse()?;
    let rivals = after("--rivals", "default,channels_last,bf16");
    println!(
        "{:<22} {:>7}  {:<14} {:>9} {:>9} {:>7} {:>8} {:>8}",
        "work", "threads", "PyTorch", "ours ms", "its ms", "ratio", "ours MB", "its MB"
    );
    for threads in after("--threads", "1,2").split(',') {
        works().try_for_each(|(name, work)| compare(name, work, threads, rounds, &rivals))?;
    }
    Ok(())
}

fn compare(name: &str, text: &str, threads: &str, rounds: usize, rivals: &str) -> Outcome<()> {
    let work = Work::parse(text)?;
    let clip = Clip::of(work.student);
    let steps = match clip {
        Some(_) => "1",
        None if work.batch > 64 || matches!(work.teacher, "resnet32x4" | "ResNet50") => "2",
        None => "4",
    };
    let mut ours = Side::own(&["serve", text, steps], threads)?;
    let mut theirs = vec![];
    let is_module = clip.is_some_and(|clip| clip.kind == "module");
    if is_module {
        let own_cells = text.replace("module", "conv_lstm");
        theirs.push(("own cells", Side::own(&["serve", &own_cells, steps], threads)?, vec![]));
    }
    for mode in rivals.split(',').filter(|_| !is_module) {
        theirs.push((mode, Side::start(rival(&work, threads, mode, steps))?, vec![]));
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
        let (ratio, its_memory) = (median(ratios), side.ask("memory")?);
        print!("{name:<22} {threads:>7}  {mode:<14} {ours:>9.1} {its:>9.1} {ratio:>7.2}");
        println!(" {memory:>8.0} {its_memory:>8.0}");
    }
    Ok(())
}

/// PyTorch's process; `last` is the number of steps of a round, or a file of parameters and batches.
fn rival(work: &Work<'_>, threads: &str, mode: &str, last: &str) -> Command {
    let mut command = python("main.py");
    let (batch, features) = (work.batch.to_string(), work.features.join(","));
    command.args([work.teacher, work.student, &batch, threads, mode, last, &features]);
    command
}

/// A script of PyTorch's side.
fn python(script: &str) -> Command {
    let mut command = Command::new(std::env::var("PYTHON").unwrap_or_else(|_| "python3".into()));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rival").join(script));
    command
}
