//! Transfer between predictors of frames: sources beside the student, or what was recorded of them.
#![allow(missing_docs)]

mod support;

use std::fs;
use support::lab::{Lab, plugin};
use support::predictors::{DATA, NAMED, SOURCES, STUDENT, TRUE, stage};

const TERMS: [&str; 4] = ["tmu.prediction", "tmu.distill", "tmu.reversed_prediction", "tmu.reversed_distill"];

fn lab() -> Lab {
    Lab::with(["stillhouse-basics", "stillhouse-tmu"].map(plugin))
}

#[track_caller]
fn assert_same_terms(lab: &Lab, a: &str, b: &str) {
    for term in TERMS {
        let (left, right) = (lab.term(a, "transfer", term), lab.term(b, "transfer", term));
        assert_eq!((left.len(), right.len()), (4, 4), "{term}");
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * b.abs();
        assert!(left.iter().zip(&right).all(near), "{term}: {left:?} {right:?}");
    }
}

#[test]
fn stored_bank_says_what_sources_beside_the_student_say_and_needs_none_of_them() {
    let lab = lab();
    let online = [DATA, SOURCES, STUDENT, &stage(TRUE, NAMED)].concat();
    let table = lab.run("online", &online);
    for term in TERMS {
        let values = lab.term("online", "transfer", term);
        assert!(values.last() < values.first() && values.iter().all(|value| *value > 0.0), "{term}: {values:?}");
    }
    let frames = &table.row("student")["frames"];
    for metric in ["mse", "ssim", "psnr"] {
        assert!(frames[metric].is_f64() && frames["persistence"][metric].is_f64(), "{frames:#}");
    }
    // A map of the loss alone: the source of other width has one, the student's weights have none.
    let weights = lab.weights("online", "transfer", "best");
    assert!(weights.names().iter().all(|name| !name.contains("map.")), "{:?}", weights.names());
    assert!(lab.checkpoint("online").names().iter().any(|name| name.contains("map.1")));

    let bank = "\n[recordings.bank]\ndata = \"target\"\nfile = \"bank.rec\"\ntaps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]\n";
    let kept = format!("{NAMED}, bank = \"stored\"");
    let recorded = [DATA, SOURCES, bank, STUDENT, &stage(TRUE, &kept)].concat();
    lab.run("recorded", &recorded).table();
    assert_same_terms(&lab, "recorded", "online");
    assert!(lab.events("recorded", "said").iter().any(|said| said["term"] == "bank"), "it says that it records");

    // Nothing of the sources is left.
    fs::remove_dir_all(lab.path().join("runs")).expect("the runs are removed");
    let left = "\n[recordings.bank]\ndata = \"target\"\nfile = \"bank.rec\"\n";
    lab.run("online", &online).table();
    let alone = [DATA, left, STUDENT, &stage(TRUE, &kept)].concat();
    lab.run("alone", &alone).table();
    assert_same_terms(&lab, "alone", "online");

    // To predict takes neither sources nor bank.
    fs::remove_file(lab.path().join("bank.rec")).expect("the bank is removed");
    let (message, _) = lab.refusal(&alone);
    assert!(message.contains("could not be read"), "{message}");
    let student = lab.seed_folder("alone", 0).join("transfer/best.safetensors");
    fs::copy(student, lab.path().join("student.safetensors")).expect("is copied");
    let served = STUDENT.replace("over_time", "weights = \"student.safetensors\"\nover_time");
    let tuned = served.replace("[models.student]", "[models.served]");
    let plain = "\n[stage.more]\ntrain = \"served\"\ndata = \"target\"\nsteps = 1\nbatch = 4\noptimizer = { kind = \"sgd\", lr = 1e-30 }\nterms.task = { use = \"next_frame\" }\n";
    // The projections are part of the cell: they stand, and no term pulls them to a source.
    let served = lab.run("served", &[DATA, &tuned, plain].concat());
    assert_eq!(
        served.row("served")["frames"],
        lab.run("again", &[DATA, &tuned, plain].concat()).row("served")["frames"]
    );
}

/// A file is taken as it is for the same models, points and samples alone.
#[test]
fn recording_of_other_points_normalisation_or_samples_is_made_anew() {
    let lab = lab();
    let bank = "\n[recordings.bank]\ndata = \"target\"\nfile = \"bank.rec\"\ntaps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]\n";
    let first = [DATA, SOURCES, bank, STUDENT, &stage(TRUE, &format!("{NAMED}, bank = \"stored\""))].concat();
    let records = |name: &str, body: &str| {
        lab.run(name, body).table();
        lab.events(name, "said").iter().any(|said| said["term"] == "bank")
    };
    assert!(records("first", &first));
    assert!(!records("again", &first), "it is there");
    let normal = first.replacen("over_time = true", "over_time = true\ninput = { mean = 0.001 }", 1);
    assert!(normal != first && records("normal", &normal));
    let point = first.replacen("like:cell_list.0.cell", "like:cell_list.0", 1);
    assert!(records("point", &point) && !records("again", &point) && records("first", &first));
    assert!(records("samples", &first.replacen("test=6&seed=3", "test=6&seed=4", 1)));
}

#[test]
fn recording_that_has_to_be_there_is_locked_and_attested() {
    let lab = lab();
    let kept = stage(TRUE, &format!("{NAMED}, bank = \"stored\"")).replace("epochs = 4", "epochs = 1");
    let taps = "taps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]\n";
    let bank = "\n[recordings.bank]\ndata = \"target\"\nfile = \"bank.rec\"\n";
    lab.run("made", &[DATA, SOURCES, bank, taps, STUDENT, &kept].concat()).table();
    let attested = |run: &str| {
        let text = fs::read_to_string(lab.path().join(format!("runs/{run}/receipt.toml"))).expect("a receipt");
        assert!(text.contains("\nfile = \"../../bank.rec\"\n"), "seen from its folder: {text}");
        text.contains("key = \"recordings.bank.file\"\npath = \"../../bank.rec\"\n")
    };
    assert!(!attested("made"), "what a run makes is none of its inputs");

    lab.run("alone", &[DATA, bank, STUDENT, &kept].concat()).table();
    assert!(attested("alone"));
    let said = lab.ask(&["lock", "alone.toml"]);
    assert!(said.out.contains("and 1 file\n") && said.out.contains("\n  file bank.rec ("), "{}{}", said.out, said.err);
    for manifest in ["alone.toml", "runs/alone/receipt.toml"] {
        let said = lab.ask(&["check", manifest]);
        assert_eq!(said.code, Some(0), "{manifest}: {}{}", said.out, said.err);
    }
    let path = lab.path().join("bank.rec");
    let mut bytes = fs::read(&path).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("written");
    for (manifest, file) in [("alone.toml", "bank.rec"), ("runs/alone/receipt.toml", "../../bank.rec")] {
        for command in ["check", "run"] {
            let said = lab.ask(&[command, manifest]);
            let wanted = format!("error: `{file}` is not the file that was locked: its SHA-256 was ");
            assert!(said.code == Some(2) && said.err.contains(&wanted), "{}{}", said.out, said.err);
        }
    }
}

#[test]
fn recordings_that_do_not_fit_are_refused() {
    let lab = lab();
    let bank = |more: &str| format!("\n[recordings.bank]\ndata = \"target\"\n{more}\n");
    let kept = stage("", &format!("{NAMED}, bank = \"stored\""));
    let body = |more: &str| [DATA, SOURCES, &bank(more), STUDENT, &kept].concat();
    let (message, hint) = lab.refusal(&body("taps = [\"lke:cell_list.0.cell\"]"));
    assert!(message.contains("names no model") && hint.contains("`like`"), "{message} {hint}");
    assert!(lab.refusal(&body("taps = [\"like:cell_list.7.cell\"]")).0.contains("no tap `cell_list.7.cell`"));
    assert!(lab.refusal(&body("")).0.contains("neither `taps` nor a `file`"));
    fs::write(lab.path().join("other.rec"), "no recording").expect("is written");
    assert!(lab.refusal(&body("file = \"other.rec\"")).0.contains("is no recording"));
    let two = "taps = [\"like:cell_list.0.cell\", \"other:cell_list.0.cell\"]";
    let wrong = body(two).replace("data = \"target\"\nepochs", "data = \"small\"\nepochs");
    let (message, _) = lab.refusal(&wrong.replace("[recordings.bank]\ndata = \"small\"", "[recordings.bank]"));
    assert!(message.contains("is of the data `target`, and this stage learns from `small`"), "{message}");
    assert!(lab.refusal(&body("taps = [\"like:cell_list.0.cell\"]")).0.contains("reads the field `bank.1`"));
}

/// A bank of more bytes than the process may hold in memory.
#[test]
#[cfg(target_os = "linux")]
fn recording_larger_than_memory_is_made_and_read_in_pieces() {
    const LIMIT: u64 = 160 << 20;
    let lab = lab();
    let body = "
[data]
use = \"moving:digits?digits=1&frames=10&size=64&side=16&train=48&test=2\"

[models.source]
arch = { kind = \"conv_lstm\", depth = 1, hidden = 64, kernel = 1, patch = 2 }
over_time = true

[models.source.predict]
given = 5

[models.student]
arch = { kind = \"conv_lstm\", depth = 1, hidden = 2, kernel = 1, patch = 4 }
over_time = true
predict = { given = 5 }
modules.\"cell_list.0\" = { use = \"tmu_cell\", sources = 1, kernel = 1 }

[recordings.bank]
taps = [\"source:cell_list.0.cell\"]
batch = 1

[stage.source]
train = \"source\"
steps = 1
batch = 1
optimizer = { kind = \"sgd\", lr = 1e-3 }
terms.task = { use = \"next_frame\" }

[stage.transfer]
train = \"student\"
epochs = 1
batch = 2
optimizer = { kind = \"sgd\", lr = 1e-3 }
terms.tmu = { use = \"tmu\", sources = 1, bank = \"stored\" }
";
    let peak = lab.run_and_watch("large", body);
    let bytes = fs::metadata(lab.seed_folder("large", 0).join("recordings/bank.rec")).expect("is recorded").len();
    println!("{} MB recorded, {} MB held at most", bytes >> 20, peak >> 20);
    // 48 clips x 9 frames x 64 x 32 x 32 values x 4 bytes, in both directions.
    assert!(bytes > 48 * 9 * 64 * 1024 * 4 * 2, "{bytes} bytes");
    assert!(peak > 0 && peak < LIMIT, "{peak} bytes held for {bytes} recorded");
    assert_eq!(lab.term("large", "transfer", "tmu.distill").len(), 1);
}

#[test]
fn predictors_that_cannot_be_are_refused() {
    let lab = lab();
    let body = |model: &str, more: &str| {
        let learn = "\n[stage.learn]\ntrain = \"student\"\ndata = \"target\"\nsteps = 1\nbatch = 4\n\
                     optimizer = { kind = \"sgd\", lr = 0.1 }\nterms.task = { use = \"next_frame\" }\n";
        [DATA, "\n[models.student]\n", model, learn, more].concat()
    };
    let arch = "arch = { kind = \"conv_lstm\", depth = 1, hidden = 4, patch = 4 }\n";
    let over_time = "over_time = true\npredict = { given = 3 }\n";
    let refused = |model: &str, more: &str| lab.refusal(&body(model, more)).0;
    let layers = "layers = [{ name = \"flat\", kind = \"flatten\" }, { name = \"fc\", kind = \"linear\", out = 3 }]\n";
    assert!(refused(&format!("{layers}predict = {{}}\n"), "").contains("only a network over time"));
    let late = format!("{arch}over_time = true\npredict = {{ given = 6 }}\n");
    assert!(refused(&late, "").contains("clips of 6 frames, of which 6 are given"));
    let scores = format!("arch = {{ kind = \"lstm\", hidden = 4, classes = 3 }}\n{over_time}");
    assert!(!refused(&scores, "").is_empty());
    let metric = "best = { metric = \"accuracy\" }\n";
    assert!(refused(&format!("{arch}{over_time}"), metric).contains("is no metric of a predictor of frames"));
    let plain = body(&format!("{layers}over_time = true\n"), "sampling = {}\n");
    let plain = plain.replace("use = \"next_frame\"", "use = \"l1\", at = \"logits\"");
    let all = lab.check(&plain);
    assert!(
        all.iter().any(|one| one["message"].as_str().unwrap_or_default().starts_with("`sampling` is for predictors"))
    );
}
