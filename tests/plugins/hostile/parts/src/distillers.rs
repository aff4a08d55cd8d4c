//! Distillers that misbehave.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// Makes a distiller of a name, its plan and its terms.
macro_rules! distiller {
    ($type:ident, $name:literal, $doc:literal, $plan:expr, |$x:ident| $terms:expr) => {
        #[doc = $doc]
        pub(crate) struct $type;

        impl Component for $type {
            type Config = NoConfig;
            const NAME: &'static str = $name;
            const DOC: &'static str = $doc;
            fn new(_: NoConfig) -> Result<Self> {
                Ok($type)
            }
            fn ports() -> Vec<Port> {
                vec![Port::student().or("logits")]
            }
        }

        impl Distiller for $type {
            fn plan(&mut self, _: &Site) -> Result<Plan> {
                $plan
            }
            fn step(&self, _: &Cx, $x: &Inputs) -> Result<Vec<(String, Tensor)>> {
                $terms
            }
        }

        register!(distiller $type);
    };
}

fn one_term() -> Plan {
    Plan { terms: vec![TermPlan::new("mean")], ..Plan::default() }
}

distiller!(PanicsInPlan, "panics_in_plan", "Panics in its plan", panic!("boom in plan"), |_x| Ok(vec![]));

distiller!(
    UnknownGroup,
    "unknown_group",
    "Plans a phase that updates a group which it has not",
    Ok(Plan {
        phases: vec![Phase {
            name: "first".into(),
            terms: vec!["mean".into()],
            updates: vec!["nobody".into()],
            ..Phase::default()
        }],
        ..one_term()
    }),
    |x| Ok(vec![("mean".into(), x.one("student")?.mean_all())])
);

distiller!(OtherTerms, "other_terms", "Gives another term than it planned", Ok(one_term()), |x| Ok(vec![(
    "median".into(),
    x.one("student")?.mean_all()
)]));
