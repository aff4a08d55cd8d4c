//! What most losses ask of the ports `student` and `teacher`.

use super::context::Cx;
use super::error::{Error, Result};
use super::inputs::Inputs;
use super::tensor::Tensor;
use crate::ensure;

impl Inputs {
    /// The one value of `student` and that of `teacher`, of one batch; the teacher's without gradient. `name` is the
    /// component's, for messages.
    ///
    /// # Errors
    /// An unbound port, several values, batches of two sizes, values without a dimension beside the batch's, or without
    /// elements.
    #[track_caller]
    pub fn pair(&self, name: &str) -> Result<(Tensor, Tensor)> {
        of_one_batch(name, self.one("student")?, self.one("teacher")?)
    }

    /// As [`pair`](Inputs::pair), for ports of many values: the first of `student` with the first of `teacher`, and so on.
    ///
    /// # Errors
    /// As [`pair`](Inputs::pair), or other numbers of values.
    #[track_caller]
    pub fn pairs(&self, name: &str) -> Result<Vec<(Tensor, Tensor)>> {
        let (students, teachers) = (self.list("student")?, self.list("teacher")?);
        ensure!(
            students.len() == teachers.len() && !students.is_empty(),
            "`{name}` pairs the values of `student` and `teacher` in order, and got {} and {} of them",
            students.len(),
            teachers.len()
        );
        students.into_iter().zip(teachers).map(|(student, teacher)| of_one_batch(name, student, teacher)).collect()
    }
}

fn of_one_batch(name: &str, student: Tensor, teacher: Tensor) -> Result<(Tensor, Tensor)> {
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    if let Some(wrong) = [&ours, &theirs].into_iter().find(|dims| dims.len() < 2) {
        return Err(Error::new(format!("`{name}` wants values [N, ...], got {wrong:?}")));
    }
    ensure!(
        ours[0] == theirs[0],
        "`{name}` got batches that differ in samples (dim 0)\n  student: {ours:?}\n  teacher: {theirs:?}"
    );
    if let Some(wrong) = [&ours, &theirs].into_iter().find(|dims| dims.contains(&0)) {
        return Err(Error::new(format!("`{name}` got an empty batch: {wrong:?}")));
    }
    Ok((student, teacher.detach()))
}

/// Refuses two values that differ in shape; `name` is the component's, for the message.
///
/// # Errors
/// The shapes differ, or a value is poisoned.
#[track_caller]
pub fn same_shape(name: &str, student: &Tensor, teacher: &Tensor) -> Result<()> {
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(ours == theirs, "`{name}` got features that differ\n  student: {ours:?}\n  teacher: {theirs:?}");
    Ok(())
}

/// The dimensions of a value, which must be a feature map; `name` is the component's, for the message.
///
/// # Errors
/// Other than four dimensions, or a poisoned value.
#[track_caller]
pub fn map_dims(name: &str, map: &Tensor) -> Result<[usize; 4]> {
    let dims = map.dims()?;
    <[usize; 4]>::try_from(dims)
        .map_err(|dims| Error::new(format!("`{name}` wants feature maps [N, C, H, W], got {dims:?}")))
}

/// Both maps at one size: in each direction the larger is brought to the smaller by adaptive average pooling.
///
/// # Errors
/// Other than four dimensions, or a poisoned value.
#[track_caller]
pub fn common_size(name: &str, student: &Tensor, teacher: &Tensor) -> Result<(Tensor, Tensor)> {
    let ([_, _, h, w], [_, _, th, tw]) = (map_dims(name, student)?, map_dims(name, teacher)?);
    let size = [h.min(th), w.min(tw)];
    let pooled = |map: &Tensor, own: [usize; 2]| if own == size { map.clone() } else { map.adaptive_avg_pool2d(size) };
    Ok((pooled(student, [h, w]), pooled(teacher, [th, tw])))
}

/// Sum of the scalars that a loss found at its taps, which are emitted as `per_layer` `[taps]`. The list must not be empty.
///
/// # Errors
/// An empty list.
#[track_caller]
pub fn sum_of_layers(cx: &Cx, layers: &[Tensor]) -> Result<Tensor> {
    let layers = Tensor::stack(&layers.iter().collect::<Vec<_>>(), 0)?; // [taps]
    cx.emit("per_layer", &layers);
    Ok(layers.sum_all())
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::testing::Bench;

    #[derive(Deserialize, JsonSchema)]
    struct Nothing {}

    /// Mean product of all pairs, maps at their common size.
    struct Products;

    impl Component for Products {
        type Config = Nothing;
        const NAME: &'static str = "products";
        fn new(_: Nothing) -> Result<Self> {
            Ok(Products)
        }
        fn ports() -> Vec<Port> {
            vec![Port::student().many(), Port::teacher().many(), Port::data("whole").optional()]
        }
    }

    impl Loss for Products {
        fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
            if x.has("whole") {
                let (student, teacher) = x.pair("products")?;
                same_shape("products", &student, &teacher)?;
                return Ok((student * teacher).mean_all());
            }
            let products = x.pairs("products")?.into_iter().map(|(student, teacher)| {
                let (student, teacher) = common_size("products", &student, &teacher)?;
                Ok((student * teacher).mean_all())
            });
            sum_of_layers(cx, &products.collect::<Result<Vec<_>>>()?)
        }
    }

    fn bench(student: &[usize], teacher: &[usize]) -> Bench {
        let ramp = |shape: &[usize]| (1..=shape.iter().product()).map(|value: usize| value as f64).collect::<Vec<_>>();
        let bench = Bench::loss::<Products>("{}").expect("configured");
        bench.input("student", student, &ramp(student)).input("teacher", teacher, &ramp(teacher))
    }

    fn whole(student: &[usize], teacher: &[usize]) -> Bench {
        bench(student, teacher).input("whole", &[1], &[0.0])
    }

    #[track_caller]
    fn refusal(mut bench: Bench) -> String {
        bench.run().expect_err("refused").to_string()
    }

    #[test]
    fn pair_of_one_batch_is_taken() {
        assert_eq!(whole(&[1, 2], &[1, 2]).run().expect("runs").loss(), 2.5);
    }

    #[test]
    fn pairs_meet_at_the_smaller_size() {
        // Student 2x1 and teacher 1x2: both at 1x1, with means 1.5.
        assert_eq!(bench(&[1, 1, 2, 1], &[1, 1, 1, 2]).run().expect("runs").loss(), 2.25);
        let shape: &[usize] = &[1, 1, 1, 1];
        let several = bench(&[1, 2], &[1, 2])
            .input_list("student", &[(shape, &[2.0]), (shape, &[3.0])])
            .input_list("teacher", &[(shape, &[5.0]), (shape, &[7.0])]);
        let run = { several }.run().expect("runs");
        assert_eq!((run.loss(), run.grad_at("student", 1)), (31.0, &[7.0][..]));
        assert_eq!(run.grad_at("teacher", 0), [0.0]);
        assert_eq!(run.emitted("per_layer").values, [10.0, 21.0]);
    }

    #[test]
    fn pairs_that_do_not_fit_are_errors() {
        assert_eq!(
            refusal(whole(&[2, 3], &[3, 3])),
            "`products` got batches that differ in samples (dim 0)\n  student: [2, 3]\n  teacher: [3, 3]"
        );
        assert_eq!(refusal(whole(&[2], &[2, 1])), "`products` wants values [N, ...], got [2]");
        assert_eq!(refusal(whole(&[2, 0], &[2, 3])), "`products` got an empty batch: [2, 0]");
        assert!(refusal(whole(&[2, 2], &[2, 3])).starts_with("`products` got features that differ\n  student: [2, 2]"));
        assert_eq!(refusal(bench(&[2, 2], &[2, 2])), "`products` wants feature maps [N, C, H, W], got [2, 2]");
        let uneven = bench(&[1, 1, 1, 1], &[1, 1, 1, 1]).input_list("student", &[]);
        assert_eq!(
            refusal(uneven),
            "`products` pairs the values of `student` and `teacher` in order, and got 0 and 1 of them"
        );
    }
}
