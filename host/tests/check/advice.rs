//! Hints that mend what they are about, and warnings of what has no effect.

use super::{KD, added, changed, hinted, refused, refused_in, unlabelled, warned};
use crate::support::clips;
use crate::support::command::Place;

#[test]
fn connector_that_mends_nothing_is_not_advised() {
    let text = refused(&changed(&[(KD, r#"terms.kd = { use = "kd", student = "layer1" }"#)]));
    assert!(text.contains("note: student `layer1` is [64, 8, 8, 8] f32") && !text.contains("connector"), "{text}");
    assert!(text.contains("hint: both networks must score the same classes"), "{text}");
    // Maps of one shape on both sides are no logits yet.
    let text =
        refused(&added(r#"terms.soft = { use = "soft_cross_entropy", student = "layer1", teacher = "layer2" }"#));
    assert!(text.contains("wants logits [N, C]") && !text.contains("connector"), "{text}");
}

#[test]
fn taps_that_differ_are_named_behind_their_connectors() {
    let text = refused(&hinted(r#"student = "layer2", teacher = "layer2", connector = "pool_to""#));
    assert!(text.contains("note: student `layer2` behind `pool_to` is [64, 16, 4, 4] f32"), "{text}");
    assert!(text.contains("note: teacher `layer2` is [64, 32, 4, 4] f32"), "{text}");
}

#[test]
fn batch_of_one_is_refused_where_a_part_takes_statistics() {
    let of_one = |manifest: &str| {
        manifest.replacen(
            "[stage.distil]\ntrain = \"student\"",
            "[stage.distil]\ntrain = \"student\"\nbatch = 1\naccumulate = 8",
            1,
        )
    };
    let hint = hinted(r#"student = "avgpool", teacher = "avgpool", connector = "conv_regressor""#);
    let text = refused(&of_one(&hint));
    assert!(text.contains("one value a channel has no variance, got [1, 64, 1, 1] f32"), "{text}");
    assert!(text.contains("m.toml:26:") && text.contains("one sample a step"), "{text}");
    assert!(text.contains("hint: it takes statistics over the batch: write `batch = 2` or more"), "{text}");
    // Maps of several places have a variance.
    let hint = hinted(r#"student = "layer2", teacher = "layer2", connector = "conv_regressor""#);
    assert!(!warned(&of_one(&hint).replace("\naccumulate = 8", "")).contains("error"));
    let text = refused(&of_one(&hint));
    assert!(text.contains("normalises by the statistics of a batch, so batches cannot be accumulated"), "{text}");
    assert!(text.contains("or leave its batch norm out where it has a setting for that"), "{text}");
}

#[test]
fn batch_of_one_is_refused_for_a_network_that_takes_statistics_of_single_values() {
    let layers = r#"layers = [
    { name = "flat", kind = "flatten" }, { name = "fc1", kind = "linear", out = 8 }, { name = "norm", kind = "batch_norm" },
    { name = "fc2", kind = "linear", out = 10 },
]"#;
    let manifest = changed(&[
        (
            "[models.student]\narch = { kind = \"resnet\", depth = 8, width = 8 }",
            &format!("[models.student]\n{layers}"),
        ),
        ("[stage.distil]\ntrain = \"student\"", "[stage.distil]\ntrain = \"student\"\nbatch = 1"),
    ]);
    let text = refused(&manifest);
    assert!(text.contains("error: layer `norm` of `student` takes statistics over one value, [8]"), "{text}");
    assert!(text.contains("batch = 1") && text.contains("hint: write `batch = 2` or more"), "{text}");
}

#[test]
fn rounding_of_a_model_that_is_never_frozen_is_warned_of() {
    let student = "[models.student]\narch = { kind = \"resnet\", depth = 8, width = 8 }";
    let text = warned(&changed(&[(student, &format!("{student}\nfrozen = \"bf16\""))]));
    assert!(text.contains("warning: no stage reads model `student` frozen, so it is never rounded to bf16"), "{text}");
    assert!(
        text.contains("frozen = \"bf16\"") && text.contains("hint: write it at a teacher, or leave it out"),
        "{text}"
    );
    let teacher = "[models.teacher]\narch = { kind = \"resnet\", depth = 8, width = 16 }";
    assert_eq!(warned(&changed(&[(teacher, &format!("{teacher}\nfrozen = \"bf16\""))])), "");
}

#[test]
fn classes_are_asked_of_architectures_that_score_them() {
    let manifest = changed(&[("use = \"digits\"", "use = \"npz:unlabelled.npz\"")]);
    let text = refused_in(&unlabelled(&manifest), &[]);
    assert!(text.contains("hint: give it beside the other settings, as in `classes = 10`"), "{text}");
    // Next frames are no classes.
    let frames = r#"manifest = 1
[data]
use = "clips:clips.npz"
[models.student]
over_time = true
arch = { kind = "conv_lstm", depth = 1, hidden = 4, kernel = 3, patch = 2 }
[stage.learn]
train = "student"
epochs = 1
optimizer = { kind = "adam", lr = 0.02 }
terms.task = { use = "cross_entropy" }
"#;
    let place = Place::with(frames);
    clips::write_unlabelled(&place.path("clips.npz"), &[1, 8, 8]);
    let text = refused_in(&place, &[]);
    assert!(!text.contains("number of classes") && text.contains("label"), "{text}");
}
