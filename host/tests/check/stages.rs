//! Models, teachers, stages, metrics.

use super::{KD, TASK, TEACHER, added, changed, refused, refused_in, unlabelled, warned};

#[test]
fn model_unknown_in_train_names_the_nearest() {
    let wanted = r#"error: unknown model `studnet`
  --> m.toml:19:9
   |
19 | train = "studnet"
   |         ^^^^^^^^^
   |
   = hint: did you mean `student`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""student""#, r#""studnet""#)])), wanted);
}

#[test]
fn stage_unknown_in_after_names_the_nearest() {
    let wanted = r#"error: unknown stage `techer`
  --> m.toml:24:10
   |
24 | after = ["techer"]
   |          ^^^^^^^^
   |
   = hint: did you mean `teacher`?

1 error in the manifest
"#;
    assert_eq!(refused(&added(r#"after = ["techer"]"#)), wanted);
}

#[test]
fn teacher_unknown_lists_the_models() {
    let wanted = r#"error: there is no model or pass `big`
  --> m.toml:23:36
   |
23 | terms.kd = { use = "kd", teacher = "big:logits" }
   |                                    ^^^^^^^^^^^^
   |
   = hint: models that are not trained here: `teacher`

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(KD, r#"terms.kd = { use = "kd", teacher = "big:logits" }"#)])), wanted);
}

#[test]
fn teacher_among_several_must_be_named() {
    let manifest = changed(&[
        ("[models.teacher]", "[models.big]"),
        (
            "[models.student]",
            r#"[models.coach]
arch = { kind = "resnet", depth = 8, width = 16 }

[models.student]"#,
        ),
        (
            TEACHER,
            r#"[stage.teacher]
train = "big"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }

[stage.coach]
train = "coach"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }

"#,
        ),
    ]);
    let wanted = r#"error: several models can be the teacher: `big`, `coach`
  --> m.toml:32:7
   |
32 | terms.kd = { use = "kd", temperature = 4.0 }
   |       ^^
   |
   = hint: say which, as in `teacher = "big:logits"`, or name one model `teacher`

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn teacher_absent_is_told() {
    let manifest = changed(&[
        (
            r#"[models.teacher]
arch = { kind = "resnet", depth = 8, width = 16 }

"#,
            "",
        ),
        (TEACHER, ""),
    ]);
    let wanted = r#"error: there is no teacher: every model is trained here
  --> m.toml:14:7
   |
14 | terms.kd = { use = "kd", temperature = 4.0 }
   |       ^^
   |
   = hint: add one to `[models]`, with `weights` or with a stage before that trains it

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn teacher_in_training_is_refused() {
    let wanted = r#"error: port `teacher` wants a teacher, and `student` is trained here
  --> m.toml:23:36
   |
23 | terms.kd = { use = "kd", teacher = "student:logits" }
   |                                    ^^^^^^^^^^^^^^^^
   |
   = hint: models that are not trained here: `teacher`

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(KD, r#"terms.kd = { use = "kd", teacher = "student:logits" }"#)])), wanted);
}

#[test]
fn teacher_without_weights_and_stage_is_refused() {
    let wanted = r#"error: model `teacher` is never trained and has no weights
 --> m.toml:6:9
  |
6 | [models.teacher]
  |         ^^^^^^^
  |
  = hint: give it `weights = "FILE"` or `stage = "STAGE"`, or train it in a stage before

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(TEACHER, "")])), wanted);
}

#[test]
fn teacher_trained_too_late_is_refused() {
    let manifest = changed(&[
        (TEACHER, ""),
        (
            KD,
            r#"terms.kd = { use = "kd", temperature = 4.0 }

[stage.teacher]
train = "teacher"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }"#,
        ),
    ]);
    let wanted = r#"error: model `teacher` is not trained yet when stage `distil` reads it
  --> m.toml:17:7
   |
17 | terms.kd = { use = "kd", temperature = 4.0 }
   |       ^^
   |
   = hint: put stage `teacher` before this one, or write `after = ["teacher"]`

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn two_methods_with_stages_are_refused() {
    let manifest = changed(&[(
        KD,
        r#"terms.a = { use = "fitnet", student = "layer1", teacher = "layer1" }
terms.b = { use = "fitnet", student = "layer2", teacher = "layer2" }"#,
    )]);
    let wanted = r#"error: `a` and `b` both plan stages or phases of their own
  --> m.toml:24:7
   |
23 | terms.a = { use = "fitnet", student = "layer1", teacher = "layer1" }
   |       - first here
24 | terms.b = { use = "fitnet", student = "layer2", teacher = "layer2" }
   |       ^
   |
   = hint: give each a stage of its own

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn stage_that_freezes_all_is_refused() {
    let wanted = r#"error: stage `distil` trains nothing
  --> m.toml:24:10
   |
24 | freeze = ["**"]
   |          ^^^^^^
   |
   = hint: every parameter is frozen: freeze less

1 error in the manifest
"#;
    assert_eq!(refused(&added(r#"freeze = ["**"]"#)), wanted);
}

#[test]
fn parameters_that_no_term_reaches_are_named() {
    let manifest = changed(&[
        (TASK, ""),
        (KD, r#"terms.hint = { use = "mse", student = "layer2", teacher = "layer2", connector = "conv_regressor" }"#),
    ]);
    let wanted = r#"error: no term reaches the parameter `student.layer3.0.conv1.weight` and 10 more, which stage `distil` trains
  --> m.toml:19:9
   |
19 | train = "student"
   |         ^^^^^^^^^
   |
   = hint: bind a term to something behind it, or let it be: `freeze = ["layer3", "fc"]`

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn metric_unknown_names_the_nearest() {
    let manifest = changed(&[
        (
            KD,
            r#"terms.kd = { use = "kd", temperature = 4.0 }
best = { metric = "acuracy" }"#,
        ),
        (
            r#""digits""#,
            r#""digits"
split = { val = 0.1 }"#,
        ),
    ]);
    let wanted = r#"error: unknown metric `acuracy`
  --> m.toml:25:19
   |
25 | best = { metric = "acuracy" }
   |                   ^^^^^^^^^
   |
   = hint: did you mean `accuracy`?

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn metric_that_needs_labels_is_refused() {
    let manifest = changed(&[
        (r#""digits""#, r#""npz:unlabelled.npz""#),
        (
            "width = 16 }",
            r#"width = 16, classes = 10 }
stage = "other""#,
        ),
        ("width = 8 }", "width = 8, classes = 10 }"),
        (TEACHER, ""),
        (TASK, ""),
        (
            KD,
            r#"terms.kd = { use = "kd", temperature = 4.0 }
best = { metric = "accuracy" }

[stage.other]
train = "student"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
terms.kd = { use = "kd" }"#,
        ),
        (
            r#""npz:unlabelled.npz""#,
            r#""npz:unlabelled.npz"
split = { val = 0.1 }"#,
        ),
    ]);
    let wanted = r#"error: the metric `accuracy` needs labels, which the data does not have
  --> m.toml:19:19
   |
19 | best = { metric = "accuracy" }
   |                   ^^^^^^^^^^
   |
   = hint: write `best = { metric = "objective" }`

1 error in the manifest
"#;
    assert_eq!(refused_in(&unlabelled(&manifest), &[]), wanted);
}

#[test]
fn weight_of_zero_is_a_warning() {
    let wanted = r#"warning: the weight of `kd` is always 0, so the term changes nothing
  --> m.toml:23:54
   |
23 | terms.kd = { use = "kd", temperature = 4.0, weight = 0 }
   |                                                      ^
   |
   = hint: remove the term, or give it a weight

"#;
    assert_eq!(warned(&changed(&[(KD, r#"terms.kd = { use = "kd", temperature = 4.0, weight = 0 }"#)])), wanted);
}

#[test]
fn batch_larger_than_the_data_is_a_warning() {
    let wanted = "\
warning: `batch` is 5000, and there are 1437 samples to train on
  --> m.toml:24:9
   |
24 | batch = 5000
   |         ^^^^
   |
   = note: every update sees all samples, so that an epoch is one update
   = hint: write `batch = 1437` or less

";
    assert_eq!(warned(&added("batch = 5000")), wanted);
}

#[test]
fn best_without_validation_part_is_a_warning() {
    let wanted = r#"warning: there is no validation part to choose the best weights on, so the last ones count
  --> m.toml:24:1
   |
24 | best = { metric = "nll" }
   | ^^^^
   |
   = hint: keep some of the training samples: `split = { val = 0.1 }` in the data

"#;
    assert_eq!(warned(&added(r#"best = { metric = "nll" }"#)), wanted);
}

#[test]
fn frozen_in_bf16_on_candle_is_told_to_have_no_effect() {
    let text = warned(
        &changed(&[("[models.teacher]\n", "[models.teacher]\nfrozen = \"bf16\"\n")])
            .replace("manifest = 1\n", "manifest = 1\nrun.executor = \"candle\"\n"),
    );
    assert!(text.contains("model `teacher` is not rounded to bf16: candle runs it"), "{text}");
    assert!(text.contains("hint: that is for the fast executor"), "{text}");
}
