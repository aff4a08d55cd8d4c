//! What batch, depth, width and terms cost: our side alone.

use super::Outcome;
use super::side::{Side, median};

/// Rows of a table: the quantity that grows, and the work for each of its values.
const TABLES: [(&str, &str, &[&str]); 4] = [
    ("batch", "- resnet20 {}", &["16", "32", "64", "128", "256", "512"]),
    ("depth", "- resnet{} 64", &["20", "32", "44", "56", "110"]),
    ("width", "- resnet20x{} 64", &["1", "2", "3", "4"]),
    ("terms", "resnet56 resnet20 64 {}", &["1", "2", "4", "8"]),
];

pub fn table(threads: &str, rounds: usize) -> Outcome<()> {
    for (what, pattern, values) in TABLES {
        for threads in threads.split(',') {
            println!("\n{what:>6} {:>8} {:>10} {:>10} {:>8}", "threads", "ms", "ms / unit", "MB");
            for value in values {
                let count: usize = value.parse()?;
                let filled = if what == "terms" { vec!["layer2"; count].join(",") } else { (*value).to_owned() };
                let mut side = Side::own(&["serve", &pattern.replace("{}", &filled), "2"], threads)?;
                let times = (0..rounds).map(|_| side.round()).collect::<Outcome<Vec<_>>>()?;
                let (time, memory) = (median(times), side.ask("memory")?);
                println!("{value:>6} {threads:>8} {time:>10.1} {:>10.3} {memory:>8.0}", time / count as f64);
            }
        }
    }
    Ok(())
}
