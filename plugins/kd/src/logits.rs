//! What both losses ask of their logits and temperature.

use stillhouse_plugin::prelude::*;

/// Logits of student and teacher, of one shape `[N, C, ...]` with N and C above 0; the teacher's without gradient.
pub(crate) fn pair(name: &str, x: &Inputs) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = (x.one("student")?, x.one("teacher")?);
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(ours.len() >= 2, "`{name}` wants logits [N, C, ...], got {ours:?}");
    let (place, hint) = match ours.get(1) == theirs.get(1) {
        true => ("", ""),
        false => (" in classes (dim 1)", "\n\nhint: both networks must score the same classes"),
    };
    ensure!(ours == theirs, "`{name}` got logits that differ{place}\n  student: {ours:?}\n  teacher: {theirs:?}{hint}");
    ensure!(ours[0] > 0, "`{name}` got an empty batch: {ours:?}");
    ensure!(ours[1] > 0, "`{name}` got logits without classes: {ours:?}");
    Ok((student, teacher.detach()))
}

/// Refuses temperatures that soften nothing.
pub(crate) fn check_temperature(temperature: f64) -> Result<()> {
    ensure!(
        temperature.is_finite() && temperature > 0.0,
        "`temperature` must be finite and above 0, got {temperature}"
    );
    Ok(())
}
