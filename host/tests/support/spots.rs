//! Spots that move, and networks that predict where they will be.

use candle_core::{Device, Tensor};
use std::path::Path;

/// Clips of three frames of 16x16 in which a spot moves by up to two pixels a frame.
pub fn write_clips(path: &Path) {
    let clips = |count: usize, seed: usize| {
        let random = |at: usize| ((at * 7919 + seed * 104_729) as f64 * 0.618_033_988_75).fract() as f32;
        let mut values = vec![];
        for clip in 0..count {
            let [y, x, down, right] = [0, 1, 2, 3].map(|part| random(clip * 4 + part));
            for frame in 0..3 {
                let at = |start: f32, speed: f32| 3.0 + 9.0 * start + frame as f32 * (4.0 * speed - 2.0);
                let (cy, cx) = (at(y, down), at(x, right));
                let spot = |i: usize| ((i / 16) as f32 - cy).powi(2) + ((i % 16) as f32 - cx).powi(2);
                values.extend((0..256).map(|i| (-spot(i) / 8.0).exp()));
            }
        }
        Tensor::from_vec(values, (count, 3, 1, 16, 16), &Device::Cpu).expect("fits")
    };
    let arrays = [("train_frames", clips(192, 1)), ("val_frames", clips(48, 3)), ("test_frames", clips(48, 2))];
    Tensor::write_npz(&arrays, path).expect("is written");
}

/// Five networks that predict maps of them.
pub const NETWORKS: &str = r#"
[run]
executor = "EXECUTOR"
baseline = false

[data]
use = "clips:clips.npz"
map = { frames = 2, above = 0.4 }
augment = ["flip"]

[models.seen]
arch = { kind = "two_stream", width = 4, branches = ["spatial"] }

[models.moving]
arch = { kind = "two_stream", width = 4, branches = ["temporal"] }

[models.spatial]
arch = { kind = "two_stream", width = 4, branches = ["spatial"] }
input.size = 8

[models.temporal]
arch = { kind = "two_stream", width = 4, branches = ["temporal"] }
input.size = 8

[models.fusion]
arch = { kind = "two_stream", width = 4 }
input.size = 8
"#;

/// The stage that trains one model.
pub fn stage(name: &str, model: &str, terms: &str) -> String {
    format!(
        "[stage.{name}]\ntrain = \"{model}\"\nepochs = 6\nbatch = 24\noptimizer = {{ kind = \"adam\", lr = 0.01 }}\n{terms}\n\n"
    )
}

/// Five stages: teachers, students, and a network on the encoders of these.
pub fn spatiotemporal(executor: &str, freeze: &str) -> String {
    let own = "terms.map = { use = \"skd_map\" }";
    let from = |teacher: &str| format!("terms.skd = {{ use = \"skd\", teacher = \"{teacher}:logits\" }}");
    let joined = format!(
        "{own}\ninit = {{ \"spatial.\" = \"stage:spatial:spatial.\", \"temporal.\" = \"stage:temporal:temporal.\" }}\n{freeze}"
    );
    let stages = [
        stage("seen", "seen", own),
        stage("moving", "moving", own),
        stage("spatial", "spatial", &from("seen")),
        stage("temporal", "temporal", &from("moving")),
        stage("fusion", "fusion", &joined),
    ];
    format!("{}{}", NETWORKS.replace("EXECUTOR", executor), stages.concat())
}

/// The encoders rest.
pub const FROZEN: &str = r#"freeze = ["spatial", "temporal"]"#;
