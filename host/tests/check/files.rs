//! Files: the manifest itself, data, weights, plugins.

use super::support::command::Place;
use super::{TEACHER, changed, refused, refused_in, unlabelled, weighted};

#[test]
fn manifest_missing_is_told() {
    let wanted = "\
error: cannot read the manifest `no.toml`: there is no such file

1 error in the manifest
";
    assert_eq!(Place::new().run(&["check", "no.toml"]).err, wanted);
}

#[test]
fn manifest_that_is_json_is_refused() {
    let wanted = r#"error: invalid key-value pair, expected key
 --> m.toml:1:1
  |
1 | { "manifest": 1 }
  | ^
  |
  = hint: a manifest is TOML: `key = value`

1 error in the manifest
"#;
    assert_eq!(
        refused(
            r#"{ "manifest": 1 }
"#
        ),
        wanted
    );
}

#[test]
fn manifest_with_open_table_is_shown() {
    let wanted = "\
error: unclosed table, expected `]`
 --> m.toml:3:6
  |
3 | [data
  |      ^

1 error in the manifest
";
    assert_eq!(refused(&changed(&[("[data]", "[data")])), wanted);
}

#[test]
fn manifest_that_is_empty_lists_what_it_lacks() {
    let wanted = "\
error: missing key `manifest`
--> m.toml
 = hint: begin the file with `manifest = 1`

error: missing key `data`
--> m.toml

error: missing key `models`
--> m.toml

error: missing key `stage`
--> m.toml

4 errors in the manifest
";
    assert_eq!(refused(""), wanted);
}

#[test]
fn base_missing_is_shown() {
    let wanted = r#"error: cannot read `base.toml`, which this manifest extends: there is no such file
 --> m.toml:2:11
  |
2 | extends = "base.toml"
  |           ^^^^^^^^^^^
  |
  = hint: the path starts at the folder of this manifest

1 error in the manifest
"#;
    assert_eq!(
        refused(&changed(&[(
            "manifest = 1",
            r#"manifest = 1
extends = "base.toml""#
        )])),
        wanted
    );
}

#[test]
fn preset_not_installed_says_where_it_was_sought() {
    let wanted = r#"error: data set `cifar100` was not found
 --> m.toml:4:7
  |
4 | use = "cifar100"
  |       ^^^^^^^^^^
  |
  = note: looked in:
          data/cifar100
  = hint: get the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and use `cifar100:DIR`

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""digits""#, r#""cifar100""#)])), wanted);
}

#[test]
fn preset_misspelt_names_the_nearest() {
    let wanted = r#"error: no data set is called `digts`
 --> m.toml:4:7
  |
4 | use = "digts"
  |       ^^^^^^^
  |
  = hint: did you mean `digits`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""digits""#, r#""digts""#)])), wanted);
}

#[test]
fn data_folder_missing_is_shown() {
    let wanted = r#"error: `data/fashion` could not be read
 --> m.toml:4:7
  |
4 | use = "idx:data/fashion"
  |       ^^^^^^^^^^^^^^^^^^
  |
  = note: cause: No such file or directory
  = hint: check that it exists and may be read

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""digits""#, r#""idx:data/fashion""#)])), wanted);
}

#[test]
fn weights_missing_are_shown() {
    let manifest = changed(&[
        (
            "width = 16 }",
            r#"width = 16 }
weights = "runs/teacher.safetensors""#,
        ),
        (TEACHER, ""),
    ]);
    let wanted = r#"error: no weights at runs/teacher.safetensors
 --> m.toml:8:11
  |
8 | weights = "runs/teacher.safetensors"
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = hint: train the model in a stage of its own, or correct the path

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn weights_of_other_architecture_are_shown() {
    let manifest = changed(&[
        (
            "width = 16 }",
            r#"width = 16 }
weights = "other.safetensors""#,
        ),
        (TEACHER, ""),
    ]);
    let wanted = r#"error: `conv1.weight` of other.safetensors: the network has [16, 1, 3, 3], the file [8, 1, 3, 3]
 --> m.toml:8:11
  |
8 | weights = "other.safetensors"
  |           ^^^^^^^^^^^^^^^^^^^
  |
  = hint: the weights are of another architecture, number of classes or of channels

1 error in the manifest
"#;
    assert_eq!(refused_in(&weighted(&manifest, "other.safetensors", "conv1.weight", &[8, 1, 3, 3]), &[]), wanted);
}

#[test]
fn weights_with_other_names_are_shown() {
    let manifest = changed(&[
        (
            "width = 16 }",
            r#"width = 16 }
weights = "strange.safetensors""#,
        ),
        (TEACHER, ""),
    ]);
    let wanted = r#"error: strange.safetensors has no tensor `conv1.weight` [16, 1, 3, 3]
 --> m.toml:8:11
  |
8 | weights = "strange.safetensors"
  |           ^^^^^^^^^^^^^^^^^^^^^
  |
  = hint: the file has `conv1.wieght`; is this another architecture?

1 error in the manifest
"#;
    assert_eq!(refused_in(&weighted(&manifest, "strange.safetensors", "conv1.wieght", &[16, 1, 3, 3]), &[]), wanted);
}

#[test]
fn plugin_files_missing_are_each_shown() {
    let wanted = r#"error: `./mine` does not exist
 --> m.toml:4:10
  |
4 | paths = ["./mine", "kd.so"]
  |          ^^^^^^^^
  |
  = hint: a relative path starts at the folder of the file that has it

error: `kd.so` does not exist
 --> m.toml:4:20
  |
4 | paths = ["./mine", "kd.so"]
  |                    ^^^^^^^
  |
  = hint: a relative path starts at the folder of the file that has it

2 errors in the manifest
"#;
    assert_eq!(
        refused(&changed(&[(
            "[data]",
            r#"[plugins]
paths = ["./mine", "kd.so"]

[data]"#
        )])),
        wanted
    );
}

/// Nor is told what is not found for lack of it.
#[test]
fn plugin_that_is_not_built_yet_is_one_error() {
    let own = r#"[plugins]
paths = ["target/release/libmine.so"]

[data]"#;
    let said = refused(&changed(&[("[data]", own), (r#"use = "kd""#, r#"use = "mine""#)]));
    assert!(said.starts_with("error: `target/release/libmine.so` does not exist\n"), "{said}");
    assert!(said.contains("that has it; `cargo build --release` makes it\n"), "{said}");
    assert!(said.ends_with("\n1 error in the manifest\n"), "{said}");
}

#[test]
fn data_without_labels_needs_the_number_of_classes() {
    let wanted = r#"error: the data set has neither labels nor maps, so the number of classes of `resnet` is not known
 --> m.toml:7:8
  |
7 | arch = { kind = "resnet", depth = 8, width = 16 }
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = hint: give it beside the other settings, as in `classes = 10`

error: the data set has neither labels nor maps, so the number of classes of `resnet` is not known
  --> m.toml:10:8
   |
10 | arch = { kind = "resnet", depth = 8, width = 8 }
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = hint: give it beside the other settings, as in `classes = 10`

2 errors in the manifest
"#;
    assert_eq!(refused_in(&unlabelled(&changed(&[(r#""digits""#, r#""npz:unlabelled.npz""#)])), &[]), wanted);
}

#[test]
fn labels_missing_for_a_loss_are_told() {
    let manifest = changed(&[
        (r#""digits""#, r#""npz:unlabelled.npz""#),
        ("width = 16 }", "width = 16, classes = 10 }"),
        ("width = 8 }", "width = 8, classes = 10 }"),
    ]);
    let wanted = r#"error: port `label` reads the field `label`, which the data does not have
  --> m.toml:16:7
   |
16 | terms.task = { use = "cross_entropy" }
   |       ^^^^
   |
   = hint: its fields: `image`, `index`

error: port `label` reads the field `label`, which the data does not have
  --> m.toml:22:7
   |
22 | terms.task = { use = "cross_entropy", weight = 0.5 }
   |       ^^^^
   |
   = hint: its fields: `image`, `index`

2 errors in the manifest
"#;
    assert_eq!(refused_in(&unlabelled(&manifest), &[]), wanted);
}

#[test]
fn fit_larger_than_the_pictures_is_shown() {
    let wanted = "\
error: `fit` has samples of shape [1, 8, 8]
 --> m.toml:5:7
  |
5 | fit = { crop = 20, size = 8 }
  |       ^^^^^^^^^^^^^^^^^^^^^^^
  |
  = note: wanted: pictures of at least 20x20, and a crop of at least 1x1
  = hint: the crop is the middle of a picture: it can be as large as the picture

1 error in the manifest
";
    let set = "\"digits\"\nfit = { crop = 20, size = 8 }";
    assert_eq!(refused(&changed(&[(r#""digits""#, set)])), wanted);
}
