//! Misuse of sound components, and plans that contradict themselves: found by `check`, with the words that a user sees.
#![allow(missing_docs)]

mod support;

use support::lab::{DIGITS, DISTIL, Lab};

/// Message and hint for these terms, after a task.
fn refused(terms: &str) -> (String, String) {
    Lab::new().refusal(&format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\" }}\n{terms}"))
}

fn message(terms: &str) -> String {
    refused(terms).0
}

fn misplanned(fault: &str) -> String {
    message(&format!("terms.bad = {{ use = \"misplanned\", fault = \"{fault}\" }}"))
}

#[test]
fn port_without_value_is_refused() {
    let (message, hint) = refused("terms.bank = { use = \"row_bank\" }");
    assert_eq!(message, "port `student` of `bank` (`row_bank`) is not bound");
    assert_eq!(hint, "bind it, as in `student = \"...\"`");
    let (message, hint) = refused("terms.pull = { use = \"parameter_pull\" }");
    assert_eq!(message, "port `own` of `pull` (`parameter_pull`) is not bound");
    assert_eq!(hint, "bind it, as in `ports.own = \"...\"`");
}

#[test]
fn port_of_another_name_is_refused() {
    let (message, hint) =
        refused("terms.pull = { use = \"parameter_pull\", ports = { own = \"fc.bias\", othre = \"fc.bias\" } }");
    assert_eq!(message, "`pull` (`parameter_pull`) has no port `othre`");
    assert_eq!(hint, "did you mean `other`?");
    let (message, hint) = refused("terms.bank = { use = \"row_bank\", student = \"fc1\", teacher = \"fc1\" }");
    assert_eq!(message, "`bank` (`row_bank`) has no port `teacher`");
    assert_eq!(hint, "its ports: `student`, `index`");
}

#[test]
fn port_on_what_is_not_there_is_refused() {
    let (message, hint) = refused("terms.bank = { use = \"row_bank\", student = \"relu2\" }");
    assert_eq!(message, "`student` has no tap `relu2`");
    assert_eq!(hint, "did you mean `relu1`?");
    let (message, hint) = refused("terms.pull = { use = \"parameter_pull\", ports.own = \"fc.wieght\" }");
    assert_eq!(message, "`student` has no parameter `fc.wieght`");
    assert_eq!(hint, "did you mean `fc.weight`?");
    let (message, hint) = refused("terms.bank = { use = \"row_bank\", student = \"fc1\", ports.index = \"indx\" }");
    assert_eq!(message, "port `index` reads the field `indx`, which the data does not have");
    assert_eq!(hint, "did you mean `index`?");
}

#[test]
fn port_of_one_value_with_two_is_refused() {
    let text = message("terms.bank = { use = \"row_bank\", student = [\"fc1\", \"fc\"] }");
    assert_eq!(text, "port `student` takes one value, got student `fc1`, student `fc`");
}

#[test]
fn port_of_the_teacher_on_the_student_is_refused() {
    let text = message("terms.near = { use = \"fused_four\", teacher = \"student:logits\" }");
    assert_eq!(text, "port `teacher` wants a teacher, and `student` is trained here");
}

#[test]
fn shapes_that_a_part_refuses_are_named_on_both_sides() {
    let lab = Lab::new();
    let body = format!(
        "{DIGITS}\n{DISTIL}\nterms.rivals = {{ use = \"alternating\", student = \"relu1\", teacher = \"relu1\" }}"
    );
    let findings = lab.check(&body);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        findings[0]["message"],
        "`rivals` (`alternating`): wants features of one size, got [32, 16] f32 and [32, 32] f32"
    );
    assert_eq!(findings[0]["notes"][0], "student `relu1` is [32, 16] f32");
    assert_eq!(findings[0]["notes"][1], "teacher `relu1` is [32, 32] f32");
    let pull =
        message("terms.pull = { use = \"parameter_pull\", ports = { own = \"fc.weight\", other = \"fc.weight\" } }");
    assert_eq!(pull, "`pull` (`parameter_pull`): wants parameters of one shape, got [10, 16] f32 and [10, 32] f32");
}

#[test]
fn port_among_the_settings_is_told_where_it_belongs() {
    let lab = Lab::new();
    let body = format!("{DIGITS}\n{DISTIL}\nterms.task = {{ use = \"cross_entropy\", label = \"label\" }}\n");
    let (message, hint) = lab.refusal(&body);
    assert_eq!(message, "unknown key `label` in `stage.distil.terms.task`");
    assert_eq!(hint, "`label` is a port: write `ports.label = \"...\"`");
}

#[test]
fn fused_operation_on_other_shapes_is_refused() {
    let text = message("terms.near = { use = \"fused_four\", student = \"fc1\", teacher = \"logits\" }");
    let reason = "wants [N, D], [N, D], [D], [D], got [[32, 16], [32, 10], [16], [16]]";
    let wanted =
        format!("`near` (`fused_four`): fused operation `squares`: {reason} (tests/plugins/general/src/fused_four.rs:");
    assert!(text.starts_with(&wanted) && text.ends_with(')'), "{text}");
}

#[test]
fn reading_without_saying_is_refused() {
    let text = message("terms.sly = { use = \"reads_without_saying\" }");
    assert_eq!(text, "`sly` (`reads_without_saying`): only a part that is declared dynamic may read values");
}

#[test]
fn group_that_covers_nothing_is_refused() {
    let text = message("groups.head = { params = [\"head.*\"], lr_scale = 0.1 }");
    assert_eq!(text, "group `head` covers no trained parameter");
    assert_eq!(misplanned("empty_group"), "group `own` of `bad` (`misplanned`) covers none of its parameters");
}

#[test]
fn freeze_that_covers_nothing_is_refused() {
    let (message, hint) = refused("freeze = [\"fc1\", \"fc3\"]");
    assert_eq!(message, "`fc3` covers no parameter of `student`");
    assert_eq!(hint, "did you mean `fc1`?");
}

#[test]
fn everything_frozen_is_refused() {
    let (message, hint) = refused("freeze = [\"*\"]");
    assert_eq!(message, "stage `distil` trains nothing");
    assert_eq!(hint, "every parameter is frozen: freeze less");
}

#[test]
fn parameter_that_no_term_reaches_is_refused() {
    let body = format!("{DIGITS}\n{DISTIL}\nterms.even = {{ use = \"every_frame\", student = \"fc1\" }}");
    let (message, hint) = Lab::new().refusal(&body);
    assert_eq!(message, "no term reaches the parameter `student.fc.weight` and 1 more, which stage `distil` trains");
    assert_eq!(hint, "bind a term to something behind it, or let it be: `freeze = [\"fc\"]`");
    let text = misplanned("unused_parameter");
    assert_eq!(text, "no term reaches the parameter `bad.spare`, which stage `distil` trains");
}

#[test]
fn phase_that_updates_what_it_does_not_reach_is_refused() {
    let phases = "terms.near = { use = \"fused_four\" }\nphases.one = { terms = [\"task\"] }\nphases.two = { terms = [\"near\"], updates = [\"tail\"] }\n\
                  groups.tail = { params = [\"near.scale\"], lr_scale = 2.0 }";
    let text = message(phases);
    assert_eq!(text, "no term reaches the parameter `near.shift`, which stage `distil` trains");
}

#[test]
fn terms_that_differ_from_the_plan_are_refused() {
    assert_eq!(misplanned("term_not_given"), "`bad` (`misplanned`) planned the term `shape` and gave `size`");
    assert_eq!(misplanned("term_not_planned"), "`bad` (`misplanned`) planned the term `length` and gave `size`");
}

#[test]
fn plans_that_name_what_is_not_there_are_refused() {
    assert_eq!(misplanned("unknown_group"), "there is no group `owm` to update");
    assert_eq!(misplanned("unknown_stage"), "`bad` (`misplanned`): has the stage `first`, not `second`");
    assert_eq!(
        misplanned("unknown_layer"),
        "stage `first` of `bad` (`misplanned`) names `encoder.*`, which covers no parameter"
    );
    assert_eq!(misplanned("unknown_model"), "pass `again` wants the model `pupil`, which there is not");
    let optimizer = "optimizer of group `own` of `bad` (`misplanned`): unknown variant `newton`, expected one of `sgd`, `adam`, `adamw`";
    assert_eq!(misplanned("unknown_optimizer"), optimizer);
}

#[test]
fn buffers_set_to_another_shape_are_refused() {
    let rest = "(`misplanned`): buffer `last` has the shape [4, 10], got";
    assert_eq!(misplanned("buffer_shape"), format!("`bad` {rest} [10] f32"));
    assert_eq!(misplanned("row_shape"), format!("`bad` {rest} [32] i64, [1, 10] f32"));
}

#[test]
fn two_methods_with_phases_in_one_stage_are_refused() {
    let rivals = |name: &str| {
        format!("terms.{name} = {{ use = \"alternating\", student = \"logits\", teacher = \"logits\" }}\n")
    };
    let (message, hint) = refused(&format!("{}{}", rivals("first"), rivals("second")));
    assert_eq!(message, "`first` and `second` both plan stages or phases of their own");
    assert_eq!(hint, "give each a stage of its own");
}

#[test]
fn settings_out_of_range_are_refused() {
    let text = message("terms.bank = { use = \"row_bank\", student = \"fc1\", momentum = 1.5 }");
    assert_eq!(text, "`row_bank`: `momentum` must be at least 0 and below 1, got 1.5");
}

#[test]
fn init_that_fits_nothing_is_refused() {
    let (message, hint) = refused("init = { \"fc1.\" = \"stage:teacher:conv1.\" }");
    assert_eq!(message, "nothing of `teacher` under `conv1.` fits `student` under `fc1.`");
    assert_eq!(hint, "names behind the two prefixes, and shapes, must be the same");
}

#[test]
fn update_longer_than_an_epoch_is_refused() {
    let (message, hint) = refused("accumulate = 100");
    assert_eq!(message, "an update of 100 batches is longer than an epoch, which has 40");
    assert_eq!(hint, "use a smaller `batch`");
}

#[test]
fn phases_of_the_manifest_must_name_terms_that_there_are() {
    let text = |terms: &str| refused(&format!("terms.near = {{ use = \"fused_four\" }}\n{terms}"));
    let (message, hint) = text("phases.one = { terms = [\"task\"] }");
    assert_eq!(message, "`near` takes part in no phase");
    assert_eq!(hint, "write `phase = \"...\"`, or name it in the `terms` of a phase");
    let (message, hint) = text("phases.one = { terms = [\"task\", \"near.first\"] }");
    assert_eq!((message.as_str(), hint.as_str()), ("`near` (`fused_four`) has no term `first`", "its terms: none"));
}
