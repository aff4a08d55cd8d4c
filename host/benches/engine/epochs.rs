//! Epochs over Fashion-MNIST with its data path: flips and crops, batches, updates.

use super::side::{Side, median};
use super::step::{SGD, built, moment, peak_memory};
use super::{Outcome, python};
use std::path::Path;
use std::time::Instant;
use stillhouse::data::{Augment, Loader, LoaderSpec};
use stillhouse::manifest;
use stillhouse::train::{Setup, StageRunner, Stepper, fields, plan};

/// Name; depths of a teacher (or `-`) and of the network that is trained.
const WORKS: [(&str, &str, &str); 2] = [("teacher-r32", "-", "32"), ("kd-r32-r8", "32", "8")];

/// Pictures that a round trains on, and those of an epoch of all but 3,000.
const PICTURES: [usize; 2] = [6400, 57_000];

const BATCH: usize = 128;

/// Prints seconds of an epoch of both sides.
pub fn table(threads: &str, rounds: usize, rivals: &str) -> Outcome<()> {
    println!(
        "{:<14} {:>7}  {:<14} {:>10} {:>10} {:>7} {:>18}",
        "epoch", "threads", "PyTorch", "ours s", "its s", "ratio", "ours waits for data"
    );
    for threads in threads.split(',') {
        for (name, teacher, student) in WORKS {
            let mut ours = Side::own(&["epochs", teacher, student], threads)?;
            let mut theirs = vec![];
            for mode in rivals.split(',') {
                let mut command = python("epochs.py");
                command.args([teacher, student, &PICTURES[0].to_string(), threads, mode]);
                theirs.push((mode, Side::start(command)?, vec![]));
            }
            let (mut mine, mut waits) = (vec![], vec![]);
            for _ in 0..rounds {
                mine.push(ours.round()?);
                waits.push(ours.ask("waiting")?);
                for (_, side, times) in &mut theirs {
                    times.push(side.round()?);
                }
            }
            let epoch = PICTURES[1] as f64 / PICTURES[0] as f64;
            for (mode, _, times) in theirs {
                let ratio = median(mine.iter().zip(&times).map(|(mine, theirs)| mine / theirs).collect());
                let [ours, its] = [mine.clone(), times].map(|times| median(times) * epoch);
                let waits = 100.0 * median(waits.clone());
                println!("{name:<14} {threads:>7}  {mode:<14} {ours:>10.1} {its:>10.1} {ratio:>7.2} {waits:>17.2} %");
            }
        }
    }
    Ok(())
}

fn text(teacher: &str, student: &str) -> Outcome<String> {
    let model = |name: &str, depth: &str| {
        format!("[models.{name}]\narch = {{ kind = \"resnet\", depth = {depth}, width = 16 }}\n")
    };
    let stage = |name: &str, train: &str, terms: &str| {
        format!("[stage.{name}]\ntrain = \"{train}\"\nepochs = 1\nbatch = {BATCH}\noptimizer = {SGD}\n{terms}\n")
    };
    let (mut models, mut terms) = (model("student", student), "terms.task = { use = \"cross_entropy\" }".to_owned());
    if teacher != "-" {
        models += &model("teacher", teacher);
        models += &stage("teacher", "teacher", &terms);
        terms = "terms.task = { use = \"cross_entropy\", weight = 0.1 }\n\
                 terms.kd = { use = \"kd\", temperature = 4.0, weight = 0.9 }"
            .to_owned();
    }
    let [pictures, _] = PICTURES;
    Ok(format!(
        "manifest = 1\n[plugins]\npaths = [{:?}]\n[data]\nuse = \"fashion-mnist\"\nlimit = {pictures}\n{models}{}",
        built()?,
        stage("epoch", "student", &terms)
    ))
}

/// Trains a round for each line; its seconds, and for the line `waiting` the share of them that the last one waited for batches.
pub fn serve(teacher: &str, student: &str) -> Outcome<()> {
    let (manifest, sources) = manifest::load_str(Path::new("epoch.toml"), &text(teacher, student)?, &[])
        .map_err(|error| error.to_string())?;
    let setup = Setup::open(manifest, sources, None, false).map_err(|found| found.0.render(&found.1, false))?;
    let (run, _) = plan(&setup, 1).map_err(|found| found.render(&setup.sources, false))?;
    let stage = run.stages.last().ok_or("no stage")?;
    let runner = StageRunner { setup: &setup, run: &run, folder: Path::new("nowhere").into() };
    let mut optimizers = runner.optimizers(run.stages.len() - 1, vec![]);
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let (mut epoch, mut steps) = (0, 0);
    let mut round = || -> Outcome<[f64; 2]> {
        let spec = LoaderSpec {
            views: stage.views.clone(),
            shuffle: Some(1),
            seed: 1,
            epoch,
            augment: vec![Augment::Flip, Augment::Crop(2)],
            drop_last: true,
            ..LoaderSpec::new(BATCH)
        };
        let (started, mut waited) = (Instant::now(), 0.0);
        let mut loader = Loader::new(&setup.data[&stage.data].train, spec)?;
        loop {
            let asked = Instant::now();
            let Some(batch) = loader.next() else { break };
            waited += asked.elapsed().as_secs_f64();
            stepper.step(&fields(batch?, setup.float, &setup.device)?, &moment(steps), 1.0, false)?;
            steps += 1;
        }
        epoch += 1;
        Ok([started.elapsed().as_secs_f64(), waited])
    };
    round()?;
    println!("ready");
    let mut share = 0.0;
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "waiting" => println!("{share}"),
            "memory" => println!("{}", peak_memory()?),
            _ => {
                let [seconds, waited] = round()?;
                share = waited / seconds;
                println!("{seconds}");
            }
        }
    }
    Ok(())
}
