//! A plugin made by hand, without the SDK: it asks the host for things that no SDK would ask for.

use stillhouse_plugin::abi::abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
};
use stillhouse_plugin::abi::abi_stable::prefix_type::PrefixTypeTrait;
use stillhouse_plugin::abi::abi_stable::sabi_trait::TD_Opaque;
use stillhouse_plugin::abi::abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use stillhouse_plugin::abi::{
    AbiError, AbiResult, Ctx, Handle, HostApi_Ref, Named, Part, Part_TO, PartBox, PluginModule, PluginModule_Ref,
    PortValue, Preamble, code, role,
};

/// Each asks for something else.
#[derive(Clone, Copy)]
enum Mischief {
    /// An operation of a code and name that no host has.
    UnknownOp,
    /// Gives back a handle that nobody made.
    StrangeHandle,
    /// Gives back nothing.
    Nothing,
    /// Gives back two terms of one name.
    Twice,
    /// Gives back a tensor in a role that nobody knows.
    StrangeRole,
}

const ALL: [(&str, Mischief); 5] = [
    ("unknown_op", Mischief::UnknownOp),
    ("strange_handle", Mischief::StrangeHandle),
    ("gives_nothing", Mischief::Nothing),
    ("gives_twice", Mischief::Twice),
    ("strange_role", Mischief::StrangeRole),
];

/// A loss at work.
struct Raw {
    mischief: Mischief,
    host: HostApi_Ref,
}

/// A call of an operation without attributes that gives one tensor.
fn call(host: HostApi_Ref, cx: Ctx, op: u32, name: &str, inputs: &[Handle]) -> Handle {
    let mut out = [Handle::default()];
    let none = (RSlice::from_slice(&[]), RSlice::from_slice(&[]));
    host.call()(cx, op, name.into(), inputs.into(), none.0, none.1, RSliceMut::from_mut_slice(&mut out));
    out[0]
}

impl Part for Raw {
    fn plan(&mut self, _: RStr<'_>) -> AbiResult<RString> {
        RResult::ROk("{}".into())
    }

    fn bind(&mut self, _: Ctx, _: RSlice<'_, PortValue<'_>>) -> AbiResult<()> {
        RResult::ROk(())
    }

    fn run(&self, cx: Ctx, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<RVec<Named>> {
        let Some(input) = ports.first().and_then(|port| port.handles.first()) else {
            return RResult::RErr(AbiError::new(code::COMPONENT, "wants an input"));
        };
        let named = |role: u32, handle: Handle| Named::new(role, "", handle);
        let own = || self.host.retain()(cx, *input);
        let given = match self.mischief {
            Mischief::UnknownOp => {
                let handle = call(self.host, cx, 99_999, "teleport", &[*input]);
                if let ROption::RSome(error) = self.host.take_error()(cx) {
                    return RResult::RErr(error);
                }
                vec![named(role::TERM, handle)]
            }
            Mischief::StrangeHandle => vec![named(role::TERM, Handle { slot: 1_000_000, generation: 77 })],
            Mischief::Nothing => vec![],
            Mischief::Twice => vec![named(role::TERM, own()), named(role::TERM, own())],
            Mischief::StrangeRole => vec![named(77, own())],
        };
        RResult::ROk(given.into())
    }

    fn event(&self, _: Ctx, _: u32, _: RSlice<'_, PortValue<'_>>) -> AbiResult<()> {
        RResult::ROk(())
    }
}

extern "C" fn components() -> AbiResult<RString> {
    let port = r#"{"name": "student", "source": "student", "default": "logits"}"#;
    let desc = |(name, _): &(&str, Mischief)| format!(r#"{{"kind": "loss", "name": "{name}", "ports": [{port}]}}"#);
    let all: Vec<String> = ALL.iter().map(desc).collect();
    RResult::ROk(format!("[{}]", all.join(", ")).into())
}

extern "C" fn create(_: RStr<'_>, name: RStr<'_>, _: RStr<'_>, host: HostApi_Ref) -> AbiResult<PartBox> {
    match ALL.iter().find(|(known, _)| *known == name.as_str()) {
        Some((_, mischief)) => RResult::ROk(Part_TO::from_value(Raw { mischief: *mischief, host }, TD_Opaque)),
        None => RResult::RErr(AbiError::new(code::UNSUPPORTED, "no such loss")),
    }
}

fn root() -> PluginModule_Ref {
    PluginModule { components, create }.leak_into_prefix()
}

extern "C" fn constructor() -> RootModuleResult {
    __call_root_module_loader(root)
}

/// Read from the file.
#[unsafe(no_mangle)]
pub static STILLHOUSE_PREAMBLE: Preamble =
    Preamble::of("hostile-raw", env!("CARGO_PKG_VERSION"), cfg!(panic = "unwind"));

/// Opened by the host.
#[unsafe(no_mangle)]
// SAFETY: `constructor` gives the module of exactly this type.
pub static STILLHOUSE_HEADER: LibHeader =
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(constructor, CheckTypeLayout::Yes) };
