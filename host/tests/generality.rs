//! What a method may ask of the host, each by a small component of `tests/plugins/general`, trained by the real binary.
#![allow(missing_docs)]

mod support;

use support::clips;
use support::lab::{DIGITS, DISTIL, Lab, plugin};

fn body(terms: &str) -> String {
    format!("{DIGITS}\n{DISTIL}\n{terms}")
}

/// The same with features of one size on both sides.
fn equal_sizes(terms: &str) -> String {
    body(terms).replace("hidden = [16]", "hidden = [32]")
}

fn falls(values: &[f64]) -> bool {
    values.len() > 1 && values.last() < values.first() && values.iter().all(|value| value.is_finite())
}

#[test]
fn alternating_phases_update_their_own_groups() {
    let lab = Lab::new();
    let terms = r#"terms.task = { use = "cross_entropy" }
terms.rivals = { use = "alternating", student = "relu1", teacher = "relu1", weight = 0.1, hidden = 8, judge_lr = 0.01 }"#;
    let ran = lab.run("a", &equal_sizes(terms));
    assert!(ran.accuracy("student") > 0.8, "{:#}", ran.table());
    assert!(falls(&lab.term("a", "distil", "task")));
    assert!(falls(&lab.term("a", "distil", "rivals.judge")), "{:?}", lab.term("a", "distil", "rivals.judge"));
    let state = lab.checkpoint("a");
    assert_eq!(state.shape("part/distil/with/rivals/judge.hidden.weight"), [8, 32]);
    // The judge has an optimizer of its own, Adam with two moments; the student's has one momentum.
    assert_eq!(state.shape("optimizer/1/rivals.judge.out.weight#1"), [1, 8]);
    assert_eq!(state.shape("optimizer/0/student.fc.weight#0"), [10, 32]);
    assert!(!state.names().iter().any(|name| name.starts_with("optimizer/0/rivals") || name.ends_with("fc.weight#1")));
    assert!(!lab.weights("a", "distil", "best").names().iter().any(|name| name.contains("judge")));
}

#[test]
fn alternating_judge_leaves_the_student_alone() {
    // The student's rate is next to nothing and the judge's is not: only the judge moves.
    let lab = Lab::new();
    let terms = r#"terms.rivals = { use = "alternating", student = "logits", teacher = "logits", judge_lr = 0.01 }"#;
    lab.run("a", &body(terms).replace("lr = 0.05, momentum = 0.9", "lr = 1e-30")).table();
    let judge = lab.term("a", "distil", "rivals.judge");
    assert!(falls(&judge), "{judge:?}");
    lab.run("b", &body(terms).replace("lr = 0.05, momentum = 0.9", "lr = 1e-30").replace("epochs = 3", "epochs = 1"))
        .table();
    assert_eq!(lab.weights("a", "distil", "last").differing(&lab.weights("b", "distil", "last")), Vec::<String>::new());
}

const SEQUENCES: &str = r#"
[data]
use = "clips:clips.npz"

[models.student]
over_time = true
layers = [{ name = "cell", kind = "linear", out = 12 }, { name = "fc", kind = "linear", out = 2 }]
modules.cell = { use = "gated_cell" }

[stage.learn]
train = "student"
epochs = 12
batch = 32
optimizer = { kind = "adam", lr = 0.03 }
terms.task = { use = "cross_entropy" }
"#;

#[test]
fn gated_cell_over_time_learns_what_needs_memory() {
    let lab = Lab::new();
    clips::write(&lab.path().join("clips.npz"), &[2]);
    let ran = lab.run("a", &format!("{SEQUENCES}terms.even = {{ use = \"every_frame\", student = \"student:cell.gate\", target = 0.4, weight = 0.1 }}\n"));
    assert!(ran.accuracy("student") > 0.85, "{:#}", ran.table());
    assert!(falls(&lab.term("a", "learn", "task")));
    assert!(lab.events("a", "said").iter().any(|said| said["text"] == "reads 5 frames" && said["term"] == "even"));
    let weights = lab.weights("a", "learn", "best");
    assert_eq!(
        weights.names(),
        [
            "cell.candidate.bias",
            "cell.candidate.weight",
            "cell.forget.bias",
            "cell.forget.weight",
            "fc.bias",
            "fc.weight"
        ]
    );
    assert_eq!(weights.shape("cell.forget.weight"), [12, 14]);
    assert_eq!(lab.checkpoint("a").shape("model/student/cell.candidate.weight"), [12, 14]);
    // The file of weights brings the module's back, too.
    let again =
        SEQUENCES.replace("over_time = true", "over_time = true\nweights = \"runs/a/seed-0/learn/best.safetensors\"");
    let again = lab.run("b", &again.replace("lr = 0.03", "lr = 1e-30").replace("epochs = 12", "epochs = 1"));
    assert_eq!(again.accuracy("student"), ran.accuracy("student"));
}

#[test]
fn gated_cell_alone_pulls_its_gate_to_the_target() {
    let lab = Lab::new();
    clips::write(&lab.path().join("clips.npz"), &[2]);
    let even = "terms.even = { use = \"every_frame\", student = \"student:cell.gate\", target = 0.9 }\nfreeze = [\"fc\", \"cell.candidate\"]\n";
    lab.run("a", &SEQUENCES.replace("terms.task = { use = \"cross_entropy\" }", even)).table();
    let even = lab.term("a", "learn", "even");
    assert!(even[0] > 0.01 && even.last() < Some(&(0.05 * even[0])), "{even:?}");
}

#[test]
fn every_frame_without_time_reads_the_one_value() {
    let lab = Lab::new();
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.even = { use = \"every_frame\", student = \"fc1\" }";
    lab.run("a", &body(terms)).table();
    assert!(lab.events("a", "said").iter().any(|said| said["text"] == "reads 1 frames"));
    assert!(falls(&lab.term("a", "distil", "even")));
}

#[test]
fn parameter_pull_reads_parameters_of_both_sides() {
    let lab = Lab::new();
    let pull = |weight: f64| {
        body(&format!(
            "terms.task = {{ use = \"cross_entropy\" }}\nterms.pull = {{ use = \"parameter_pull\", to_start = 0.0, weight = {weight}, \
             ports = {{ own = \"fc.bias\", other = \"fc.bias\" }} }}"
        ))
    };
    let ran = lab.run("tight", &pull(10.0));
    assert!(ran.accuracy("student") > 0.8);
    lab.run("loose", &pull(1e-6)).table();
    let distance = |run: &str| {
        let (student, teacher) = (lab.weights(run, "distil", "last"), lab.weights(run, "teacher", "best"));
        let pairs = student.get("fc.bias").iter().zip(teacher.get("fc.bias"));
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
    };
    assert!(distance("tight") < 0.05 * distance("loose"), "{} {}", distance("tight"), distance("loose"));
    assert!(falls(&lab.term("tight", "distil", "pull")));
}

#[test]
fn parameter_pull_keeps_the_start_in_a_buffer() {
    let lab = Lab::new();
    let pull = "terms.task = { use = \"cross_entropy\" }\nterms.pull = { use = \"parameter_pull\", weight = 1.0, ports.own = \"fc.weight\" }";
    lab.run("a", &body(pull)).table();
    lab.run("b", &body(pull).replace("lr = 0.05, momentum = 0.9", "lr = 1e-30")).table();
    let start = lab.checkpoint("a").under("part/distil/with/pull/");
    assert_eq!(start.get("start"), lab.weights("b", "distil", "last").get("fc.weight"));
    assert_ne!(start.get("start"), lab.weights("a", "distil", "last").get("fc.weight"));
    assert_eq!(lab.term("a", "distil", "pull").len(), 3);
}

#[test]
fn row_bank_keeps_a_row_for_every_training_sample() {
    let lab = Lab::new();
    let terms = "terms.task = { use = \"cross_entropy\" }\nterms.bank = { use = \"row_bank\", student = \"fc1\", weight = 0.02 }";
    let ran = lab.run("a", &body(terms));
    assert!(ran.accuracy("student") > 0.8);
    let bank = lab.checkpoint("a").under("part/distil/with/bank/");
    let samples = bank.shape("seen")[0];
    assert_eq!(bank.shape("rows"), [samples, 16]);
    let seen: Vec<usize> = (0..samples).filter(|at| bank.get("seen")[*at] == 1.0).collect();
    // A tenth is kept for validation and never seen; the rest is, in three epochs in another order each.
    assert!(seen.len() > samples * 85 / 100 && seen.len() < samples, "{} of {samples}", seen.len());
    let is_zero = |at: usize| bank.get("rows")[at * 16..(at + 1) * 16].iter().all(|value| *value == 0.0);
    assert!((0..samples).all(|at| is_zero(at) != seen.contains(&at)));
}

#[test]
fn row_bank_pull_slows_features_down() {
    let lab = Lab::new();
    let terms = |weight: f64| {
        body(&format!(
            "terms.task = {{ use = \"cross_entropy\" }}\nterms.bank = {{ use = \"row_bank\", student = \"fc1\", weight = {weight} }}"
        ))
    };
    lab.run("strong", &terms(1.0)).table();
    lab.run("weak", &terms(1e-6)).table();
    let last = |run: &str| lab.term(run, "distil", "bank")[2];
    assert!(last("strong") < 0.5 * last("weak"), "{} {}", last("strong"), last("weak"));
}

#[test]
fn fused_four_trains_with_its_own_gradient() {
    let lab = Lab::new();
    let ran = lab.run("a", &body("terms.near = { use = \"fused_four\", weight = 0.1 }"));
    assert!(ran.accuracy("student") > 0.6, "{:#}", ran.table());
    assert!(falls(&lab.term("a", "distil", "near")));
    let own = lab.checkpoint("a").under("part/distil/with/near/");
    assert_eq!((own.shape("scale"), own.shape("shift")), (&[10][..], &[10][..]));
    assert!(own.get("scale").iter().all(|value| *value != 1.0) && own.get("shift").iter().all(|value| *value != 0.0));
}

#[test]
fn reads_value_trains_on_what_it_keeps() {
    let lab = Lab::new();
    let ran = lab.run("a", &body("terms.task = { use = \"reads_value\", threshold = 3.0 }"));
    assert!(ran.accuracy("student") > 0.8, "{:#}", ran.table());
    lab.run("nothing", &body("terms.task = { use = \"reads_value\", threshold = -1.0 }")).table();
    assert_eq!(lab.term("nothing", "distil", "task"), [0.0; 3]);
}

/// Features of other sizes are compared by what connectors make of both.
#[test]
fn connectors_on_both_sides_bring_both_to_one_shape() {
    let lab = Lab::with(["stillhouse-basics", "stillhouse-fitnet", "stillhouse-connectors"].map(plugin));
    let nets = |term: &str| {
        let arch = |depth: usize| format!("arch = {{ kind = \"resnet\", depth = {depth}, width = 4 }}");
        let text = body(&format!("terms.task = {{ use = \"cross_entropy\" }}\nterms.style = {{ {term} }}"));
        let text = text.replace("epochs = 3", "epochs = 2").replace("split =", "limit = 256\nsplit =");
        text.replace("arch = { kind = \"mlp\", hidden = [32] }", &arch(14))
            .replace("arch = { kind = \"mlp\", hidden = [16] }", &arch(8))
    };
    let term = "use = \"mse\", student = \"conv1\", teacher = \"layer1\", connector = [{ use = \"conv\", out = 4, stride = 2 }, \"gram\"]";
    let (message, _) = lab.refusal(&nets(term));
    assert!(message.contains("`mse` got features that differ"), "one side alone: {message}");
    let gram =
        "use = \"mse\", student = \"layer2\", teacher = \"layer2.0\", connector = \"gram\", connector_on = \"both\"";
    lab.run("both", &nets(gram)).table();
    assert!(falls(&lab.term("both", "distil", "style")), "{:?}", lab.term("both", "distil", "style"));
    // What has nothing to learn on the teacher's side is told before any training.
    let said = lab.run("learns", &nets(&term.replace("connector =", "connector_on = \"both\", connector =")));
    assert!(said.code != Some(0) && said.err.contains("style.connector.teacher.0"), "{}", said.err);
}
