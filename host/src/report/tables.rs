//! Tables and pictures of what parts report: a matrix for each epoch.
//!
//! `<stage>/<term>.<name>.csv` has a line for each epoch and row; `<stage>/<term>.<name>.svg` shows the last epoch.

use crate::train::{EpochEnd, Observer, StageStart, Table};
use std::fmt::Write;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes the tables of a seed into the folders of its stages.
#[derive(Debug)]
pub struct TableFiles {
    folder: PathBuf,
    /// Epochs of the running stage that were there before.
    done: u64,
    /// Files that this process has written to.
    begun: Vec<PathBuf>,
    failed: Option<io::Error>,
}

impl TableFiles {
    pub(super) fn new(folder: PathBuf) -> TableFiles {
        TableFiles { folder, done: 0, begun: vec![], failed: None }
    }

    /// What went wrong first, if anything did.
    pub fn failure(self) -> Option<io::Error> {
        self.failed
    }

    fn write(&mut self, end: &EpochEnd, table: &Table) -> io::Result<()> {
        let folder = self.folder.join(&end.stage);
        fs::create_dir_all(&folder)?;
        let stem = format!("{}.{}", table.term, table.name).replace(['/', '\\'], "_");
        let path = folder.join(format!("{stem}.csv"));
        let mut text = match self.begun.contains(&path) {
            true => fs::read_to_string(&path)?,
            false => kept(&path, self.done).unwrap_or_else(|| header(table)),
        };
        text.push_str(&lines(end.epoch, table));
        replace(&path, &text)?;
        if !self.begun.contains(&path) {
            self.begun.push(path);
        }
        replace(&folder.join(format!("{stem}.svg")), &picture(end, table))
    }
}

impl Observer for TableFiles {
    fn stage_started(&mut self, start: &StageStart) {
        self.done = start.epochs_done;
        self.begun.clear();
    }

    fn epoch_ended(&mut self, end: &EpochEnd) {
        for table in &end.tables {
            if let Err(error) = self.write(end, table) {
                self.failed.get_or_insert(error);
            }
        }
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    crate::disk::place(path, |file| file.write_all(text.as_bytes()))
}

/// The lines of the epochs that a resumed stage goes on after.
fn kept(path: &Path, done: u64) -> Option<String> {
    let text = fs::read_to_string(path).ok().filter(|_| done > 0)?;
    let is_kept = |(at, line): &(usize, &str)| {
        *at == 0
            || line.split(',').next().and_then(|epoch| epoch.parse::<u64>().ok()).is_some_and(|epoch| epoch <= done)
    };
    Some(text.lines().enumerate().filter(is_kept).map(|(_, line)| format!("{line}\n")).collect())
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn header(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|name| field(name)).collect();
    format!("epoch,{},{}\n", field(&table.axes[0]), columns.join(","))
}

fn lines(epoch: u64, table: &Table) -> String {
    let line = |(name, values): (&String, &Vec<f64>)| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:.6}")).collect();
        format!("{epoch},{},{}\n", field(name), values.join(","))
    };
    table.rows.iter().zip(&table.values).map(line).collect()
}

/// Side of a cell, and the place of the names of rows and columns.
const CELL: usize = 44;
const LEFT: usize = 130;
const TOP: usize = 120;

/// A cell for each value, darker where it is larger, with its number.
fn picture(end: &EpochEnd, table: &Table) -> String {
    let (width, height) = (LEFT + CELL * table.columns.len() + 20, TOP + CELL * table.rows.len() + 20);
    let all = || table.values.iter().flatten().copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"18\">{}: {} by {}, stage {}, \
         epoch {}</text>\n",
        escaped(&format!("{}.{}", table.term, table.name)),
        escaped(&table.axes[0]),
        escaped(&table.axes[1]),
        escaped(&end.stage),
        end.epoch
    );
    for (at, name) in table.columns.iter().enumerate() {
        let x = LEFT + CELL * at + CELL / 2;
        let y = TOP - 8;
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" transform=\"rotate(-40 {x} {y})\">{}</text>", escaped(name));
    }
    for (row, (name, values)) in table.rows.iter().zip(&table.values).enumerate() {
        let y = TOP + CELL * row;
        let (right, middle) = (LEFT - 8, y + CELL / 2 + 4);
        let _ = writeln!(svg, "<text x=\"{right}\" y=\"{middle}\" text-anchor=\"end\">{}</text>", escaped(name));
        for (at, value) in values.iter().enumerate() {
            let share = if high > low { (value - low) / (high - low) } else { 0.0 };
            let shade = |full: f64| (255.0 - share * (255.0 - full)).round().clamp(0.0, 255.0) as u8;
            let (red, green, blue) = (shade(8.0), shade(64.0), shade(129.0));
            let x = LEFT + CELL * at;
            let ink = if share > 0.5 { "white" } else { "black" };
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"rgb({red},{green},{blue})\"/><text x=\"{}\" \
                 y=\"{middle}\" text-anchor=\"middle\" fill=\"{ink}\">{value:.2}</text>",
                x + CELL / 2
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Metrics;

    fn end(epoch: u64) -> EpochEnd {
        let table = Table {
            term: "rel".into(),
            name: "pull".into(),
            axes: ["teacher".into(), "student".into()],
            rows: vec!["a".into(), "b<1>".into()],
            columns: vec!["x,1".into(), "y".into()],
            values: vec![vec![0.25, 0.75], vec![1.0, epoch as f64]],
        };
        EpochEnd {
            stage: "distil".into(),
            epoch,
            tables: vec![table],
            metrics: Metrics::default(),
            ..EpochEnd::default()
        }
    }

    fn start(epochs_done: u64) -> StageStart {
        StageStart { stage: "distil".into(), epochs_done, ..StageStart::default() }
    }

    #[test]
    fn tables_of_epochs_follow_one_another_and_resume() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("distil/rel.pull.csv");
        let mut files = TableFiles::new(folder.path().into());
        files.stage_started(&start(0));
        (1..=3).for_each(|epoch| files.epoch_ended(&end(epoch)));
        let whole = fs::read_to_string(&path).expect("is written");
        assert!(whole.starts_with("epoch,teacher,\"x,1\",y\n1,a,0.250000,0.750000\n1,b<1>,1.000000,1.000000\n2,a,"));
        assert_eq!(whole.lines().count(), 7);
        // Epoch 3 was not saved: it comes again.
        let mut files = TableFiles::new(folder.path().into());
        files.stage_started(&start(2));
        files.epoch_ended(&end(3));
        assert_eq!(fs::read_to_string(&path).expect("is written"), whole);
        // Anew.
        files.stage_started(&start(0));
        files.epoch_ended(&end(1));
        assert_eq!(fs::read_to_string(&path).expect("is written").lines().count(), 3);
        assert!(files.failure().is_none());
    }

    #[test]
    fn picture_has_a_cell_for_each_value() {
        let end = end(2);
        let svg = picture(&end, &end.tables[0]);
        assert_eq!(svg.matches("<rect x=").count(), 4);
        assert!(svg.contains("b&lt;1&gt;") && svg.contains(">0.75</text>") && svg.contains("epoch 2</text>"));
        // The largest value is darkest, the smallest white.
        assert!(svg.contains("fill=\"rgb(8,64,129)\"") && svg.contains("fill=\"rgb(255,255,255)\""));
    }
}
