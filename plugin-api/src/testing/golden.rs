//! Golden vectors: values and gradients of a reference implementation, as files.
//!
//! A case is a pair, `NAME.safetensors` with tensors of `F64` or `I64` and `NAME.json` with where they come from. Tensors are
//! named `input.*`, `param.*`, `buffer.*`, `out.*`, `grad.*` and so on.

use super::array::Array;
use crate::op::{DType, Meta};
use crate::sdk::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A golden case in memory.
#[derive(Debug, Clone)]
pub struct Case {
    name: String,
    tensors: BTreeMap<String, Array>,
    description: Value,
}

impl Case {
    /// Reads the pair of files whose common part this path is, without ending.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Case> {
        let path = path.as_ref();
        let read = |ending: &str| {
            let file = path.with_extension(ending);
            std::fs::read(&file).map_err(|error| Error::new(format!("golden file {}: {error}", file.display())))
        };
        let malformed = |what: String| Error::new(format!("golden case {}: {what}", path.display()));
        let description = serde_json::from_slice(&read("json")?).map_err(|error| malformed(error.to_string()))?;
        let tensors = tensors(&read("safetensors")?).map_err(malformed)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Case { name, tensors, description })
    }

    /// Name of the case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A setting of the case; panics when there is none.
    pub fn hyperparameter(&self, key: &str) -> &Value {
        let found = self.description.get("hyperparameters").and_then(|all| all.get(key));
        found.unwrap_or_else(|| panic!("golden case `{}` has no hyperparameter `{key}`", self.name))
    }

    /// A tensor; panics when there is none.
    pub fn array(&self, name: &str) -> &Array {
        self.tensors.get(name).unwrap_or_else(|| panic!("golden case `{}` has no tensor `{name}`", self.name))
    }

    /// Panics unless these are the values of `out.*` or `buffer_after.*` to 1e-10, relatively.
    #[track_caller]
    pub fn assert_values(&self, name: &str, values: &[f64]) {
        self.assert_close(name, values, |expected| 1e-10 * expected.abs() + 1e-14);
    }

    /// Panics unless this is the gradient `grad.*` to 1e-9 of the largest gradient of the case.
    #[track_caller]
    pub fn assert_gradient(&self, name: &str, values: &[f64]) {
        let gradients = self.tensors.iter().filter(|(name, _)| name.starts_with("grad."));
        let largest = gradients.flat_map(|(_, array)| &array.values).fold(0.0, |m: f64, value| m.max(value.abs()));
        self.assert_close(name, values, |_| 1e-9 * largest + 1e-12);
    }

    #[track_caller]
    fn assert_close(&self, name: &str, values: &[f64], allowed: impl Fn(f64) -> f64) {
        let expected = &self.array(name).values;
        assert_eq!(expected.len(), values.len(), "elements of `{name}` in golden case `{}`", self.name);
        for (at, (expected, value)) in expected.iter().zip(values).enumerate() {
            let close = (expected - value).abs() <= allowed(*expected);
            assert!(close, "golden case `{}`: `{name}`[{at}] is {expected:e}, got {value:e}", self.name);
        }
    }
}

/// The tensors of a safetensors file: length of the header (8 bytes, little endian), header in JSON, data.
fn tensors(bytes: &[u8]) -> std::result::Result<BTreeMap<String, Array>, String> {
    let cut = || "the file is cut short".to_owned();
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let entries = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let read = |(name, entry): (String, Value)| match tensor(&entry, data) {
        Some(array) => Ok((name, array)),
        None => Err(format!("tensor `{name}` is malformed")),
    };
    entries.map(read).collect()
}

fn tensor(entry: &Value, data: &[u8]) -> Option<Array> {
    let numbers = |key: &str| -> Option<Vec<usize>> {
        entry.get(key)?.as_array()?.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
    };
    let dtype = match entry.get("dtype")?.as_str()? {
        "F64" => DType::F64,
        "I64" => DType::I64,
        _ => return None,
    };
    let [start, end] = numbers("data_offsets")?[..] else { return None };
    // The file is little endian; so is every machine that the tests run on.
    Array::from_bytes(Meta::new(numbers("shape")?, dtype), data.get(start..end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_a_small_file_read() {
        let header = br#"{"__metadata__": {"case": "x"},
            "a": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]},
            "y": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend([1.5f64, -2.0].iter().flat_map(|value| value.to_le_bytes()));
        bytes.extend(7i64.to_le_bytes());
        let read = tensors(&bytes).expect("reads");
        assert_eq!(read["a"], Array::real(&[1, 2], &[1.5, -2.0]));
        assert_eq!(read["y"], Array::whole(&[], &[7]));
    }

    #[test]
    fn tensors_of_a_cut_file_are_an_error() {
        assert!(tensors(&[3, 0, 0, 0, 0, 0, 0, 0, b'{']).is_err());
    }

    fn case(values: &[f64]) -> Case {
        let tensors = ["out.loss", "grad.x"].map(|name| (name.to_owned(), Array::real(&[values.len()], values)));
        Case { name: "small".into(), tensors: tensors.into(), description: Value::Null }
    }

    #[test]
    fn case_compares_within_its_tolerances() {
        case(&[1.0, 1e3]).assert_values("out.loss", &[1.0 + 1e-11, 1e3]);
        case(&[1.0, 1e3]).assert_gradient("grad.x", &[1.0 + 5e-7, 1e3]);
    }

    #[test]
    #[should_panic(expected = "golden case `small`: `out.loss`[0] is 1e0, got")]
    fn case_with_another_value_panics() {
        case(&[1.0]).assert_values("out.loss", &[1.0 + 1e-9]);
    }

    #[test]
    #[should_panic(expected = "golden case `small`: `grad.x`[0] is 1e0, got NaN")]
    fn case_with_a_gradient_that_is_no_number_panics() {
        case(&[1.0]).assert_gradient("grad.x", &[f64::NAN]);
    }

    #[test]
    #[should_panic(expected = "golden case `small` has no tensor `param.w`")]
    fn case_without_the_tensor_panics() {
        case(&[1.0]).array("param.w");
    }

    #[test]
    fn case_that_is_missing_is_an_error() {
        let error = Case::open("no/such/case").expect_err("missing");
        assert!(error.message().contains("no/such/case.json"), "{error}");
    }
}
