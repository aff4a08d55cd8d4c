//! Components that misbehave, each in its own way and in nothing else. Every loss reads the student's logits only.

mod distillers;
mod endings;
mod gate;
mod losses;
mod midway;
mod others;
mod settings;

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoConfig {}

/// Makes a loss of a name, a description and the body of its `forward`; `new` and `bind` do nothing.
macro_rules! loss {
    ($type:ident, $name:literal, $doc:literal, |$cx:ident, $x:ident| $body:expr) => {
        #[doc = $doc]
        pub(crate) struct $type;

        impl Component for $type {
            type Config = $crate::NoConfig;
            const NAME: &'static str = $name;
            const DOC: &'static str = $doc;
            fn new(_: $crate::NoConfig) -> Result<Self> {
                Ok($type)
            }
            fn ports() -> Vec<Port> {
                vec![Port::student().or("logits")]
            }
        }

        impl Loss for $type {
            fn forward(&self, $cx: &Cx, $x: &Inputs) -> Result<Tensor> {
                $body
            }
        }

        register!(loss $type);
    };
}
pub(crate) use loss;

export_plugin!();
