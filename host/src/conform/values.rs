//! Results are finite, as they were traced, and alike in both types of floats.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::Fill;
use super::subject::{not_finite, numbers, results, shapes};
use candle_core::DType;
use stillhouse_plugin::op::Meta;

/// What single precision may differ by, relative to the largest value.
const ALLOWED: f64 = 2e-3;
/// Values below this are compared as if they were this large.
const FLOOR: f64 = 0.1;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (mut worst, mut fitting) = (0f64, true);
    for scene in &kit.scenes {
        let fail = |what: String| Ok(Verdict::Failed(format!("{}: {what}", scene.name)));
        let [single, double] = [DType::F32, DType::F64].map(|float| kit.subject(float, scene));
        let (single, double) = (single?, double?);
        let inputs = [DType::F32, DType::F64].map(|float| scene.values(float, Fill::Random(0)));
        let [of_single, of_double] = inputs;
        let (of_single, of_double) = (of_single?, of_double?);
        for at in double.moments() {
            // A part starts from the same values in either type.
            let (narrow, wide) = (single.run(&at, &of_single)?, double.run(&at, &of_double)?);
            for outcome in [&narrow, &wide] {
                if let Some(wrong) = not_finite(outcome)? {
                    return fail(wrong);
                }
            }
            let other = of_double.iter().find(|port| port.name == "to").and_then(|port| port.values.first());
            fitting &= other
                .is_none_or(|other| wide.given.output.as_ref().is_some_and(|output| output.dims() == other.dims()));
            if !kit.component.desc.dynamic {
                let traced: Vec<Meta> =
                    double.trace(&at, &of_double)?.results.into_iter().map(|(_, _, meta, _)| meta).collect();
                let got = shapes(&wide.given);
                if let Some((name, meta)) = got.iter().find(|(_, meta)| !traced.contains(meta)) {
                    return fail(format!("{name} is {meta}, the trace said {traced:?}"));
                }
            }
            for ((name, a), (_, b)) in results(&narrow.given).iter().zip(results(&wide.given)) {
                let (a, b) = (numbers(a)?, numbers(&b)?);
                let largest = b.iter().fold(FLOOR, |most, value| most.max(value.abs()));
                let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
                if error > ALLOWED && !scene.is_narrow {
                    return fail(format!("{name} differs by {error:.1e} between `f32` and `f64`"));
                }
                worst = if scene.is_narrow { worst } else { worst.max(error) };
            }
        }
    }
    let chained = if fitting { "" } else { "; need not give the shape of the other end, so it belongs in a chain" };
    Ok(Verdict::Ok(format!("`f32` within {worst:.0e} of `f64`{chained}")))
}
