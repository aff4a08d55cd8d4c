//! A loss that is the sum of one operation: what its gradient is at a kink is part of the interface.

use stillhouse_plugin::op::Op;
use stillhouse_plugin::prelude::*;

/// Settings of [`Kink`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KinkConfig {
    /// Code of the operation.
    code: u32,
    /// Its whole numbers.
    #[serde(default)]
    ints: Vec<i64>,
    /// Its real numbers.
    #[serde(default)]
    floats: Vec<f64>,
}

/// The sum of an operation's result; it reads the student, or the student and the teacher.
pub(crate) struct Kink(Op);

impl Component for Kink {
    type Config = KinkConfig;
    const NAME: &'static str = "kink";
    const DOC: &'static str = "The sum of one operation by its code";
    fn new(config: KinkConfig) -> Result<Self> {
        let op = Op::decode(config.code, &config.ints, &config.floats);
        op.map(Kink).ok_or_else(|| Error::new(format!("`code` {} is no operation of these numbers", config.code)))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::student().named("other").optional()]
    }
}

impl Loss for Kink {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let student = x.one("student")?;
        let others = x.optional("other")?;
        Ok(student.apply(&self.0, &others.iter().collect::<Vec<_>>()).sum_all())
    }
}

register!(loss Kink);
