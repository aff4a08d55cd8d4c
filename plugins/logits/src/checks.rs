//! What both losses ask of their logits and settings.

use stillhouse_plugin::prelude::*;

/// Logits `[N, C]` of both sides, of one shape; the teacher's without gradient.
pub(crate) fn logits(name: &str, x: &Inputs) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = x.pair(name)?;
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    let (place, hint) = match ours.get(1) == theirs.get(1) {
        true => ("", ""),
        false => (" in classes (dim 1)", "\n\nhint: both networks must score the same classes"),
    };
    ensure!(ours == theirs, "`{name}` got logits that differ{place}\n  student: {ours:?}\n  teacher: {theirs:?}{hint}");
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
