//! Numbers beside those that are wanted.

use candle_core::{DType, Tensor};

/// All elements.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all()?.to_vec1()).expect("are numbers")
}

/// Differences are at most so much of the largest wanted value.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(0f64, |most, value| value.abs().max(most));
    let worst = got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f64::max);
    println!("{what:36} {:9.2e} of {tolerance:9.2e}", worst / largest);
    assert!(worst <= tolerance * largest, "{what}: {got:?} is not {wanted:?}");
}
