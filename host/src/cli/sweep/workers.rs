//! Points run in processes of this binary, so many at once: one that fails, or ends its process, leaves the others alone.

use super::note;
use super::place::{Placed, State, near};
use crate::cli::signals::{Signal, Signals};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

/// How often processes are looked at.
const APART: Duration = Duration::from_millis(20);
/// Lines of a failed process that are shown.
const SHOWN: usize = 12;

/// What became of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Became {
    /// It was finished before.
    WasFinished,
    /// It ran to its end in so many seconds.
    Ran(f64),
    /// It failed: why, and what it said.
    Failed(String, Vec<String>),
    /// It was stopped, or not begun.
    Left,
}

/// What became of all points.
pub(super) struct Ran {
    pub(super) points: Vec<Became>,
    /// The signal that stopped the sweep.
    pub(super) stopped: Option<Signal>,
}

/// A point that runs.
struct Job {
    at: usize,
    child: Child,
    said: PathBuf,
    began: Instant,
}

/// Runs what is not finished.
///
/// # Errors
/// This binary is not found, or no signals can be heard.
pub(super) fn run(placed: &[Placed], workers: usize, quiet: bool) -> Result<Ran, String> {
    let binary = std::env::current_exe().map_err(|error| format!("this binary is not found: {error}"))?;
    let signals = Signals::listen_to_all().map_err(|error| format!("no signals can be heard: {error}"))?;
    let is_done = |point: &Placed| point.state == State::Finished;
    let points = placed.iter().map(|point| if is_done(point) { Became::WasFinished } else { Became::Left }).collect();
    let mut ran = Ran { points, stopped: None };
    let mut waiting: VecDeque<usize> = (0..placed.len()).filter(|at| !is_done(&placed[*at])).collect();
    let done = placed.len() - waiting.len();
    // Their numbers do not depend on it.
    let share = (workers > 1).then(|| (available_parallelism().map_or(1, usize::from) / workers).max(1));
    note(quiet, &format!("{} points, {done} of them finished before", placed.len()));
    let mut running: Vec<Job> = vec![];
    loop {
        while let Some(at) = waiting.front().copied().filter(|_| running.len() < workers) {
            waiting.pop_front();
            match begin(&binary, &placed[at], share) {
                Ok((child, said)) => running.push(Job { at, child, said, began: Instant::now() }),
                Err(why) => ran.points[at] = Became::Failed(why, vec![]),
            }
        }
        if running.is_empty() {
            return Ok(ran);
        }
        sleep(APART);
        if let Some(signal) = signals.take() {
            waiting.clear();
            running.iter().for_each(|job| stop(&job.child));
            note(quiet, &format!("stopping: waiting for the checkpoints of {}", count(running.len(), "point")));
            ran.stopped.get_or_insert(signal);
        }
        let stopped = ran.stopped.is_some();
        running.retain_mut(|job| match job.child.try_wait() {
            Ok(None) => true,
            ended => {
                let became = ended_as(ended.ok().flatten(), job, stopped);
                tell_end(placed, job.at, &became, quiet);
                ran.points[job.at] = became;
                false
            }
        });
    }
}

pub(super) fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The process of a point, and the file of what it says.
fn begin(binary: &PathBuf, point: &Placed, share: Option<usize>) -> Result<(Child, PathBuf), String> {
    let mut name = point.folder.as_os_str().to_owned();
    name.push(".log");
    let said = PathBuf::from(name);
    let told = |error: std::io::Error| format!("{}: {error}", said.display());
    point.folder.parent().map_or(Ok(()), fs::create_dir_all).map_err(told)?;
    let file = File::create(&said).map_err(told)?;
    let given = &point.manifest;
    let mut command = Command::new(binary);
    command.arg("run").arg(&given.manifest).args(["--quiet", "--json", "--until-input-ends"]);
    for one in &given.set {
        command.args(["--set", one]);
    }
    if let Some(folder) = &given.set_from {
        command.arg("--set-from").arg(folder);
    }
    if let Some(threads) = share.filter(|_| point.threads.is_none()) {
        command.args(["--set", &format!("run.threads={threads}")]);
    }
    for (flag, is_set) in [
        ("--resume", point.state == State::Begun),
        ("--allow-abort", given.allow_abort),
        ("--ignore-lock", given.ignore_lock),
    ] {
        if is_set {
            command.arg(flag);
        }
    }
    // Its input ends with this process, even one that is killed.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
    // A group of its own: a terminal's Ctrl-C comes once, by way of the sweep.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().map_err(|error| format!("its process did not begin: {error}"))?;
    Ok((child, said))
}

/// Asks a process to write a checkpoint and leave; asked again, it leaves at once.
fn stop(child: &Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        // One that has just ended needs no signal.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// What became of a process that ended. What it said stays where it failed.
fn ended_as(status: Option<ExitStatus>, job: &Job, stopped: bool) -> Became {
    let became = match status {
        Some(status) if status.success() => Became::Ran(job.began.elapsed().as_secs_f64()),
        Some(status) if stopped && is_stop(status) => Became::Left,
        status => {
            let why = status.map_or_else(|| "its process was lost".into(), |status| status.to_string());
            let said = fs::read_to_string(&job.said).unwrap_or_default();
            return Became::Failed(why, said.lines().take(SHOWN).map(str::to_owned).collect());
        }
    };
    // One that stays does no harm.
    let _ = fs::remove_file(&job.said);
    became
}

/// Ended as it was asked to, or before it could listen.
fn is_stop(status: ExitStatus) -> bool {
    status.code().is_none_or(|code| code == 143)
}

fn tell_end(placed: &[Placed], at: usize, became: &Became, quiet: bool) {
    let (head, name) = (format!("[{}/{}]", at + 1, placed.len()), &placed[at].name);
    match became {
        Became::Ran(seconds) => note(quiet, &format!("{head} {name}: {seconds:.1} s")),
        Became::Failed(why, said) => {
            let lines: Vec<String> = said.iter().map(|line| format!("\n  {line}")).collect();
            let file = format!("{}.log", near(&placed[at].folder));
            crate::report::tell(&format!("{head} error: {name} failed ({why}); it said, in {file}{}", lines.concat()));
        }
        Became::WasFinished | Became::Left => {}
    }
}
