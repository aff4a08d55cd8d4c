//! Modules that keep the rules at the first frame of a training only.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// Makes a module of a name, a description and the body of its `step`; it stands in the place of a layer that keeps `[N, D]`.
macro_rules! module {
    ($type:ident, $name:literal, $doc:literal, |$cx:ident, $x:ident, $state:ident| $body:expr) => {
        #[doc = $doc]
        pub(crate) struct $type;

        impl Component for $type {
            type Config = NoConfig;
            const NAME: &'static str = $name;
            const DOC: &'static str = $doc;
            fn new(_: NoConfig) -> Result<Self> {
                Ok($type)
            }
        }

        impl Module for $type {
            fn bind(&mut self, _: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()> {
                same_shape(Self::NAME, x, replaced)
            }
            fn step(&self, $cx: &Cx, $x: &Tensor, $state: &State) -> Result<Stepped> {
                let dims = $x.dims()?;
                ensure!(dims.len() == 2 && !dims.contains(&0), "`{}` wants [N, D], got {dims:?}", Self::NAME);
                $body
            }
        }

        register!(module $type);
    };
}

module!(KeepsSum, "keeps_sum", "Adds what came before, and keeps all rules", |_cx, x, state| {
    let sum = state.get("sum").map_or_else(|| x.clone(), |sum| sum + x);
    Ok(Stepped::new(sum.tanh()).state("sum", &sum))
});

module!(PanicsOnState, "panics_on_state", "Panics at the second frame", |_cx, x, state| {
    assert!(state.is_empty(), "boom at the second frame");
    Ok(Stepped::new(x.tanh()).state("last", x))
});

module!(GrowingState, "growing_state", "Its state grows from frame to frame", |_cx, x, state| {
    let all = state.get("all").map_or_else(|| Ok(x.clone()), |all| Tensor::concat(&[&all, x], 1))?;
    Ok(Stepped::new(x.tanh()).state("all", &all))
});

module!(CouplesOnState, "couples_on_state", "Mixes samples from the second frame on", |_cx, x, state| {
    let last = state.get("last").map_or_else(|| x.clone(), |last| x + last.mean_keep(&[0]));
    Ok(Stepped::new(last.tanh()).state("last", x))
});

module!(CouplesInEvaluation, "couples_in_evaluation", "Mixes samples in evaluation", |cx, x, _state| {
    let rows = if cx.moment().training { x.clone() } else { x - x.mean_keep(&[0]) };
    Ok(Stepped::new(rows.tanh()))
});
