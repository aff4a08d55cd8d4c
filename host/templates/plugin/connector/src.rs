//! A map between vectors through a narrow layer.

use stillhouse_plugin::prelude::*;

/// Settings of [`TemplateName`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateNameConfig {
    /// Width of the layer between; at least 1.
    #[schemars(range(min = 1))]
    pub width: usize,
}

impl Default for TemplateNameConfig {
    fn default() -> TemplateNameConfig {
        TemplateNameConfig { width: 16 }
    }
}

/// Two fully connected layers with a ReLU between them, from the student's vectors to the teacher's.
///
/// ```text
/// y = W2 relu(W1 x + b1) + b2
/// ```
/// Both ends are seen once, when the part is bound: their shapes give the sizes. The host owns, trains and saves the parameters.
///
/// # Shapes and units
/// - `from` `[N, C]` float; carries gradient
/// - `to` `[N, C']`; only its shape is read
/// - parameters `inner.weight` `[width, C]`, `inner.bias`, `outer.weight` `[C', width]`, `outer.bias`
///
/// # Errors
/// Ends that are no vectors, `width = 0`.
///
/// # Example
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use template_name::TemplateName;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<TemplateName>(r#"{"width": 1}"#)?
///     .input("from", &[1, 2], &[1.0, 2.0])
///     .input("to", &[1, 1], &[0.0])
///     .param("inner.weight", &[3.0, 1.0])
///     .param("inner.bias", &[-1.0])
///     .param("outer.weight", &[2.0])
///     .param("outer.bias", &[0.5])
///     .run()?;
/// assert_eq!(run.output().values, [8.5]); // 2 (3 + 2 - 1) + 0.5
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
    const DOC: &'static str = "Two fully connected layers with a ReLU between them";
    const CITATION: &'static str = "";

    fn new(config: TemplateNameConfig) -> Result<TemplateName> {
        ensure!(config.width >= 1, "`width` must be at least 1, got 0");
        Ok(TemplateName { config, layers: None })
    }
}

impl Connector for TemplateName {
    /// Parameters are made here and nowhere else; `from` and `to` have shapes but no values.
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let (ours, theirs) = (from.dims()?, to.dims()?);
        let (&[_, inputs], &[_, outputs]) = (&ours[..], &theirs[..]) else {
            return Err(Error::new(format!(
                "`{}` connects vectors [N, C]\n  from: {ours:?}\n  to: {theirs:?}",
                Self::NAME
            )));
        };
        let width = self.config.width;
        self.layers = Some([
            Linear::bind(cx, "inner", inputs, width, true),
            Linear::bind(cx, "outer", width, outputs, true),
        ]);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let Some([inner, outer]) = &self.layers else {
            return Err(Error::new(format!("`{}` ran before it was bound", Self::NAME)));
        };
        let narrow = inner.forward(cx, x).relu(); // [N, width]
        Ok(outer.forward(cx, &narrow)) // [N, C']
    }
}

register!(connector TemplateName);
