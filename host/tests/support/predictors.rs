//! Small predictors of frames: two sources, and a student that learns from them.

/// Digits that move, one and two of them.
pub const DATA: &str = "
[data.small]
use = \"moving:digits?digits=1&frames=6&size=16&side=8&train=24&test=8\"

[data.target]
use = \"moving:digits?digits=2&frames=6&size=16&side=8&train=12&test=6&seed=3\"
";

/// A predictor with a source of another depth, width and size beside one of its own.
pub const SOURCES: &str = "
[models.like]
arch = { kind = \"conv_lstm\", depth = 2, hidden = 4, kernel = 3, patch = 4 }
over_time = true
predict = { given = 3 }

[models.other]
arch = { kind = \"conv_lstm\", depth = 1, hidden = 3, kernel = 3, patch = 2 }
over_time = true
predict = { given = 3 }

[stage.like]
train = \"like\"
data = \"small\"
steps = 4
batch = 8
optimizer = { kind = \"adam\", lr = 3e-3 }
terms.task = { use = \"next_frame\" }

[stage.other]
train = \"other\"
data = \"small\"
steps = 4
batch = 8
optimizer = { kind = \"adam\", lr = 3e-3 }
terms.task = { use = \"next_frame\" }
";

/// A predictor with a cell that reads two sources.
pub const STUDENT: &str = "
[models.student]
arch = { kind = \"conv_lstm\", depth = 2, hidden = 4, kernel = 3, patch = 4 }
over_time = true
predict = { given = 3 }
modules.\"cell_list.0\" = { use = \"tmu_cell\", sources = 2, kernel = 3 }
";

/// The stage that trains it.
pub fn stage(sampling: &str, term: &str) -> String {
    format!(
        "
[stage.transfer]
train = \"student\"
data = \"target\"
epochs = 4
batch = 4
optimizer = {{ kind = \"adam\", lr = 3e-3 }}
{sampling}
terms.tmu = {{ use = \"tmu\", {term} }}
"
    )
}

/// The sources by name.
pub const NAMED: &str = "sources = [\"like\", \"other\"]";
/// Every frame is a true one, as in a recording.
pub const TRUE: &str = "sampling = { step = 0.0 }";
