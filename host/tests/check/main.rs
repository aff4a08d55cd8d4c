//! What `stillhouse check` says of manifests with mistakes, word for word.

mod advice;
mod files;
mod keys;
mod parts;
mod several;
mod stages;
#[path = "../support/mod.rs"]
mod support;

use candle_core::{DType, Device, Tensor};
use std::io::{Cursor, Write};
use support::command::{Place, Said};

/// A manifest without mistakes.
const BASE: &str = r#"manifest = 1

[data]
use = "digits"

[models.teacher]
arch = { kind = "resnet", depth = 8, width = 16 }

[models.student]
arch = { kind = "resnet", depth = 8, width = 8 }

[stage.teacher]
train = "teacher"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = "student"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy", weight = 0.5 }
terms.kd = { use = "kd", temperature = 4.0 }
"#;
/// The stage in it that trains the teacher.
const TEACHER: &str = r#"[stage.teacher]
train = "teacher"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }

"#;
/// The term in it that is the task.
const TASK: &str = "terms.task = { use = \"cross_entropy\", weight = 0.5 }\n";
/// Its last term.
const KD: &str = "terms.kd = { use = \"kd\", temperature = 4.0 }";

/// The manifest with the first of each text replaced.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(BASE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replacen(from, to, 1)
    })
}

/// The manifest with lines at its end.
fn added(lines: &str) -> String {
    format!("{BASE}{lines}\n")
}

/// The manifest with one more term, an `mse` with these keys.
fn hinted(keys: &str) -> String {
    added(&format!("terms.hint = {{ use = \"mse\", {keys} }}"))
}

/// What `check` says of a manifest that it refuses.
fn refused(manifest: &str) -> String {
    refused_in(&Place::with(manifest), &[])
}

fn refused_in(place: &Place, args: &[&str]) -> String {
    let Said { code, out, err } = place.run(&[&["check", "m.toml"], args].concat());
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

/// What `check` warns of in a manifest that it takes.
fn warned(manifest: &str) -> String {
    let said = Place::with(manifest).succeed(&["check", "m.toml"]);
    assert!(said.out.starts_with("the manifest is fine; it runs\n"), "{}", said.out);
    said.err
}

/// A folder with the manifest and pictures without labels, `unlabelled.npz`.
fn unlabelled(manifest: &str) -> Place {
    let mut archive = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, samples) in [("train_image", 128), ("test_image", 16)] {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({samples}, 1, 8, 8), }}");
        let header = format!("{header:<117}\n");
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).expect("a member");
        archive.write_all(b"\x93NUMPY\x01\x00\x76\x00").expect("the mark is written");
        archive.write_all(header.as_bytes()).expect("the header is written");
        let values: Vec<u8> = (0..samples * 64).map(|value| (value % 251) as u8).collect();
        archive.write_all(&values).expect("the values are written");
    }
    let place = Place::with(manifest);
    place.write("unlabelled.npz", archive.finish().expect("the archive is whole").into_inner());
    place
}

/// A folder with the manifest and a file of weights with one tensor.
fn weighted(manifest: &str, file: &str, name: &str, shape: &[usize]) -> Place {
    let place = Place::with(manifest);
    let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("a tensor");
    stillhouse::model::write_weights(&place.path(file), &[(name.to_owned(), tensor)].into())
        .expect("the file is written");
    place
}

/// A folder with the manifest and a plugin whose loss has a setting `weight`.
fn greedy(manifest: &str, file: &str) -> Place {
    let place = Place::with(manifest);
    place.write(file, std::fs::read(support::hostile("reserved")).expect("the plugin is read"));
    place
}

#[test]
fn check_of_sound_manifest_finds_nothing() {
    assert_eq!(warned(BASE), "");
}
