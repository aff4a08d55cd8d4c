//! Several mistakes in one manifest.

use super::{KD, changed, refused};

#[test]
fn keys_wrong_in_several_places_are_all_told() {
    let manifest = changed(&[
        (
            KD,
            r#"terms.kd = { use = "kd", temperature = 4.0 }
epohcs = 3"#,
        ),
        (
            r#"use = "digits""#,
            r#"use = "digits"
splt = { val = 0.1 }"#,
        ),
        ("lr = 0.1", r#"lr = "big""#),
    ]);
    let wanted = r#"error: unknown key `splt` in `data`
 --> m.toml:5:1
  |
5 | splt = { val = 0.1 }
  | ^^^^
  |
  = hint: did you mean `split`?

error: `lr` must be a number, got a string
  --> m.toml:16:34
   |
16 | optimizer = { kind = "sgd", lr = "big" }
   |                                  ^^^^^

error: unknown key `epohcs` in `stage.distil`
  --> m.toml:25:1
   |
25 | epohcs = 3
   | ^^^^^^
   |
   = hint: did you mean `epochs`?

3 errors in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn parts_wrong_in_several_terms_are_all_told() {
    let manifest = changed(&[(
        KD,
        r#"terms.kd = { use = "kd", temperature = 0 }
terms.rkd = { use = "kdd" }
terms.hint = { use = "mse", student = "layr2", teacher = "layer2" }"#,
    )]);
    let wanted = r#"error: `temperature` must be greater than 0, got 0
  --> m.toml:23:40
   |
23 | terms.kd = { use = "kd", temperature = 0 }
   |                                        ^
   |
   = hint: `stillhouse describe kd` lists its settings

error: no plugin has a loss or distiller `kdd`
  --> m.toml:24:21
   |
24 | terms.rkd = { use = "kdd" }
   |                     ^^^^^
   |
   = hint: did you mean `kd`?

error: `student` has no tap `layr2`
  --> m.toml:25:39
   |
25 | terms.hint = { use = "mse", student = "layr2", teacher = "layer2" }
   |                                       ^^^^^^^
   |
   = hint: did you mean `layer2`?

3 errors in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn parts_are_told_beside_data_that_is_missing() {
    let wanted = r#"error: no data set is called `digts`
 --> m.toml:4:7
  |
4 | use = "digts"
  |       ^^^^^^^
  |
  = hint: did you mean `digits`?

error: no plugin has a loss or distiller `kdd`
  --> m.toml:23:20
   |
23 | terms.kd = { use = "kdd", temperature = 4.0 }
   |                    ^^^^^
   |
   = hint: did you mean `kd`?

2 errors in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""digits""#, r#""digts""#), (r#""kd""#, r#""kdd""#)])), wanted);
}

#[test]
fn settings_wrong_twice_in_one_term_are_both_told() {
    let wanted = r#"error: unknown key `temprature` in `stage.distil.terms.kd`
  --> m.toml:23:26
   |
23 | terms.kd = { use = "kd", temprature = 4.0, t_squared = 1 }
   |                          ^^^^^^^^^^
   |
   = hint: did you mean `temperature`?

error: `t_squared` must be `true` or `false`, got an integer
  --> m.toml:23:56
   |
23 | terms.kd = { use = "kd", temprature = 4.0, t_squared = 1 }
   |                                                        ^
   |
   = hint: `stillhouse describe kd` lists its settings

2 errors in the manifest
"#;
    assert_eq!(refused(&changed(&[(KD, r#"terms.kd = { use = "kd", temprature = 4.0, t_squared = 1 }"#)])), wanted);
}

#[test]
fn baseline_tells_its_mistakes_once() {
    let manifest = changed(&[
        (
            "[data]",
            r#"[run]
baseline = true

[data]"#,
        ),
        (r#"use = "cross_entropy", weight"#, r#"use = "cross_entropy", smoothing = 2.0, weight"#),
    ]);
    let wanted = r#"error: `smoothing` must be less than 1, got 2.0
  --> m.toml:25:51
   |
25 | terms.task = { use = "cross_entropy", smoothing = 2.0, weight = 0.5 }
   |                                                   ^^^
   |
   = hint: `stillhouse describe cross_entropy` lists its settings

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}
