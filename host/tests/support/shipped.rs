//! Every shipped loss and method, as small trainings on digits.

/// Packages of the plugins that are shipped.
pub const SHIPPED: [&str; 16] = [
    "stillhouse-activation",
    "stillhouse-afd",
    "stillhouse-basics",
    "stillhouse-connectors",
    "stillhouse-crd",
    "stillhouse-crkd",
    "stillhouse-dense",
    "stillhouse-fitnet",
    "stillhouse-ft",
    "stillhouse-kd",
    "stillhouse-logits",
    "stillhouse-maps",
    "stillhouse-rkd",
    "stillhouse-similarity",
    "stillhouse-skd",
    "stillhouse-tmu",
];

/// Digits, and two small residual networks, the teacher trained first.
const HEAD: &str = r#"
[run]
executor = "EXECUTOR"
baseline = false

[data]
use = "digits"
limit = 256

[models.teacher]
arch = { kind = "resnet", depth = 8, width = 8 }

[models.student]
arch = { kind = "resnet", depth = 8, width = 4 }

[stage.teacher]
train = "teacher"
epochs = 2
batch = 32
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }
terms.task = { use = "cross_entropy" }

[stage.distil]
train = "student"
epochs = EPOCHS
batch = 32
optimizer = { kind = "adam", lr = 3e-3 }
"#;

/// Losses, each by its name.
pub const LOSSES: [(&str, &str); 23] = [
    ("ab", r#"student = "layer2.0.relu2:in", teacher = "layer2.0.relu2:in", connector = "conv_regressor""#),
    ("at", r#"student = ["layer1", "layer2"], teacher = ["layer1", "layer2"]"#),
    ("cc", r#"student = "avgpool", teacher = "avgpool", embed_dim = 16"#),
    ("cosine", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crd", r#"student = "avgpool", teacher = "avgpool", feat_dim = 32, negatives = 256"#),
    ("crkd_mmd", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crkd_pair", r#"student = "avgpool", teacher = "avgpool", connector = "linear""#),
    ("crkd_rad", ""),
    ("cwd", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("dist", ""),
    ("fsp", r#"student = ["layer1", "layer2"], teacher = ["layer1", "layer2"], connector = "linear""#),
    ("ft_factor", r#"student = "layer2", teacher = "layer2""#),
    ("l1", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("nst", r#"student = "layer2", teacher = "layer2""#),
    (
        "ofd",
        r#"student = "layer3.0.bn2", teacher = "layer3.0.bn2", connector = { use = "conv_regressor", relu = false },
        ports = { scale = "layer3.0.bn2.weight", shift = "layer3.0.bn2.bias" }"#,
    ),
    ("pkd", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("pkt", r#"student = "avgpool", teacher = "avgpool""#),
    ("reviewkd_hcl", r#"student = "layer2", teacher = "layer2", connector = "linear""#),
    ("rkd_angle", r#"student = "avgpool", teacher = "avgpool""#),
    ("rkd_distance", r#"student = "avgpool", teacher = "avgpool""#),
    ("sp", r#"student = "layer3", teacher = "layer3""#),
    ("vid", r#"student = "layer2", teacher = "layer2""#),
    ("wsld", ""),
];

/// Whole methods, with the stage and the term that is to fall.
pub const METHODS: [(&str, &str, &str, &str); 5] = [
    ("afd", r#"student = ["layer*"], teacher = ["layer*"], qk_dim = 16"#, "distil", "method.afd"),
    ("crkd", r#"student = "avgpool", teacher = "avgpool", connector = "linear", hidden = 16"#, "distil", "method.pair"),
    ("fitnet", r#"student = "layer2", teacher = "layer2", hint_epochs = 6"#, "distil.hint", "method.hint"),
    (
        "ft",
        r#"student = "layer2", teacher = "layer2", paraphraser_epochs = 6"#,
        "distil.paraphraser",
        "method.paraphrase",
    ),
    ("ft", r#"student = "layer2", teacher = "layer2", paraphraser_epochs = 1"#, "distil.translator", "method.factor"),
];

/// A training of the student by these terms.
pub fn body(executor: &str, epochs: usize, terms: &str) -> String {
    // What a method's taps do not reach trains for the task.
    let head = HEAD.replace("EXECUTOR", executor).replace("EPOCHS", &epochs.to_string());
    format!("{head}terms.task = {{ use = \"cross_entropy\", weight = 1e-6 }}\n{terms}\n")
}

/// A term of this name.
pub fn term(name: &str, use_: &str, settings: &str) -> String {
    let settings = settings.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let comma = if settings.is_empty() { "" } else { ", " };
    format!("terms.{name} = {{ use = \"{use_}\"{comma}{settings} }}\n")
}
