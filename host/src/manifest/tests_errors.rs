//! What a user reads when a value is wrong: the exact text.

use super::tests::{SMALL, changed, problems};
use super::*;
use serde_json::json;
use std::path::Path;

#[test]
fn key_misspelt_gets_the_nearest() {
    assert_eq!(
        problems(&changed("epochs", "epohcs")),
        "\
error: unknown key `epohcs` in `stage.one`
 --> m.toml:7:1
  |
7 | epohcs = 2
  | ^^^^^^
  |
  = hint: did you mean `epochs`?"
    );
}

#[test]
fn key_like_no_other_gets_the_known_ones() {
    assert_eq!(
        problems(&changed("'mlp'", "'mlp'\nplugins.xyzzy = 1")),
        "\
error: unknown key `xyzzy` in `plugins`
 --> m.toml:4:9
  |
4 | plugins.xyzzy = 1
  |         ^^^^^
  |
  = hint: known keys: `paths`"
    );
}

#[test]
fn problems_of_all_tables_are_reported_together() {
    assert_eq!(
        problems(&changed("'mlp'", "'mlp'\nrun.device = 'cuad'\nrun.seeds = []\nrunn.name = 'x'")),
        "\
error: unknown value `cuad` for `device`
 --> m.toml:4:14
  |
4 | run.device = 'cuad'
  |              ^^^^^^
  |
  = hint: did you mean `cuda`?

error: `seeds` must not be empty
 --> m.toml:5:13
  |
5 | run.seeds = []
  |             ^^

error: unknown key `runn`
 --> m.toml:6:1
  |
6 | runn.name = 'x'
  | ^^^^
  |
  = hint: did you mean `run`?"
    );
}

#[test]
fn value_of_wrong_type_is_named() {
    assert_eq!(
        problems(&changed("'mlp'", "'mlp'\nrun.seeds = [1, -2, 'a', 2.5]\nrun.baseline = 1")),
        "\
error: `seeds[1]` must be at least 0, got -2
 --> m.toml:4:17
  |
4 | run.seeds = [1, -2, 'a', 2.5]
  |                 ^^

error: `seeds[2]` must be an integer, got a string
 --> m.toml:4:21
  |
4 | run.seeds = [1, -2, 'a', 2.5]
  |                     ^^^

error: `seeds[3]` must be an integer, got a number with a fraction
 --> m.toml:4:26
  |
4 | run.seeds = [1, -2, 'a', 2.5]
  |                          ^^^

error: `baseline` must be `true` or `false`, got an integer
 --> m.toml:5:16
  |
5 | run.baseline = 1
  |                ^"
    );
}

/// The first line of the problems after a change.
fn first_line(from: &str, to: &str) -> String {
    problems(&changed(from, to)).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn numbers_out_of_range_are_errors() {
    let of_optimizer = |text: &str| first_line("{ kind = 'sgd', lr = 0.1 }", text);
    assert_eq!(of_optimizer("{ kind = 'sgd', lr = 0 }"), "error: `lr` must be greater than 0, got 0");
    assert_eq!(of_optimizer("{ kind = 'sgd', lr = inf }"), "error: a number must be finite, got inf");
    assert_eq!(of_optimizer("{ kind = 'sgd', lr = 1, momentum = 1 }"), "error: `momentum` must be less than 1, got 1");
    assert_eq!(
        of_optimizer("{ kind = 'sgd', lr = 1, weight_decay = -0.5 }"),
        "error: `weight_decay` must be at least 0, got -0.5"
    );
    assert_eq!(
        of_optimizer("{ kind = 'adam', lr = 1, betas = [0.9, 1.5] }"),
        "error: `betas[1]` must be less than 1, got 1.5"
    );
    let of_stage = |text: &str| first_line("epochs = 2", text);
    assert_eq!(of_stage("epochs = 0"), "error: `epochs` must be greater than 0, got 0");
    assert_eq!(of_stage("epochs = 2\nbatch = 0"), "error: `batch` must be at least 1, got 0");
    assert_eq!(of_stage("epochs = 2\naccumulate = 0"), "error: `accumulate` must be at least 1, got 0");
    assert_eq!(of_stage("epochs = 2\nclip_norm = 0.0"), "error: `clip_norm` must be greater than 0, got 0.0");
    let of_data = |text: &str| first_line("data.use = 'digits'", &format!("data = {{ use = 'digits', {text} }}"));
    assert_eq!(of_data("split = { val = 1.0 }"), "error: `val` must be less than 1, got 1.0");
    assert_eq!(of_data("augment = [{ crop = 0 }]"), "error: `crop` must be at least 1, got 0");
    assert_eq!(first_line("manifest = 1", "manifest = 2"), "error: `manifest` must be 1, got 2");
}

#[test]
fn kind_unknown_or_missing_is_error() {
    assert_eq!(
        problems(&changed("'sgd'", "'sdg'")),
        "\
error: unknown value `sdg` for `kind`
 --> m.toml:8:22
  |
8 | optimizer = { kind = 'sdg', lr = 0.1 }
  |                      ^^^^^
  |
  = hint: did you mean `sgd`?"
    );
    assert_eq!(
        problems(&changed("kind = 'sgd', ", "")),
        "\
error: missing key `kind` in `stage.one.optimizer`
 --> m.toml:8:1
  |
8 | optimizer = { lr = 0.1 }
  | ^^^^^^^^^
  |
  = hint: give one of `sgd`, `adam`, `adamw`"
    );
}

#[test]
fn key_missing_points_at_its_table() {
    assert_eq!(
        problems(&changed("train = 's'\n", "")),
        "\
error: missing key `train` in `stage.one`
 --> m.toml:5:8
  |
5 | [stage.one]
  |        ^^^"
    );
    let missing = problems(&changed("manifest = 1", ""));
    assert_eq!(missing, "error: missing key `manifest`\n--> m.toml\n = hint: begin the file with `manifest = 1`");
    assert_eq!(first_line("terms.task.use = 'ce'", "terms = {}"), "error: `stage.one.terms` must not be empty");
}

#[test]
fn augment_misspelt_is_error() {
    assert_eq!(
        problems(&changed("data.use = 'digits'", "data = { use = 'digits', augment = ['flop', { cutut = 2 }] }")),
        "\
error: unknown value `flop` for `augment[0]`
 --> m.toml:2:37
  |
2 | data = { use = 'digits', augment = ['flop', { cutut = 2 }] }
  |                                     ^^^^^^
  |
  = hint: did you mean `flip`?

error: `augment[1]` has none of the keys `crop`, `cutout`, `noise`
 --> m.toml:2:45
  |
2 | data = { use = 'digits', augment = ['flop', { cutut = 2 }] }
  |                                             ^^^^^^^^^^^^^
  |
  = hint: did you mean `cutout`?"
    );
}

#[test]
fn weight_malformed_is_error() {
    let of_weight = |text: &str| first_line("'ce'", &format!("'ce'\nterms.task.weight = {text}"));
    assert_eq!(of_weight("true"), "error: `weight` must be a number or a table, got a boolean");
    assert_eq!(of_weight("{ from = 1, to = 0 }"), "error: missing key `over` in `stage.one.terms.task.weight`");
    assert_eq!(
        of_weight("{ form = 1, to = 0, over = 3 }"),
        "error: unknown key `form` in `stage.one.terms.task.weight`"
    );
    assert_eq!(of_weight("{ from = 1, to = 0, over = '0 epochs' }"), "error: `over` must be longer than nothing");
    assert_eq!(of_weight("{ points = [[0, 1], [1]] }"), "error: `points[1]` must have 2 entries, got 1");
    assert_eq!(of_weight("{ points = [[2, 0], [1, 1]] }"), "error: times must rise, got 1 epoch after 2 epochs");
    assert_eq!(
        of_weight("{ from = 1, to = 0, over = '3 weeks' }"),
        "error: `3 weeks` is no duration; write `10 epochs`, `500 steps`, or a number of epochs"
    );
}

#[test]
fn syntax_error_is_shown_at_its_place() {
    assert_eq!(
        problems(&changed("epochs = 2", "epochs = ")),
        "\
error: missing value after `=`
 --> m.toml:7:10
  |
7 | epochs = 
  |          ^"
    );
    assert_eq!(
        problems(&changed("epochs = 2", "epochs = 2\nepochs = 3")),
        "\
error: the key `epochs` is there already
 --> m.toml:8:1
  |
8 | epochs = 3
  | ^^^^^^
  |
  = hint: rename one of the two, or remove it"
    );
    assert_eq!(first_line("[stage.one]", "[stage.one"), "error: unclosed table, expected `]`");
}

#[test]
fn date_is_error() {
    assert_eq!(
        problems(&changed("'mlp'", "'mlp'\nrun.name = 1979-05-27")),
        "\
error: a manifest has no dates
 --> m.toml:4:12
  |
4 | run.name = 1979-05-27
  |            ^^^^^^^^^^
  |
  = hint: quote it: \"1979-05-27\""
    );
}

#[test]
fn file_missing_is_error_without_a_place() {
    let error = load(Path::new("no/such.toml"), &[]).unwrap_err().render(false);
    assert!(error.starts_with("error: cannot read the manifest `no/such.toml`: "), "{error}");
}

#[test]
fn config_of_a_part_is_checked_with_the_reserved_keys_as_candidates() {
    let text = changed("'ce'", "'ce'\nterms.task.wieght = 1\nterms.task.temprature = 2\nterms.task.temperature = '4'");
    let (_, sources) = load_str(Path::new("m.toml"), &text, &[]).unwrap();
    let schema = json!({
        "type": "object",
        "properties": { "temperature": { "type": "number", "exclusiveMinimum": 0 } },
        "additionalProperties": false,
    });
    let path = ManifestPath::of(["stage", "one", "terms", "task"]);
    let found = sources.check_config(&path, &schema, RESERVED_TERM_KEYS);
    assert_eq!(
        found.render(&sources, false),
        "\
error: unknown key `wieght` in `stage.one.terms.task`
  --> m.toml:10:12
   |
10 | terms.task.wieght = 1
   |            ^^^^^^
   |
   = hint: did you mean `weight`?

error: unknown key `temprature` in `stage.one.terms.task`
  --> m.toml:11:12
   |
11 | terms.task.temprature = 2
   |            ^^^^^^^^^^
   |
   = hint: did you mean `temperature`?

error: `temperature` must be a number, got a string
  --> m.toml:12:26
   |
12 | terms.task.temperature = '4'
   |                          ^^^"
    );
}

#[test]
fn diagnostic_shows_label_relation_note_and_hint() {
    let (_, sources) = load_str(Path::new("m.toml"), SMALL, &[]).unwrap();
    let stage = ManifestPath::of(["stage", "one"]);
    let finding = Diagnostic::warning("the rate is high for so few epochs")
        .at(&stage.key("optimizer").key("lr"), Part::Value)
        .label("this rate")
        .related(&stage.key("epochs"), Part::Value, "so few")
        .note("rates of other stages are lower")
        .hint("try 0.01");
    assert_eq!(
        finding.render(&sources, false),
        "\
warning: the rate is high for so few epochs
 --> m.toml:8:34
  |
7 | epochs = 2
  |          - so few
8 | optimizer = { kind = 'sgd', lr = 0.1 }
  |                                  ^^^ this rate
  |
  = note: rates of other stages are lower
  = hint: try 0.01"
    );
    assert!(finding.render(&sources, true).contains('\u{1b}'));
    assert!(!finding.render(&sources, false).contains('\u{1b}'));
}

#[test]
fn diagnostic_without_a_written_place_points_at_the_table_around_it() {
    let (_, sources) = load_str(Path::new("m.toml"), SMALL, &[]).unwrap();
    let path = ManifestPath::of(["stage", "one", "terms", "task", "config", "temperature"]);
    let finding = Diagnostic::error("`temperature` is missing").at(&path, Part::Value);
    assert_eq!(
        finding.render(&sources, false),
        "\
error: `temperature` is missing
 --> m.toml:9:7
  |
9 | terms.task.use = 'ce'
  |       ^^^^"
    );
}

#[test]
fn nearest_prefers_fewer_errors_to_a_common_beginning() {
    assert_eq!(nearest("temprature", ["weight", "temperature"]), Some("temperature"));
    assert_eq!(nearest("Layer-1", ["layer_1", "layer_2"]), Some("layer_1"));
    assert_eq!(nearest("aug", ["arg", "augment"]), Some("arg"));
    assert_eq!(nearest("aug", ["split", "augment"]), Some("augment"));
    assert_eq!(nearest("studnt", ["s", "t"]), None);
    assert_eq!(nearest("x", []), None);
}

/// A line behind `epochs = 2`, and what is said of it: the message, the column and length of what it points at, the hint.
#[test]
fn settings_of_checkpoints_and_steps_are_refused_at_their_place() {
    for (line, message, [column, length], hint) in [
        (
            "run.checkpoint.every = 'soon'",
            "`soon` is no time between two checkpoints; write `1 epoch`, `500 steps` or `5 minutes`",
            [24, 6],
            None,
        ),
        ("run.checkpoint.every = 5", "`every` must be a string, got an integer", [24, 1], None),
        ("run.checkpoint.keep = 0", "`keep` must be at least 1, got 0", [23, 1], None),
        ("run.checkpoint = '5 minutes'", "`checkpoint` must be a table, got a string", [18, 11], None),
        (
            "run.checkpoint.evry = '1 epoch'",
            "unknown key `evry` in `run.checkpoint`",
            [16, 4],
            Some("did you mean `every`?"),
        ),
        (
            "run.checkpoint_every = 3",
            "unknown key `checkpoint_every` in `run`",
            [5, 16],
            Some("did you mean `checkpoint`?"),
        ),
        ("nonfinite = 'skipp'", "unknown value `skipp` for `nonfinite`", [13, 7], Some("known values: `stop`")),
        ("nonfinite = { skip = -1 }", "`skip` must be at least 0, got -1", [22, 2], None),
        (
            "nonfinite = { skipp = 3 }",
            "unknown key `skipp` in `stage.one.nonfinite`",
            [15, 5],
            Some("did you mean `skip`?"),
        ),
        ("nonfinite = 3", "`nonfinite` must be a string or a table, got an integer", [13, 1], None),
        ("ema = 1.0", "`ema` must be less than 1, got 1.0", [7, 3], None),
        ("ema = 0", "`ema` must be greater than 0, got 0", [7, 1], None),
        ("ema = 'much'", "`ema` must be a number, got a string", [7, 6], None),
        ("gradient_ema = 0.9", "`gradient_ema` must be a table, got a number with a fraction", [16, 3], None),
        ("gradient_ema = { gain = 2.0 }", "missing key `decay` in `stage.one.gradient_ema`", [1, 12], None),
        ("gradient_ema = { decay = 1.0 }", "`decay` must be less than 1, got 1.0", [26, 3], None),
        ("gradient_ema = { decay = 0.9, gain = 0 }", "`gain` must be greater than 0, got 0", [38, 1], None),
        ("data.damaged = 'error'", "unknown value `error` for `damaged`", [16, 7], Some("known values: `stop`")),
        ("data.damaged = { skip = 1.5 }", "`skip` must be an integer, got a number with a fraction", [25, 3], None),
        ("data.stream = 'yes'", "`stream` must be `true` or `false`, got a string", [15, 5], None),
        ("data.cache_mb = -1", "`cache_mb` must be at least 0, got -1", [17, 2], None),
    ] {
        let (text, number) = match line.starts_with("run.") || line.starts_with("data.") {
            true => (changed("'mlp'", &format!("'mlp'\n{line}")), 4),
            false => (changed("epochs = 2", &format!("epochs = 2\n{line}")), 8),
        };
        let carets = format!("{}{}", " ".repeat(column - 1), "^".repeat(length));
        let hint = hint.map_or(String::new(), |hint| format!("\n  |\n  = hint: {hint}"));
        let wanted =
            format!("error: {message}\n --> m.toml:{number}:{column}\n  |\n{number} | {line}\n  | {carets}{hint}");
        assert_eq!(problems(&text), wanted);
    }
}
