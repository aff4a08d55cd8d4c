//! A host's table that computes nothing: enough to make parts and to drop them.

use std::sync::OnceLock;
use stillhouse_plugin::abi::abi_stable::prefix_type::PrefixTypeTrait;
use stillhouse_plugin::abi::abi_stable::std_types::{ROption, RSlice, RSliceMut, RStr, RString};
use stillhouse_plugin::abi::{AbiError, Ctx, FusedBox, Handle, HostApi, HostApi_Ref, ParallelFn, StepInfo, TensorInfo};

extern "C" fn call(
    _: Ctx,
    _: u32,
    _: RStr<'_>,
    _: RSlice<'_, Handle>,
    _: RSlice<'_, i64>,
    _: RSlice<'_, f64>,
    _: RSliceMut<'_, Handle>,
) {
}
extern "C" fn retain(_: Ctx, handle: Handle) -> Handle {
    handle
}
extern "C" fn release(_: Ctx, _: Handle) {}
extern "C" fn describe(_: Ctx, _: Handle, _: &mut TensorInfo) -> bool {
    false
}
extern "C" fn constant(_: Ctx, _: RSlice<'_, u8>, _: u32, _: RSlice<'_, usize>) -> Handle {
    Handle::default()
}
extern "C" fn read(_: Ctx, _: Handle, _: RSliceMut<'_, u8>) -> bool {
    false
}
extern "C" fn fused(_: Ctx, _: RStr<'_>, _: RSlice<'_, Handle>, _: FusedBox) -> Handle {
    Handle::default()
}
extern "C" fn parameter(_: Ctx, _: RStr<'_>, _: RSlice<'_, usize>, _: RStr<'_>) -> Handle {
    Handle::default()
}
extern "C" fn buffer(_: Ctx, _: RStr<'_>, _: u32, _: RSlice<'_, usize>, _: RStr<'_>) -> Handle {
    Handle::default()
}
extern "C" fn state(_: Ctx, _: RStr<'_>) -> Handle {
    Handle::default()
}
extern "C" fn set(_: Ctx, _: RStr<'_>, _: Handle) {}
extern "C" fn set_rows(_: Ctx, _: RStr<'_>, _: Handle, _: Handle) {}
extern "C" fn random(_: Ctx, _: RStr<'_>, _: u32, _: u32, _: RSlice<'_, usize>, _: f64, _: f64) -> Handle {
    Handle::default()
}
extern "C" fn seed(_: Ctx, _: RStr<'_>) -> u64 {
    0
}
extern "C" fn step_info(_: Ctx, _: &mut StepInfo) {}
extern "C" fn text(_: Ctx, _: u32) -> RString {
    RString::new()
}
extern "C" fn emit(_: Ctx, _: RStr<'_>, _: Handle) {}
extern "C" fn log(_: Ctx, _: u32, _: RStr<'_>) {}
extern "C" fn poison(_: Ctx, _: RStr<'_>, _: RStr<'_>) -> Handle {
    Handle::default()
}
extern "C" fn take_error(_: Ctx) -> ROption<AbiError> {
    ROption::RNone
}
extern "C" fn parallel_for(_: Ctx, n: usize, _: usize, work: ParallelFn) -> u32 {
    (work.call)(work.data, 0, n)
}

/// The table, one for all.
pub fn table() -> HostApi_Ref {
    static TABLE: OnceLock<HostApi_Ref> = OnceLock::new();
    *TABLE.get_or_init(made)
}

fn made() -> HostApi_Ref {
    HostApi {
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
        text,
        emit,
        log,
        poison,
        take_error,
        parallel_for,
    }
    .leak_into_prefix()
}
