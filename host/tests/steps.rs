//! What may happen at single updates: terms and gradients that are not finite, averages of weights, pieces of a batch.
#![allow(missing_docs)]

mod support;

use candle_core::{Device, Tensor};
use serde_json::Value;
use stillhouse_plugin::desc::Kind;
use support::lab::{DIGITS, DISTIL, Lab, Weights, plugin};
use support::made::PLUGINS;
use support::plugins;
use support::shipped::{LOSSES, SHIPPED, body, term};

/// Pictures of 4x4 in two classes; the first training sample has a value that is no number.
fn write_pictures(lab: &Lab) {
    let arrays = [("train", 64usize), ("test", 16)].into_iter().flat_map(|(part, count)| {
        let value = |at: usize| ((at * 7919) as f64 * 0.618_033_988_75).fract() as f32 + ((at / 16) % 2) as f32;
        let mut values: Vec<f32> = (0..count * 16).map(value).collect();
        values[3] = if part == "train" { f32::NAN } else { 0.0 };
        let labels: Vec<i64> = (0..count as i64).map(|at| at % 2).collect();
        let pictures = Tensor::from_vec(values, (count, 1, 4, 4), &Device::Cpu).expect("fits");
        let labels = Tensor::from_vec(labels, count, &Device::Cpu).expect("fits");
        [(format!("{part}_image"), pictures), (format!("{part}_label"), labels)]
    });
    let arrays: Vec<(String, Tensor)> = arrays.collect();
    Tensor::write_npz(&arrays, lab.path().join("pictures.npz")).expect("is written");
}

fn pictures(more: &str) -> String {
    format!(
        "[data]\nuse = \"npz:pictures.npz\"\n[models.student]\n\
         layers = [{{ name = \"conv\", kind = \"conv\", out = 2, kernel = 3, padding = 1 }}, {{ name = \"bn\", kind = \"batch_norm\" }}, \
         {{ name = \"flat\", kind = \"flatten\" }}, {{ name = \"fc\", kind = \"linear\", out = 2 }}]\n\
         input = {{ mean = 0.5, std = 0.5 }}\n\
         [stage.learn]\ntrain = \"student\"\nepochs = 3\nbatch = 8\noptimizer = {{ kind = \"sgd\", lr = 0.05, momentum = 0.9 }}\n\
         terms.task = {{ use = \"cross_entropy\" }}\n{more}\n"
    )
}

#[test]
fn step_that_is_not_finite_is_left_out_where_the_stage_says_so() {
    let lab = Lab::new();
    write_pictures(&lab);
    let ran = lab.run("stops", &pictures(""));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("first not finite: the input of `student`"), "{}", ran.err);

    lab.run("skips", &pictures("nonfinite = { skip = 3 }")).table();
    let epochs = lab.epochs("skips", "learn");
    let skipped: Vec<u64> = epochs.iter().map(|epoch| epoch["skipped"].as_u64().unwrap_or(0)).collect();
    assert_eq!(skipped, [1, 1, 1], "each epoch has one batch with the sample");
    assert!(
        epochs.iter().all(|epoch| epoch["step"].as_u64().is_some_and(|step| step % 8 == 0) && epoch["total"].is_f64())
    );
    let said = lab.events("skips", "said");
    assert_eq!(said.len(), 3);
    let text = said[0]["text"].as_str().unwrap_or_default();
    assert!(text.starts_with("step left out: term `task` (`cross_entropy`) is NaN at step "), "{text}");
    // Neither weights nor running statistics saw the sample.
    let last = lab.weights("skips", "learn", "last");
    for name in last.names() {
        assert!(last.get(name).iter().all(|value| value.is_finite()), "{name}");
    }

    let ran = lab.run("too-many", &pictures("nonfinite = { skip = 2 }"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.starts_with("error: term `task` (`cross_entropy`) is NaN at step "), "{}", ran.err);
    assert!(ran.err.contains("2 such steps were skipped before, as many as `nonfinite` allows"), "{}", ran.err);
}

/// Where the update is left out, its other pieces are, too: the weights are those of a training without it.
#[test]
fn pieces_beside_one_that_is_not_finite_are_left_out() {
    let lab = Lab::new();
    write_pictures(&lab);
    // One update an epoch, one epoch: nothing is left of it.
    let one = |name: &str, more: &str| {
        lab.run(name, &pictures(&format!("accumulate = 8\n{more}")).replace("epochs = 3", "epochs = 1")).table();
        lab.weights(name, "learn", "last")
    };
    let left = one("pieces", "nonfinite = { skip = 1 }");
    assert_eq!(lab.epochs("pieces", "learn")[0]["skipped"], 1);
    let clean = pictures("").replace("epochs = 3", "steps = 1").replace("batch = 8", "batch = 1");
    let clean = clean.replace("pictures.npz\"", "pictures.npz\"\nlimit = 64").replace("lr = 0.05", "lr = 1e-30");
    lab.run("start", &clean.replace("terms.task", "nonfinite = { skip = 1 }\nterms.task")).table();
    let start = lab.weights("start", "learn", "last");
    let parameters = ["conv.weight", "conv.bias", "fc.weight", "fc.bias"];
    for name in parameters {
        assert_eq!(left.get(name), start.get(name), "{name}");
    }
    // Statistics that pieces before it moved are taken back.
    assert_eq!((left.get("bn.running_mean"), left.get("bn.running_var")), (&[0.0; 2][..], &[1.0; 2][..]));
}

#[test]
fn gradient_that_is_not_finite_is_told_and_left_out() {
    let lab = Lab::new();
    // The term is finite, its derivative times the weight is not.
    let steep = |more: &str| {
        let text = format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\", weight = 1e39 }}\n{more}");
        text.replace("split =", "limit = 8\nsplit =").replace("epochs = 3\nbatch = 32", "steps = 4\nbatch = 1")
    };
    let ran = lab.run("stops", &steep(""));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let first = ran.err.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("error: the gradient of `student.fc") && first.contains("is not finite at step 0"),
        "{first}"
    );
    assert!(first.ends_with("of stage `distil`, though every term is"), "{first}");
    assert!(ran.err.contains("it comes from term `task` (`cross_entropy`), of weight 1e39\n"), "{}", ran.err);
    assert!(ran.err.contains("port `student`: [1, 10] f32, largest magnitude "), "{}", ran.err);
    assert!(ran.err.contains("hint: the derivative of some operation overflows there"), "{}", ran.err);
    let kept = lab.run_with("keeps", &steep(""), &["--dump-inputs"]).err;
    let (_, case) = kept.split_once("repeat it with `stillhouse plugin eval --case ").expect("a case");
    let said = lab.ask(&["plugin", "eval", "--case", case.split('`').next().unwrap_or_default()]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    lab.run("skips", &steep("nonfinite = { skip = 4 }")).table();
    let skipped: u64 = lab.epochs("skips", "distil").iter().filter_map(|epoch| epoch["skipped"].as_u64()).sum();
    assert_eq!(skipped, 4);
}

#[test]
fn average_of_weights_follows_its_definition_and_is_what_counts() {
    let lab = Lab::new();
    let of = |name: &str, steps: usize, lr: &str, more: &str| {
        let layers = r#"layers = [{ name = "flat", kind = "flatten" }, { name = "fc1", kind = "linear", out = 8 },
            { name = "bn", kind = "batch_norm" }, { name = "fc", kind = "linear", out = 10 }]"#;
        let text = format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\n{more}");
        let text = text.replace("arch = { kind = \"mlp\", hidden = [16] }", &layers.replace('\n', ""));
        let text = text.replace(
            "epochs = 3\nbatch = 32\noptimizer = { kind = \"sgd\", lr = 0.05",
            &format!("steps = {steps}\nbatch = 32\noptimizer = {{ kind = \"sgd\", lr = {lr}"),
        );
        lab.run(name, &text).table();
        lab.weights(name, "distil", "last")
    };
    let start = of("start", 1, "1e-30", "");
    let after: Vec<Weights> = (1..=3).map(|steps| of(&format!("after{steps}"), steps, "0.05", "")).collect();
    for decay in [0.2, 0.999] {
        let name = format!("average{decay}");
        let found = of(&name, 3, "0.05", &format!("ema = {decay}\n"));
        for tensor in found.names() {
            // Running statistics begin with those of a new network; a rate of nearly nothing moves them all the same.
            if tensor.starts_with("bn.running") {
                continue;
            }
            let mut wanted: Vec<f64> = start.get(tensor).iter().map(|value| f64::from(*value)).collect();
            for (n, weights) in after.iter().enumerate() {
                let keep = f64::min(decay, (1.0 + n as f64) / (10.0 + n as f64));
                let now = weights.get(tensor);
                wanted
                    .iter_mut()
                    .zip(now)
                    .for_each(|(value, now)| *value = keep * *value + (1.0 - keep) * f64::from(*now));
            }
            let near = |(got, wanted): (&f32, &f64)| (f64::from(*got) - wanted).abs() < 1e-6;
            assert!(found.get(tensor).iter().zip(&wanted).all(near), "{tensor} with {decay}");
        }
        assert_ne!(found.get("bn.running_mean"), after[2].get("bn.running_mean"), "statistics are averaged, too");
        // The training itself goes on with the weights: the checkpoint has both.
        let checkpoint = lab.checkpoint(&name);
        let raw = checkpoint.under("model/student/");
        assert_eq!(raw.differing(&after[2]), Vec::<String>::new());
        assert_eq!(checkpoint.under("average/student/").differing(&found), Vec::<String>::new());
        // What was measured and kept is the average.
        let best = lab.weights(&name, "distil", "best");
        assert_eq!(best.differing(&found), Vec::<String>::new());
        let accuracy = |run: &str| lab.epochs(run, "distil")[0]["metrics"]["nll"].clone();
        assert_ne!(accuracy(&name), accuracy("after3"));
    }
}

/// What each shipped loss declares of the samples of a batch is so: coupled ones refuse pieces, with the others any number of
/// pieces gives the same update.
#[test]
fn pieces_are_refused_or_make_no_difference() {
    let lab = Lab::with(SHIPPED.map(plugin));
    let rest = "freeze = [\"bn1\", \"**.bn1\", \"**.bn2\", \"**.downsample.1\"]\n";
    let mut coupled = vec![];
    for (name, settings) in LOSSES {
        // Batch norms see a piece alone, whatever the loss: those of the networks rest, and no connector has one.
        let settings = settings.replace("{ use = \"conv_regressor\", relu = false }", "\"linear\"");
        let settings = settings.replace("conv_regressor", "linear");
        let pieces = |count: usize| {
            let text = body("auto", 1, &format!("{}{rest}accumulate = {count}\n", term("method", name, &settings)));
            let text = text.replace("limit = 256", "limit = 32").replace("weight = 1e-6", "weight = 1.0");
            let (teacher, student) = text.split_once("[stage.distil]").expect("a stage");
            let student = student.replace("batch = 32", &format!("batch = {}", 32 / count));
            let student = student.replace("{ kind = \"adam\", lr = 3e-3 }", "{ kind = \"sgd\", lr = 0.1 }");
            format!("{teacher}[stage.distil]{student}")
        };
        let found = lab.check(&pieces(2));
        let messages: Vec<&str> = found.iter().filter_map(|one: &Value| one["message"].as_str()).collect();
        if messages
            .iter()
            .any(|text| text.contains("compares the samples of a batch, so batches cannot be accumulated"))
        {
            coupled.push(name);
            continue;
        }
        let [one, two, eight] = [1, 2, 8].map(|count| {
            let run = format!("{name}{count}");
            lab.run(&run, &pieces(count)).table();
            assert_eq!(lab.epochs(&run, "distil")[0]["step"], 1, "{name}");
            lab.checkpoint(&run)
        });
        for other in [&two, &eight] {
            let distance = one.under("model/student/").distance(&other.under("model/student/"));
            assert!(distance < 2e-5, "{name}: {distance}");
        }
    }
    let wanted = ["cc", "crd", "crkd_mmd", "dist", "pkd", "pkt", "rkd_angle", "rkd_distance", "sp"];
    assert_eq!(coupled, wanted);
}

/// The same of connectors: those that normalise by the statistics of a batch refuse pieces, and say which setting would mend it; with the
/// others any number of pieces gives the same update.
#[test]
fn pieces_through_connectors_are_refused_or_make_no_difference() {
    let lab = Lab::with(SHIPPED.map(plugin));
    let rest = "freeze = [\"bn1\", \"**.bn1\", \"**.bn2\", \"**.downsample.1\"]\n";
    let registry = plugins(PLUGINS);
    let all = registry.components().iter().filter(|component| component.desc.kind == Kind::Connector);
    let mut refused = vec![];
    for name in all.map(|component| component.desc.name.as_str()) {
        let pieces = |connector: &str, count: usize| {
            // What ends as a vector is compared with one.
            let teacher = if matches!(name, "flatten" | "gram") { "avgpool" } else { "layer2" };
            let settings = format!("student = \"layer2\", teacher = \"{teacher}\", connector = {connector}");
            let text = body("auto", 1, &format!("{}{rest}accumulate = {count}\n", term("method", "l1", &settings)));
            let text = text.replace("limit = 256", "limit = 32").replace("weight = 1e-6", "weight = 1.0");
            let (teacher, student) = text.split_once("[stage.distil]").expect("a stage");
            let student = student.replace("batch = 32", &format!("batch = {}", 32 / count));
            let student = student.replace("{ kind = \"adam\", lr = 3e-3 }", "{ kind = \"sgd\", lr = 0.1 }");
            format!("{teacher}[stage.distil]{student}")
        };
        let usual = match name {
            // A map of another size or width first.
            "pool_to" | "ft_encoder" | "interpolate" | "normalize" | "flatten" => format!("[\"{name}\", \"linear\"]"),
            "gram" => "[\"gram\", \"flatten\", \"linear\"]".to_owned(),
            "attention_map" => "[{ use = \"attention_map\", keep_shape = true }, \"linear\"]".to_owned(),
            "ft_decoder" => "[\"ft_decoder\"]".to_owned(),
            _ => format!("\"{name}\""),
        };
        let found = lab.check(&pieces(&usual, 2));
        let messages: Vec<&str> = found.iter().filter_map(|one: &Value| one["message"].as_str()).collect();
        let is_refused = messages
            .iter()
            .any(|text| text.ends_with("normalises by the statistics of a batch, so batches cannot be accumulated"));
        let taken = if is_refused {
            refused.push(name);
            let without = format!("{{ use = \"{name}\", batch_norm = false }}");
            if name == "ft_encoder" { format!("[{without}, \"linear\"]") } else { without }
        } else {
            assert!(messages.is_empty(), "{name}: {messages:?}");
            usual
        };
        let [one, two, eight] = [1, 2, 8].map(|count| {
            let run = format!("{name}{count}");
            lab.run(&run, &pieces(&taken, count)).table();
            assert_eq!(lab.epochs(&run, "distil")[0]["step"], 1, "{name}");
            lab.checkpoint(&run)
        });
        for other in [&two, &eight] {
            for part in ["model/student/", "part/distil/with/"] {
                let distance = one.under(part).distance(&other.under(part));
                assert!(distance < 2e-5, "{name}, {part}: {distance}");
            }
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, ["conv_regressor", "ft_encoder"]);
}
