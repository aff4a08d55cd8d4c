//! Clips whose class only memory can tell.

use std::io::Write;
use std::path::Path;

const FRAMES: usize = 5;

/// An archive of clips of five frames of this shape: the sum of the first values of its frames decides a clip's class.
pub fn write(path: &Path, frame: &[usize]) {
    write_with(path, frame, true);
}

/// The same without the labels.
pub fn write_unlabelled(path: &Path, frame: &[usize]) {
    write_with(path, frame, false);
}

fn write_with(path: &Path, frame: &[usize], with_labels: bool) {
    let features: usize = frame.iter().product();
    let array = |count: usize, shift: usize| {
        let value =
            |at: usize| (((at + shift) as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
        let values: Vec<f32> = (0..count * FRAMES * features).map(value).collect();
        let label = |sample: &[f32]| i64::from(sample.iter().step_by(features).sum::<f32>() > 0.0);
        let labels: Vec<i64> = values.chunks(FRAMES * features).map(label).collect();
        (values, labels)
    };
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("a file"));
    for (part, count, shift) in [("train", 512, 0), ("val", 64, 100_000), ("test", 128, 200_000)] {
        let (values, labels) = array(count, shift);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = [&[count, FRAMES], frame].concat().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        add_array(&mut zip, &format!("{part}_frames"), "<f4", &format!("({shape})"), &bytes);
        let bytes: Vec<u8> = labels.iter().flat_map(|v| v.to_le_bytes()).collect();
        if with_labels {
            add_array(&mut zip, &format!("{part}_label"), "<i8", &format!("({count},)"), &bytes);
        }
    }
    zip.finish().expect("the archive is written");
}

fn add_array(zip: &mut zip::ZipWriter<std::fs::File>, name: &str, dtype: &str, shape: &str, bytes: &[u8]) {
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).expect("an entry");
    let length = u16::try_from(header.len()).expect("a short header").to_le_bytes();
    for piece in [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), bytes] {
        zip.write_all(piece).expect("the entry is written");
    }
}
