//! Where models begin, what stays and who teaches.
#![allow(missing_docs)]

mod support;

use support::lab::{DIGITS, DISTIL, Lab};

const KD: &str = r#"terms.task = { use = "cross_entropy", weight = 0.2 }
terms.kd = { use = "kd", temperature = 4.0, weight = 0.8 }
"#;

fn body(terms: &str) -> String {
    format!("{DIGITS}\n{DISTIL}\n{terms}")
}

/// With next to no learning rate.
fn still(body: &str) -> String {
    body.replace("lr = 0.05, momentum = 0.9", "lr = 1e-30")
}

const NONE: [String; 0] = [];

#[test]
fn baseline_starts_equal_and_weighs_the_task_by_one() {
    let lab = Lab::new();
    let ran = lab.run("a", &body(&format!("{KD}baseline = true\n")));
    assert!(ran.accuracy("student") > 0.8 && ran.accuracy("student-alone") > 0.8);
    assert_eq!(ran.row("student-alone")["role"], "alone");
    let terms = |stage: &str| lab.epochs("a", stage)[0]["terms"].clone();
    let alone = terms("distil-alone");
    assert_eq!(
        (alone.as_array().map(Vec::len), alone[0]["name"].as_str(), alone[0]["weight"].as_f64()),
        (Some(1), Some("task"), Some(1.0))
    );
    assert_eq!(terms("distil").as_array().map(Vec::len), Some(2));
    lab.run("still", &still(&body(&format!("{KD}baseline = true\n")))).table();
    let last = |stage: &str| lab.weights("still", stage, "last");
    assert_eq!(last("distil").differing(&last("distil-alone")), NONE);
}

#[test]
fn baseline_equals_a_stage_of_the_task_alone() {
    let lab = Lab::new();
    lab.run("a", &body(&format!("{KD}baseline = true\n"))).table();
    lab.run("b", &body("terms.task = { use = \"cross_entropy\" }\n")).table();
    assert_eq!(lab.weights("a", "distil-alone", "last").differing(&lab.weights("b", "distil", "last")), NONE);
}

#[test]
fn baseline_leaves_out_groups_and_phases_of_the_teacher() {
    let lab = Lab::new();
    let terms = r#"terms.hint = { use = "mse", student = "relu1", teacher = "relu1", connector = "linear", weight = 0.1 }
groups.bridge = { params = ["hint.connector*"], lr_scale = 0.5 }
phases.first = { terms = ["task", "kd"] , updates = ["student"] }
phases.second = { terms = ["hint"], updates = ["bridge", "student"] }
baseline = true
"#;
    let ran = lab.run("a", &body(&format!("{KD}{terms}")));
    assert!(ran.accuracy("student") > 0.8 && ran.accuracy("student-alone") > 0.8);
    assert_eq!(lab.term("a", "distil", "hint").len(), 3);
}

#[test]
fn baseline_starts_from_a_file_of_weights_too() {
    let lab = Lab::new();
    let first = lab.run("first", &body(KD));
    let second = body(&format!("{KD}baseline = true\n"))
        .replace("hidden = [16] }", "hidden = [16] }\nweights = \"runs/first/seed-0/distil/best.safetensors\"");
    let second = lab.run("second", &still(&second));
    assert_eq!(second.accuracy("student"), first.accuracy("student"));
    assert_eq!(second.accuracy("student-alone"), first.accuracy("student"));
}

#[test]
fn teacher_from_a_file_never_changes() {
    let lab = Lab::new();
    let first = lab.run("first", &body(KD));
    let text = body(KD);
    let (before, after) =
        (text.find("[stage.teacher]").expect("a stage"), text.find("[stage.distil]").expect("a stage"));
    let text = format!("{}{}", &text[..before], &text[after..])
        .replace("hidden = [32] }", "hidden = [32] }\nweights = \"runs/first/seed-0/teacher/best.safetensors\"");
    let second = lab.run("second", &text);
    assert_eq!(second.accuracy("teacher"), first.accuracy("teacher"));
    let file = lab.weights("first", "teacher", "best");
    assert_eq!(file.differing(&lab.checkpoint("second").under("model/teacher/")), NONE);
    assert_eq!(lab.weights("first", "distil", "last").differing(&lab.weights("second", "distil", "last")), NONE);
    let wrong = text.replace("hidden = [32]", "hidden = [33]");
    let (message, _) = lab.refusal(&wrong);
    assert!(message.contains("the network has [33, 64], the file [32, 64]"), "{message}");
}

#[test]
fn teacher_with_statistics_keeps_them_while_it_teaches() {
    let lab = Lab::new();
    let net = r#"layers = [{ name = "flat", kind = "flatten" }, { name = "fc1", kind = "linear", out = 32 }, { name = "bn1", kind = "batch_norm" },
  { name = "relu1", kind = "relu" }, { name = "fc", kind = "linear", out = 10 }]"#;
    lab.run("a", &body(KD).replace(r#"arch = { kind = "mlp", hidden = [32] }"#, net)).table();
    let teacher = lab.weights("a", "teacher", "best");
    assert!(teacher.get("bn1.running_mean").iter().any(|value| *value != 0.0));
    assert_eq!(teacher.differing(&lab.checkpoint("a").under("model/teacher/")), NONE);
}

const NORMED: &str = r#"layers = [{ name = "flat", kind = "flatten" }, { name = "fc1", kind = "linear", out = 16 }, { name = "bn1", kind = "batch_norm" },
  { name = "relu1", kind = "relu" }, { name = "fc2", kind = "linear", out = 16 }, { name = "bn2", kind = "batch_norm" },
  { name = "relu2", kind = "relu" }, { name = "fc", kind = "linear", out = 10 }]"#;

#[test]
fn freeze_keeps_weights_and_statistics() {
    let lab = Lab::new();
    let normed = |terms: &str| body(terms).replace(r#"arch = { kind = "mlp", hidden = [16] }"#, NORMED);
    lab.run("a", &normed(&format!("{KD}freeze = [\"fc1\", \"bn1\"]\n"))).table();
    lab.run(
        "start",
        &still(&normed(&format!("{KD}freeze = [\"*\"]\n").replace("\"*\"", "\"fc1\", \"bn1\", \"fc2\", \"bn2\""))),
    )
    .table();
    let moved = lab.weights("start", "distil", "last").differing(&lab.weights("a", "distil", "last"));
    assert!(
        moved.iter().all(|name| name.starts_with("fc2") || name.starts_with("bn2") || name.starts_with("fc.")),
        "{moved:?}"
    );
    assert!(moved.contains(&"bn2.running_mean".to_owned()) && moved.contains(&"fc2.weight".to_owned()), "{moved:?}");
}

#[test]
fn init_by_prefix_takes_over_what_another_stage_trained() {
    let lab = Lab::new();
    let models = DIGITS.replace(
        "[stage.teacher]",
        "[models.second]\nlayers = [{ name = \"flat\", kind = \"flatten\" }, { name = \"body\", kind = \"linear\", out = 16 }, { name = \"relu\", kind = \"relu\" }, { name = \"head\", kind = \"linear\", out = 10 }]\n[stage.teacher]",
    );
    let second = "[stage.second]\ntrain = \"second\"\nepochs = 1\nbatch = 32\noptimizer = { kind = \"sgd\", lr = 0.05 }\nterms.task = { use = \"cross_entropy\" }\nfreeze = [\"body\"]\ninit = { \"body.\" = \"stage:distil:fc1.\" }\n";
    let kd = KD.replace("use = \"kd\"", "use = \"kd\", teacher = \"teacher:logits\"");
    let ran = lab.run("a", &format!("{models}\n{DISTIL}\n{kd}\n{second}"));
    assert!(ran.accuracy("second") > 0.7, "{:#}", ran.table());
    let (from, to) = (lab.weights("a", "distil", "best"), lab.weights("a", "second", "best"));
    assert_eq!(from.under("fc1.").differing(&to.under("body.")), NONE);
    assert_ne!(from.get("fc.weight"), to.get("head.weight"));
}

#[test]
fn model_of_a_stage_begins_where_that_stage_ended() {
    let lab = Lab::new();
    let models = DIGITS.replace(
        "[stage.teacher]",
        "[models.second]\narch = { kind = \"mlp\", hidden = [16] }\nstage = \"distil\"\n[stage.teacher]",
    );
    let second = "[stage.second]\ntrain = \"second\"\nepochs = 1\nbatch = 32\noptimizer = { kind = \"sgd\", lr = 1e-30 }\nterms.task = { use = \"cross_entropy\" }\nafter = [\"distil\"]\n";
    let kd = KD.replace("use = \"kd\"", "use = \"kd\", teacher = \"teacher:logits\"");
    lab.run("a", &format!("{models}\n{DISTIL}\n{kd}\n{second}")).table();
    assert_eq!(lab.weights("a", "distil", "best").differing(&lab.weights("a", "second", "last")), NONE);
}

#[test]
fn two_teachers_teach_one_student() {
    let lab = Lab::new();
    let models = DIGITS
        .replace("[models.student]", "[models.tutor]\narch = { kind = \"mlp\", hidden = [24] }\n[models.student]");
    let tutor = DIGITS[DIGITS.find("[stage.teacher]").expect("a stage")..].replace("teacher", "tutor");
    let terms = r#"terms.task = { use = "cross_entropy", weight = 0.2 }
terms.first = { use = "kd", teacher = "teacher:logits", weight = 0.4 }
terms.second = { use = "kd", teacher = "tutor:logits", weight = 0.4 }
"#;
    let ran = lab.run("a", &format!("{models}\n{tutor}\n{DISTIL}\n{terms}"));
    assert!(ran.accuracy("student") > 0.8, "{:#}", ran.table());
    let roles: Vec<_> = ["teacher", "tutor", "student"].map(|name| ran.row(name)["role"].clone()).into();
    assert_eq!(roles, ["teacher", "teacher", "distilled"]);
    assert_ne!(lab.term("a", "distil", "first"), lab.term("a", "distil", "second"));
    for name in ["teacher", "tutor"] {
        assert_eq!(
            lab.weights("a", name, "best").differing(&lab.checkpoint("a").under(&format!("model/{name}/"))),
            NONE
        );
    }
}

#[test]
fn sets_of_pictures_of_other_sizes_are_fitted_to_one() {
    let lab = Lab::new();
    // The teacher knows large digits, the student has small ones; both are of 4x4 in the end.
    let sets = "
[data.large]
use = \"folder:large?channels=1\"
fit = { crop = 16, size = 4, filter = \"area\" }

[data.small]
use = \"digits\"
fit = { size = 4, filter = \"area\" }
";
    for (class, bright) in [("dark", 40), ("light", 200)] {
        for part in ["train", "test"] {
            let folder = lab.path().join("large").join(part).join(class);
            std::fs::create_dir_all(&folder).expect("a folder");
            for shade in 0..40u8 {
                let picture = image::GrayImage::from_pixel(20, 24, image::Luma([bright + shade]));
                picture.save(folder.join(format!("{shade}.png"))).expect("a picture");
            }
        }
    }
    // What this teacher says of digits is of no use.
    let terms = KD.replace("0.2", "1.0").replace("0.8", "0.01");
    let body = body(&terms).replacen("[data]\nuse = \"digits\"\nsplit = { val = 0.1, seed = 1 }\n", sets, 1);
    let teacher = "kind = \"mlp\", hidden = [32], classes = 10";
    let body = body.replacen("kind = \"mlp\", hidden = [32]", teacher, 1);
    let body = body.replacen("train = \"teacher\"", "train = \"teacher\"\ndata = \"large\"", 1);
    let body = body.replacen("train = \"student\"", "train = \"student\"\ndata = \"small\"", 1);
    let ran = lab.run("a", &body);
    assert!(ran.accuracy("teacher") > 0.9 && ran.accuracy("student") > 0.4, "{:#}", ran.table());
    assert_eq!(lab.term("a", "distil", "kd").len(), 3);
    let other = body.replacen("size = 4", "size = 5", 1);
    let (message, hint) = lab.refusal(&other);
    assert_eq!(message, "`teacher` is built for [1, 5, 5], and `distil` shows it [1, 4, 4]");
    assert!(hint.contains("`fit = { crop = ..., size = ... }`"), "{hint}");
    // What is read of a network of convolutions, its logits, is the same at every size.
    let resnet = "kind = \"resnet\", depth = 8, width = 4, classes = 10";
    assert_eq!(lab.check(&other.replacen(teacher, resnet, 1)), [serde_json::Value::Null; 0]);
}
