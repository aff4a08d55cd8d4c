//! What both losses ask of their logits and settings.

use stillhouse_plugin::prelude::*;

/// Logits `[N, C]` of both sides, of one shape; the teacher's without gradient.
pub(crate) fn logits(name: &str, x: &Inputs) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = x.pair(name)?;
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(
        ours == theirs,
        "`{name}` got logits that differ{}\n  student: {ours:?}\n  teacher: {theirs:?}",
        if ours.get(1) != theirs.get(1) { " in classes (dim 1)" } else { "" }
    );
    ensure!(ours.len() == 2, "`{name}` wants logits [N, C], got {ours:?}");
    Ok((student, teacher))
}

/// Refuses temperatures that soften nothing.
pub(crate) fn check_temperature(temperature: f64) -> Result<()> {
    ensure!(
        temperature.is_finite() && temperature > 0.0,
        "`temperature` must be finite and above 0, got {temperature}"
    );
    Ok(())
}
