//! The bench itself: what it gives, and what it refuses.

use super::Bench;
use crate::prelude::*;
use std::sync::Mutex;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A loss whose body is chosen by its first parameter, so that one type serves all tests.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    what: String,
}

struct Probe(Which);

impl Component for Probe {
    type Config = Which;
    const NAME: &'static str = "probe";
    const DYNAMIC: bool = false;
    fn new(config: Which) -> Result<Self> {
        Ok(Probe(config))
    }
    fn ports() -> Vec<Port> {
        vec![
            Port::student(),
            Port::teacher(),
            Port::data("label").optional(),
            Port::student().named("taps").many().optional(),
        ]
    }
}

/// Settings with the name of a key that hosts read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Greedy {
    #[serde(rename = "at")]
    _at: String,
}

struct Unreachable;

impl Component for Unreachable {
    type Config = Greedy;
    const NAME: &'static str = "unreachable";
    fn new(_: Greedy) -> Result<Self> {
        Ok(Unreachable)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student()]
    }
}

impl Loss for Unreachable {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all())
    }
}

#[test]
fn bench_of_setting_that_no_manifest_reaches_is_error() {
    let said = super::refused::<Unreachable>(r#"{"at": "logits"}"#);
    assert!(said.starts_with("`unreachable` has a setting `at`, a key that hosts read themselves: "), "{said}");
    assert!(said.ends_with("`connector`, `connector_on`, `phase`"), "{said}");
}

/// What the guide says of a row's entry at the label, and of the classes beside it.
struct Recipes;

impl Component for Recipes {
    type Config = Nothing;
    const NAME: &'static str = "recipes";
    fn new(_: Nothing) -> Result<Self> {
        Ok(Recipes)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::data("label")]
    }
}

impl Loss for Recipes {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (logits, label) = (x.one("student")?, x.one("label")?);
        let hot = label.one_hot(3, logits.dtype()?);
        let others = 1.0 - &hot;
        cx.emit("label", &logits.gather(1, &label.unsqueeze(1)).squeeze(1));
        cx.emit("others", &(&logits * &others).sum(&[1]));
        cx.emit("right", &logits.argmax(1, false).eq(&label).cast(logits.dtype()?));
        let soft = (&logits - &hot * 1e9).log_softmax(1);
        Ok((soft * others).sum(&[1]).mean_all())
    }
}

#[test]
fn recipes_of_the_guide_give_what_it_says() {
    let bench = || {
        let bench = Bench::loss::<Recipes>("{}").expect("right settings");
        bench.input("student", &[2, 3], &[1.0, 2.0, 4.0, 5.0, 3.0, 3.0]).labels("label", &[2, 1])
    };
    let run = bench().finite();
    let emitted = |name: &str| run.emitted(name).values.clone();
    assert_eq!(
        (emitted("label"), emitted("others"), emitted("right")),
        (vec![4.0, 3.0], vec![3.0, 8.0], vec![1.0, 0.0])
    );
    // ln softmax of (1, 2) and of (5, 3), summed: each is its logits less twice the logarithm of the sum.
    let rest = |a: f64, b: f64| a + b - 2.0 * (a.exp() + b.exp()).ln();
    assert!((run.loss() - (rest(1.0, 2.0) + rest(5.0, 3.0)) / 2.0).abs() < 1e-12);
    bench().check_gradients(1e-6).expect("gradients agree");
}

struct Double;

impl FusedOp for Double {
    const NAME: &'static str = "double";
    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        ensure!(inputs.len() == 1, "wants one input");
        Ok(inputs[0].to_vec())
    }
    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        output.iter_mut().zip(inputs[0].values).for_each(|(y, x)| *y = *x + *x);
        Ok(())
    }
    fn backward<T: Float>(
        &self,
        _inputs: &[Slice<'_, T>],
        _output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        if let Some(grad) = &mut grads[0] {
            grad.iter_mut().zip(output_grad).for_each(|(x, g)| *x = *g + *g);
        }
        Ok(())
    }
}

impl Probe {
    fn state(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let seen = cx.buffer("seen");
        cx.set("seen", &(&seen + 1.0));
        cx.set_rows("bank", &cx.constant(&[1.0], &[1], DType::I64), &x.narrow(0, 0, 1));
        cx.emit("double", &(x * 2.0));
        Ok((x * cx.param("gain") + seen).sum_all())
    }
}

impl Loss for Probe {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        if self.0.what == "state" {
            cx.add_param("gain", &[x.one("student")?.dim(1)?], &Init::Ones);
            cx.add_buffer("seen", &[], &Init::Zeros);
            cx.add_buffer("bank", &[3, 2], &Init::Zeros);
        }
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = (x.one("student")?, x.one("teacher")?);
        let values = student.is_symbolic()?;
        match self.0.what.as_str() {
            "difference" => Ok((student - teacher).square().mean_all()),
            "state" => self.state(cx, &student),
            "wrong" => Ok(student.scale_grad(1.01).square().sum_all()),
            "fused" => Ok(cx.fused(Double, &[&student])?.square().sum_all()),
            "taps" => Ok(x.list("taps")?.iter().fold(student.sum_all(), |sum, tap| sum + tap.square().sum_all())),
            "vector" => Ok(student.sum(&[1])),
            "infinite" => Ok((student * 0.0).log().sum_all()),
            "shapes" => Ok(student.matmul(&teacher).transpose(0, 1).unsqueeze(0).sum_all()),
            "dimension" => Ok(student.sum(&[7])),
            "read" => Ok(student.sum_all() * student.sum_all().to_scalar()?),
            "late" => Ok(cx.param("missing")),
            "panic" if !values => panic!("on purpose"),
            "thread" if !values => self.across(cx, &student),
            _ => Ok(student.sum_all()),
        }
    }
}

impl Probe {
    /// Works in pieces on other threads.
    fn across(&self, cx: &Cx, student: &Tensor) -> Result<Tensor> {
        let seen = Mutex::new(vec![]);
        cx.parallel_for(10, 3, |start, end| seen.lock().map(|mut seen| seen.push((start, end))).unwrap_or_default())?;
        let mut seen = seen.into_inner().map_err(|error| Error::new(error.to_string()))?;
        seen.sort_unstable();
        ensure!(seen == [(0, 3), (3, 6), (6, 9), (9, 10)], "pieces were {seen:?}");
        ensure!(cx.parallel_for(2, 1, |_, _| panic!("on purpose")).is_err(), "a panic in a piece went unseen");
        Ok(student.sum_all())
    }
}

fn probe(what: &str) -> Bench {
    let config = format!(r#"{{"what": "{what}"}}"#);
    let bench = Bench::loss::<Probe>(&config).expect("configured");
    bench.input("student", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).input("teacher", &[2, 2], &[1.0, 1.0, 1.0, 1.0])
}

#[track_caller]
fn refusal(mut bench: Bench) -> String {
    bench.run().expect_err("refused").to_string()
}

#[test]
fn bench_of_a_loss_gives_value_and_gradient() {
    let run = probe("difference").run().expect("runs");
    assert_eq!(run.loss(), 14.0 / 4.0);
    assert_eq!(run.grad("student"), [0.0, 0.5, 1.0, 1.5]);
    assert_eq!(run.grad("teacher"), [0.0; 4]);
    probe("difference").check_gradients(1e-7).expect("gradients agree");
}

#[test]
fn bench_gradient_that_differs_is_found() {
    let error = probe("wrong").check_gradients(1e-3).expect_err("differs");
    assert!(error.message().starts_with("gradient of student[0][0] is 2.02e0, by differences 2.0"), "{error}");
    probe("wrong").check_gradients(1e-1).expect("within the tolerance");
}

#[test]
fn bench_trace_gives_the_shape_without_values() {
    let traced = probe("difference").trace().expect("traces");
    assert_eq!(traced, [("loss".to_owned(), crate::op::Meta::new([], DType::F64))]);
}

#[test]
fn bench_state_is_staged_and_adopted() {
    let mut bench = probe("state").param("gain", &[2.0, 3.0]);
    let run = bench.run().expect("runs");
    assert_eq!(run.loss(), 26.0);
    assert_eq!(run.grad_param("gain"), [4.0, 6.0]);
    assert_eq!(run.buffer_after("seen"), [1.0]);
    assert_eq!(run.buffer_after("bank"), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
    assert_eq!(run.emitted("double").values, [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(bench.run().expect("runs").loss(), 26.0);
    bench.adopt(&run);
    assert_eq!(bench.run().expect("runs").loss(), 30.0);
    bench.check_gradients(1e-7).expect("gradients agree");
}

#[test]
fn bench_fused_operation_has_its_own_gradient() {
    let run = probe("fused").run().expect("runs");
    assert_eq!((run.loss(), run.grad("student")), (120.0, &[8.0, 16.0, 24.0, 32.0][..]));
}

#[test]
fn bench_port_of_many_has_a_gradient_each() {
    let mut bench = probe("taps").input_list("taps", &[(&[1], &[3.0]), (&[2], &[1.0, 2.0])]);
    let run = bench.run().expect("runs");
    assert_eq!((run.loss(), run.grad_at("taps", 1)), (24.0, &[2.0, 4.0][..]));
    bench.check_gradients(1e-7).expect("gradients agree");
}

#[test]
fn bench_parallel_work_runs_in_pieces() {
    probe("thread").run().expect("runs");
}

#[test]
fn bench_of_wrong_use_says_what() {
    let cases = [
        ("vector", "`probe` gave `loss` as [2] f64, not as a float scalar"),
        ("infinite", "`probe` gave `loss` = -inf"),
        ("dimension", "`sum` [2, 2] has no dimension among [7]"),
        ("read", "only a part that is declared `dynamic` may read values"),
        ("late", "the part has no parameter or buffer `missing`; it has: "),
        ("panic", "`probe` panicked: on purpose"),
    ];
    for (what, wanted) in cases {
        let said = refusal(probe(what));
        // An operation that fails has its line of this file.
        let (said, place) = said.split_once(" (plugin-api").map_or((said.as_str(), ""), |(said, place)| (said, place));
        assert_eq!((said, place.starts_with("/src/testing/tests.rs:")), (wanted, what == "dimension"), "{place}");
    }
}

#[test]
fn bench_first_error_survives_later_operations() {
    let bench = probe("shapes").input("teacher", &[3, 2], &[0.0; 6]);
    assert!(refusal(bench).starts_with("`matmul` cannot multiply [2, 2] by [3, 2]"));
}

#[test]
fn bench_of_wrong_ports_says_what() {
    let bench = || Bench::loss::<Probe>(r#"{"what": ""}"#).expect("configured");
    assert_eq!(refusal(bench()), "port `student` is not bound");
    assert_eq!(
        refusal(probe("").input("extra", &[], &[0.0])),
        "there is no port `extra`, only: student, teacher, label, taps"
    );
    assert_eq!(refusal(probe("").input("student", &[3], &[0.0])), "port `student` got 1 values for [3] f64");
    assert!(refusal(probe("").param("gain", &[1.0])).starts_with("the part has no parameter or buffer `gain`"));
}

#[test]
fn bench_of_wrong_configuration_says_where() {
    let error = Bench::loss::<Probe>(r#"{"what": 3}"#).err().expect("refused");
    assert!(error.to_string().starts_with("at `what`: invalid type"), "{error}");
    let error = Bench::loss::<Probe>(r#"{"what": "", "other": 1}"#).err().expect("refused");
    assert!(error.to_string().contains("unknown field `other`, expected `what`"), "{error}");
}

#[test]
fn tensor_on_another_thread_is_error() {
    let cx = super::host::open(super::session::Session::new(
        super::session::Mode::Step,
        probe("").place,
        super::store::Store::default(),
        false,
    ));
    let other = std::thread::spawn(move || super::host::table().take_error()(cx));
    let error = other.join().expect("joins").into_option().expect("an error");
    assert!(error.message.contains("another thread"));
    assert!(super::host::table().take_error()(cx).is_none());
    super::host::close(cx);
    assert!(super::host::table().take_error()(cx).is_some());
}

#[test]
fn handle_released_is_stale() {
    let mut session = super::session::Session::new(
        super::session::Mode::Step,
        probe("").place,
        super::store::Store::default(),
        false,
    );
    let array = super::Array::real(&[1], &[1.0]);
    let node = session.tape.leaf(array.meta.clone(), Some(array), false);
    let first = session.handle(node);
    session.release(first);
    let second = session.handle(node);
    assert_eq!((first.slot, session.node(second).ok()), (second.slot, Some(node)));
    assert!(session.node(first).is_err());
}

/// Adds the frame to a sum that is its state.
struct Summing;

impl Component for Summing {
    type Config = Nothing;
    const NAME: &'static str = "summing";
    fn new(_: Nothing) -> Result<Self> {
        Ok(Summing)
    }
}

impl Module for Summing {
    fn bind(&mut self, cx: &BindCx, _x: &Tensor, _replaced: &Tensor) -> Result<()> {
        cx.add_param("decay", &[], &Init::Constant { value: 0.5 });
        Ok(())
    }
    fn step(&self, cx: &Cx, x: &Tensor, state: &State) -> Result<Stepped> {
        let sum = match state.get("sum") {
            Some(before) => before * cx.param("decay") + x,
            None => x.clone(),
        };
        Ok(Stepped::new(sum.square()).state("sum", &sum).value("frame", x))
    }
}

fn summing() -> Bench {
    let bench = Bench::module::<Summing>("{}").expect("configured");
    bench.series("input", &[1], &[&[1.0], &[2.0], &[3.0]]).input("replaced", &[1], &[0.0])
}

#[test]
fn bench_module_hands_state_from_frame_to_frame() {
    let run = summing().run().expect("runs");
    assert_eq!(run.result_at("output", 1).values, [6.25]);
    assert_eq!(run.output().values, [4.25 * 4.25]);
    assert_eq!(run.result("state.sum").values, [4.25]);
    summing().check_gradients(1e-6).expect("gradients agree");
    summing().state("sum", &[1], &[2.0]).cotangent("output", &[1.0]).check_gradients(1e-6).expect("gradients agree");
    assert_eq!(summing().cotangent("state.sum", &[2.0]).run().expect("runs").loss(), 8.5);
    assert!(refusal(summing().cotangent("output", &[1.0; 5])).contains("5 weights for 3 elements"));
}

#[test]
fn random_numbers_repeat_by_purpose_and_step() {
    let mut draws = ["a", "a", "b"].map(|purpose| super::store::rng(&["step", purpose]).next_u64());
    assert_eq!(draws[0], draws[1]);
    draws.sort_unstable();
    assert_ne!(draws[0], draws[2]);
}
