//! What a plugin file exports.

use super::host::HostApi_Ref;
use super::part::PartBox;
use super::types::AbiResult;
use abi_stable::StableAbi;
use abi_stable::library::{LibHeader, RootModule};
use abi_stable::package_version_strings;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RStr, RString};
use abi_stable::type_layout::TypeLayout;

/// Functions of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref, prefix_fields = PluginModule_Prefix)))]
pub struct PluginModule {
    /// Descriptions of all components: a JSON list of [`Desc`](crate::desc::Desc).
    pub components: extern "C" fn() -> AbiResult<RString>,
    /// A component by kind, name and configuration (JSON).
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>, HostApi_Ref) -> AbiResult<PartBox>,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "stillhouse_plugin";
    const NAME: &'static str = "stillhouse_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// Layout of the interface as this side was compiled.
pub fn host_layout() -> &'static TypeLayout {
    <PluginModule_Ref as StableAbi>::LAYOUT
}

/// The header that a plugin exports under [`HEADER_SYMBOL`](super::HEADER_SYMBOL).
pub const fn export_header() -> LibHeader {
    fn root() -> PluginModule_Ref {
        PluginModule { components: crate::sdk::export::components, create: crate::sdk::export::create }
            .leak_into_prefix()
    }
    extern "C" fn constructor() -> abi_stable::library::RootModuleResult {
        abi_stable::library::__call_root_module_loader(root)
    }
    // SAFETY: `constructor` gives the module of exactly this type.
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(constructor, abi_stable::library::CheckTypeLayout::Yes) }
}
