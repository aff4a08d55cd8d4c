//! A plugin of a newer minor: its losses are those of 1.0 until a step in which they ask for what 1.0 has not.

use stillhouse_plugin::prelude::*;

/// Settings of both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NextConfig {
    /// Step from which on what is new is asked for.
    from_step: u64,
}

impl Default for NextConfig {
    fn default() -> NextConfig {
        NextConfig { from_step: 1_000_000 }
    }
}

/// Makes a loss of the mean square of the student's logits, through `$new` from a step on.
macro_rules! loss {
    ($type:ident, $name:literal, |$cx:ident, $x:ident| $new:expr) => {
        /// A mean square, and something new.
        pub(crate) struct $type(NextConfig);

        impl Component for $type {
            type Config = NextConfig;
            const NAME: &'static str = $name;
            const DOC: &'static str = "A mean square, and something that 1.0 has not";
            fn new(config: NextConfig) -> Result<Self> {
                Ok($type(config))
            }
            fn ports() -> Vec<Port> {
                vec![Port::student().or("logits")]
            }
        }

        impl Loss for $type {
            fn forward(&self, $cx: &Cx, x: &Inputs) -> Result<Tensor> {
                let $x = x.one("student")?;
                let dims = $x.dims()?;
                ensure!(!dims.contains(&0), "wants values, got {dims:?}");
                // In a trace the step is 0, too.
                let value = if $cx.moment().step >= self.0.from_step { $new } else { $x };
                Ok(value.square().mean_all())
            }
        }

        register!(loss $type);
    };
}

loss!(Gathers, "gathers", |cx, x| cx.all_gather(&x)?);
loss!(Accumulates, "accumulates", |cx, x| x.cumulative_sum(0));

export_plugin!();
