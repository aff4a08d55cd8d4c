//! What a frozen teacher gave is kept: it is found only for the same teacher and the same picture, and changes no number of a run.
#![allow(missing_docs)]

mod support;

use candle_core::{Device, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use support::close::assert_close;
use support::lab::{Lab, Ran, plugin};

const SAMPLES: usize = 96;

/// Pictures of 8x8 in three classes.
fn write_pictures(path: &Path, change: impl Fn(&mut Vec<f32>)) {
    let arrays = [("train", SAMPLES), ("test", 24)].into_iter().flat_map(|(part, count)| {
        let value = |at: usize| ((at * 7919) as f64 * 0.618_033_988_75).fract() as f32 + ((at / 64) % 3) as f32;
        let mut values: Vec<f32> = (0..count * 64).map(value).collect();
        if part == "train" {
            change(&mut values);
        }
        let labels: Vec<i64> = (0..count as i64).map(|at| at % 3).collect();
        let pictures = Tensor::from_vec(values, (count, 1, 8, 8), &Device::Cpu).expect("fits");
        let labels = Tensor::from_vec(labels, count, &Device::Cpu).expect("fits");
        [(format!("{part}_image"), pictures), (format!("{part}_label"), labels)]
    });
    Tensor::write_npz(&arrays.collect::<Vec<_>>(), path).expect("is written");
}

const LEARN: &str = "epochs = 3\nbatch = 32\noptimizer = { kind = \"adam\", lr = 3e-3 }\n\
                     terms.task = { use = \"cross_entropy\" }\n";

/// A lab with pictures and a teacher that was trained on them.
fn lab() -> Lab {
    let lab = Lab::with(["stillhouse-basics", "stillhouse-kd", "stillhouse-fitnet", "general"].map(plugin));
    write_pictures(&lab.path().join("pictures.npz"), |_| ());
    let teach = format!(
        "[data]\nuse = \"npz:pictures.npz\"\n[models.teacher]\narch = {{ kind = \"resnet\", depth = 8, width = 8 }}\n\
         [stage.learn]\ntrain = \"teacher\"\n{LEARN}"
    );
    lab.run("teach", &teach).table();
    fs::copy(lab.seed_folder("teach", 0).join("learn/best.safetensors"), lab.path().join("teacher.safetensors"))
        .expect("is copied");
    lab
}

const CACHED: &str = "cache = true";
const NORMAL: &str = "mean = 1.5, std = 0.9";

/// A distillation by logits and maps.
fn body(cache: &str) -> String {
    format!(
        "[data]\nuse = \"npz:pictures.npz\"\n\n[models.teacher]\narch = {{ kind = \"resnet\", depth = 8, width = 8 }}\n\
         weights = \"teacher.safetensors\"\ninput = {{ {NORMAL} }}\n{cache}\n\n\
         [models.student]\narch = {{ kind = \"resnet\", depth = 8, width = 4 }}\n[stage.distil]\ntrain = \"student\"\n{LEARN}\
         terms.kd = {{ use = \"kd\" }}\n\
         terms.hint = {{ use = \"l1\", student = \"layer2\", teacher = \"layer2\", connector = \"linear\" }}\n"
    )
}

/// Runs a manifest; gives how many samples the teacher ran on and how many were read.
fn run(lab: &Lab, name: &str, body: &str) -> (usize, usize) {
    let ran = said(lab, name, body);
    let note = ran.err.lines().find_map(|line| line.split_once("note: teacher: ").map(|(_, note)| note.to_owned()));
    let note = note.unwrap_or_else(|| panic!("no note: {}", ran.err));
    let words: Vec<&str> = note.split_whitespace().collect();
    assert_eq!([words[1], words[2], words[4]], ["samples", "computed,", "read"], "{note}");
    [words[0], words[3]].map(|word| word.parse::<usize>().expect("a number")).into()
}

fn said(lab: &Lab, name: &str, body: &str) -> Ran {
    lab.manifest(name, body);
    let ran = lab.ask(&["run", &format!("{name}.toml")]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran
}

fn files(lab: &Lab) -> Vec<PathBuf> {
    let folder = fs::read_dir(lab.path().join("runs/cache")).expect("there is a cache");
    folder.map(|entry| entry.expect("an entry").path()).collect()
}

fn agree(lab: &Lab, one: &str, other: &str) -> bool {
    let of = |name: &str| lab.weights(name, "distil", "last");
    let log = |name: &str| lab.epochs(name, "distil").iter().map(|epoch| epoch["terms"].clone()).collect::<Vec<_>>();
    of(one) == of(other) && log(one) == log(other)
}

#[test]
fn cache_changes_no_bit_whatever_it_holds() {
    let lab = lab();
    for executor in ["fast", "candle"] {
        let by = |name: &str| format!("{executor}-{name}");
        let with = |cache: &str| format!("[run]\nexecutor = \"{executor}\"\n{}", body(cache));
        lab.run(&by("without"), &with("")).table();
        // What is kept of it was computed in batches of other sizes, of other samples.
        let some =
            with(CACHED).replace("pictures.npz\"\n", "pictures.npz\"\nlimit = 33\n").replace("batch = 32", "batch = 5");
        assert_eq!(run(&lab, &by("some"), &some).0, 33);
        assert_eq!(run(&lab, &by("rest"), &with(CACHED)), (SAMPLES - 33, 2 * SAMPLES + 33));
        assert_eq!(run(&lab, &by("all"), &with(CACHED)), (0, 3 * SAMPLES));
        for kept in ["rest", "all"].map(by) {
            match executor {
                "fast" => assert!(agree(&lab, &by("without"), &kept), "{kept}"),
                // Its products may round by the size of a batch.
                _ => ["kd", "hint"].iter().for_each(|term| {
                    let of = |name: &str| lab.term(name, "distil", term);
                    assert_close(&kept, &of(&kept), &of(&by("without")), 1e-4);
                }),
            }
        }
    }
    // Nothing of it is in the log.
    assert!(lab.events("fast-all", "said").is_empty());
}

#[test]
fn anything_else_is_computed_anew() {
    let lab = lab();
    assert_eq!(run(&lab, "first", &body(CACHED)), (SAMPLES, 2 * SAMPLES));

    // Other points of the same teacher.
    let logits: String =
        body(CACHED).lines().filter(|line| !line.starts_with("terms.hint")).map(|line| format!("{line}\n")).collect();
    assert_eq!(run(&lab, "logits", &logits).0, SAMPLES);

    // One normalisation constant, by as little as there is.
    let normal = body(CACHED).replace(NORMAL, "mean = 1.5000001, std = 0.9");
    assert_eq!(run(&lab, "normal", &normal).0, SAMPLES);

    // Another crop of every picture.
    let moved = body(CACHED).replace("pictures.npz\"\n", "pictures.npz\"\nfit = { crop = 7, size = 8 }\n");
    assert_eq!(run(&lab, "moved", &moved).0, SAMPLES);

    // One pixel of one picture.
    write_pictures(&lab.path().join("pictures.npz"), |values| values[5 * 64 + 9] += 1e-3);
    assert_eq!(run(&lab, "pixel", &body(CACHED)).0, 1);
    write_pictures(&lab.path().join("pictures.npz"), |_| ());

    // One value of one buffer.
    let path = lab.path().join("teacher.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("reads");
    let buffer = tensors.get_mut("layer3.0.bn2.running_var").expect("it has statistics");
    let mut values = buffer.to_vec1::<f32>().expect("values");
    values[3] *= 1.001;
    *buffer = Tensor::new(values, &Device::Cpu).expect("small");
    let whole = fs::read(&path).expect("reads");
    candle_core::safetensors::save(&tensors, &path).expect("is written");
    assert_eq!(run(&lab, "buffer", &body(CACHED)).0, SAMPLES);

    // And all that was kept before is there.
    fs::write(&path, whole).expect("is written");
    assert_eq!(run(&lab, "last", &body(CACHED)), (0, 3 * SAMPLES));
    assert!(agree(&lab, "first", "last"));
}

#[test]
fn augmentation_is_kept_where_it_has_few_variants() {
    let lab = lab();
    let augmented = |more: &str| {
        body(CACHED)
            .replace("pictures.npz\"\n", &format!("pictures.npz\"\naugment = [\"flip\", {{ crop = 2 }}]\n{more}\n"))
    };
    let (computed, read) = run(&lab, "anew", &augmented(""));
    assert!(computed > 5 * SAMPLES / 2 && computed + read == 3 * SAMPLES, "{computed} of three epochs");
    let (computed, _) = run(&lab, "two", &augmented("variants = 2"));
    assert!((SAMPLES..=2 * SAMPLES).contains(&computed), "{computed}");
    assert_eq!(run(&lab, "again", &augmented("variants = 2")), (0, 3 * SAMPLES));
    assert!(agree(&lab, "two", "again"));
    // One variant: the same picture in every epoch. Some were seen before, in other epochs.
    let (computed, read) = run(&lab, "one", &augmented("variants = 1"));
    assert!(computed < SAMPLES && computed + read == 3 * SAMPLES, "{computed}");
    assert!(!agree(&lab, "one", "two"));
}

/// What is rounded is rounded when it is computed, too.
#[test]
fn less_than_all_is_kept_and_gives_the_same_cold_and_warm() {
    let lab = lab();
    lab.run("without", &body("")).table();
    let mut sizes = vec![];
    for (at, cache) in
        [CACHED, "cache = \"f16\"", "cache = { top = 1 }", "cache = { numbers = \"f16\", top = 2 }"].iter().enumerate()
    {
        let (cold, warm) = (format!("cold{at}"), format!("warm{at}"));
        assert_eq!(run(&lab, &cold, &body(cache)), (SAMPLES, 2 * SAMPLES));
        assert_eq!(run(&lab, &warm, &body(cache)), (0, 3 * SAMPLES));
        assert!(agree(&lab, &cold, &warm), "{cache}");
        assert_eq!(agree(&lab, &cold, "without"), at == 0, "{cache}");
        let bytes: u64 = files(&lab).iter().map(|path| path.metadata().expect("is there").len()).sum();
        sizes.push(bytes - sizes.iter().sum::<u64>());
    }
    // 3 logits and a map of 16x4x4 values.
    let bytes = |values: u64| SAMPLES as u64 * (24 + values);
    let header = sizes[0] - bytes(4 * 259);
    assert!((100..500).contains(&header), "{header}");
    let rest = |at: usize| sizes[at].abs_diff(header);
    assert!(rest(1).abs_diff(bytes(2 * 259)) < 50 && rest(2).abs_diff(bytes(12 + 4 * 256)) < 50, "{sizes:?}");
}

#[test]
fn damaged_full_or_missing_folder_costs_time_only() {
    let lab = lab();
    assert_eq!(run(&lab, "whole", &body(CACHED)).0, SAMPLES);
    let path = files(&lab).remove(0);
    let mut bytes = fs::read(&path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes.truncate(bytes.len() - 7);
    fs::write(&path, bytes).expect("is written");
    assert_eq!(run(&lab, "damaged", &body(CACHED)).0, 2);
    assert!(agree(&lab, "whole", "damaged"));

    // Room for some of it: others go, then no more is kept.
    let limited = |limit: &str| format!("[cache]\ndir = \"small\"\nlimit_gb = {limit}\n{}", body(CACHED));
    let ran = said(&lab, "full", &limited("4e-5"));
    let told = "takes nothing more: it has its 0.00004 GB (`cache.limit_gb`)";
    assert!(ran.err.contains(told) && ran.err.matches("takes nothing more").count() == 1, "{}", ran.err);
    let small: u64 = fs::read_dir(lab.path().join("small"))
        .expect("is there")
        .map(|entry| entry.expect("x").metadata().expect("x").len())
        .sum();
    assert!((30_000..=40_000).contains(&small), "{small}");
    assert!(agree(&lab, "whole", "full"));

    // No folder.
    let ran = said(&lab, "none", &format!("[cache]\ndir = \"teacher.safetensors\"\n{}", body(CACHED)));
    assert!(ran.err.contains("warning: the cache in ") && ran.err.contains("takes nothing more: "), "{}", ran.err);
    assert!(agree(&lab, "whole", "none"));
}

/// A run that is killed and goes on has what it had, whatever was kept meanwhile.
#[test]
fn run_goes_on_to_the_bit_beside_a_cache() {
    let lab = lab();
    let body = format!(
        "[run]\ncheckpoint.every = \"1 steps\"\n{}",
        body("cache = \"f16\"").replace("epochs = 3", "epochs = 6")
    );
    run(&lab, "through", &body);
    fs::remove_dir_all(lab.path().join("runs/cache")).expect("is removed");
    lab.run_and_kill("killed", &body, 2);
    lab.run_with("killed", &body, &["--resume"]).table();
    assert!(agree(&lab, "through", "killed"));
}

#[test]
fn explain_tells_what_is_kept() {
    let lab = lab();
    let explained = lab.explain("m", &body("cache = { numbers = \"f16\", top = 2 }"));
    let kept = "evaluation, no gradient, kept in the cache as f16 numbers, of the output the 2 largest\n";
    assert!(explained.contains(kept), "{explained}");
    assert!(!lab.explain("m", &body("")).contains("cache"));
}

#[test]
fn cache_that_cannot_be_is_refused() {
    let lab = lab();
    let refusal = |cache: &str| lab.refusal(&body(cache));
    let (message, hint) = refusal("cache = { top = 3 }");
    assert_eq!(message, "`top` is 3, and `teacher` gives 3 values");
    assert_eq!(hint, "keep fewer, or leave `top` out to keep all");
    assert_eq!(refusal("cache = { top = 0 }").0, "`top` must be at least 1, got 0");
    assert_eq!(refusal("cache = \"bf16\"").0, "unknown value `bf16` for `cache`");
    assert_eq!(refusal("cache = { keep = 3 }").0, "unknown key `keep` in `models.teacher.cache`");
    // The weights have none for a module: that is told beside it.
    let found = lab.check(&body("cache = true\nmodules.\"layer1.0.relu2\" = { use = \"gated_cell\" }"));
    let message = "what `teacher` gives is not kept: its modules may draw numbers or remember";
    let told = found.iter().find(|one| one["message"] == message).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(told["hint"], "leave `cache` out, or record what you need of it (`[recordings]`)");
    let (message, _) = lab.refusal(&format!("[cache]\nlimit_gb = 0\n{}", body(CACHED)));
    assert_eq!(message, "`limit_gb` must be greater than 0, got 0");
    let none = body("").replace("[models.student]\n", "[models.student]\ncache = true\n");
    let found = lab.check(&none);
    assert_eq!(found[0]["message"], "no stage reads model `student` frozen, so it is not kept");
}
