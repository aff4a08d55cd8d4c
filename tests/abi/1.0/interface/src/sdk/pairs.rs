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
    pub fn pair(&self, name: &str) -> Result<(Tensor, Tensor)> {
        of_one_batch(name, self.one("student")?, self.one("teacher")?)
    }

    /// As [`pair`](Inputs::pair), for ports of many values: the first of `student` with the first of `teacher`, and so on.
    ///
    /// # Errors
    /// As [`pair`](Inputs::pair), or other numbers of values.
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
pub fn same_shape(name: &str, student: &Tensor, teacher: &Tensor) -> Result<()> {
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(ours == theirs, "`{name}` got features that differ\n  student: {ours:?}\n  teacher: {theirs:?}");
    Ok(())
}

/// The dimensions of a value, which must be a feature map; `name` is the component's, for the message.
///
/// # Errors
/// Other than four dimensions, or a poisoned value.
pub fn map_dims(name: &str, map: &Tensor) -> Result<[usize; 4]> {
    let dims = map.dims()?;
    <[usize; 4]>::try_from(dims)
        .map_err(|dims| Error::new(format!("`{name}` wants feature maps [N, C, H, W], got {dims:?}")))
}

/// Both maps at one size: in each direction the larger is brought to the smaller by adaptive average pooling.
///
/// # Errors
/// Other than four dimensions, or a poisoned value.
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
pub fn sum_of_layers(cx: &Cx, layers: &[Tensor]) -> Result<Tensor> {
    let layers = Tensor::stack(&layers.iter().collect::<Vec<_>>(), 0)?; // [taps]
    cx.emit("per_layer", &layers);
    Ok(layers.sum_all())
}
