//! The host's side of the table: raw calls, and parts made in process.

mod fused;
mod reference;
mod replay;
mod samples;
mod session;
mod shapes;
mod state;
mod surface;
mod trace;

use super::session::{Manner, Opening, Session, Stage};
use super::{BoundPart, Moment, ParamSet, host_api};
use candle_core::{DType as CandleType, Device, Tensor};
use std::rc::Rc;
use stillhouse_plugin::abi::abi_stable::std_types::{RSlice, RSliceMut};
use stillhouse_plugin::abi::{AbiError, Handle};
use stillhouse_plugin::op::Op;
use stillhouse_plugin::sdk::Entry;

pub(crate) fn params(float: CandleType) -> Rc<ParamSet> {
    Rc::new(ParamSet::new("term", 7, float, &Device::Cpu))
}

/// A part of this process.
pub(crate) fn part(entry: &Entry, config: &str, params: Rc<ParamSet>) -> BoundPart {
    let made = entry.make(config, host_api()).expect("a configuration that the component takes");
    BoundPart::new("`term` (`probe`)", (entry.desc)(), made, params)
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(CandleType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn row(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

fn opening(stage: Stage, symbolic: bool) -> Opening {
    let moment = Moment::default();
    Opening { stage, symbolic, params: params(CandleType::F64), moment, dynamic: false, manner: Manner::default() }
}

/// One call of the table.
fn ask(session: &Session, op: &Op, inputs: &[Handle]) -> Handle {
    ask_all(session, op, inputs)[0]
}

fn ask_all(session: &Session, op: &Op, inputs: &[Handle]) -> Vec<Handle> {
    let encoded = op.encode();
    ask_raw(session, (op.code(), op.name()), inputs, (encoded.ints(), encoded.floats()), op.outputs())
}

type Numbers<'a> = (&'a [i64], &'a [f64]);

fn ask_raw(
    session: &Session,
    (code, name): (u32, &str),
    inputs: &[Handle],
    numbers: Numbers<'_>,
    results: usize,
) -> Vec<Handle> {
    let mut out = vec![Handle::default(); results];
    let (inputs, ints, floats) =
        (RSlice::from_slice(inputs), RSlice::from_slice(numbers.0), RSlice::from_slice(numbers.1));
    host_api().call()(session.ctx(), code, name.into(), inputs, ints, floats, RSliceMut::from_mut_slice(&mut out));
    out
}

fn message(error: Option<AbiError>) -> String {
    error.map(|error| error.message.into_string()).unwrap_or_default()
}
