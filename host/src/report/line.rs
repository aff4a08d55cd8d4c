//! Lines about a running stage: columns that do not jump, and no more than a narrow terminal holds.

use crate::train::EpochEnd;

/// Columns of the narrowest terminal that lines are made for.
pub(super) const NARROW: usize = 80;
/// Columns of the name of a stage.
pub(super) const NAME: usize = 16;

/// One epoch: where, how good, what the terms were; on a terminal as many terms as fit.
pub(super) fn epoch_line(name: &str, epochs: u64, end: &EpochEnd, narrow: bool) -> String {
    let mut line = format!("{name:<NAME$} {}", epoch_of(end.epoch, epochs));
    let star = if end.best && end.part == "val" { '*' } else { ' ' };
    if let Some(frames) = end.metrics.frames {
        line.push_str(&format!("  {} mse {}{star}", end.part, number(frames.predicted.mse)));
    }
    if let Some(accuracy) = end.metrics.accuracy {
        line.push_str(&format!("  {} {:>6.2} %{star}", end.part, 100.0 * accuracy));
    } else if let Some(correlation) = end.metrics.get("cc") {
        line.push_str(&format!("  {} cc {correlation:>7.4}{star}", end.part));
    }
    line.push_str(&format!("  total {}", number(end.total)));
    if end.skipped > 0 {
        line.push_str(&format!("  {} left out", end.skipped));
    }
    let mut terms: Vec<String> = vec![];
    // One term of weight 1 is the total.
    if end.terms.len() > 1 || end.terms.iter().any(|term| term.gradient_norm.is_some() || term.weight != 1.0) {
        let norm =
            |norm: Option<f64>| norm.map_or(String::new(), |norm| format!(" (gradient {})", number(norm).trim_start()));
        terms.extend(
            end.terms.iter().map(|term| format!("  {} {}{}", term.name, number(term.raw), norm(term.gradient_norm))),
        );
    }
    if narrow {
        return fitted(line, &terms, NARROW);
    }
    line.push_str(&terms.concat());
    line.push_str(&format!("  {} samples/s", grouped(end.samples_per_second)));
    line
}

/// ` 3/20`, as wide as the last one.
pub(super) fn epoch_of(epoch: u64, epochs: u64) -> String {
    let width = epochs.to_string().len();
    format!("{epoch:>width$}/{epochs}")
}

/// The start of a line with as many of the parts as fit; dots stand for the others.
pub(super) fn fitted(mut line: String, parts: &[String], width: usize) -> String {
    for (position, part) in parts.iter().enumerate() {
        let spare = if position + 1 < parts.len() { 3 } else { 0 };
        if line.chars().count() + part.chars().count() + spare > width {
            line.push_str(" ...");
            break;
        }
        line.push_str(part);
    }
    line
}

/// A number in six columns.
pub(super) fn number(value: f64) -> String {
    let text = match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.0e}"),
        size if size < 10.0 => format!("{value:.4}"),
        size if size < 100.0 => format!("{value:.3}"),
        size if size < 1000.0 => format!("{value:.2}"),
        size if size < 10_000.0 => format!("{value:.1}"),
        _ => format!("{value:.1e}"),
    };
    format!("{text:>6}")
}

/// A time in five columns: ` 0:07`, `12:00`, `3h05m`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, 3.6e6).round() as u64;
    match whole {
        0..3600 => format!("{:>2}:{:02}", whole / 60, whole % 60),
        _ => format!("{:>2}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// A whole number with thousands apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Metrics, TermMean};

    #[test]
    fn grouped_sets_thousands_apart() {
        assert_eq!([0.4, 999.0, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn number_of_any_size_has_six_columns() {
        let values = [0.0, 1e-5, 0.5, -9.5, 12.0, 345.678, 4567.0, 123_456.0];
        let wanted = ["     0", "  1e-5", "0.5000", "-9.5000", "12.000", "345.68", "4567.0", " 1.2e5"];
        assert_eq!(values.map(number), wanted);
    }

    #[test]
    fn clock_has_five_columns() {
        assert_eq!([7.2, 720.0, 11_100.0, -1.0].map(clock), [" 0:07", "12:00", " 3h05m", " 0:00"]);
    }

    fn end(names: &[&str]) -> EpochEnd {
        let term = |name: &&str| TermMean { name: (*name).into(), raw: 0.25, weight: 1.0, gradient_norm: None };
        EpochEnd {
            stage: "distil".into(),
            seed: 1,
            epoch: 3,
            step: 60,
            lr: 0.1,
            terms: names.iter().map(term).collect(),
            total: 0.5,
            tables: vec![],
            metrics: Metrics { samples: 10, accuracy: Some(0.9512), nll: Some(0.2), ..Metrics::default() },
            part: "val",
            best: true,
            skipped: 0,
            seconds: 1.0,
            samples_per_second: 1234.0,
        }
    }

    #[test]
    fn epoch_line_outside_of_terminal_says_all() {
        let wanted = "distil            3/20  val  95.12 %*  total 0.5000  task 0.2500  kd 0.2500  1,234 samples/s";
        assert_eq!(epoch_line("distil", 20, &end(&["task", "kd"]), false), wanted);
    }

    #[test]
    fn epoch_line_of_one_term_names_it_where_it_is_not_the_total() {
        let mut alone = end(&["kd"]);
        assert!(!epoch_line("distil", 20, &alone, false).contains("kd"));
        alone.terms[0].weight = 2.0;
        assert!(epoch_line("distil", 20, &alone, false).contains("total 0.5000  kd 0.2500"));
    }

    #[test]
    fn epoch_line_on_terminal_keeps_to_its_width() {
        let wanted = "distil            3/20  val  95.12 %*  total 0.5000  task 0.2500  kd 0.2500 ...";
        let line = epoch_line("distil", 20, &end(&["task", "kd", "relations"]), true);
        assert_eq!(line, wanted);
        assert!(line.chars().count() <= NARROW);
    }
}
