//! A receipt as the manifest of its repetition.

use super::{FORMAT, HashedData, NAME, Receipt, line_at};
use crate::data::DataSet;
use crate::manifest::{Diagnostic, Diagnostics};
use crate::report::tidy;
use crate::train::Lock;
use indexmap::IndexMap;
use std::fs;
use std::path::{Path, absolute};

/// A receipt that was given in place of a manifest.
#[derive(Debug, Clone)]
pub struct Given {
    /// What it says.
    pub receipt: Receipt,
    /// Its manifest, with empty lines before it, so that its lines have the numbers that they have in the receipt.
    pub text: String,
    /// Name and folder of the repetition: `<name>.again`, beside the folder of the receipt.
    pub overrides: Vec<String>,
}

/// The receipt in a file; none where the file is something else, or is not there.
///
/// # Errors
/// It is a receipt, and cannot be understood: one line.
pub fn given(path: &Path) -> Result<Option<Given>, String> {
    let Some(text) = fs::read_to_string(path).ok().filter(|text| is_receipt(text)) else { return Ok(None) };
    let receipt: Receipt = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(&text, span.start));
        format!("`{}`, line {line}: {}", path.display(), error.message())
    })?;
    if receipt.receipt != FORMAT {
        return Err(format!("`{}` is of format {}, this host reads {FORMAT}", path.display(), receipt.receipt));
    }
    let manifest = &receipt.manifest.text;
    let before = text.rfind(manifest.as_str()).map_or(0, |at| line_at(&text, at) - 1);
    let (text, overrides) = (format!("{}{manifest}", "\n".repeat(before)), beside(path)?);
    Ok(Some(Given { receipt, text, overrides }))
}

/// A receipt says so before its first table.
fn is_receipt(text: &str) -> bool {
    let mut keys = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    keys.any(|line| line.split_once('=').is_some_and(|(key, _)| key.trim() == "receipt"))
}

/// Overrides that bring the repetition beside the run.
fn beside(path: &Path) -> Result<Vec<String>, String> {
    let folder = absolute(path).ok().and_then(|path| Some(tidy(path.parent()?)));
    let Some(name) = folder.as_ref().and_then(|folder| folder.file_name()?.to_str()) else {
        return Err(format!("`{}` lies in no folder of a run: put it in one, as `runs/x/{NAME}`", path.display()));
    };
    // Seen from where it was asked for, as the receipt was.
    let runs = tidy(&path.parent().unwrap_or(Path::new("")).join(".."));
    let text = |text: &str| toml::Value::String(text.into()).to_string();
    let name = format!("{name}.again");
    Ok(vec![format!("run.name={}", text(&name)), format!("run.dir={}", text(&runs.to_string_lossy()))])
}

impl Receipt {
    /// Plugins and files that a repetition is held to.
    pub fn lock(&self) -> Lock {
        Lock::of_receipt(&self.plugins, &self.files)
    }
}

/// Data sets that are not those of the receipt.
pub fn differing_data(receipt: &Receipt, sets: &IndexMap<String, DataSet>) -> Diagnostics {
    let mut found = Diagnostics::default();
    for (name, set) in sets {
        let told = match receipt.data.iter().find(|known| known.name == *name) {
            None => format!("data `{name}` is not in the receipt"),
            Some(known) => match known.difference(&HashedData::read(name, set, known.every)) {
                Some(told) => format!("data `{name}` is not what the run learned from: {told}"),
                None => continue,
            },
        };
        found.push(Diagnostic::error(told).hint("get the same data, or go on all the same with `--ignore-lock`"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_says_so_before_its_first_table() {
        assert!(is_receipt("# a\n\nreceipt = 1\nname = 'x'\n"));
        assert!(!is_receipt("manifest = 1\n[run]\nreceipt = 1\n"));
        assert!(!is_receipt("# receipt = 1\nmanifest = 1\n"));
    }

    #[test]
    fn repetition_lies_beside_the_run() {
        let of = |path: &str| beside(Path::new(path)).expect("lies in a folder");
        assert_eq!(of("runs/x/receipt.toml"), ["run.name=\"x.again\"", "run.dir=\"runs\""]);
        assert_eq!(of("/a/x/receipt.toml"), ["run.name=\"x.again\"", "run.dir=\"/a\""]);
        assert!(beside(Path::new("/receipt.toml")).is_err());
    }
}
