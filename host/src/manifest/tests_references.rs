//! What refers to what, and what excludes what.

use super::tests::{changed, problems, read};

/// The first line of the problems after a change.
fn first_line(from: &str, to: &str) -> String {
    problems(&changed(from, to)).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn train_unknown_model_is_error_at_its_place() {
    assert_eq!(
        problems(&changed("train = 's'", "train = ['s', 't']")),
        "\
error: unknown model `t`
 --> m.toml:6:15
  |
6 | train = ['s', 't']
  |               ^^^
  |
  = hint: did you mean `s`?"
    );
    assert!(problems(&changed("train = 's'", "train = 'teach'")).contains("--> m.toml:6:9"));
}

#[test]
fn names_that_nothing_has_are_errors() {
    let of_stage = |text: &str| first_line("epochs = 2", &format!("epochs = 2\n{text}"));
    assert_eq!(of_stage("data = 'other'"), "error: unknown data set `other`");
    assert_eq!(of_stage("after = ['zero']"), "error: unknown stage `zero`");
    assert_eq!(of_stage("init = { 'a.' = 'stage:zero:b.' }"), "error: unknown stage `zero`");
    assert_eq!(of_stage("init = { 'a.' = 'model:big:' }"), "error: unknown model `big`");
    assert_eq!(
        of_stage("init = { 'a.' = 'weights.pth' }"),
        "error: `weights.pth` is no source of parameters; write `stage:NAME:PREFIX` or `model:NAME:PREFIX`"
    );
    assert_eq!(of_stage("phases.a.terms = ['tsak.x']"), "error: unknown term `tsak`");
    assert_eq!(of_stage("phases.a.passes.p = { model = 'big' }"), "error: unknown model `big`");
    assert_eq!(of_stage("phases.a.passes.p = { model = 's', view = 'v' }"), "error: unknown view `v`");
    assert_eq!(of_stage("phases.a = {}\nterms.task.phase = 'b'"), "error: unknown phase `b`");
    let of_model = |text: &str| first_line("'mlp'", &format!("'mlp'\n{text}"));
    assert_eq!(of_model("models.s.stage = 'zero'"), "error: unknown stage `zero`");
    assert_eq!(of_model("models.s.input.view = 'v'"), "error: unknown view `v`");
    assert_eq!(of_model("views.v.data = 'other'"), "error: unknown data set `other`");
}

#[test]
fn epochs_with_steps_is_error_that_shows_both() {
    assert_eq!(
        problems(&changed("epochs = 2", "epochs = 2\nsteps = 3")),
        "\
error: `stage.one` has both `epochs` and `steps`
 --> m.toml:8:1
  |
7 | epochs = 2
  | ------ first here
8 | steps = 3
  | ^^^^^
  |
  = hint: keep one of them"
    );
    assert_eq!(first_line("epochs = 2\n", ""), "error: `stage.one` has neither `epochs` nor `steps`");
}

#[test]
fn keys_that_exclude_each_other_are_errors() {
    let of_model = |text: &str| first_line("'mlp'", &format!("'mlp'\n{text}"));
    assert_eq!(
        of_model("models.s.layers = [{ name = 'a', kind = 'fc' }]"),
        "error: `models.s` has both `arch` and `layers`"
    );
    assert_eq!(
        of_model("models.s.weights = 'a'\nmodels.s.stage = 'one'"),
        "error: `models.s` has both `weights` and `stage`"
    );
    assert_eq!(
        of_model("views.v = {}\nmodels.s.input = { view = 'v', size = 3 }"),
        "error: `models.s.input` has both `view` and `size`"
    );
    assert_eq!(
        first_line("models.s.arch = 'mlp'", "models.s = {}"),
        "error: `models.s` has neither `arch` nor `layers`"
    );
    assert_eq!(
        first_line("'ce'", "'ce'\nterms.task.at = 'x'\nterms.task.student = 'y'"),
        "error: `stage.one.terms.task` has both `at` and `student`"
    );
}

#[test]
fn std_zero_is_error() {
    assert_eq!(first_line("'mlp'", "'mlp'\nmodels.s.input.std = [1, 0]"), "error: `std` must be greater than 0, got 0");
}

#[test]
fn run_name_that_is_no_folder_is_error() {
    assert_eq!(
        first_line("'mlp'", "'mlp'\nrun.name = '../x'"),
        "error: the name of a run names its folder, which `../x` cannot"
    );
}

#[test]
fn schedule_times_out_of_order_are_errors() {
    assert_eq!(
        first_line("epochs = 2", "epochs = 2\nschedule = { kind = 'step', at = [2, 1] }"),
        "error: times must rise, got 1 epoch after 2 epochs"
    );
}

#[test]
fn group_without_effect_is_a_warning() {
    let (_, sources) = read(&changed("'ce'", "'ce'\ngroups.slow.params = 'fc.*'"));
    assert_eq!(
        sources.warnings().render(&sources, false),
        "\
warning: the group `slow` changes nothing
  --> m.toml:10:8
   |
10 | groups.slow.params = 'fc.*'
   |        ^^^^
   |
   = hint: give it an `optimizer` or an `lr_scale`"
    );
}

/// [`SMALL`](super::tests::SMALL) with further stages, each with a line of its own.
fn stages(first: &str, others: &[(&str, &str)]) -> String {
    let mut text = changed("'ce'", &format!("'ce'\n{first}"));
    for (name, line) in others {
        text += &format!(
            "[stage.{name}]\ntrain = 's'\nepochs = 1\noptimizer = {{ kind = 'sgd', lr = 1 }}\nterms.t.use = 'ce'\n{line}\n"
        );
    }
    text
}

#[test]
fn stage_order_follows_after_and_init() {
    let (manifest, _) = read(&stages("after = ['three']", &[("two", ""), ("three", "init = { 'a.' = 'stage:two:' }")]));
    assert_eq!(manifest.stage_order(), ["two", "three", "one"]);
}

#[test]
fn stages_in_a_cycle_are_errors() {
    let text = stages("after = ['two']", &[("two", "init = { 'a.' = 'stage:one:' }")]);
    assert_eq!(
        problems(&text),
        "\
error: stages wait for each other: `one`, `two`
  --> m.toml:10:1
   |
10 | after = ['two']
   | ^^^^^"
    );
    assert!(problems(&stages("after = ['one']", &[])).starts_with("error: the stage `one` waits for itself"));
}
