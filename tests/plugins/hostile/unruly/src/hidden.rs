//! Parts that keep what belongs to the host.

use crate::{NoConfig, loss, pair};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use stillhouse_plugin::prelude::*;

static CALLS: AtomicU64 = AtomicU64::new(0);

loss!(CountsCalls, "counts_calls", "Gives another value at each call, traces aside", |_cx, x| {
    let (student, teacher) = pair("counts_calls", x)?;
    let calls = if student.is_symbolic()? { 0 } else { CALLS.fetch_add(1, Ordering::Relaxed) };
    Ok((student - teacher).square().mean_all() * (1.0 + calls as f64 * 1e-3))
});

loss!(CountsThreads, "counts_threads", "Gives another value on another number of threads", |cx, x| {
    let (student, teacher) = pair("counts_threads", x)?;
    let threads = Mutex::new(HashSet::new());
    cx.parallel_for(64, 1, |_, _| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        threads.lock().expect("no panic").insert(std::thread::current().id());
    })?;
    let count = threads.into_inner().expect("no panic").len();
    let count = if student.is_symbolic()? { 1 } else { count };
    Ok((student - teacher).square().mean_all() * count as f64)
});

/// Keeps the number of epochs in itself.
pub(crate) struct KeepsEpochs(AtomicU64);

impl Component for KeepsEpochs {
    type Config = NoConfig;
    const NAME: &'static str = "keeps_epochs";
    const DOC: &'static str = "Counts epochs in itself, where no checkpoint finds them";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(KeepsEpochs(AtomicU64::new(0)))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Distiller for KeepsEpochs {
    fn plan(&mut self, _: &Site) -> Result<Plan> {
        Ok(Plan { terms: vec![TermPlan::new("distance")], ..Plan::default() })
    }
    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let (student, teacher) = pair(Self::NAME, x)?;
        // Where training stands is asked, so that the graph is not repeated without the part.
        let epochs = self.0.load(Ordering::Relaxed) + cx.moment().epoch;
        let distance = (student - teacher).square().mean_all() * (1.0 + epochs as f64);
        Ok(vec![("distance".into(), distance)])
    }
    fn epoch_end(&self, _: &Cx) -> Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

register!(distiller KeepsEpochs);
