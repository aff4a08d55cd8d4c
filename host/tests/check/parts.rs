//! Plugins, taps, ports and connectors.

use super::{KD, changed, greedy, hinted, refused, refused_in};

#[test]
fn plugin_misspelt_names_the_nearest() {
    let wanted = r#"error: no plugin has a loss or distiller `kdd`
  --> m.toml:23:20
   |
23 | terms.kd = { use = "kdd", temperature = 4.0 }
   |                    ^^^^^
   |
   = hint: did you mean `kd`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""kd""#, r#""kdd""#)])), wanted);
}

#[test]
fn plugin_unlike_any_lists_all() {
    let wanted = r#"error: no plugin has a loss or distiller `zzz`
  --> m.toml:23:20
   |
23 | terms.kd = { use = "zzz", temperature = 4.0 }
   |                    ^^^^^
   |
   = hint: there are: `cosine`, `cross_entropy`, `l1`, `next_frame`, `hint`, `hint_distance`, `mse`, `soft_cross_entropy`, `fitnet`, `dkd`, `kd`

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""kd""#, r#""zzz""#)])), wanted);
}

#[test]
fn plugin_of_unknown_crate_names_the_nearest() {
    let wanted = r#"error: no plugin is named `stilhouse-kd`
  --> m.toml:23:20
   |
23 | terms.kd = { use = "stilhouse-kd::kd", temperature = 4.0 }
   |                    ^^^^^^^^^^^^^^^^^^
   |
   = hint: did you mean `stillhouse-kd`?

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""kd""#, r#""stilhouse-kd::kd""#)])), wanted);
}

#[test]
fn connector_as_term_says_what_it_is() {
    let wanted = r#"error: no plugin has a loss or distiller `linear`
  --> m.toml:23:20
   |
23 | terms.kd = { use = "linear", temperature = 4.0 }
   |                    ^^^^^^^^
   |
   = hint: `linear` is a connector

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(r#""kd""#, r#""linear""#)])), wanted);
}

#[test]
fn tap_misspelt_names_the_nearest() {
    let wanted = r#"error: `student` has no tap `layr2`
  --> m.toml:24:39
   |
24 | terms.hint = { use = "mse", student = "layr2", teacher = "layer2", connector = "conv_regressor" }
   |                                       ^^^^^^^
   |
   = hint: did you mean `layer2`?

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "layr2", teacher = "layer2", connector = "conv_regressor""#)), wanted);
}

#[test]
fn tap_unlike_any_lists_the_groups() {
    let wanted = r#"error: `student` has no tap `block*`
  --> m.toml:24:39
   |
24 | terms.hint = { use = "mse", student = "block*", teacher = "layer2", connector = "conv_regressor" }
   |                                       ^^^^^^^^
   |
   = hint: it has `layer1`, `layer2`, `layer3`, `conv1`, `bn1`, `relu1`, `avgpool`, `fc`, `logits`, and the layers inside; with `:in` what goes into one

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "block*", teacher = "layer2", connector = "conv_regressor""#)), wanted);
}

#[test]
fn taps_of_other_channels_ask_for_a_connector() {
    let wanted = r#"error: `mse` got features that differ
  --> m.toml:24:7
   |
24 | terms.hint = { use = "mse", student = "layer2", teacher = "layer2" }
   |       ^^^^
   |
   = note: student `layer2` is [64, 16, 4, 4] f32
   = note: teacher `layer2` is [64, 32, 4, 4] f32
   = hint: put a connector between them, `connector = "..."`; there are `conv_regressor`, `linear`, `pool_to`

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "layer2", teacher = "layer2""#)), wanted);
}

#[test]
fn connector_unknown_names_the_nearest() {
    let wanted = r#"error: no plugin has a connector `conv_regresor`
  --> m.toml:24:81
   |
24 | terms.hint = { use = "mse", student = "layer2", teacher = "layer2", connector = "conv_regresor" }
   |                                                                                 ^^^^^^^^^^^^^^^
   |
   = hint: did you mean `conv_regressor`?

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "layer2", teacher = "layer2", connector = "conv_regresor""#)), wanted);
}

#[test]
fn connector_setting_misspelt_names_the_nearest() {
    let manifest =
        hinted(r#"student = "layer2", teacher = "layer2", connector = { use = "conv_regressor", bais = false }"#);
    let wanted = r#"error: unknown key `bais` in `stage.distil.terms.hint.connector`
  --> m.toml:24:107
   |
24 | terms.hint = { use = "mse", student = "layer2", teacher = "layer2", connector = { use = "conv_regressor", bais = false } }
   |                                                                                                           ^^^^
   |
   = hint: did you mean `bias`?

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn connector_of_other_size_says_what_goes_first() {
    let wanted = r#"error: `linear` keeps the size, which differs
  --> m.toml:24:81
   |
24 | terms.hint = { use = "mse", student = "layer2", teacher = "layer3", connector = "linear" }
   |                                                                                 ^^^^^^^^
   |
   = note: from: [64, 16, 4, 4]
   = note: to: [64, 64, 2, 2]
   = hint: `connector = ["pool_to", "linear"]` pools first

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "layer2", teacher = "layer3", connector = "linear""#)), wanted);
}

#[test]
fn port_unknown_lists_the_ports() {
    let wanted = r#"error: `kd` (`kd`) has no port `logits`
  --> m.toml:23:32
   |
23 | terms.kd = { use = "kd", ports.logits = "logits" }
   |                                ^^^^^^
   |
   = hint: its ports: `student`, `teacher`

1 error in the manifest
"#;
    assert_eq!(refused(&changed(&[(KD, r#"terms.kd = { use = "kd", ports.logits = "logits" }"#)])), wanted);
}

#[test]
fn port_of_no_teacher_lists_the_ports() {
    let manifest =
        changed(&[(r#"{ use = "cross_entropy", weight"#, r#"{ use = "cross_entropy", teacher = "logits", weight"#)]);
    let wanted = r#"error: `task` (`cross_entropy`) has no port `teacher`
  --> m.toml:22:39
   |
22 | terms.task = { use = "cross_entropy", teacher = "logits", weight = 0.5 }
   |                                       ^^^^^^^
   |
   = hint: its ports: `student`, `label`

1 error in the manifest
"#;
    assert_eq!(refused(&manifest), wanted);
}

#[test]
fn port_unbound_says_how_to_bind_it() {
    let wanted = r#"error: port `teacher` of `hint` (`mse`) is not bound
  --> m.toml:24:7
   |
24 | terms.hint = { use = "mse", student = "layer2" }
   |       ^^^^
   |
   = hint: bind it, as in `teacher = "layer2"`

1 error in the manifest
"#;
    assert_eq!(refused(&hinted(r#"student = "layer2""#)), wanted);
}

#[cfg(target_os = "linux")]
#[test]
fn plugin_with_reserved_setting_is_refused() {
    let wanted = r#"error: plugin `hostile-reserved`: the loss `greedy` has a setting `weight`, a key that the host reads itself
 --> m.toml:4:10
  |
4 | paths = ["greedy.so"]
  |          ^^^^^^^^^^^
  |
  = hint: rename the setting in the plugin; names that are taken: `use`, `weight`, `at`, `student`, `teacher`, `ports`, `connector`, `connector_on`, `phase`

1 error in the manifest
"#;
    assert_eq!(
        refused_in(
            &greedy(
                &changed(&[(
                    "[data]",
                    r#"[plugins]
paths = ["greedy.so"]

[data]"#
                )]),
                "greedy.so"
            ),
            &[]
        ),
        wanted
    );
}

#[cfg(target_os = "linux")]
#[test]
fn part_of_refused_plugin_says_why() {
    let manifest = changed(&[
        (
            "[data]",
            r#"[plugins]
paths = ["mine"]

[data]"#,
        ),
        (KD, r#"terms.greedy = { use = "greedy", weight = 2.0 }"#),
    ]);
    let wanted = r#"error: no plugin has a loss or distiller `greedy`
  --> m.toml:26:24
   |
26 | terms.greedy = { use = "greedy", weight = 2.0 }
   |                        ^^^^^^^^
   |
   = note: refused: plugin `hostile-reserved`: the loss `greedy` has a setting `weight`, a key that the host reads itself
   = hint: there are: `cosine`, `cross_entropy`, `l1`, `next_frame`, `hint`, `hint_distance`, `mse`, `soft_cross_entropy`, `fitnet`, `dkd`, `kd`

1 error in the manifest
"#;
    assert_eq!(refused_in(&greedy(&manifest, "mine/greedy.so"), &[]), wanted);
}
