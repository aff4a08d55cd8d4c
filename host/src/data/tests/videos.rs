//! Clips: arrays, NetCDF files, and what is made of pictures.

use std::fs;
use std::path::Path;

use super::super::{DataError, DataSet, FRAMES, Loader, LoaderSpec, ViewSpec, open};
use super::npy;

fn clip(set: &DataSet, part: usize, row: usize) -> Vec<f32> {
    let mut values = vec![];
    let samples = [&set.train, &set.test][part];
    samples.field(FRAMES).unwrap().push_f32(samples.indices()[row], 255.0, &mut values).unwrap();
    values
}

#[test]
fn clips_of_one_array_are_split_and_turned() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..40).collect();
    fs::write(folder.path().join("a.npy"), npy("|u1", false, "(5, 2, 2, 2)", &bytes)).unwrap();
    let set = open("clips:a.npy?test=0.4", folder.path()).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (3, 2));
    assert_eq!(set.train.field(FRAMES).unwrap().shape(), [2, 1, 2, 2]);
    assert_eq!(clip(&set, 1, 0)[0], 24.0 / 255.0);
    let turned = open("clips:a.npy?time=first", folder.path()).unwrap();
    assert_eq!((turned.train.len(), turned.test.len()), (1, 1));
    let first: Vec<f32> = clip(&turned, 0, 0).iter().step_by(4).map(|value| (value * 255.0).round()).collect();
    assert_eq!(first, [0.0, 8.0, 16.0, 24.0, 32.0]);
    assert!(matches!(open("clips:a.npy?time=last", folder.path()), Err(DataError::InvalidOption { .. })));
    fs::write(folder.path().join("b.npy"), npy("|u1", false, "(4,)", &[0; 4])).unwrap();
    assert!(matches!(open("clips:b.npy", folder.path()), Err(DataError::SampleShape { .. })));
}

fn word(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_be_bytes());
}

fn name(bytes: &mut Vec<u8>, text: &str) {
    word(bytes, text.len() as u32);
    bytes.extend(text.bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A file with a record dimension `time` of `times`, maps of 3 x 4 shorts `rain` beside a record `hour`, and attributes.
/// `rain` at `[t, y, x]` is `100 t + 10 y + x`, halved by its scale, but for one value that is missing.
fn netcdf(times: u16) -> Vec<u8> {
    let mut bytes = b"CDF\x01".to_vec();
    word(&mut bytes, times.into());
    [10, 3].iter().for_each(|value| word(&mut bytes, *value));
    for (dim, size) in [("time", 0), ("y", 3), ("x", 4)] {
        name(&mut bytes, dim);
        word(&mut bytes, size);
    }
    [12, 1].iter().for_each(|value| word(&mut bytes, *value));
    name(&mut bytes, "title");
    [2, 5].iter().for_each(|value| word(&mut bytes, *value));
    bytes.extend(b"hello\0\0\0");
    [11, 2].iter().for_each(|value| word(&mut bytes, *value));
    name(&mut bytes, "hour");
    [1, 0, 0, 0, 6, 8].iter().for_each(|value| word(&mut bytes, *value));
    let hour = bytes.len();
    word(&mut bytes, 0);
    name(&mut bytes, "rain");
    [3, 0, 1, 2, 12, 2].iter().for_each(|value| word(&mut bytes, *value));
    name(&mut bytes, "scale_factor");
    [5, 1, 0.5f32.to_bits()].iter().for_each(|value| word(&mut bytes, *value));
    name(&mut bytes, "_FillValue");
    [3, 1].iter().for_each(|value| word(&mut bytes, *value));
    bytes.extend([0x80, 0x00, 0, 0]);
    [3, 24].iter().for_each(|value| word(&mut bytes, *value));
    let rain = bytes.len();
    word(&mut bytes, 0);
    let begin = bytes.len() as u32;
    bytes[hour..hour + 4].copy_from_slice(&begin.to_be_bytes());
    bytes[rain..rain + 4].copy_from_slice(&(begin + 8).to_be_bytes());
    for time in 0..times {
        bytes.extend(f64::from(time).to_be_bytes());
        for at in 0..12u16 {
            let value = if (time, at) == (1, 5) { 0x8000 } else { 100 * time + 10 * (at / 4) + at % 4 };
            bytes.extend(value.to_be_bytes());
        }
    }
    bytes
}

#[test]
fn netcdf_records_become_crops_over_windows() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.nc"), netcdf(9)).unwrap();
    let set = open("netcdf:r.nc?frames=2&size=2&stride=1&scale=1", folder.path()).unwrap();
    // Times 0..6 and 6..9: five and two windows of 2 x 3 crops.
    assert_eq!((set.train.len(), set.test.len()), (30, 12));
    assert_eq!(set.train.field(FRAMES).unwrap().shape(), [2, 1, 2, 2]);
    assert_eq!(clip(&set, 0, 0), [0.0, 0.5, 5.0, 5.5, 50.0, 50.5, 55.0, 0.0], "the missing value is 0");
    assert_eq!(clip(&set, 1, 11), [356.0, 356.5, 361.0, 361.5, 406.0, 406.5, 411.0, 411.5]);
    let scaled = open("netcdf:r.nc?frames=2&size=3&train=0-3&test=7-8", folder.path()).unwrap();
    assert_eq!((scaled.train.len(), scaled.test.len()), (3, 1));
    let largest = (300.0 + 20.0 + 3.0) * 0.5;
    assert_eq!(clip(&scaled, 0, 0)[1], 0.5 / largest);
    for text in ["test=3-8", "train=0-9", "size=5", "frames=4&train=0-2&test=3-8", "variable=rein", "stride=0"] {
        let error = open(&format!("netcdf:r.nc?{text}"), folder.path()).unwrap_err();
        assert!(!error.to_string().is_empty(), "{text}");
    }
}

#[test]
fn netcdf_damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let whole = netcdf(9);
    let path = folder.path().join("r.nc");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(open("netcdf:r.nc?size=2", folder.path()).is_err(), "{length} bytes");
    }
    for at in 0..whole.len().min(300) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xFF;
        fs::write(&path, bytes).unwrap();
        let _ = open("netcdf:r.nc?size=2", folder.path()); // An error or other values, never a panic.
    }
}

#[test]
fn made_clips_are_served_like_kept_ones() {
    let set = open("moving:digits?digits=1&frames=3&size=12&side=8&train=1000000&test=7", Path::new(".")).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.classes.len()), (1_000_000, 7, 0));
    let few = set.train.select(&[999_999, 3, 5]);
    let spec = LoaderSpec { views: vec![ViewSpec::new("x")], ..LoaderSpec::new(2) };
    let batches: Vec<_> = Loader::new(&few, spec).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches[0].fields["view.x"].shape, [2, 3, 1, 12, 12]);
    assert_eq!(batches[0].index, [999_999, 3]);
    let mut wanted = vec![];
    set.train.field(FRAMES).unwrap().push_f32(5, 255.0, &mut wanted).unwrap();
    assert_eq!(batches[1].fields["view.x"].f32().unwrap(), wanted);
    let (mean, _) = super::super::channel_stats(&few).unwrap();
    assert!(mean[0] > 0.05 && mean[0] < 0.4);
}
