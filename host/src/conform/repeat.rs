//! The same inputs give the same bits.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, LARGE, Optional, Scene};
use super::subject::{Outcome, Trouble, numbers, results};
use crate::ops::Staged;
use candle_core::{DType, Tensor};

/// Numbers of threads that are compared with one.
const THREADS: [usize; 2] = [2, 5];

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let ports = kit.subject(DType::F32, &kit.scenes[0])?.ports();
    // Work on few numbers is not cut into pieces: large inputs belong here.
    let large = LARGE.iter().filter_map(|family| Scene::new(&ports, family, 32, Optional::Usual));
    let large: Vec<Scene> = large.filter(|scene| kit.takes(scene).is_ok()).take(1).collect();
    for scene in kit.scenes.iter().chain(&large) {
        let on = |threads: usize| -> Result<Vec<u64>, Trouble> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|error| Trouble::Refused(format!("no threads: {error}")))?;
            pool.install(|| twice(kit, scene))
        };
        let first = on(1)?;
        let (once, again) = first.split_at(first.len() / 2);
        if once != again {
            return Ok(Verdict::Failed(format!("{}: a second run gives other bits", scene.name)));
        }
        if on(1)? != first {
            return Ok(Verdict::Failed(format!("{}: a second part gives other bits", scene.name)));
        }
        for threads in THREADS {
            if on(threads)? != first {
                return Ok(Verdict::Failed(format!("{}: {threads} threads give other bits than one", scene.name)));
            }
        }
    }
    Ok(Verdict::Ok(format!("runs, parts, 1, {} and {} threads: the same bits", THREADS[0], THREADS[1])))
}

/// Bits of everything that two runs of a new part give.
fn twice(kit: &Kit<'_>, scene: &Scene) -> Result<Vec<u64>, Trouble> {
    let mut subject = kit.subject(DType::F32, scene)?;
    subject.asked = true;
    let ports = scene.values(DType::F32, Fill::Random(0))?;
    let mut all = vec![];
    for _ in 0..2 {
        for at in subject.moments() {
            all.extend(bits(&subject.run(&at, &ports)?)?);
        }
    }
    Ok(all)
}

/// Bits of results, gradients and what was staged.
pub(super) fn bits(outcome: &Outcome) -> candle_core::Result<Vec<u64>> {
    let staged = outcome.given.staged.iter().flat_map(|staged| match staged {
        Staged::Whole { value, .. } => vec![value.clone()],
        Staged::Rows { index, rows, .. } => vec![index.clone(), rows.clone()],
    });
    let gradients = outcome.gradients.iter().filter_map(|(_, value)| value.clone());
    let tensors: Vec<Tensor> =
        results(&outcome.given).into_iter().map(|(_, value)| value).chain(gradients).chain(staged).collect();
    let mut all = vec![];
    for tensor in tensors {
        all.extend(numbers(&tensor)?.into_iter().map(f64::to_bits));
    }
    Ok(all)
}
