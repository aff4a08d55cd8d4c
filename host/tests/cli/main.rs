//! The commands as a user calls them: the real binary, with the plugins that it ships with.

mod plugins;
mod resume;
mod run;
mod schema;
#[path = "../support/mod.rs"]
mod support;

use support::command::Place;

/// A teacher and a student on digits, seconds long.
const TINY: &str = r#"manifest = 1

[run]
name = "tiny"
baseline = true
dir = "out/../runs"

[data]
use = "digits"
limit = 256
test_limit = 100
split = { val = 0.25 }

[models.teacher]
arch = { kind = "mlp", hidden = [24] }

[models.student]
arch = { kind = "mlp", hidden = [8] }

[stage.teacher]
train = "teacher"
epochs = 2
batch = 32
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = "student"
epochs = 2
batch = 32
optimizer = { kind = "sgd", lr = 0.1 }
terms.task = { use = "cross_entropy", weight = 0.5 }
terms.kd = { use = "kd", weight = 0.5 }
"#;

/// A folder in which the tiny manifest has run.
fn finished() -> Place {
    let place = Place::with(TINY);
    place.succeed(&["run", "m.toml", "--quiet"]);
    place
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
