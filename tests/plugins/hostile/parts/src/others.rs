//! Connectors and modules that misbehave.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// Gives its input back, whatever the shape of the other end.
pub(crate) struct WrongShape;

impl Component for WrongShape {
    type Config = NoConfig;
    const NAME: &'static str = "wrong_shape";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(WrongShape)
    }
}

impl Connector for WrongShape {
    fn bind(&mut self, _: &BindCx, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }
    fn forward(&self, _: &Cx, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }
}

register!(connector WrongShape);

/// Refuses every pair of ends.
pub(crate) struct RefusesEnds;

impl Component for RefusesEnds {
    type Config = NoConfig;
    const NAME: &'static str = "refuses_ends";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(RefusesEnds)
    }
}

impl Connector for RefusesEnds {
    fn bind(&mut self, _: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        Err(Error::new(format!("cannot connect {} to {}", from.meta()?, to.meta()?)))
    }
    fn forward(&self, _: &Cx, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }
}

register!(connector RefusesEnds);

/// Panics in every frame that is computed.
pub(crate) struct PanicsInStep;

impl Component for PanicsInStep {
    type Config = NoConfig;
    const NAME: &'static str = "panics_in_step";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(PanicsInStep)
    }
}

impl Module for PanicsInStep {
    fn bind(&mut self, _: &BindCx, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }
    fn step(&self, _: &Cx, x: &Tensor, _: &State) -> Result<Stepped> {
        assert!(x.is_symbolic()?, "boom in step");
        Ok(Stepped::new(x.clone()))
    }
}

register!(module PanicsInStep);
