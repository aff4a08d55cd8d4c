//! The table of functions through which parts reach the reference host.

use super::array::Array;
use super::session::{Fallible, Place, Session, misuse, operation};
use super::store;
use crate::abi::abi_stable::prefix_type::PrefixTypeTrait;
use crate::abi::abi_stable::std_types::{ROption, RSlice, RSliceMut, RStr, RString};
use crate::abi::{
    ABI_MAJOR, ABI_MINOR, AbiError, Ctx, FusedBox, Handle, HostApi, HostApi_Ref, ParallelFn, StepInfo, TensorInfo,
    code, text,
};
use crate::op::{DType, Meta, Op};
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static SESSIONS: RefCell<HashMap<u64, Session>> = RefCell::default();
}

/// Opens a session on this thread.
pub(super) fn open(session: Session) -> Ctx {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SESSIONS.with_borrow_mut(|all| all.insert(number, session));
    Ctx(number)
}

/// Ends a session.
pub(super) fn close(cx: Ctx) -> Option<Session> {
    SESSIONS.with_borrow_mut(|all| all.remove(&cx.0))
}

/// Works on the session of this number; `None` when this thread has none, it is in use, or the work panicked.
pub(super) fn with<T>(cx: Ctx, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
    let entered = AssertUnwindSafe(|| {
        SESSIONS.with(|all| all.try_borrow_mut().ok().and_then(|mut all| all.get_mut(&cx.0).map(work)))
    });
    catch_unwind(entered).unwrap_or_default()
}

/// A handle from fallible work; an error poisons it.
fn handle(cx: Ctx, work: impl FnOnce(&mut Session) -> Fallible<Handle>) -> Handle {
    with(cx, |session| work(session).unwrap_or_else(|error| session.poison(error))).unwrap_or_default()
}

/// Fallible work without a result; an error waits.
fn effect(cx: Ctx, work: impl FnOnce(&mut Session) -> Fallible<()>) -> bool {
    let done = |session: &mut Session| match work(session) {
        Ok(()) => true,
        Err(error) => {
            session.error.get_or_insert(error);
            false
        }
    };
    with(cx, done).unwrap_or(false)
}

extern "C" fn call(
    cx: Ctx,
    number: u32,
    name: RStr<'_>,
    inputs: RSlice<'_, Handle>,
    ints: RSlice<'_, i64>,
    floats: RSlice<'_, f64>,
    mut results: RSliceMut<'_, Handle>,
) {
    let count = results.len();
    let run = |session: &mut Session| {
        let lacking = || AbiError::new(code::UNSUPPORTED, format!("this host has no operation `{name}`"));
        let op = Op::decode(number, ints.as_slice(), floats.as_slice()).ok_or_else(lacking)?;
        if op.outputs() < count {
            return Err(operation(op.name(), &format!("gives {} results, {count} are wanted", op.outputs())));
        }
        session.call(&op, inputs.as_slice())
    };
    let all = |session: &mut Session| match run(session) {
        Ok(handles) => {
            handles[count..].iter().for_each(|unused| session.release(*unused));
            results.iter_mut().zip(handles).for_each(|(place, handle)| *place = handle);
        }
        Err(error) => results.iter_mut().for_each(|place| *place = session.poison(error.clone())),
    };
    with(cx, all);
}

extern "C" fn retain(cx: Ctx, handle: Handle) -> Handle {
    with(cx, |session| session.retain(handle)).unwrap_or_default()
}

extern "C" fn release(cx: Ctx, handle: Handle) {
    with(cx, |session| session.release(handle));
}

extern "C" fn describe(cx: Ctx, handle: Handle, info: &mut TensorInfo) -> bool {
    effect(cx, |session| {
        *info = session.describe(handle)?;
        Ok(())
    })
}

extern "C" fn constant(cx: Ctx, bytes: RSlice<'_, u8>, dtype: u32, shape: RSlice<'_, usize>) -> Handle {
    handle(cx, |session| {
        let dtype = DType::from_code(dtype).ok_or_else(|| misuse(format!("unknown element type {dtype}")))?;
        let meta = Meta::new(shape.as_slice(), dtype);
        let array = Array::from_bytes(meta.clone(), bytes.as_slice())
            .ok_or_else(|| operation("constant", &format!("wants {} values for {meta}", meta.count())))?;
        let array = (!session.symbolic()).then_some(array);
        let node = session.tape.leaf(meta, array, false);
        Ok(session.handle(node))
    })
}

extern "C" fn read(cx: Ctx, handle: Handle, mut to: RSliceMut<'_, u8>) -> bool {
    effect(cx, |session| {
        if !session.dynamic {
            return Err(misuse("only a part that is declared `dynamic` may read values".into()));
        }
        let node = session.node(handle)?;
        let array = session.tape.array(node).ok_or_else(|| misuse("there are no values in a trace".into()))?;
        let bytes = array.to_bytes();
        if bytes.len() != to.len() {
            return Err(misuse(format!("a read of {} bytes, wanted {}", bytes.len(), to.len())));
        }
        to.as_mut_slice().copy_from_slice(&bytes);
        Ok(())
    })
}

extern "C" fn fused(cx: Ctx, name: RStr<'_>, inputs: RSlice<'_, Handle>, op: FusedBox) -> Handle {
    handle(cx, |session| {
        let (nodes, symbolic) = (session.nodes(inputs.as_slice())?, session.symbolic());
        let node = session.tape.fused(op, &nodes, symbolic).map_err(|message| operation(name.as_str(), &message))?;
        Ok(session.handle(node))
    })
}

extern "C" fn parameter(cx: Ctx, name: RStr<'_>, shape: RSlice<'_, usize>, init: RStr<'_>) -> Handle {
    handle(cx, |session| {
        let node = session.make(name.as_str(), DType::F64 as u32, shape.as_slice(), init.as_str(), true)?;
        Ok(session.handle(node))
    })
}

extern "C" fn buffer(cx: Ctx, name: RStr<'_>, dtype: u32, shape: RSlice<'_, usize>, init: RStr<'_>) -> Handle {
    handle(cx, |session| {
        let node = session.make(name.as_str(), dtype, shape.as_slice(), init.as_str(), false)?;
        Ok(session.handle(node))
    })
}

extern "C" fn state(cx: Ctx, name: RStr<'_>) -> Handle {
    handle(cx, |session| {
        let node = session.state_node(name.as_str())?;
        Ok(session.handle(node))
    })
}

extern "C" fn set(cx: Ctx, name: RStr<'_>, value: Handle) {
    effect(cx, |session| session.set(name.as_str(), value));
}

extern "C" fn set_rows(cx: Ctx, name: RStr<'_>, index: Handle, rows: Handle) {
    effect(cx, |session| session.set_rows(name.as_str(), index, rows));
}

/// Words that random numbers of this moment depend on.
fn rng(session: &Session, purpose: &str) -> crate::sdk::Rng {
    let Place { info, stage, phase } = &session.place;
    store::rng(&["step", stage, phase, &format!("{}:{}", info.step, info.frame), purpose])
}

extern "C" fn random(
    cx: Ctx,
    purpose: RStr<'_>,
    kind: u32,
    dtype: u32,
    shape: RSlice<'_, usize>,
    a: f64,
    b: f64,
) -> Handle {
    handle(cx, |session| {
        let dtype = DType::from_code(dtype).ok_or_else(|| misuse(format!("unknown element type {dtype}")))?;
        let (meta, mut rng) = (Meta::new(shape.as_slice(), dtype), rng(session, purpose.as_str()));
        let mut draw = || match kind {
            0 => Ok(a + (b - a) * rng.uniform()),
            1 => Ok(a + b * store::normal(&mut rng)),
            2 => Ok(f64::from(rng.uniform() < a)),
            _ => Err(AbiError::new(code::UNSUPPORTED, format!("this host has no distribution {kind}"))),
        };
        let values: Vec<f64> = (0..meta.count()).map(|_| draw()).collect::<Fallible<_>>()?;
        let array = (!session.symbolic()).then(|| Array::new(meta.clone(), values));
        let node = session.tape.leaf(meta, array, false);
        Ok(session.handle(node))
    })
}

extern "C" fn seed(cx: Ctx, purpose: RStr<'_>) -> u64 {
    with(cx, |session| rng(session, purpose.as_str()).next_u64()).unwrap_or(0)
}

extern "C" fn step_info(cx: Ctx, info: &mut StepInfo) {
    with(cx, |session| *info = session.place.info);
}

extern "C" fn text_of(cx: Ctx, key: u32) -> RString {
    let read = |session: &mut Session| match key {
        text::STAGE => session.place.stage.clone(),
        text::PHASE => session.place.phase.clone(),
        text::TERM => "term".into(),
        text::HOST_VERSION => "in process".into(),
        text::INTERFACE => format!("{ABI_MAJOR}.{ABI_MINOR}"),
        _ => String::new(),
    };
    with(cx, read).unwrap_or_default().into()
}

extern "C" fn emit(cx: Ctx, name: RStr<'_>, value: Handle) {
    effect(cx, |session| {
        let node = session.node(value)?;
        session.emitted.push((name.as_str().into(), node));
        Ok(())
    });
}

extern "C" fn log(cx: Ctx, _level: u32, line: RStr<'_>) {
    with(cx, |session| session.logged.push(line.as_str().into()));
}

extern "C" fn poison(cx: Ctx, name: RStr<'_>, message: RStr<'_>) -> Handle {
    handle(cx, |_| Err(operation(name.as_str(), message.as_str())))
}

extern "C" fn take_error(cx: Ctx) -> ROption<AbiError> {
    let foreign = || Some(misuse("a tensor was used on another thread or after its call".into()));
    with(cx, |session| session.error.take()).unwrap_or_else(foreign).into()
}

extern "C" fn parallel_for(_cx: Ctx, n: usize, grain: usize, work: ParallelFn) -> u32 {
    let grain = grain.max(1);
    let starts: Vec<usize> = (0..n).step_by(grain).collect();
    let (first, second) = starts.split_at(starts.len() / 2);
    let both = AssertUnwindSafe(|| {
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| pieces(work, first, grain, n));
            let own = pieces(work, second, grain, n);
            helper.join().unwrap_or(1).max(own)
        })
    });
    catch_unwind(both).unwrap_or(1)
}

/// 1 when a piece of the work panicked.
fn pieces(work: ParallelFn, starts: &[usize], grain: usize, n: usize) -> u32 {
    starts.iter().map(|start| (work.call)(work.data, *start, (start + grain).min(n))).max().unwrap_or(0)
}

/// The table.
pub(super) fn table() -> HostApi_Ref {
    static TABLE: OnceLock<HostApi_Ref> = OnceLock::new();
    let make = || HostApi {
        call,
        retain,
        release,
        describe,
        constant,
        read,
        fused,
        parameter,
        buffer,
        state,
        set,
        set_rows,
        random,
        seed,
        step_info,
        text: text_of,
        emit,
        log,
        poison,
        take_error,
        parallel_for,
    };
    *TABLE.get_or_init(|| make().leak_into_prefix())
}
