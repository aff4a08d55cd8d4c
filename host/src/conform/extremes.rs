//! Values that nobody expects.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::Fill;
use super::subject::{Trouble, not_finite};
use candle_core::DType;

const FILLS: [(&str, Fill); 8] = [
    ("zeros", Fill::Constant(0.0)),
    ("ones", Fill::Constant(1.0)),
    ("equal rows", Fill::EqualRows),
    ("equal sides", Fill::Match),
    ("one at 60, others at -60", Fill::Spread(60.0)),
    ("one at 1e4, others at -1e4", Fill::Spread(1e4)),
    ("values up to 1e4", Fill::Scaled(1e4)),
    ("values up to 1e-12", Fill::Scaled(1e-12)),
];

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (mut finite, mut refused) = (0, 0);
    for scene in &kit.scenes {
        for float in [DType::F32, DType::F64] {
            for (name, fill) in FILLS {
                let subject = kit.subject(float, scene)?;
                let ports = scene.values(float, fill)?;
                for at in subject.moments() {
                    let place =
                        || format!("{}, {name}, {}", scene.name, if float == DType::F32 { "f32" } else { "f64" });
                    match subject.run(&at, &ports) {
                        Ok(outcome) => match not_finite(&outcome)? {
                            None => finite += 1,
                            Some(wrong) => return Ok(Verdict::Failed(format!("{}: {wrong}", place()))),
                        },
                        Err(Trouble::Refused(_) | Trouble::Unfit(_)) => refused += 1,
                        Err(Trouble::Panicked(text)) => return Ok(Verdict::Failed(format!("{}: {text}", place()))),
                    }
                }
            }
        }
    }
    if finite == 0 {
        return Ok(Verdict::Failed(format!("none of {refused} runs is taken, so nothing is known of them")));
    }
    let words = if refused == 0 { String::new() } else { format!(", {refused} refused in words") };
    Ok(Verdict::Ok(format!("{finite} runs finite{words}")))
}
