//! Tests of the connectors, alone and with the loss behind them.
#![allow(missing_docs)]

use stillhouse_fitnet::{ConvRegressor, Hint, Linear, Mse, PoolTo};
use stillhouse_plugin::testing::{Array, Bench, Run, golden::Case, numbers};

fn case(name: &str) -> Case {
    Case::open(format!("../../tests/golden/cases/{name}")).expect("reads")
}

fn ends(bench: Bench, from: &[usize], to: &[usize]) -> Bench {
    let count = |shape: &[usize]| shape.iter().product();
    bench.input("from", from, &numbers(1.0, count(from))).input("to", to, &numbers(2.0, count(to)))
}

fn conv(config: &str, from: &[usize], to: &[usize]) -> Bench {
    ends(Bench::connector::<ConvRegressor>(config).expect("a right configuration"), from, to)
}

fn linear(config: &str, from: &[usize], to: &[usize]) -> Bench {
    ends(Bench::connector::<Linear>(config).expect("a right configuration"), from, to)
}

fn pool(from: &[usize], to: &[usize]) -> Bench {
    ends(Bench::connector::<PoolTo>("{}").expect("a right configuration"), from, to)
}

/// The loss of the connector's output, compared with the case.
fn loss_behind(case: &Case, loss: Bench, output: &Array) -> Run {
    let run = { loss.array("student", output).array("teacher", case.array("input.teacher.0")) }.run().expect("runs");
    case.assert_values("out.loss", &[run.loss()]);
    run
}

#[test]
fn golden_conv_regressor_cases_match() {
    let cases =
        ["fitnet_convreg_same", "fitnet_convreg_stride2", "fitnet_convreg_transpose", "fitnet_convreg_eval_norelu"];
    for name in cases {
        let (case, training) = (case(name), !name.contains("eval"));
        let config = format!(r#"{{"relu": {}}}"#, case.hyperparameter("relu"));
        let mut bench = Bench::connector::<ConvRegressor>(&config).expect("configured").training(training);
        for key in ["conv.weight", "conv.bias", "bn.weight", "bn.bias"] {
            bench = bench.param(key, &case.array(&format!("param.{key}")).values);
        }
        for key in ["bn.running_mean", "bn.running_var"] {
            bench = bench.buffer(key, &case.array(&format!("buffer.{key}")).values);
        }
        bench = bench.array("from", case.array("input.student.0")).array("to", case.array("input.teacher.0"));
        let forward = bench.run().expect("runs");
        case.assert_values("out.regressed", &forward.output().values);
        let loss = loss_behind(&case, Bench::loss::<Mse>("{}").expect("configured"), forward.output());
        let run = bench.cotangent("output", loss.grad("student")).run().expect("runs");
        case.assert_gradient("grad.input.student.0", run.grad("from"));
        for key in ["conv.weight", "conv.bias", "bn.weight", "bn.bias"] {
            case.assert_gradient(&format!("grad.param.{key}"), run.grad_param(key));
        }
        for key in ["bn.running_mean", "bn.running_var"].into_iter().filter(|_| training) {
            case.assert_values(&format!("buffer_after.{key}"), run.buffer_after(key));
        }
    }
}

#[test]
fn golden_linear_cases_match() {
    for (name, param) in
        [("fitnet_conv1x1", "transform"), ("fitnet_vector", "transform"), ("fitnet_paper_half_sum", "regressor")]
    {
        let (case, bias) = (case(name), name == "fitnet_paper_half_sum");
        let config = format!(r#"{{"bias": {bias}, "init_bound": 0.005}}"#);
        let mut bench = Bench::connector::<Linear>(&config).expect("configured");
        bench = bench.param("weight", &case.array(&format!("param.{param}.weight")).values);
        if bias {
            bench = bench.param("bias", &case.array(&format!("param.{param}.bias")).values);
        }
        bench = bench.array("from", case.array("input.student.0")).array("to", case.array("input.teacher.0"));
        let forward = bench.run().expect("runs");
        let loss = if bias { Bench::loss::<Hint>("{}") } else { Bench::loss::<Mse>("{}") };
        let loss = loss_behind(&case, loss.expect("configured"), forward.output());
        let run = bench.cotangent("output", loss.grad("student")).run().expect("runs");
        case.assert_gradient("grad.input.student.0", run.grad("from"));
        case.assert_gradient(&format!("grad.param.{param}.weight"), run.grad_param("weight"));
        if bias {
            case.assert_gradient(&format!("grad.param.{param}.bias"), run.grad_param("bias"));
        }
    }
}

#[test]
fn golden_pool_then_linear_cases_match() {
    for name in ["fitnet_pool_conv1x1", "fitnet_pool_uneven"] {
        let case = case(name);
        let (student, teacher) = (case.array("input.student.0"), case.array("input.teacher.0"));
        let mut pool =
            Bench::connector::<PoolTo>("{}").expect("configured").array("from", student).array("to", teacher);
        let pooled = pool.run().expect("runs");
        let mut linear = Bench::connector::<Linear>(r#"{"bias": false}"#).expect("configured");
        linear = linear.array("from", pooled.output()).array("to", teacher);
        linear = linear.param("weight", &case.array("param.transform.weight").values);
        let forward = linear.run().expect("runs");
        let loss = loss_behind(&case, Bench::loss::<Mse>("{}").expect("configured"), forward.output());
        let by_linear = linear.cotangent("output", loss.grad("student")).run().expect("runs");
        case.assert_gradient("grad.param.transform.weight", by_linear.grad_param("weight"));
        let by_pool = pool.cotangent("output", by_linear.grad("from")).run().expect("runs");
        case.assert_gradient("grad.input.student.0", by_pool.grad("from"));
    }
}

#[test]
fn connector_outputs_are_shaped_like_the_other_end() {
    let maps: [(&[usize], &[usize]); 4] = [
        (&[2, 3, 8, 8], &[2, 5, 4, 4]),
        (&[2, 3, 4, 4], &[2, 5, 8, 8]),
        (&[2, 3, 5, 7], &[2, 5, 3, 4]),
        (&[4, 3], &[4, 5]),
    ];
    for (from, to) in maps {
        assert_eq!(conv("{}", from, to).run().expect("runs").output().shape(), to);
    }
    assert_eq!(pool(&[2, 3, 5, 7], &[2, 9, 2, 3]).run().expect("runs").output().shape(), [2, 3, 2, 3]);
    assert_eq!(pool(&[2, 3, 5, 7], &[2, 9]).run().expect("runs").output().shape(), [2, 3]);
    assert_eq!(linear("{}", &[2, 3, 5, 7], &[2, 9, 5, 7]).run().expect("runs").output().shape(), [2, 9, 5, 7]);
}

#[test]
fn conv_regressor_in_evaluation_leaves_its_statistics() {
    let bench = || conv("{}", &[3, 2, 4, 4], &[3, 2, 4, 4]);
    assert!(bench().run().expect("runs").buffer_after("bn.running_mean").iter().any(|mean| *mean != 0.0));
    let mut evaluated = bench().training(false);
    let first = evaluated.run().expect("runs");
    evaluated.adopt(&first);
    assert_eq!(evaluated.run().expect("runs").output(), first.output());
}

#[test]
fn prop_linear_on_maps_is_linear_on_every_place() {
    let (weight, bias) = (numbers(5.0, 6), numbers(6.0, 2));
    let on_map = linear("{}", &[1, 3, 2, 2], &[1, 2, 2, 2]).param("weight", &weight).param("bias", &bias);
    let map = { on_map }.run().expect("runs").output().values.clone();
    let values = numbers(1.0, 12);
    for place in 0..4 {
        let vector: Vec<f64> = (0..3).map(|c| values[c * 4 + place]).collect();
        let one = linear("{}", &[1, 3], &[1, 2])
            .input("from", &[1, 3], &vector)
            .param("weight", &weight)
            .param("bias", &bias);
        let one = { one }.run().expect("runs");
        assert!((0..2).all(|o| (one.output().values[o] - map[o * 4 + place]).abs() < 1e-14));
    }
}

#[test]
fn linear_initial_weights_lie_within_the_bound() {
    let run = linear(r#"{"bias": false, "init_bound": 0.005}"#, &[1, 4], &[1, 3]).input(
        "from",
        &[1, 4],
        &[1.0, 0.0, 0.0, 0.0],
    );
    let outputs = { run }.run().expect("runs").output().values.clone();
    assert!(outputs.iter().all(|weight| weight.abs() <= 0.005 && *weight != 0.0));
}

#[test]
fn connector_gradients_match_finite_differences() {
    let weights = numbers(9.0, 2 * 3 * 2 * 2);
    for config in
        [r#"{"relu": false}"#, r#"{"batch_norm": false}"#, r#"{"bias": false, "batch_norm": false, "relu": false}"#]
    {
        let bench = conv(config, &[2, 2, 4, 4], &[2, 3, 2, 2]).cotangent("output", &weights);
        { bench }.check_gradients(1e-6).expect("gradients agree");
    }
    { conv("{}", &[2, 2, 3, 3], &[2, 3, 2, 2]).training(false).cotangent("output", &weights) }
        .check_gradients(1e-6)
        .expect("agree");
    { linear("{}", &[2, 2, 2, 2], &[2, 3, 2, 2]).cotangent("output", &weights) }.check_gradients(1e-6).expect("agree");
    { linear("{}", &[8, 2], &[8, 3]).cotangent("output", &weights) }.check_gradients(1e-6).expect("agree");
    { pool(&[2, 3, 5, 3], &[2, 1, 2, 2]).cotangent("output", &weights) }.check_gradients(1e-6).expect("agree");
}

#[test]
fn connector_of_ends_that_do_not_fit_is_error() {
    assert!(
        conv("{}", &[1, 2, 4, 4], &[1, 2, 7, 7])
            .refusal()
            .starts_with("`conv_regressor` cannot bring a map of 4x4 to 7x7")
    );
    assert!(
        conv("{}", &[1, 2, 4], &[1, 2, 4])
            .refusal()
            .contains("wants vectors [N, D] or maps [N, C, H, W], got [1, 2, 4]")
    );
    assert!(conv("{}", &[1, 2], &[1, 2]).refusal().contains("one value a channel has no variance"));
    assert!(linear("{}", &[1, 2, 4, 4], &[1, 2, 2, 2]).refusal().starts_with("`linear` keeps the size, which differs"));
    assert!(linear("{}", &[1, 2], &[1, 2, 1, 1]).refusal().starts_with("`linear` keeps the size, which differs"));
    assert!(linear("{}", &[2], &[2]).refusal().starts_with("`linear` wants vectors"));
    assert!(pool(&[1, 2, 4], &[1, 2]).refusal().starts_with("`pool_to` wants vectors"));
}

#[test]
fn connector_of_wrong_settings_is_error() {
    let bound = Bench::connector::<Linear>(r#"{"init_bound": 0}"#).err().expect("refused").to_string();
    assert_eq!(bound, "`init_bound` must be finite and above 0, got 0");
    let unknown = Bench::connector::<ConvRegressor>(r#"{"norm": true}"#).err().expect("refused").to_string();
    assert!(unknown.contains("unknown field `norm`, expected `bias`, `batch_norm`, `relu`"), "{unknown}");
    assert!(
        Bench::connector::<PoolTo>(r#"{"size": 3}"#)
            .err()
            .expect("refused")
            .to_string()
            .contains("unknown field `size`")
    );
}
