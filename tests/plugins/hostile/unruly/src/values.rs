//! Losses whose values are wrong in one way.

use crate::{loss, pair};
use stillhouse_plugin::prelude::*;

loss!(KeepsRules, "keeps_rules", "A squared distance that keeps all rules", |_cx, x| {
    let (student, teacher) = pair("keeps_rules", x)?;
    Ok((student - teacher).square().mean_all())
});

loss!(PanicsOnVectors, "panics_on_vectors", "Takes the second dimension of what has one", |_cx, x| {
    let student = x.one("student")?;
    let classes = student.dims()?[1];
    let (student, teacher) = pair("panics_on_vectors", x)?;
    Ok((student - teacher).square().mean_all() * classes as f64)
});

loss!(Imprecise, "imprecise", "Loses what single precision cannot hold", |_cx, x| {
    let (student, teacher) = pair("imprecise", x)?;
    Ok((((student - teacher).square() + 3e6) - 3e6).mean_all())
});

loss!(TurnsOver, "turns_over", "Turns both sides over, so that nothing but one class fits", |_cx, x| {
    let (student, teacher) = pair("turns_over", x)?;
    Ok((student.t() * teacher).mean_all())
});

loss!(Flat, "flat", "Gives a gradient that is 0 everywhere", |_cx, x| {
    let (student, teacher) = pair("flat", x)?;
    Ok((student * 0.0 - teacher).square().mean_all())
});

loss!(CouplesSamples, "couples_samples", "Forgets a dimension: [N] times [N, 1] is [N, N]", |_cx, x| {
    let (student, teacher) = pair("couples_samples", x)?;
    Ok((student.square().sum(&[1]) * teacher.square().sum_keep(&[1])).mean_all())
});

loss!(AddsSamples, "adds_samples", "Adds over the samples", |_cx, x| {
    let (student, teacher) = pair("adds_samples", x)?;
    Ok((student - teacher).square().mean(&[1]).sum_all())
});

loss!(InfiniteAtZero, "infinite_at_zero", "Takes a root without a bound below", |_cx, x| {
    let (student, teacher) = pair("infinite_at_zero", x)?;
    Ok((student - teacher).square().sum(&[1]).sqrt().mean_all())
});
