//! Receipts: what a run leaves to be repeated by, and repetitions that agree or say what does not.
#![allow(missing_docs)]

mod support;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use support::lab::{DIGITS, DISTIL, Lab, Ran, plugin};
use toml::{Table, Value};

const TERMS: &str = "terms.task = { use = \"cross_entropy\" }\nterms.kd = { use = \"kd\" }\n";

fn body() -> String {
    format!("[run]\nseeds = [0, 1]\nbaseline = true\nthreads = 1\n{DIGITS}{DISTIL}{TERMS}")
        .replace("epochs = 3", "epochs = 2")
        .replace("split =", "limit = 320\nsplit =")
}

fn text(lab: &Lab, run: &str) -> String {
    fs::read_to_string(lab.path().join(format!("runs/{run}/receipt.toml"))).expect("a receipt")
}

fn receipt(lab: &Lab, run: &str) -> Table {
    toml::from_str(&text(lab, run)).expect("TOML")
}

fn again(lab: &Lab, run: &str, more: &[&str]) -> Ran {
    let file = format!("runs/{run}/receipt.toml");
    lab.ask(&[&["run", "--quiet", &file], more].concat())
}

fn list<'t>(table: &'t Table, key: &str) -> Vec<&'t Table> {
    table[key].as_array().expect("a list").iter().map(|one| one.as_table().expect("a table")).collect()
}

fn named<'t>(all: &[&'t Table], name: &str) -> &'t Table {
    all.iter().find(|one| one["name"].as_str() == Some(name)).unwrap_or_else(|| panic!("no `{name}`"))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of weights, by its definition, from a file of theirs.
fn hash_of(file: &Path) -> String {
    let bytes = fs::read(file).expect("weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut names = tensors.names();
    names.sort();
    let mut all = vec![];
    for name in names {
        let tensor = tensors.tensor(name).expect("is there");
        all.extend_from_slice(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()).as_bytes());
        all.extend_from_slice(tensor.data());
    }
    hex(&all)
}

fn without(mut table: Table, keys: &[&str]) -> Table {
    keys.iter().for_each(|key| drop(table.remove(*key)));
    table
}

/// Seeds with all that must not change: everything but times.
fn numbers(receipt: &Table) -> Vec<Value> {
    let timeless = |stage: &&Table| Value::Table(without((*stage).clone(), &["seconds"]));
    let of_seed = |seed: &Table| {
        let stages: Vec<Value> = list(seed, "stage").iter().map(timeless).collect();
        let mut seed = seed.clone();
        seed.insert("stage".into(), stages.into());
        Value::Table(seed)
    };
    list(receipt, "seed").into_iter().map(of_seed).collect()
}

#[test]
fn receipt_says_what_was_run_with_what_and_what_came_out() {
    let lab = Lab::new();
    let ran = lab.run("once", &body());
    ran.table();
    let receipt = receipt(&lab, "once");
    assert_eq!(receipt["receipt"].as_integer(), Some(1));
    assert_eq!(receipt["stillhouse"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!((receipt["name"].as_str(), receipt["interface"].as_str()), (Some("once"), Some("1.0")));
    assert_eq!(receipt["resumed"].as_integer(), Some(0));
    let started = receipt["started"].as_str().expect("a time");
    assert!(started.len() == 20 && started.starts_with("20") && started.ends_with('Z'), "{started}");
    let machine = receipt["machine"].as_table().expect("a machine");
    assert_eq!((machine["threads"].as_integer(), machine["executor"].as_str()), (Some(1), Some("fast")));
    assert!(machine["system"].as_str().is_some_and(|system| system.contains(std::env::consts::ARCH)));
    assert!(machine["cores"].as_integer().is_some_and(|cores| cores >= 1));
    if cfg!(target_os = "linux") {
        let (peak, all) = (receipt["peak_memory"].as_integer(), machine["memory"].as_integer());
        assert!(peak.zip(all).is_some_and(|(peak, all)| peak > 5_000_000 && peak < all), "{peak:?} of {all:?}");
    }

    let plugins = list(&receipt, "plugin");
    let names: Vec<_> = plugins.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["stillhouse-basics", "stillhouse-kd"], "those of which parts were made");
    assert_eq!(plugins[1]["sha256"].as_str(), Some(hex(&fs::read(plugin("stillhouse-kd")).expect("read")).as_str()));
    let data = list(&receipt, "data");
    let counts = ["train", "val", "test"].map(|part| data[0][part].as_integer());
    assert_eq!((data.len(), counts), (1, [Some(288), Some(32), Some(360)]));
    assert!(data[0]["sha256"].as_str().is_some_and(|sum| sum.len() == 64));

    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(lab.path().join("runs/once/results.json")).expect("results"))
            .expect("JSON");
    let seeds = list(&receipt, "seed");
    assert_eq!(seeds.iter().filter_map(|seed| seed["seed"].as_integer()).collect::<Vec<_>>(), [0, 1]);
    let mut trained = 0.0;
    for (at, seed) in seeds.iter().enumerate() {
        let stages = list(seed, "stage");
        let order: Vec<_> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
        assert_eq!(order, ["teacher", "distil-alone", "distil"]);
        for stage in &stages {
            assert_eq!((stage["epochs"].as_integer(), stage["updates"].as_integer()), (Some(2), Some(18)));
            trained += stage["seconds"].as_float().expect("seconds");
        }
        let models = list(seed, "model");
        for (model, stage) in [("teacher", "teacher"), ("student-alone", "distil-alone"), ("student", "distil")] {
            let told = named(&models, model);
            let weights = lab.seed_folder("once", at as u64).join(stage).join("best.safetensors");
            assert_eq!(told["weights"].as_str(), Some(hash_of(&weights).as_str()), "{model}");
            let same = |one: &&serde_json::Value| one["model"] == model && one["seed"] == at;
            let result = results.as_array().expect("outcomes").iter().find(same).expect("the model");
            assert_eq!(told["metrics"]["accuracy"].as_float(), result["metrics"]["accuracy"].as_f64());
            assert_eq!(told["role"].as_str(), result["role"].as_str());
        }
    }
    let seconds = receipt["seconds"].as_float().expect("seconds");
    assert!(trained > 0.0 && trained < seconds, "{trained} of {seconds}");
    for stage in ["teacher", "distil"] {
        let (told, log) = (named(&list(seeds[0], "stage"), stage).clone(), lab.epochs("once", stage));
        let best = log.iter().rev().find(|epoch| epoch["best"] == true).expect("one is best");
        for (which, epoch) in [("best", best), ("last", &log[1])] {
            let told = &told[which];
            assert_eq!(told["epoch"].as_integer(), epoch["epoch"].as_i64());
            assert_eq!(told["objective"].as_float(), epoch["total"].as_f64());
            assert_eq!(told["metrics"]["nll"].as_float(), epoch["metrics"]["nll"].as_f64());
            assert_eq!(told["terms"]["task"].as_float(), epoch["terms"][0]["raw"].as_f64());
        }
    }
    let resolved = fs::read_to_string(lab.path().join("runs/once/manifest.toml")).expect("a manifest");
    assert_eq!(receipt["manifest"]["text"].as_str(), Some(resolved.as_str()));
}

#[test]
fn repetition_agrees_to_the_bit_and_leaves_the_original_alone() {
    let lab = Lab::new();
    lab.run("once", &body()).table();
    let before = text(&lab, "once");
    assert_eq!(lab.ask(&["check", "runs/once/receipt.toml"]).code, Some(0));
    let said = again(&lab, "once", &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.ends_with("\nevery number agrees, to the bit\n"), "{}", said.out);
    let rows: Vec<&str> = said.out.lines().filter(|line| line.ends_with("  identical")).collect();
    assert_eq!(rows.len(), 6, "three models, two seeds: {}", said.out);
    let known = receipt(&lab, "once");
    let student = named(&list(list(&known, "seed")[1], "model"), "student").clone();
    let accuracy = student["metrics"]["accuracy"].to_string();
    let words: Vec<&str> = rows[5].split_whitespace().collect();
    assert_eq!(words, ["1", "student", "accuracy", &accuracy, &accuracy, "identical"]);
    assert_eq!(text(&lab, "once"), before);
    assert_eq!(numbers(&receipt(&lab, "once.again")), numbers(&known));

    // Elsewhere, on other threads, and as JSON.
    fs::create_dir(lab.path().join("far")).expect("made");
    fs::rename(lab.path().join("runs/once"), lab.path().join("far/moved")).expect("moved");
    let arguments =
        ["run", "--quiet", "--json", "far/moved/receipt.toml", "--set", "run.threads=2", "--set", "run.seeds=[1]"];
    let said = lab.ask(&arguments);
    let answer: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &answer["agreement"]["agrees"]), (Some(0), &true.into()), "{answer:#}");
    let notes = serde_json::json!(["threads: 1 then, 2 now; numbers do not depend on them", "seed 0 was not repeated"]);
    assert_eq!(answer["agreement"]["notes"], notes);
    assert!(lab.path().join("far/moved.again/receipt.toml").exists());

    // Of a seed that the receipt has not: there is nothing to agree with.
    let said = lab.ask(&["run", "--quiet", "far/moved/receipt.toml", "--set", "run.seeds=[9]"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let wanted = "\nnothing could be compared: the repetition has no seed of the receipt, only 9\n";
    assert!(said.out.ends_with(wanted) && !said.out.contains("every number agrees"), "{}", said.out);
}

#[test]
fn repetition_with_other_settings_or_numbers_says_what_differs() {
    let lab = Lab::new();
    lab.run("once", &body().replace("seeds = [0, 1]", "seeds = [3]")).table();
    let (path, known) = (lab.path().join("runs/once/receipt.toml"), text(&lab, "once"));
    assert!(known.contains("lr = 0.05"), "{known}");
    fs::write(&path, known.replace("lr = 0.05", "lr = 0.06")).expect("written");
    let said = again(&lab, "once", &[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains(" numbers do not agree:\n  seed 3, stage distil-alone, "), "{}", said.out);
    assert!(said.out.contains("  seed 3, model student, weights: "), "{}", said.out);
    assert!(!said.out.contains("  seed 3, stage teacher, "), "the teacher's rate is its own: {}", said.out);
    let mut rows = said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let teacher = rows.find(|row| row.starts_with(&["3", "teacher", "accuracy"])).expect("a row");
    assert_eq!(teacher.last(), Some(&"identical"), "{}", said.out);

    let table = receipt(&lab, "once.again");
    assert!(table["manifest"]["text"].as_str().is_some_and(|text| text.contains("lr = 0.06")));
    let model = named(&list(list(&table, "seed")[0], "model"), "teacher").clone();
    let nll = model["metrics"]["nll"].to_string();
    fs::write(&path, known.replacen(&format!("nll = {nll}"), "nll = 0.25", 1)).expect("written");
    let said = again(&lab, "once", &[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let end = format!("1 number does not agree:\n  seed 3, model teacher, nll: 0.25 then, {nll} now\n");
    assert!(said.out.ends_with(&end), "{}", said.out);
}

/// A preset lies beside the manifest, and the receipt elsewhere.
#[test]
fn repetition_finds_presets_where_the_run_did() {
    let lab = Lab::new();
    let folder = lab.path().join("data/mnist");
    fs::create_dir_all(&folder).expect("made");
    for (part, count) in [("train", 40u8), ("t10k", 20)] {
        let pixels = (0..count as usize * 16).map(|at| (at * 37 % 251) as u8);
        let images: Vec<u8> = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 4].into_iter().chain(pixels).collect();
        let labels: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, count].into_iter().chain((0..count).map(|at| at % 10)).collect();
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).expect("written");
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).expect("written");
    }
    let body = "[data]\nuse = \"mnist\"\n[models.student]\narch = { kind = \"mlp\", hidden = [4] }\n[stage.learn]\n\
                train = \"student\"\nepochs = 1\nbatch = 8\noptimizer = { kind = \"sgd\", lr = 0.05 }\n\
                terms.task = { use = \"cross_entropy\" }\n";
    lab.run("preset", body).table();
    let said = again(&lab, "preset", &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let said = again(&lab, "preset.again", &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

/// Pictures in a file, and pictures in a folder.
#[test]
fn repetition_with_other_data_is_refused() {
    let lab = Lab::new();
    let arrays: Vec<(String, Tensor)> = [("train", 64usize), ("test", 16)]
        .into_iter()
        .flat_map(|(part, count)| {
            let values: Vec<f32> = (0..count * 16).map(|at| ((at * 7919) as f32 * 0.618).fract()).collect();
            let labels: Vec<i64> = (0..count as i64).map(|at| at % 2).collect();
            [
                (format!("{part}_image"), Tensor::from_vec(values, (count, 1, 4, 4), &Device::Cpu).expect("fits")),
                (format!("{part}_label"), Tensor::from_vec(labels, count, &Device::Cpu).expect("fits")),
            ]
        })
        .collect();
    Tensor::write_npz(&arrays, lab.path().join("pictures.npz")).expect("is written");
    for (part, class, shade) in [("train", "a", 1), ("train", "b", 2), ("test", "a", 3), ("test", "b", 4)] {
        let folder = lab.path().join("pictures").join(part).join(class);
        fs::create_dir_all(&folder).expect("made");
        for at in 0..4u8 {
            let picture = image::GrayImage::from_fn(4, 4, |x, y| image::Luma([(x * y) as u8 * shade + at]));
            picture.save(folder.join(format!("{at}.png"))).expect("is written");
        }
    }
    let body = |data: &str| {
        format!(
            "[data]\nuse = \"{data}\"\n[models.student]\narch = {{ kind = \"mlp\", hidden = [4] }}\n\
             [stage.learn]\ntrain = \"student\"\nepochs = 1\nbatch = 4\noptimizer = {{ kind = \"sgd\", lr = 0.05 }}\n\
             terms.task = {{ use = \"cross_entropy\" }}\n"
        )
    };
    let changed = |file: &str| {
        let path = lab.path().join(file);
        let before = fs::read(&path).expect("read");
        if file.ends_with("png") {
            image::GrayImage::from_pixel(4, 4, image::Luma([9])).save(&path).expect("is written");
        } else {
            // Within the values of the first array.
            let mut bytes = before.clone();
            bytes[200] ^= 1;
            fs::write(&path, bytes).expect("written");
        }
        (path, before)
    };
    for (name, data, file, words) in [
        ("file", "npz:pictures.npz", "pictures.npz", "error: `../../pictures.npz` is not the file that was locked"),
        (
            "folder",
            "folder:pictures",
            "pictures/train/b/2.png",
            "error: data `main` is not what the run learned from: the SHA-256 of its samples was ",
        ),
    ] {
        lab.run(name, &body(data)).table();
        assert_eq!(again(&lab, name, &[]).code, Some(0));
        let (path, before) = changed(file);
        for command in ["check", "run"] {
            let said = lab.ask(&[command, &format!("runs/{name}/receipt.toml")]);
            assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
            assert!(said.err.contains(words) && said.err.contains("`--ignore-lock`"), "{}", said.err);
            assert_eq!(said.err.matches("error: ").count(), 1, "{}", said.err);
        }
        if name == "folder" {
            let said = again(&lab, name, &["--ignore-lock"]);
            assert_eq!(said.code, Some(1), "it runs, and does not agree: {}{}", said.out, said.err);
        }
        fs::write(path, before).expect("written");
        assert_eq!(lab.ask(&["check", &format!("runs/{name}/receipt.toml")]).code, Some(0));
    }
    // Another plugin.
    let known = text(&lab, "file");
    let hash = list(&receipt(&lab, "file"), "plugin")[0]["sha256"].as_str().expect("a hash").to_owned();
    let other = known.replace(&hash, &hash.chars().rev().collect::<String>());
    fs::write(lab.path().join("runs/file/receipt.toml"), other).expect("written");
    let said = again(&lab, "file", &[]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.starts_with("error: plugin `stillhouse-basics` is not the one that was locked: "), "{}", said.err);
}

/// Begins to repeat the run `whole`, and kills that after an epoch; false where it was through by then.
fn interrupted(lab: &Lab) -> bool {
    let again = lab.path().join("runs/whole.again");
    if again.exists() {
        fs::remove_dir_all(&again).expect("removed");
    }
    let mut child = lab.command(&["run", "--quiet", "runs/whole/receipt.toml"]).spawn().expect("begins");
    let log = again.join("seed-0/metrics.jsonl");
    while !fs::read_to_string(&log).unwrap_or_default().contains("\"event\":\"epoch\"") {
        if child.try_wait().expect("can be asked").is_some() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("killed");
    !child.wait().expect("ends").success()
}

#[test]
fn receipt_of_an_interrupted_run_has_the_same_numbers_and_covers_the_whole() {
    let lab = Lab::new();
    let body = body().replace("epochs = 2", "epochs = 6");
    lab.run("whole", &body).table();
    let body = body.replace("[run]\n", "[run]\ncheckpoint.every = \"5 steps\"\n");
    lab.run_and_kill("cut", &body, 3);
    assert!(!lab.path().join("runs/cut/receipt.toml").exists(), "a receipt is of a whole run");
    lab.resume_and_kill("cut", 9);
    lab.run_with("cut", &body, &["--resume"]).table();
    let (whole, cut) = (receipt(&lab, "whole"), receipt(&lab, "cut"));
    assert_eq!(numbers(&cut), numbers(&whole));
    assert_eq!(cut["resumed"].as_integer(), Some(2));
    let (trained, seconds) = (
        list(&cut, "seed")
            .iter()
            .flat_map(|seed| list(seed, "stage"))
            .map(|stage| stage["seconds"].as_float().expect("seconds"))
            .sum::<f64>(),
        cut["seconds"].as_float().expect("seconds"),
    );
    assert!(trained < seconds, "times of all parts: {trained} of {seconds}");

    // Once more, though it is finished: the receipt goes and comes again.
    lab.run_with("cut", &body, &["--resume"]).table();
    assert_eq!(numbers(&receipt(&lab, "cut")), numbers(&whole));
    assert_eq!(receipt(&lab, "cut")["resumed"].as_integer(), Some(3));

    // A repetition can be interrupted, too; one that was through first is made again.
    assert!((0..10).any(|_| interrupted(&lab)), "it is always through first");
    let said = again(&lab, "whole", &["--resume"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.ends_with("every number agrees, to the bit\n"), "{}", said.out);
    assert_eq!(receipt(&lab, "whole.again")["resumed"].as_integer(), Some(1));
}

#[test]
fn failed_run_has_no_receipt() {
    let lab = Lab::new();
    lab.run("fails", &body()).table();
    let ran = lab.run_with("fails", &body().replace("epochs = 2", "epochs = 4"), &["--resume", "--accept-changes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(lab.path().join("runs/fails/receipt.toml").exists());
    let wild = body().replace("lr = 0.05", "lr = 1e30");
    let ran = lab.run_with("fails", &wild, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!lab.path().join("runs/fails/receipt.toml").exists());
    assert!(lab.path().join("runs/fails.1/receipt.toml").exists(), "that of the earlier run went with it");
}

#[test]
fn receipt_that_cannot_be_read_is_one_error() {
    let lab = Lab::new();
    lab.run("once", &body().replace("seeds = [0, 1]", "seeds = [3]")).table();
    let (path, known) = (lab.path().join("runs/once/receipt.toml"), text(&lab, "once"));
    for (text, wanted) in [
        (
            known.replace("receipt = 1", "receipt = 7"),
            "error: `runs/once/receipt.toml` is of format 7, this host reads 1",
        ),
        ("receipt = 1\n[[x\n".to_owned(), "error: `runs/once/receipt.toml`, line 2: "),
        ("receipt = 1\nname = \"x\"\n".to_owned(), "error: `runs/once/receipt.toml`, line 1: missing field `"),
        (known.replacen("resumed = 0", "resumed = -1", 1), "error: `runs/once/receipt.toml`, line "),
    ] {
        fs::write(&path, text).expect("written");
        for command in ["check", "run"] {
            let said = lab.ask(&[command, "runs/once/receipt.toml"]);
            assert_eq!(said.code, Some(2), "{}", said.err);
            assert!(said.err.starts_with(wanted), "{}", said.err);
        }
    }
    // A mistake in its manifest is told at its line in the receipt.
    let other = known.replace("use = \"kd\"", "use = \"kf\"");
    let line = other.lines().position(|line| line.contains("use = \"kf\"")).expect("is there") + 1;
    fs::write(&path, &other).expect("written");
    let said = lab.ask(&["check", "runs/once/receipt.toml"]);
    assert!(said.err.contains(&format!("--> runs/once/receipt.toml:{line}:")), "{}", said.err);
}
