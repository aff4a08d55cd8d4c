//! Tests of the room as a whole, on files written for them.

mod arrays;
mod augmenting;
mod damage;
mod files;
mod folders;
mod loading;
mod maps;
mod videos;
mod view_specs;
mod views;

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use indexmap::IndexMap;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Field, Samples, Values};

/// An IDX file.
fn idx(dtype: u8, dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, dtype, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The four files of a small MNIST: 3 training and 2 test pictures of 2 x 2.
fn write_idx(folder: &Path) {
    let pixels: Vec<u8> = (0..12).collect();
    fs::write(folder.join("train-images-idx3-ubyte"), idx(8, &[3, 2, 2], &pixels)).unwrap();
    fs::write(folder.join("train-labels-idx1-ubyte"), idx(8, &[3], &[2, 0, 1])).unwrap();
    fs::write(folder.join("t10k-images-idx3-ubyte.gz"), gzip(&idx(8, &[2, 2, 2], &pixels[..8]))).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte.gz"), gzip(&idx(8, &[2], &[1, 1]))).unwrap();
}

/// An NPY file.
fn npy(descr: &str, fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

/// An NPZ file.
fn npz(arrays: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let method = if deflate { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// `count` records of CIFAR, sample i of class i % classes, all its bytes i.
fn cifar(count: u8, label_bytes: usize, classes: u8) -> Vec<u8> {
    let record = |i: u8| {
        let mut record = vec![7; label_bytes];
        record[label_bytes - 1] = i % classes;
        record.resize(label_bytes + 3072, i);
        record
    };
    (0..count).flat_map(record).collect()
}

/// `count` pictures of `[C, H, W]` whose values tell sample and pixel apart, labelled by i % 3.
fn pictures(count: usize, shape: [usize; 3]) -> Samples {
    let size: usize = shape.iter().product();
    let pixels = (0..count * size).map(|i| (1 + i % 251) as u8).collect();
    let labels = (0..count as i64).map(|i| i % 3).collect();
    Samples::new(IndexMap::from([
        ("image".to_owned(), Field::new(shape.to_vec(), Values::U8(pixels)).unwrap()),
        ("label".to_owned(), Field::new(vec![], Values::I64(labels)).unwrap()),
    ]))
    .unwrap()
}
