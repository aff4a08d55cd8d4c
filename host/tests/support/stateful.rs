//! A small training on digits, and one of everything that has a state.

use super::lab::{DIGITS, DISTIL};

/// The task and soft targets.
pub const KD: &str = r#"terms.task = { use = "cross_entropy", weight = 0.5 }
terms.kd = { use = "kd", temperature = 4.0, weight = 0.5 }
"#;

/// A teacher, and a student that learns by these terms.
pub fn body(terms: &str) -> String {
    format!("{DIGITS}\n{DISTIL}\n{terms}")
}

/// A student with everything that has state: convolutions, batch normalisation, dropout, augmented data, a hint with a
/// trained connector, a row buffer, Adam, a clipped and averaged gradient, accumulation.
pub fn everything() -> String {
    let layers = r#"layers = [
  { name = "conv", kind = "conv", out = 4, kernel = 3, padding = 1 }, { name = "bn", kind = "batch_norm" },
  { name = "relu", kind = "relu" }, { name = "flat", kind = "flatten" }, { name = "drop", kind = "dropout", p = 0.2 },
  { name = "fc", kind = "linear", out = 10 }]"#;
    let terms = r#"terms.hint = { use = "mse", student = "flat", teacher = "relu1", connector = "linear", weight = { from = 1.0, to = 0.0, over = "2 epochs" } }
terms.bank = { use = "row_bank", student = "logits", weight = 0.01 }
clip_norm = 1.0
gradient_ema = { decay = 0.9, gain = 0.5 }
accumulate = 2
schedule = { kind = "cosine", warmup = "1 epoch" }
"#;
    let body = body(&format!("{KD}{terms}")).replace(r#"arch = { kind = "mlp", hidden = [16] }"#, layers);
    let body =
        body.replace("lr = 0.05, momentum = 0.9 }", "lr = 0.01 }").replace("\"sgd\", lr = 0.01", "\"adam\", lr = 0.01");
    body.replace("split =", "augment = [{ crop = 1 }]\nlimit = 400\nsplit =")
}
