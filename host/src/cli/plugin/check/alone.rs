//! A part in a process of its own, which it may end.

use super::{Args, ended, settings};
use crate::conform::PartReport;
use crate::plugin::Component;
use std::env;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A part that is not done by then hangs.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) fn check(args: &Args, component: &Component) -> PartReport {
    said(args, component).unwrap_or_else(|error| ended(component, format!("no process to check it in: {error}")))
}

fn said(args: &Args, component: &Component) -> io::Result<PartReport> {
    let name = format!("{}/{}", component.desc.kind.name(), component.desc.name);
    let mut command = Command::new(env::current_exe()?);
    command.args(["plugin", "check"]).arg(&component.plugin.path).args(["--here", "--part", &name]);
    command.args(["--config", &format!("{}={}", component.desc.name, settings(args, component))]);
    command.args(args.allow_abort.then_some("--allow-abort"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let [out, err] = [reader(child.stdout.take()), reader(child.stderr.take())];
    let status = awaited(&mut child)?;
    let [out, err] = [out, err].map(|thread| thread.join().unwrap_or_default());
    let Some(status) = status else { return Ok(ended(component, format!("is not done after {} s", LIMIT.as_secs()))) };
    // What a part itself prints stands before the report.
    let report = out.lines().rev().find_map(|line| serde_json::from_str::<Vec<PartReport>>(line).ok());
    let report = report.filter(|_| status.success()).and_then(|mut all| all.pop());
    Ok(report.unwrap_or_else(|| ended(component, how(status, &err))))
}

/// Reads a pipe to its end, beside the others.
fn reader<R: Read + Send + 'static>(pipe: Option<R>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = vec![];
        // What was read until then is what there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The child's status; none when it had to be ended.
fn awaited(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// How a process ended, and the last that it said.
fn how(status: ExitStatus, err: &str) -> String {
    let last = err.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!("; it said: {}", line.trim()));
    format!("ended its process: {status}{}", last.unwrap_or_default())
}
