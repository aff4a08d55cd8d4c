//! A fork of the interface in which `create` takes a number in place of the configuration's text.
// Names of `abi_stable`.
#![allow(non_camel_case_types)]

use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RStr, RString};
use stillhouse_plugin::abi::{AbiError, AbiResult, HostApi_Ref, PartBox, Preamble, code};

/// The module as this fork has it.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref, prefix_fields = PluginModule_Prefix)))]
pub struct PluginModule {
    /// Descriptions of all components.
    pub components: extern "C" fn() -> AbiResult<RString>,
    /// A component; the configuration is a number.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(RStr<'_>, RStr<'_>, f64, HostApi_Ref) -> AbiResult<PartBox>,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "hostile_signature";
    const NAME: &'static str = "hostile_signature";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

extern "C" fn components() -> AbiResult<RString> {
    RResult::ROk("[]".into())
}

extern "C" fn create(_: RStr<'_>, _: RStr<'_>, _: f64, _: HostApi_Ref) -> AbiResult<PartBox> {
    RResult::RErr(AbiError::new(code::COMPONENT, "never called"))
}

fn root() -> PluginModule_Ref {
    PluginModule { components, create }.leak_into_prefix()
}

extern "C" fn constructor() -> RootModuleResult {
    __call_root_module_loader(root)
}

/// Read from the file.
#[unsafe(no_mangle)]
pub static STILLHOUSE_PREAMBLE: Preamble = Preamble::of("hostile-signature", "0.1.0", true);

/// Opened by the host.
#[unsafe(no_mangle)]
// SAFETY: `constructor` gives the module of exactly this type.
pub static STILLHOUSE_HEADER: LibHeader =
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(constructor, CheckTypeLayout::Yes) };
