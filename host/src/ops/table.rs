//! The table that is handed to plugins. No panic leaves it, and every failure is a poisoned handle with its error kept.

use super::eager::{self, to_candle_dtype};
use super::fused;
use super::params::ParamKind;
use super::session::{Emitted, Session, Stage, Staged, Value};
use super::trace::{Leaf, Node};
use crate::data::Rng;
use candle_core::Tensor;
use smallvec::SmallVec;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use stillhouse_plugin::Init;
use stillhouse_plugin::abi::abi_stable::prefix_type::PrefixTypeTrait;
use stillhouse_plugin::abi::abi_stable::std_types::{ROption, RSlice, RSliceMut, RStr, RString};
use stillhouse_plugin::abi::{
    ABI_MAJOR, ABI_MINOR, AbiError, Ctx, FusedBox, Handle, HostApi, HostApi_Ref, ParallelFn, StepInfo, TensorInfo,
    code, distribution, text as text_keys,
};
use stillhouse_plugin::op::{DType, Meta, Op};

/// A handle describes so many.
const MOST_DIMENSIONS: usize = 8;

/// The table, made once.
pub fn host_api() -> HostApi_Ref {
    static TABLE: OnceLock<HostApi_Ref> = OnceLock::new();
    *TABLE.get_or_init(|| {
        HostApi {
            call,
            retain,
            release,
            describe,
            constant,
            read,
            fused: run_fused,
            parameter,
            buffer,
            state,
            set,
            set_rows,
            random,
            seed,
            step_info,
            text,
            emit,
            log,
            poison,
            take_error,
            parallel_for,
        }
        .leak_into_prefix()
    })
}

/// Runs `work` in the session, if there is one; a panic becomes the session's error.
fn inside<T>(ctx: Ctx, otherwise: T, work: impl FnOnce(&Session) -> Option<T>) -> T {
    let Some(session) = Session::of(ctx) else { return otherwise };
    match catch_unwind(AssertUnwindSafe(|| work(&session))) {
        Ok(Some(value)) => value,
        Ok(None) => otherwise,
        Err(_) => {
            session.fail(code::OPERATION, "the host panicked; please report this");
            otherwise
        }
    }
}

extern "C" fn call(
    ctx: Ctx,
    op: u32,
    name: RStr<'_>,
    inputs: RSlice<'_, Handle>,
    ints: RSlice<'_, i64>,
    floats: RSlice<'_, f64>,
    mut outputs: RSliceMut<'_, Handle>,
) {
    let outputs = outputs.as_mut_slice();
    inside(ctx, (), |session| {
        let values: SmallVec<[Value; 4]> = inputs.iter().map(|handle| session.get(*handle)).collect();
        let results = match Op::decode(op, ints.as_slice(), floats.as_slice()) {
            Some(op) if op.outputs() == outputs.len() => compute(session, &op, &values),
            Some(_) => refuse(session, &format!("operation `{name}` was asked for {} results", outputs.len())),
            None => refuse(
                session,
                &format!("host {ABI_MAJOR}.{ABI_MINOR} has no operation named `{name}` with these attributes"),
            ),
        };
        let mut results = results.into_iter();
        outputs.iter_mut().for_each(|out| *out = session.put(results.next().unwrap_or(Value::Poisoned)));
        Some(())
    });
}

/// The element type of a code that a plugin sent.
fn element_type(session: &Session, dtype: u32) -> Option<DType> {
    let known = DType::from_code(dtype);
    if known.is_none() {
        session.fail(code::UNSUPPORTED, format!("host {ABI_MAJOR}.{ABI_MINOR} has no element type {dtype}"));
    }
    known
}

fn refuse(session: &Session, message: &str) -> Vec<Value> {
    session.fail(code::UNSUPPORTED, message);
    vec![]
}

/// Runs or traces an operation. An empty list means that it failed and that the session knows why.
fn compute(session: &Session, op: &Op, values: &[Value]) -> Vec<Value> {
    let tensors: SmallVec<[&Tensor; 4]> =
        values.iter().filter_map(|v| if let Value::Concrete(t) = v { Some(t) } else { None }).collect();
    if session.trace.is_some() || tensors.len() < values.len() {
        return trace(session, op, values);
    }
    // The rules of shapes are asked only when the operation fails, for the message: asking each time costs as much as a
    // small operation.
    let wide = |tensors: &Vec<Tensor>| tensors.iter().any(|tensor| tensor.rank() > MOST_DIMENSIONS);
    match eager::run(op, &tensors, session.params.device()) {
        Ok(results) if !wide(&results) => results.into_iter().map(Value::Concrete).collect(),
        Ok(_) => refuse_shapes(session, op, values, &format!("tensors have up to {MOST_DIMENSIONS} dimensions")),
        Err(error) => {
            let metas: Vec<Meta> = tensors.iter().map(|tensor| eager::meta_of(tensor)).collect();
            let reason = op.infer(&metas.iter().collect::<Vec<_>>()).err();
            let reason = reason.unwrap_or_else(|| error.to_string().lines().next().unwrap_or_default().to_owned());
            refuse_shapes(session, op, values, &reason)
        }
    }
}

fn refuse_shapes(session: &Session, op: &Op, values: &[Value], reason: &str) -> Vec<Value> {
    let shapes: Vec<String> = values.iter().filter_map(|value| session.meta(value)).map(|m| m.to_string()).collect();
    let on = if shapes.is_empty() { String::new() } else { format!(" on {}", shapes.join(", ")) };
    session.fail(code::OPERATION, format!("operation `{}`{on}: {reason}", op.name()));
    vec![]
}

/// Notes an operation in the trace; nothing is computed.
fn trace(session: &Session, op: &Op, values: &[Value]) -> Vec<Value> {
    let metas: Option<Vec<Meta>> = values.iter().map(|value| session.meta(value)).collect();
    let (Some(metas), Some(trace)) = (metas, &session.trace) else { return vec![] };
    let results = match op.infer(&metas.iter().collect::<Vec<_>>()) {
        Ok(results) => results,
        Err(reason) => return refuse_shapes(session, op, values, &reason),
    };
    if results.iter().any(|meta| meta.shape.len() > MOST_DIMENSIONS) {
        return refuse_shapes(session, op, values, &format!("tensors have up to {MOST_DIMENSIONS} dimensions"));
    }
    let symbolic = |value: &Value| if let Value::Symbolic(node) = value { Some(*node) } else { None };
    let inputs: Vec<usize> = values.iter().filter_map(symbolic).collect();
    let mut trace = trace.borrow_mut();
    let node = |output| Node::Op { op: op.clone(), inputs: inputs.clone(), output };
    results.into_iter().enumerate().map(|(i, meta)| Value::Symbolic(trace.push(node(i), meta))).collect()
}

extern "C" fn retain(ctx: Ctx, handle: Handle) -> Handle {
    inside(ctx, Handle::default(), |session| Some(session.retain(handle)))
}

extern "C" fn release(ctx: Ctx, handle: Handle) {
    inside(ctx, (), |session| {
        session.release(handle);
        Some(())
    });
}

extern "C" fn describe(ctx: Ctx, handle: Handle, info: &mut TensorInfo) -> bool {
    inside(ctx, false, |session| {
        let value = session.get(handle);
        let meta = session.meta(&value)?;
        info.rank = u32::try_from(meta.shape.len()).ok().filter(|_| meta.shape.len() <= MOST_DIMENSIONS)?;
        info.dims[..meta.shape.len()].copy_from_slice(&meta.shape);
        info.dtype = meta.dtype as u32;
        info.symbolic = u32::from(matches!(value, Value::Symbolic(_)));
        info.device = u32::from(session.manner.unfused || !session.params.device().is_cpu());
        Some(true)
    })
}

extern "C" fn constant(ctx: Ctx, bytes: RSlice<'_, u8>, dtype: u32, shape: RSlice<'_, usize>) -> Handle {
    inside(ctx, Handle::default(), |session| {
        let meta = Meta::new(shape.as_slice(), element_type(session, dtype)?);
        if meta.count() * meta.dtype.size() != bytes.len() {
            session.fail(code::MISUSE, format!("a constant {meta} from {} bytes", bytes.len()));
            return Some(session.put(Value::Poisoned));
        }
        let make = || {
            Tensor::from_raw_buffer(bytes.as_slice(), to_candle_dtype(meta.dtype), &meta.shape, session.params.device())
        };
        Some(session.put(session.leaf(Leaf::Constant, meta.clone(), make)))
    })
}

extern "C" fn read(ctx: Ctx, handle: Handle, mut out: RSliceMut<'_, u8>) -> bool {
    inside(ctx, false, |session| {
        if !session.dynamic {
            session.fail(code::MISUSE, "only a part that is declared dynamic may read values");
            return None;
        }
        let Value::Concrete(tensor) = session.get(handle) else {
            session.fail(code::MISUSE, "a trace has no values to read");
            return None;
        };
        match eager::to_bytes(&tensor) {
            Ok(bytes) if bytes.len() == out.len() => {
                out.as_mut_slice().copy_from_slice(&bytes);
                return Some(true);
            }
            Ok(bytes) => session.fail(code::MISUSE, format!("{} bytes do not fit into {}", bytes.len(), out.len())),
            Err(error) => session.fail(code::OPERATION, error.to_string()),
        }
        None
    })
}

extern "C" fn run_fused(ctx: Ctx, name: RStr<'_>, inputs: RSlice<'_, Handle>, op: FusedBox) -> Handle {
    inside(ctx, Handle::default(), |session| {
        let values: Vec<Value> = inputs.iter().map(|handle| session.get(*handle)).collect();
        Some(session.put(fused::run(session, name.as_str(), &values, op)))
    })
}

fn add_state(
    session: &Session,
    name: &str,
    dtype: DType,
    shape: &[usize],
    init: &str,
    kind: ParamKind,
) -> Option<Handle> {
    let refuse = |message: String| {
        session.fail(code::MISUSE, message);
        Some(session.put(Value::Poisoned))
    };
    if session.stage != Stage::Bind {
        return refuse(format!("`{name}` can be made in `bind` only"));
    }
    if session.params.contains(name) {
        return refuse(format!("`{name}` is made twice"));
    }
    let init: Init = match serde_json::from_str(init) {
        Ok(init) => init,
        Err(error) => return refuse(format!("initialisation of `{name}`: {error}")),
    };
    if let Err(error) = session.params.add(name, shape, dtype, &init, kind) {
        return refuse(format!("`{name}` {shape:?}: {error}"));
    }
    find_state(session, name)
}

fn find_state(session: &Session, name: &str) -> Option<Handle> {
    let Some(meta) = session.params.meta(name) else {
        session.fail(code::MISUSE, format!("the part has no parameter or buffer `{name}`"));
        return Some(session.put(Value::Poisoned));
    };
    let leaf = match session.params.get(name).map(|entry| entry.kind) {
        Some(ParamKind::Parameter) => Leaf::State(name.into()),
        _ => Leaf::Buffer(name.into()),
    };
    let tensor = || session.params.value(name).ok_or_else(|| candle_core::Error::Msg(format!("no `{name}`")));
    Some(session.put(session.leaf(leaf, meta, tensor)))
}

extern "C" fn parameter(ctx: Ctx, name: RStr<'_>, shape: RSlice<'_, usize>, init: RStr<'_>) -> Handle {
    inside(ctx, Handle::default(), |session| {
        add_state(session, name.as_str(), DType::F32, shape.as_slice(), init.as_str(), ParamKind::Parameter)
    })
}

extern "C" fn buffer(ctx: Ctx, name: RStr<'_>, dtype: u32, shape: RSlice<'_, usize>, init: RStr<'_>) -> Handle {
    inside(ctx, Handle::default(), |session| {
        add_state(
            session,
            name.as_str(),
            element_type(session, dtype)?,
            shape.as_slice(),
            init.as_str(),
            ParamKind::Buffer,
        )
    })
}

extern "C" fn state(ctx: Ctx, name: RStr<'_>) -> Handle {
    inside(ctx, Handle::default(), |session| find_state(session, name.as_str()))
}

/// Checks that `name` is a buffer and that this is a step, then stages what `change` makes of the values.
fn stage(session: &Session, name: &str, handles: &[Handle], change: impl FnOnce(String, Vec<Tensor>) -> Staged) {
    session.varies();
    let is_buffer = session.params.get(name).is_some_and(|entry| entry.kind == ParamKind::Buffer);
    if !is_buffer {
        return session.fail(code::MISUSE, format!("the part has no buffer `{name}` to set"));
    }
    if session.stage != Stage::Run {
        return session.fail(code::MISUSE, format!("buffer `{name}` can be set in a step only"));
    }
    let values: Vec<Value> = handles.iter().map(|handle| session.get(*handle)).collect();
    let shape = session.params.meta(name).map(|meta| meta.shape).unwrap_or_default();
    let wanted = |given: &[Meta]| match given {
        [whole] => whole.shape == shape,
        [index, rows] => {
            index.dtype == DType::I64
                && index.shape.len() == 1
                && rows.shape.first() == index.shape.first()
                && rows.shape.get(1..) == shape.get(1..)
        }
        _ => false,
    };
    let metas: Vec<Meta> = values.iter().filter_map(|value| session.meta(value)).collect();
    if metas.len() == handles.len() && !wanted(&metas) {
        let got: Vec<String> = metas.iter().map(ToString::to_string).collect();
        return session.fail(code::MISUSE, format!("buffer `{name}` has the shape {shape:?}, got {}", got.join(", ")));
    }
    let concrete = |value: Value| if let Value::Concrete(tensor) = value { Some(kept(&tensor)) } else { None };
    match values.into_iter().filter_map(concrete).collect::<candle_core::Result<Vec<Tensor>>>() {
        Ok(tensors) if tensors.len() == handles.len() => session.staged.borrow_mut().push(change(name.into(), tensors)),
        Ok(_) => {}
        Err(error) => session.fail(code::OPERATION, error.to_string()),
    }
}

/// A copy of the values: the tensor may be a view of a parameter or buffer, which changes before the copy is used.
fn kept(tensor: &Tensor) -> candle_core::Result<Tensor> {
    tensor.detach().force_contiguous()
}

extern "C" fn set(ctx: Ctx, name: RStr<'_>, value: Handle) {
    inside(ctx, (), |session| {
        stage(session, name.as_str(), &[value], |name, mut tensors| Staged::Whole { name, value: tensors.remove(0) });
        Some(())
    });
}

extern "C" fn set_rows(ctx: Ctx, name: RStr<'_>, index: Handle, rows: Handle) {
    inside(ctx, (), |session| {
        stage(session, name.as_str(), &[index, rows], |name, mut tensors| {
            let rows = tensors.remove(1);
            Staged::Rows { name, index: tensors.remove(0), rows }
        });
        Some(())
    });
}

/// The generator of a purpose: by run seed, part, stage and step.
fn generator(session: &Session, purpose: &str) -> Rng {
    let moment = &session.moment;
    let purpose = format!("part:{}:{}:{}:{purpose}", session.params.owner(), moment.stage, moment.phase);
    Rng::new(moment.seed, &purpose, (moment.step << 16) ^ moment.frame)
}

extern "C" fn random(
    ctx: Ctx,
    purpose: RStr<'_>,
    kind: u32,
    dtype: u32,
    shape: RSlice<'_, usize>,
    a: f64,
    b: f64,
) -> Handle {
    inside(ctx, Handle::default(), |session| {
        let meta = Meta::new(shape.as_slice(), element_type(session, dtype)?);
        let make = || {
            let mut rng = generator(session, purpose.as_str());
            let draw = |_| match kind {
                distribution::UNIFORM => a + (b - a) * rng.uniform_f64(),
                distribution::NORMAL => a + b * rng.normal(),
                _ => f64::from(u8::from(rng.chance(a))),
            };
            let values: Vec<f64> = (0..meta.count()).map(draw).collect();
            Tensor::from_vec(values, meta.shape.as_slice(), session.params.device())?
                .to_dtype(to_candle_dtype(meta.dtype))
        };
        session.varies();
        if kind > distribution::BERNOULLI {
            session.fail(code::UNSUPPORTED, format!("host {ABI_MAJOR}.{ABI_MINOR} has no distribution {kind}"));
            return Some(session.put(Value::Poisoned));
        }
        let leaf = if session.manner.draws { Leaf::Constant } else { Leaf::Random };
        Some(session.put(session.leaf(leaf, meta.clone(), make)))
    })
}

extern "C" fn seed(ctx: Ctx, purpose: RStr<'_>) -> u64 {
    inside(ctx, 0, |session| {
        session.varies();
        Some(generator(session, purpose.as_str()).next_u64())
    })
}

extern "C" fn step_info(ctx: Ctx, info: &mut StepInfo) {
    inside(ctx, (), |session| {
        session.varies();
        let moment = &session.moment;
        *info = StepInfo {
            epoch: moment.epoch,
            step: moment.step,
            steps_per_epoch: moment.steps_per_epoch,
            frame: moment.frame,
            training: u32::from(moment.training),
            samples: moment.samples,
            ..StepInfo::default()
        };
        Some(())
    });
}

extern "C" fn text(ctx: Ctx, key: u32) -> RString {
    inside(ctx, RString::new(), |session| {
        session.varies();
        Some(match key {
            text_keys::STAGE => session.moment.stage.as_ref().into(),
            text_keys::PHASE => session.moment.phase.as_ref().into(),
            text_keys::TERM => session.params.owner().into(),
            text_keys::HOST_VERSION => env!("CARGO_PKG_VERSION").into(),
            text_keys::INTERFACE => format!("{ABI_MAJOR}.{ABI_MINOR}").into(),
            _ => RString::new(),
        })
    })
}

extern "C" fn emit(ctx: Ctx, name: RStr<'_>, value: Handle) {
    inside(ctx, (), |session| {
        session.varies();
        if let Value::Concrete(tensor) = session.get(value) {
            match kept(&tensor) {
                Ok(value) => session.emitted.borrow_mut().push(Emitted { name: name.into(), value }),
                Err(error) => session.fail(code::OPERATION, error.to_string()),
            }
        }
        Some(())
    });
}

extern "C" fn log(ctx: Ctx, level: u32, line: RStr<'_>) {
    inside(ctx, (), |session| {
        session.varies();
        session.log.borrow_mut().push((level, line.into()));
        Some(())
    });
}

extern "C" fn poison(ctx: Ctx, op: RStr<'_>, message: RStr<'_>) -> Handle {
    inside(ctx, Handle::default(), |session| {
        session.fail(code::OPERATION, format!("operation `{op}`: {message}"));
        Some(session.put(Value::Poisoned))
    })
}

extern "C" fn take_error(ctx: Ctx) -> ROption<AbiError> {
    let lost = || AbiError::new(code::MISUSE, "tensors can be used on the thread of the call only, and not after it");
    match Session::of(ctx) {
        Some(session) => session.take_error().into(),
        None => ROption::RSome(lost()),
    }
}

extern "C" fn parallel_for(_ctx: Ctx, n: usize, grain: usize, task: ParallelFn) -> u32 {
    use rayon::prelude::*;
    let grain = grain.max(1);
    let run = |piece: usize| {
        let (task, start) = (&task, piece * grain);
        (task.call)(task.data, start, n.min(start.saturating_add(grain)))
    };
    let pieces = n.div_ceil(grain);
    catch_unwind(AssertUnwindSafe(|| (0..pieces).into_par_iter().map(run).max().unwrap_or(0))).unwrap_or(1)
}
