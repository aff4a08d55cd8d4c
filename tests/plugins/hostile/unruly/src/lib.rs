//! Components that would train, and each breaks one rule that a host relies on and in nothing else.

mod hidden;
mod modules;
mod operations;
mod reach;
mod settings;
mod values;

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoConfig {}

/// Makes a loss of a name, a description and the body of its `forward`; it reads the logits of both sides.
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
                vec![Port::student().or("logits"), Port::teacher().or("logits")]
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

/// The logits of both sides, of one shape `[N, C]`.
pub(crate) fn pair(name: &str, x: &Inputs) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = x.pair(name)?;
    same_shape(name, &student, &teacher)?;
    let dims = student.dims()?;
    ensure!(dims.len() == 2 && !dims.contains(&0), "`{name}` wants logits [N, C], got {dims:?}");
    Ok((student, teacher))
}

export_plugin!();
