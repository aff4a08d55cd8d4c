//! Losses that break before or after a step, and losses that end the process.

use crate::{NoConfig, loss};
use stillhouse_plugin::prelude::*;

/// Panics in `new`.
pub(crate) struct PanicsInNew;

impl Component for PanicsInNew {
    type Config = NoConfig;
    const NAME: &'static str = "panics_in_new";
    fn new(_: NoConfig) -> Result<Self> {
        panic!("boom in new")
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for PanicsInNew {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all())
    }
}

register!(loss PanicsInNew);

/// Panics in `bind`.
pub(crate) struct PanicsInBind;

impl Component for PanicsInBind {
    type Config = NoConfig;
    const NAME: &'static str = "panics_in_bind";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(PanicsInBind)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for PanicsInBind {
    fn bind(&mut self, _: &BindCx, _: &Inputs) -> Result<()> {
        panic!("boom in bind")
    }
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all())
    }
}

register!(loss PanicsInBind);

/// When [`ExitsEarly`] ends the process.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// When it is made.
    New,
    /// When it is shown its inputs.
    Bind,
    /// When its graph is drawn.
    Trace,
}

/// Settings of [`ExitsEarly`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExitsEarlyConfig {
    /// When it ends the process.
    when: When,
}

/// Ends the process with code 87 before any step.
pub(crate) struct ExitsEarly(When);

impl ExitsEarly {
    fn at(&self, now: When) {
        if self.0 == now {
            std::process::exit(87);
        }
    }
}

impl Component for ExitsEarly {
    type Config = ExitsEarlyConfig;
    const NAME: &'static str = "exits_early";
    fn new(config: ExitsEarlyConfig) -> Result<Self> {
        let made = ExitsEarly(config.when);
        made.at(When::New);
        Ok(made)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for ExitsEarly {
    fn bind(&mut self, _: &BindCx, _: &Inputs) -> Result<()> {
        self.at(When::Bind);
        Ok(())
    }
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        self.at(When::Trace);
        Ok(x.one("student")?.mean_all())
    }
}

register!(loss ExitsEarly);

loss!(PanicsInDrop, "panics_in_drop", "Panics when it is dropped", |_cx, x| Ok(x.one("student")?.mean_all()));

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("boom in drop");
    }
}

/// Makes a parameter that no term depends on.
pub(crate) struct IdleParameter;

impl Component for IdleParameter {
    type Config = NoConfig;
    const NAME: &'static str = "idle_parameter";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(IdleParameter)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for IdleParameter {
    fn bind(&mut self, cx: &BindCx, _: &Inputs) -> Result<()> {
        cx.add_param("idle", &[2, 3], &Init::Zeros);
        Ok(())
    }
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all())
    }
}

register!(loss IdleParameter);

/// Makes a parameter that no term depends on, and reads values, so that no trace shows it.
pub(crate) struct IdleUnseen;

impl Component for IdleUnseen {
    type Config = NoConfig;
    const NAME: &'static str = "idle_unseen";
    const DYNAMIC: bool = true;
    fn new(_: NoConfig) -> Result<Self> {
        Ok(IdleUnseen)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for IdleUnseen {
    fn bind(&mut self, cx: &BindCx, _: &Inputs) -> Result<()> {
        cx.add_param("idle", &[2, 3], &Init::Zeros);
        Ok(())
    }
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let student = x.one("student")?;
        student.to_vec()?;
        Ok(student.mean_all())
    }
}

register!(loss IdleUnseen);

loss!(ExitsInRun, "exits_in_run", "Ends the process with code 86 in a step", |_cx, x| {
    let student = x.one("student")?;
    if !student.is_symbolic()? {
        std::process::exit(86);
    }
    Ok(student.mean_all())
});

/// Calls itself for ever; the result keeps the compiler from making a loop of it.
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    1 + deeper(depth.wrapping_add(1)) + here[63]
}

loss!(OverflowsStack, "overflows_stack", "Overflows the stack in a step", |_cx, x| {
    let student = x.one("student")?;
    if !student.is_symbolic()? {
        std::hint::black_box(deeper(std::hint::black_box(0)));
    }
    Ok(student.mean_all())
});
