//! A process that measures: its own, or PyTorch's.

use super::Outcome;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Runs a round for each line that it is sent.
pub struct Side {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Side {
    pub fn start(mut command: Command) -> Outcome<Side> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut side = Side { child, to, from };
        side.line()?;
        Ok(side)
    }

    /// This program, told what to do.
    pub fn own(arguments: &[&str], threads: &str) -> Outcome<Side> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env("RAYON_NUM_THREADS", threads);
        Side::start(command)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("a side ended early: see above; is torch installed?".into());
        }
        Ok(line)
    }

    pub fn round(&mut self) -> Outcome<f64> {
        self.ask("round")
    }

    pub fn ask(&mut self, what: &str) -> Outcome<f64> {
        writeln!(self.to, "{what}")?;
        Ok(self.line()?.trim().parse()?)
    }

    /// Numbers of one line.
    pub fn numbers(&mut self) -> Outcome<Vec<f64>> {
        Ok(self.line()?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
