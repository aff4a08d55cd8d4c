//! Keys, values and overrides.

use super::support::command::Place;
use super::{BASE, added, changed, refused, refused_in};

#[test]
fn key_misspelt_names_the_nearest() {
    let wanted = "\
error: unknown key `epohcs` in `stage.distil`
  --> m.toml:24:1
   |
24 | epohcs = 3
   | ^^^^^^
   |
   = hint: did you mean `epochs`?

1 error in the manifest
";
    assert_eq!(refused(&added("epohcs = 3")), wanted);
}

#[test]
fn setting_misspelt_names_the_nearest() {
    let wanted = r#"error: unknown key `temprature` in `stage.distil.terms.kd`
  --> m.toml:23:26
   |
23 | terms.kd = { use = "kd", temprature = 4.0 }
   |                          ^^^^^^^^^^
   |
   = hint: did you mean `temperature`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[("temperature", "temprature")])), wanted);
}

#[test]
fn setting_out_of_range_is_shown_at_its_value() {
    let wanted = r#"error: `temperature` must be greater than 0, got -1
  --> m.toml:23:40
   |
23 | terms.kd = { use = "kd", temperature = -1 }
   |                                        ^^
   |
   = hint: `stillhouse describe kd` lists its settings

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[("4.0", "-1")])), wanted);
}

#[test]
fn setting_of_wrong_type_is_shown_at_its_value() {
    let wanted = r#"error: `temperature` must be a number, got a string
  --> m.toml:23:40
   |
23 | terms.kd = { use = "kd", temperature = "hot" }
   |                                        ^^^^^
   |
   = hint: `stillhouse describe kd` lists its settings

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[("4.0", r#""hot""#)])), wanted);
}

#[test]
fn epochs_of_zero_are_refused() {
    let wanted = "\
error: `epochs` must be greater than 0, got 0
  --> m.toml:20:10
   |
20 | epochs = 0
   |          ^

1 error in the manifest
";
    assert_eq!(
        refused(&changed(&[(
            r#"train = "student"
epochs = 1"#,
            r#"train = "student"
epochs = 0"#
        )])),
        wanted
    );
}

#[test]
fn batch_of_zero_is_refused() {
    let wanted = "\
error: `batch` must be at least 1, got 0
  --> m.toml:24:9
   |
24 | batch = 0
   |         ^

1 error in the manifest
";
    assert_eq!(refused(&added("batch = 0")), wanted);
}

#[test]
fn term_given_twice_is_refused() {
    let wanted = r#"error: the key `kd` is there already
  --> m.toml:24:7
   |
24 | terms.kd = { use = "kd" }
   |       ^^
   |
   = hint: rename one of the two, or remove it

1 error in the manifest
"#;
    assert_eq!(refused(&added(r#"terms.kd = { use = "kd" }"#)), wanted);
}

#[test]
fn optimizer_unknown_names_the_nearest() {
    let manifest = changed(&[(
        r#"kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }"#,
        r#"kind = "sdg", lr = 0.1 }
terms.task = { use = "cross_entropy" }"#,
    )]);
    let wanted = r#"error: unknown value `sdg` for `kind`
  --> m.toml:15:22
   |
15 | optimizer = { kind = "sdg", lr = 0.1 }
   |                      ^^^^^
   |
   = hint: did you mean `sgd`?

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn architecture_unknown_names_the_nearest() {
    let wanted = r#"error: unknown kind of architecture `resnt`
  --> m.toml:10:17
   |
10 | arch = { kind = "resnt", depth = 8, width = 8 }
   |                 ^^^^^^^
   |
   = hint: did you mean `resnet`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""resnet", depth = 8, width = 8"#, r#""resnt", depth = 8, width = 8"#)])), wanted);
}

#[test]
fn architecture_option_unknown_names_the_nearest() {
    let wanted = r#"error: unknown key `dept`
  --> m.toml:10:27
   |
10 | arch = { kind = "resnet", dept = 8, width = 8 }
   |                           ^^^^
   |
   = hint: did you mean `depth`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[("depth = 8, width = 8", "dept = 8, width = 8")])), wanted);
}

#[test]
fn architecture_option_out_of_range_says_what_is_near() {
    let wanted = r#"error: the depth of this residual network must be 6 n + 2 with n from 1, got 9
  --> m.toml:10:35
   |
10 | arch = { kind = "resnet", depth = 9, width = 8 }
   |                                   ^
   |
   = hint: the nearest is 8

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[("depth = 8, width = 8", "depth = 9, width = 8")])), wanted);
}

#[test]
fn override_of_unknown_path_is_refused() {
    let wanted = "\
error: there is no `kdd` in `stage.distil.terms` to set
 --> --set:1:20
  |
1 | stage.distil.terms.kdd.weight=1
  |                    ^^^
  |
  = hint: did you mean `kd`?

1 error in the manifest
";
    assert_eq!(refused_in(&Place::with(BASE), &["--set", "stage.distil.terms.kdd.weight=1"]), wanted);
}

#[test]
fn override_out_of_range_is_shown_in_the_override() {
    let wanted = "\
error: `temperature` must be greater than 0, got -2
 --> --set:1:35
  |
1 | stage.distil.terms.kd.temperature=-2
  |                                   ^^
  |
  = hint: `stillhouse describe kd` lists its settings

1 error in the manifest
";
    assert_eq!(refused_in(&Place::with(BASE), &["--set", "stage.distil.terms.kd.temperature=-2"]), wanted);
}

#[test]
fn override_without_value_is_refused() {
    let wanted = "\
error: an override has the form `path=value`, got `stage.distil.epochs`
 --> --set:1:1
  |
1 | stage.distil.epochs
  | ^^^^^^^^^^^^^^^^^^^

1 error in the manifest
";
    assert_eq!(refused_in(&Place::with(BASE), &["--set", "stage.distil.epochs"]), wanted);
}

#[test]
fn threads_beyond_any_machine_are_refused() {
    let text = refused(&changed(&[("manifest = 1\n", "manifest = 1\nrun.threads = 9999\n")]));
    assert!(text.contains("`threads`") && text.contains("256") && text.contains("9999"), "{text}");
}
