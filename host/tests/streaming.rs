//! Data sets that stay in their files: the same numbers as from memory, flat memory, and what damaged samples come to.
#![allow(missing_docs)]

mod support;

use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use support::lab::Lab;

/// Grey pictures of 12x12 in two classes.
fn write_pictures(root: &Path, train: usize, test: usize) {
    for (part, count) in [("train", train), ("test", test)] {
        for (class, name) in ["a", "b"].iter().enumerate() {
            let folder = root.join(part).join(name);
            fs::create_dir_all(&folder).expect("is made");
            for at in 0..count / 2 {
                let shade = |x: u32, y: u32| ((x * 31 + y * 17 + at as u32 * 7) % 128) as u8 + 100 * class as u8;
                let picture = GrayImage::from_fn(12, 12, |x, y| Luma([shade(x, y)]));
                picture.save(folder.join(format!("{at:03}.png"))).expect("is written");
            }
        }
    }
}

fn manifest(data: &str, stage: &str) -> String {
    format!(
        "[run]\ncheckpoint.every = \"1 epoch\"\n[data]\n{data}\n[models.student]\narch = {{ kind = \"mlp\", hidden = [8] }}\n\
         [stage.learn]\ntrain = \"student\"\nepochs = 3\nbatch = 8\noptimizer = {{ kind = \"sgd\", lr = 0.05, momentum = 0.9 }}\n\
         terms.task = {{ use = \"cross_entropy\" }}\n{stage}"
    )
}

/// Likewise, but no pass over all pictures tells how to normalise them: what is damaged is found when it is asked for.
fn normalised(data: &str) -> String {
    manifest(data, "").replace("hidden = [8] }", "hidden = [8] }\ninput = { mean = 0.5, std = 0.25 }")
}

/// The body of a file is cut, its header is whole.
fn cut(path: &Path) {
    let whole = fs::read(path).expect("reads");
    fs::write(path, &whole[..whole.len() * 6 / 10]).expect("is written");
}

#[test]
fn streamed_sets_give_the_bits_of_those_in_memory() {
    let lab = Lab::new();
    write_pictures(&lab.path().join("pictures"), 60, 20);
    let idx = lab.path().join("idx");
    fs::create_dir_all(&idx).expect("is made");
    for (part, count) in [("train", 48u8), ("t10k", 16)] {
        let pixels = (0..u32::from(count) * 64).map(|at| (at * 37 % 251) as u8);
        let images = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 8, 0, 0, 0, 8].into_iter().chain(pixels);
        fs::write(idx.join(format!("{part}-images-idx3-ubyte")), images.collect::<Vec<u8>>()).expect("is written");
        let labels = [0, 0, 8, 1, 0, 0, 0, count].into_iter().chain((0..count).map(|at| at % 3));
        fs::write(idx.join(format!("{part}-labels-idx1-ubyte")), labels.collect::<Vec<u8>>()).expect("is written");
    }
    let sets = [
        ("folder", "use = \"folder:pictures?size=10\"\nsplit = { val = 0.2 }\naugment = [{ crop = 1 }, \"flip\"]"),
        ("fitted", "use = \"folder:pictures\"\nfit = { crop = 10, size = 5 }"),
        ("idx", "use = \"idx:idx\"\nsplit = { val = 0.2 }"),
    ];
    for (name, data) in sets {
        let run = |how: &str, more: &str| {
            let run = format!("{name}-{how}");
            let ran = lab.run(&run, &manifest(&format!("{data}\n{more}"), ""));
            let accuracy = ran.accuracy("student");
            (accuracy, lab.checkpoint(&run))
        };
        let (accuracy, kept) = run("kept", "stream = false");
        for (how, more) in [("streamed", "stream = true\ncache_mb = 0"), ("cached", "stream = true"), ("usual", "")] {
            let (other, streamed) = run(how, more);
            assert_eq!(kept.differing(&streamed), Vec::<String>::new(), "{name} {how}");
            assert_eq!(accuracy, other, "{name} {how}");
        }
    }
    let (message, _) = lab.refusal(&manifest("use = \"digits\"\nstream = true", ""));
    assert_eq!(message, "`stream` is out of range");
}

/// A picture whose header is sound and whose pixels are not is found when a batch asks for it.
#[test]
fn picture_that_is_damaged_ends_a_streaming_run_at_its_last_checkpoint() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    write_pictures(&pictures, 60, 20);
    let text =
        normalised("use = \"folder:pictures\"\nstream = true\ncache_mb = 0").replace("epochs = 3", "epochs = 60");
    lab.run("never", &text).table();
    lab.run_and_kill("a", &text, 2);
    assert!(!lab.checkpoints("a", 0).is_empty());
    let victim = pictures.join("train/b/007.png");
    let whole = fs::read(&victim).expect("reads");
    cut(&victim);
    let ran = lab.run_with("a", &text, &["--resume", "--accept-changes"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(
        ran.err.starts_with("error: `") && ran.err.contains("train/b/007.png` is not a readable picture"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("the last checkpoint is in "), "{}", ran.err);
    fs::write(&victim, whole).expect("is written");
    let kept = lab.run_with("a", &text.replace("stream = true", "stream = false"), &["--resume"]);
    let told = "data main: it was streamed, and is in memory: its samples cannot be compared";
    assert!(kept.code == Some(2) && kept.err.contains(told), "{}", kept.err);
    lab.run_with("a", &text, &["--resume", "--accept-changes"]).table();
    assert_eq!(lab.checkpoint("a").differing(&lab.checkpoint("never")), Vec::<String>::new());
}

#[test]
fn damaged_pictures_are_left_out_and_counted_up_to_the_limit() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    write_pictures(&pictures, 64, 20);
    for name in ["train/a/003.png", "train/b/010.png", "test/b/002.png"] {
        cut(&pictures.join(name));
    }
    let text = |more: &str| normalised(&format!("use = \"folder:pictures\"\n{more}"));

    // In batches, streamed: an epoch has two samples less, and the test part one.
    let ran = lab.run("streamed", &text("stream = true\ncache_mb = 0\ndamaged = { skip = 3 }"));
    ran.table();
    let said = lab.events("streamed", "said");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|line| line["text"] == "2 samples were left out of this epoch: damaged"), "{said:?}");
    assert!(
        ran.err.contains("warning: a sample of `main` is left out: `") && ran.err.contains("a/003.png` is not a"),
        "{}",
        ran.err
    );

    // From memory they are left out at once, and told before the run.
    let warnings = lab.check(&text("stream = false\ndamaged = { skip = 3 }"));
    assert_eq!(warnings[0]["message"], "3 samples of data `main` were left out: damaged");
    lab.run("kept", &text("stream = false\ndamaged = { skip = 3 }")).table();

    for stream in [true, false] {
        let ran = lab.run("more", &text(&format!("stream = {stream}\ncache_mb = 0\ndamaged = {{ skip = 2 }}")));
        assert_eq!((ran.code, ran.out.as_str()), (Some(if stream { 1 } else { 2 }), ""), "{}", ran.err);
        assert!(ran.err.contains("error: more samples are damaged than `damaged` allows"), "{}", ran.err);
        assert!(ran.err.contains(".png` is not a readable picture"), "{}", ran.err);
    }
}

/// A batch of which nothing is left is no error: its update is left out, and an evaluation goes on with the others.
#[test]
fn batch_of_damaged_pictures_alone_is_passed_over() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    write_pictures(&pictures, 8, 4);
    for name in ["train/a/003.png", "test/b/001.png"] {
        cut(&pictures.join(name));
    }
    let text = |batch: usize, more: &str| {
        let text = normalised(&format!("use = \"folder:pictures\"\nstream = true\ncache_mb = 0\n{more}"));
        text.replace("batch = 8", &format!("batch = {batch}"))
    };
    let ran = lab.run("one", &text(1, "damaged = { skip = 2 }"));
    ran.table();
    let epochs = lab.epochs("one", "learn");
    assert_eq!((epochs.len(), &epochs[0]["metrics"]["samples"], &epochs[0]["step"]), (3, &3.into(), &8.into()));
    assert!(epochs.iter().all(|epoch| epoch["terms"][0]["raw"].is_f64()), "{epochs:?}");
    let wrong = lab.run("none", &text(1, "damaged = { skip = 1 }"));
    assert_eq!(wrong.code, Some(1), "{}", wrong.err);
}

/// An update is the mean over its samples, however they are cut into pieces, of which some lack one.
#[test]
fn pieces_of_an_update_count_as_much_as_they_have_samples() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    write_pictures(&pictures, 64, 8);
    for name in ["train/a/003.png", "train/a/017.png", "train/b/010.png"] {
        cut(&pictures.join(name));
    }
    let data = normalised("use = \"folder:pictures\"\nstream = true\ncache_mb = 0\ndamaged = { skip = 3 }");
    let weights = |name: &str, pieces: &str| {
        lab.run(name, &data.replace("batch = 8\n", pieces).replace("momentum = 0.9", "momentum = 0.0")).table();
        lab.weights(name, "learn", "last")
    };
    let whole = weights("whole", "batch = 16\n");
    for (name, pieces) in [
        ("halves", "batch = 8\naccumulate = 2\n"),
        ("quarters", "batch = 4\naccumulate = 4\n"),
        ("single", "batch = 1\naccumulate = 16\n"),
    ] {
        let distance = whole.distance(&weights(name, pieces));
        assert!(distance < 1e-6, "{name}: {distance}");
    }
}

/// The limit is that of the run, not of the process.
#[test]
fn damaged_pictures_are_counted_over_all_parts_of_a_run() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    write_pictures(&pictures, 60, 20);
    let data = "use = \"folder:pictures\"\nstream = true\ncache_mb = 0\ndamaged = { skip = 1 }";
    let text = normalised(data).replace("epochs = 3", "epochs = 60");
    let [first, second] = ["train/b/007.png", "train/a/011.png"].map(|name| pictures.join(name));
    let whole = fs::read(&first).expect("reads");
    cut(&first);
    lab.run_and_kill("a", &text, 2);
    fs::write(&first, whole).expect("is written");
    cut(&second);
    let ran = lab.run_with("a", &text, &["--resume"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    let told = "\n  data main: the SHA-256 of the names and lengths of its files was ";
    assert!(ran.err.contains(told), "{}", ran.err);
    let ran = lab.run_with("a", &text, &["--resume", "--accept-changes"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("error: more samples are damaged than `damaged` allows"), "{}", ran.err);
    assert!(ran.err.contains("train/a/011.png` is not a readable picture"), "{}", ran.err);
}

#[test]
fn labels_that_name_no_class_are_told_or_left_out() {
    let lab = Lab::new();
    let write = |name: &str, bytes: Vec<u8>| fs::write(lab.path().join(name), bytes).expect("is written");
    for (part, count) in [("train", 24u8), ("t10k", 8)] {
        let pixels = (0..u32::from(count) * 16).map(|at| (at * 37 % 251) as u8);
        let header = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 4];
        write(&format!("{part}-images-idx3-ubyte"), header.into_iter().chain(pixels).collect());
        // Of 16-bit integers, so that one can be negative.
        let labels = (0..count).flat_map(|at| if at == 5 { [255, 255] } else { [0, at % 3] });
        write(&format!("{part}-labels-idx1-ubyte"), [0, 0, 11, 1, 0, 0, 0, count].into_iter().chain(labels).collect());
    }
    let text = |more: &str| manifest(&format!("use = \"idx:.\"\n{more}"), "");
    let (message, _) = lab.refusal(&text(""));
    assert_eq!(message, "sample 5 of the train part has a label that names no class");
    let warnings = lab.check(&text("damaged = { skip = 2 }"));
    assert_eq!(warnings[0]["message"], "2 samples of data `main` were left out: damaged");
    for stream in [true, false] {
        let ran = lab.run(&format!("skips{stream}"), &text(&format!("stream = {stream}\ndamaged = {{ skip = 2 }}")));
        assert_eq!(ran.table()["rows"][0]["model"], "student");
    }
    let skips = ["skipstrue", "skipsfalse"].map(|run| lab.checkpoint(run));
    assert_eq!(skips[0].differing(&skips[1]), Vec::<String>::new());
    assert!(
        lab.refusal(&text("damaged = { skip = 1 }")).0.starts_with("more samples are damaged than `damaged` allows")
    );
}

/// Arrays that are cut are no matter of single samples.
#[test]
fn array_that_is_cut_is_an_error_all_the_same() {
    let lab = Lab::new();
    let images = lab.path().join("train-images-idx3-ubyte");
    for (part, count) in [("train", 24u8), ("t10k", 8)] {
        let header = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 4];
        let pixels = vec![9; usize::from(count) * 16];
        fs::write(lab.path().join(format!("{part}-images-idx3-ubyte")), [&header[..], &pixels].concat())
            .expect("is written");
        let labels: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, count].into_iter().chain((0..count).map(|at| at % 3)).collect();
        fs::write(lab.path().join(format!("{part}-labels-idx1-ubyte")), labels).expect("is written");
    }
    let whole = fs::read(&images).expect("reads");
    fs::write(&images, &whole[..200]).expect("is written");
    for stream in [true, false] {
        let (message, hint) =
            lab.refusal(&manifest(&format!("use = \"idx:.\"\nstream = {stream}\ndamaged = {{ skip = 99 }}"), ""));
        assert!(message.ends_with("train-images-idx3-ubyte` ends too early"), "{message}");
        assert!(hint.contains("the file is cut off"), "{hint}");
    }
}

/// 2.1 GB of decoded pictures under 200 MB: 10,800 names of 200 pictures of 256x256.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes a minute or two"]
fn folder_larger_than_the_memory_that_it_takes() {
    let lab = Lab::new();
    let pictures = lab.path().join("pictures");
    let (distinct, copies) = (200, 54);
    for (part, copies) in [("train", copies), ("test", 1)] {
        for at in 0..distinct {
            let folder = pictures.join(part).join(if at % 2 == 0 { "a" } else { "b" });
            fs::create_dir_all(&folder).expect("is made");
            let shade = |x: u32, y: u32| {
                Rgb([(x + at) as u8, (y * 2 + at * 3) as u8, ((x / 16 + y / 16) * 4 + 90 * (at % 2)) as u8])
            };
            let first = folder.join(format!("{at}-0.png"));
            RgbImage::from_fn(256, 256, shade).save(&first).expect("is written");
            for copy in 1..copies {
                fs::hard_link(&first, folder.join(format!("{at}-{copy}.png"))).expect("is linked");
            }
        }
    }
    let text = |more: &str| {
        let text = normalised(&format!("use = \"folder:pictures\"\nfit = {{ size = 32 }}\n{more}"));
        text.replace("epochs = 3\nbatch = 8", "epochs = 1\nbatch = 32")
    };
    let speed = |run: &str| lab.epochs(run, "learn")[0]["samples_per_second"].as_f64().unwrap_or_default();
    let peak = lab.run_and_watch("streamed", &text("stream = true"));
    println!(
        "10,800 pictures, 2.1 GB decoded: {:.0} MB at most, {:.0} samples/s",
        peak as f64 / 1e6,
        speed("streamed")
    );
    // A quarter of them fits.
    let few = text("stream = false").replace("pictures\"", "few\"");
    for class in ["a", "b"] {
        for part in ["train", "test"] {
            let to = lab.path().join("few").join(part).join(class);
            fs::create_dir_all(&to).expect("is made");
            let names = fs::read_dir(pictures.join(part).join(class)).expect("a folder").flatten();
            for name in names.filter(|name| part == "test" || name.file_name().to_string_lossy().contains("-1")) {
                fs::hard_link(name.path(), to.join(name.file_name())).expect("is linked");
            }
        }
    }
    let kept = lab.run_and_watch("kept", &few);
    let count = lab.events("kept", "epoch").len();
    assert_eq!(count, 1);
    println!("2,200 of them in memory: {:.0} MB at most, {:.0} samples/s", kept as f64 / 1e6, speed("kept"));
    assert!(peak < 200_000_000, "{peak}");
}
