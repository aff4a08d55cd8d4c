//! A fully connected layer of low rank.

use stillhouse_plugin::prelude::*;

/// Settings of [`TemplateName`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateNameConfig {
    /// Largest rank of the matrix; at least 1.
    #[schemars(range(min = 1))]
    pub rank: usize,
}

impl Default for TemplateNameConfig {
    fn default() -> TemplateNameConfig {
        TemplateNameConfig { rank: 8 }
    }
}

/// Takes the place of a fully connected layer, as two thin ones: fewer parameters, a matrix of low rank.
///
/// ```text
/// y = B (A x) + b        instead of y = W x + b
/// ```
/// The replaced layer is seen once, when the part is bound: its output's shape is the one to give. A module over time keeps
/// nothing in itself: it reads `state.get("name")`, empty at the first frame, and hands on `Stepped::new(y).state("name", &t)`.
///
/// # Shapes and units
/// - input `[N, C]` float, output `[N, K]` as of the replaced layer
/// - parameters `a.weight` `[rank, C]`, `b.weight` `[K, rank]`, `b.bias` `[K]`
/// - inner value `inner` `[N, rank]`, for taps: `<path of the layer>.inner`
///
/// # Errors
/// Layers between other than vectors, `rank = 0`.
///
/// # Example
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use template_name::TemplateName;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::module::<TemplateName>(r#"{"rank": 1}"#)?
///     .input("input", &[1, 2], &[1.0, 2.0])
///     .input("replaced", &[1, 2], &[0.0, 0.0])
///     .param("a.weight", &[1.0, 1.0])
///     .param("b.weight", &[2.0, -1.0])
///     .param("b.bias", &[0.5, 0.0])
///     .run()?;
/// assert_eq!(run.output().values, [6.5, -3.0]);
/// # Ok(())
/// # }
/// ```
pub struct TemplateName {
    config: TemplateNameConfig,
    layers: Option<[Linear; 2]>,
}

impl Component for TemplateName {
    type Config = TemplateNameConfig;
    const NAME: &'static str = "template_name";
    const DOC: &'static str = "A fully connected layer of low rank";
    const CITATION: &'static str = "";

    fn new(config: TemplateNameConfig) -> Result<TemplateName> {
        ensure!(config.rank >= 1, "`rank` must be at least 1, got 0");
        Ok(TemplateName { config, layers: None })
    }
}

impl Module for TemplateName {
    /// Parameters are made here and nowhere else; `x` and `replaced` have shapes but no values.
    fn bind(&mut self, cx: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()> {
        let (from, to) = (x.dims()?, replaced.dims()?);
        let (&[_, inputs], &[_, outputs]) = (&from[..], &to[..]) else {
            return Err(Error::new(format!(
                "`{}` replaces a layer from [N, C] to [N, K], got {from:?} to {to:?}",
                Self::NAME
            )));
        };
        let rank = self.config.rank;
        self.layers = Some([
            Linear::bind(cx, "a", inputs, rank, false),
            Linear::bind(cx, "b", rank, outputs, true),
        ]);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Tensor, _state: &State) -> Result<Stepped> {
        let Some([a, b]) = &self.layers else {
            return Err(Error::new(format!("`{}` ran before it was bound", Self::NAME)));
        };
        let inner = a.forward(cx, x); // [N, rank]
        let output = b.forward(cx, &inner); // [N, K]
        Ok(Stepped::new(output).value("inner", &inner))
    }
}

register!(module TemplateName);
