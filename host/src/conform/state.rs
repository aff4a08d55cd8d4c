//! Parameters and buffers hold all that there is to keep.

use super::kit::{Kit, Seen};
use super::repeat::bits;
use super::report::Verdict;
use super::scene::{Fill, Scene};
use super::subject::{Subject, Trouble};
use crate::model::{load_weights, save_weights};
use crate::ops::{Moment, ParamKind, PortIn};
use candle_core::DType;
use std::path::{Path, PathBuf};

/// Updates before the save.
const STEPS: u64 = 3;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let mut kept = 0;
    for (at, scene) in kit.scenes.iter().enumerate() {
        let file =
            Scratch(std::env::temp_dir().join(format!("stillhouse-check-{}-{at}.safetensors", std::process::id())));
        let mut first = kit.subject(DType::F32, scene)?;
        first.asked = true;
        for step in 0..STEPS {
            update(&first, scene, step)?;
        }
        kept = kept.max(first.part.params().entries().len());
        let wrong = |error: crate::model::WeightsError| Trouble::Refused(error.to_string());
        save_weights(&file.0, first.part.params()).map_err(wrong)?;
        let mut second = kit.subject(DType::F32, scene)?;
        second.asked = true;
        load_weights(&file.0, second.part.params()).map_err(wrong)?;
        let (went_on, resumed) = (update(&first, scene, STEPS)?, update(&second, scene, STEPS)?);
        if went_on != resumed {
            let text = format!(
                "{}: after a save and a load the next step is another one; what changes from step to step belongs in buffers",
                scene.name
            );
            return Ok(Verdict::Failed(text));
        }
    }
    Ok(Verdict::Ok(match kept {
        0 => "nothing to keep, and nothing kept elsewhere".into(),
        1 => "1 tensor".into(),
        _ => format!("{kept} tensors"),
    }))
}

/// One step of every stage and phase, and its update; gives all bits of it.
fn update(subject: &Subject, scene: &Scene, step: u64) -> Result<Vec<u64>, Trouble> {
    let ports: Vec<PortIn<'_>> = scene.values(DType::F32, Fill::Random(step))?;
    let params = subject.part.params();
    let mut all = vec![];
    for at in subject.moments() {
        let at = Moment { step, ..at };
        let outcome = subject.run(&at, &ports)?;
        all.extend(bits(&outcome)?);
        for (name, gradient) in &outcome.gradients {
            let (Some(name), Some(gradient)) = (name.strip_prefix("parameter "), gradient) else { continue };
            let entry = params.get(name).filter(|entry| entry.kind == ParamKind::Parameter);
            if let Some(entry) = entry {
                let moved = (entry.var.as_detached_tensor() - (gradient * 1e-3)?)?;
                params.assign(name, &moved)?;
            }
        }
        outcome.given.staged.iter().try_for_each(|staged| staged.commit(params))?;
        subject.part.epoch_end(&at)?.staged.iter().try_for_each(|staged| staged.commit(params))?;
    }
    Ok(all)
}

/// A file that is gone when it is done with.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}
