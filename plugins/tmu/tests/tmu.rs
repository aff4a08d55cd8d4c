//! Tests of transferable memory.
#![allow(missing_docs)]

use stillhouse_plugin::desc::{ModelSite, Site};
use stillhouse_plugin::testing::{Bench, Run};
use stillhouse_tmu::{Tmu, TmuCell};

/// `n` numbers between -1 and 1 that depend on `seed`.
fn numbers(seed: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| (seed + 1.7 * i as f64 + (0.61 * i as f64).cos()).sin()).collect()
}

fn cell(config: &str) -> Bench {
    let bench = Bench::module::<TmuCell>(config).expect("a right configuration");
    let frames = [numbers(1.0, 8), numbers(2.0, 8)];
    bench.series("input", &[1, 2, 2, 2], &frames.each_ref().map(Vec::as_slice)).input(
        "replaced",
        &[1, 1, 2, 2],
        &[0.0; 4],
    )
}

#[test]
fn cell_gradients_match_differences_over_frames() {
    for config in [r#"{"sources": 1, "kernel": 3}"#, r#"{"sources": 2, "kernel": 1, "hidden_from": "post"}"#] {
        cell(config).check_gradients(1e-6).expect("gradients are right");
    }
}

/// With a convolution of zeros every gate is a half, and an offset of the third gate, g, is what the memory takes in.
#[test]
fn cell_takes_in_what_its_gates_allow() {
    let width = 5;
    let mut shift = vec![0.0; width * 2];
    shift[6] = 1.0;
    shift[7] = -1.0; // g at the two pixels
    let run = |from: &str| {
        let bench = Bench::module::<TmuCell>(&format!(r#"{{"sources": 1, "kernel": 1, "hidden_from": "{from}"}}"#));
        let bench = bench.expect("a right configuration").input("input", &[1, 1, 1, 2], &[3.0, -3.0]);
        let bench = bench.input("replaced", &[1, 1, 1, 2], &[0.0; 2]).param("conv.weight", &[0.0; 10]);
        let bench = bench.param("conv.bias", &[0.0; 5]).param("norm.bias", &shift);
        bench.param("distiller.0.conv.weight", &[2.0]).run().expect("runs")
    };
    let own = 0.5 * 1f64.tanh(); // the second pixel holds its negative
    let said = 2.0 * own / (4.0 * own * own + 1e-5).sqrt(); // normalised: mean 0, variance (2 own)^2
    let whole = own + 0.5 * said + 0.5 * own;
    let near = |got: &[f64], wanted: f64| {
        assert!((got[0] - wanted).abs() < 1e-12 && (got[1] + wanted).abs() < 1e-12, "{got:?}")
    };
    let (pre, post) = (run("pre"), run("post"));
    near(&pre.result("q0").values, said);
    near(&pre.result("state.cell").values, whole);
    near(&pre.output().values, 0.5 * own.tanh());
    near(&post.output().values, 0.5 * whole.tanh());
}

#[test]
fn cell_bad_settings_and_shapes_are_errors() {
    let refused = |config: &str| Bench::module::<TmuCell>(config).err().expect("refused").to_string();
    assert!(refused(r#"{"sources": 0}"#).contains("`sources` must be at least 1"));
    assert!(refused(r#"{"kernel": 4}"#).contains("`kernel` must be odd, got 4"));
    let mut bench = Bench::module::<TmuCell>("{}").expect("configured");
    bench = bench.input("input", &[1, 2, 2, 2], &[0.0; 8]).input("replaced", &[1, 2, 1, 2], &[0.0; 4]);
    assert!(bench.run().expect_err("refused").to_string().contains("wants [N, C, H, W] to [N, K, H, W]"));
}

/// Three frames: two predictions, of one source.
fn distiller(config: &str, memory: &[usize]) -> Bench {
    let bench = Bench::distiller::<Tmu>(config).expect("a right configuration");
    let size = memory.iter().product();
    let series = |bench: Bench, port: &str, shape: &[usize], seed: f64| {
        let frames = [seed, seed + 0.5].map(|seed| numbers(seed, shape.iter().product()));
        bench.series(port, shape, &frames.each_ref().map(Vec::as_slice))
    };
    let bench = series(bench, "prediction", &[2, 1, 2, 2], 1.0);
    let bench = series(bench, "next", &[2, 1, 2, 2], 2.0);
    let bench = series(bench, "said0", &[2, 1, 2, 2], 3.0);
    let frames = [4.0, 4.5].map(|seed| numbers(seed, size));
    bench.series("memory0", memory, &frames.each_ref().map(Vec::as_slice))
}

fn squares(a: f64, b: f64) -> f64 {
    let (a, b) = (numbers(a, 8), numbers(b, 8));
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 8.0
}

#[track_caller]
fn ran(mut bench: Bench) -> Run {
    bench.run().expect("runs")
}

#[test]
fn terms_are_means_over_predictions_and_sums_over_frames() {
    let run = ran(distiller(r#"{"sources": 1, "reversed": false}"#, &[2, 1, 2, 2]));
    assert_eq!(run.names(), ["prediction", "distill"]);
    let prediction = (squares(1.0, 2.0) + squares(1.5, 2.5)) / 2.0;
    assert!((run.term("prediction") - prediction).abs() < 1e-12);
    // Two samples, three frames.
    assert!((run.term("distill") - (squares(3.0, 4.0) + squares(3.5, 4.5)) / 6.0).abs() < 1e-12);
    distiller(r#"{"sources": 1, "reversed": false}"#, &[2, 1, 2, 2])
        .check_gradients(1e-6)
        .expect("gradients are right");
}

#[test]
fn memories_of_other_shapes_are_reached_by_a_map_and_resized() {
    let mut bench = distiller(r#"{"sources": 1, "reversed": false}"#, &[2, 3, 4, 4]);
    bench = bench.param("map.0.weight", &[0.5, -1.0, 2.0]);
    bench.check_gradients(1e-6).expect("gradients are right");
    assert!(ran(bench).grad_param("map.0.weight").iter().all(|gradient| *gradient != 0.0));
    let flat = distiller(r#"{"sources": 1, "reversed": false}"#, &[2, 4]).run().expect_err("refused").to_string();
    assert!(flat.contains("`tmu` compares maps"), "{flat}");
}

#[test]
fn plan_has_a_phase_and_passes_for_each_direction() {
    let model = |name: &str| ModelSite { name: name.into(), ..ModelSite::default() };
    let site = Site { student: model("student"), teachers: vec![model("one"), model("two")], ..Site::default() };
    let plan = |config: &str| {
        let bench = Bench::distiller::<Tmu>(config).expect("configured");
        bench.site(site.clone()).plan().expect("plans")
    };
    let online = plan("{}");
    assert_eq!(
        online.passes.iter().map(|pass| pass.name.as_str()).collect::<Vec<_>>(),
        ["backward", "backward.one", "backward.two"]
    );
    assert!(online.passes.iter().all(|pass| pass.reverse_time));
    assert_eq!(
        online.phases.iter().map(|phase| phase.terms.join(" ")).collect::<Vec<_>>(),
        ["prediction distill", "reversed_prediction reversed_distill"]
    );
    let default = |name: &str| online.ports.iter().find(|port| port.name == name).and_then(|port| port.default.clone());
    assert_eq!(default("memory1").as_deref(), Some("two:cell_list.0.cell"));
    assert_eq!(default("reversed.memory0").as_deref(), Some("backward.one:cell_list.0.cell"));
    assert_eq!(default("reversed.said1").as_deref(), Some("backward:cell_list.0.q1"));
    assert!(online.ports.iter().all(|port| port.phase.is_some()));
    let stored = plan(r#"{"sources": 1, "bank": "stored", "recording": "kept"}"#);
    assert_eq!(stored.passes.iter().map(|pass| pass.name.as_str()).collect::<Vec<_>>(), ["backward"]);
    assert_eq!(
        stored
            .ports
            .iter()
            .filter_map(|port| port.default.as_deref())
            .filter(|name| name.starts_with("kept"))
            .collect::<Vec<_>>(),
        ["kept.0", "kept.0.reversed"]
    );
    let refused = |config: &str| Bench::distiller::<Tmu>(config).err().expect("refused").to_string();
    assert!(refused(r#"{"beta": -1}"#).contains("`beta` must be finite and not negative"));
    assert!(refused(r#"{"sources": []}"#).contains("`sources` must name at least 1"));
}
