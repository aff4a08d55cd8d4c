//! From faces to the one object that crosses, and from a crate's components to what its file exports.

use super::config::{read, schema};
use super::context::{BindCx, Cx, Door};
use super::error::{Error, Result};
use super::faces::{Component, Connector, Distiller, Loss, Module, State};
use super::guard::{guard, leave_hook, quiet_drop};
use super::inputs::Inputs;
use super::site;
use super::tensor::Tensor;
use crate::abi::abi_stable::sabi_trait::TD_Opaque;
use crate::abi::abi_stable::std_types::{RSlice, RStr, RString, RVec};
use crate::abi::{AbiResult, Ctx, HostApi_Ref, Named, Part, Part_TO, PartBox, PortValue, code, event, role};
use crate::desc::{Desc, Kind, Port};

/// One component of a plugin, as `register!` notes it.
pub struct Entry {
    /// Its description.
    pub desc: fn() -> Desc,
    /// Makes it from a configuration in JSON.
    pub(crate) create: fn(&str, HostApi_Ref) -> Result<PartBox>,
}

impl Entry {
    /// Makes the component in this process, on the table of a host: for a host's own tests. Panics keep their usual message.
    ///
    /// # Errors
    /// A configuration that the component refuses.
    pub fn make(&self, config: &str, host: HostApi_Ref) -> Result<PartBox> {
        leave_hook();
        (self.create)(config, host)
    }
}

inventory::collect!(Entry);

/// Notes a component of this crate: `register!(loss MyLoss);`, likewise `connector`, `module`, `distiller`.
#[macro_export]
macro_rules! register {
    (loss $type:ty) => {
        $crate::inventory::submit! { $crate::sdk::loss_entry::<$type>() }
    };
    (connector $type:ty) => {
        $crate::inventory::submit! { $crate::sdk::connector_entry::<$type>() }
    };
    (module $type:ty) => {
        $crate::inventory::submit! { $crate::sdk::module_entry::<$type>() }
    };
    (distiller $type:ty) => {
        $crate::inventory::submit! { $crate::sdk::distiller_entry::<$type>() }
    };
}

/// Makes the `cdylib` a plugin. Once, at the root of the crate.
#[macro_export]
macro_rules! export_plugin {
    () => {
        #[doc(hidden)]
        pub mod stillhouse_export {
            /// Read from the file before any code runs.
            #[unsafe(no_mangle)]
            pub static STILLHOUSE_PREAMBLE: $crate::abi::Preamble = $crate::abi::Preamble::of(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::env!("CARGO_PKG_VERSION"),
                ::core::cfg!(panic = "unwind"),
            );
            /// Opened after the file was mapped.
            #[unsafe(no_mangle)]
            pub static STILLHOUSE_HEADER: $crate::abi::abi_stable::library::LibHeader = $crate::abi::export_header();
        }
    };
}

fn desc<C: Component>(kind: Kind, ports: Vec<Port>) -> Desc {
    Desc {
        kind,
        name: C::NAME.into(),
        doc: C::DOC.into(),
        citation: C::CITATION.into(),
        schema: schema::<C::Config>(),
        ports,
        batch_coupled: C::BATCH_COUPLED,
        dynamic: C::DYNAMIC,
    }
}

/// The entry of a loss.
pub const fn loss_entry<C: Loss>() -> Entry {
    Entry {
        desc: || desc::<C>(Kind::Loss, C::ports()),
        create: |config, host| part::<C>(LossFace(new::<C>(config)?), host),
    }
}

/// The entry of a connector.
pub const fn connector_entry<C: Connector>() -> Entry {
    Entry {
        desc: || desc::<C>(Kind::Connector, vec![]),
        create: |config, host| part::<C>(ConnectorFace(new::<C>(config)?), host),
    }
}

/// The entry of a module.
pub const fn module_entry<C: Module>() -> Entry {
    Entry {
        desc: || desc::<C>(Kind::Module, vec![]),
        create: |config, host| part::<C>(ModuleFace(new::<C>(config)?), host),
    }
}

/// The entry of a distiller.
pub const fn distiller_entry<C: Distiller>() -> Entry {
    Entry {
        desc: || desc::<C>(Kind::Distiller, C::ports()),
        create: |config, host| part::<C>(DistillerFace(new::<C>(config)?), host),
    }
}

/// What the four faces have in common behind the boundary.
trait Face: Send + Sync {
    fn plan(&mut self, _site: &str) -> Result<String> {
        Ok("{}".into())
    }
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()>;
    fn run(&self, cx: &Cx, x: &Inputs) -> Result<Vec<Given>>;
    fn epoch_end(&self, _cx: &Cx) -> Result<()> {
        Ok(())
    }
}

/// Role, name and tensor of one result.
type Given = (u32, String, Tensor);

struct LossFace<C>(C);

impl<C: Loss> Face for LossFace<C> {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        self.0.bind(cx, x)
    }
    fn run(&self, cx: &Cx, x: &Inputs) -> Result<Vec<Given>> {
        Ok(vec![(role::TERM, String::new(), self.0.forward(cx, x)?)])
    }
}

struct ConnectorFace<C>(C);

impl<C: Connector> Face for ConnectorFace<C> {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        self.0.bind(cx, &x.one("from")?, &x.one("to")?)
    }
    fn run(&self, cx: &Cx, x: &Inputs) -> Result<Vec<Given>> {
        Ok(vec![(role::OUTPUT, String::new(), self.0.forward(cx, &x.one("from")?)?)])
    }
}

struct ModuleFace<C>(C);

impl<C: Module> Face for ModuleFace<C> {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        self.0.bind(cx, &x.one("input")?, &x.one("replaced")?)
    }
    fn run(&self, cx: &Cx, x: &Inputs) -> Result<Vec<Given>> {
        let stepped = self.0.step(cx, &x.one("input")?, &State::from_inputs(x)?)?;
        let with = |role: u32| move |(name, tensor)| (role, name, tensor);
        Ok(std::iter::once((role::OUTPUT, String::new(), stepped.output))
            .chain(stepped.state.into_iter().map(with(role::STATE)))
            .chain(stepped.values.into_iter().map(with(role::VALUE)))
            .collect())
    }
}

struct DistillerFace<C>(C);

impl<C: Distiller> Face for DistillerFace<C> {
    fn plan(&mut self, site: &str) -> Result<String> {
        serde_json::to_string(&self.0.plan(&site::read(site)?)?).map_err(|error| Error::new(format!("plan: {error}")))
    }
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        self.0.bind(cx, x)
    }
    fn run(&self, cx: &Cx, x: &Inputs) -> Result<Vec<Given>> {
        let terms = self.0.step(cx, x)?;
        Ok(terms.into_iter().map(|(name, tensor)| (role::TERM, name, tensor)).collect())
    }
    fn epoch_end(&self, cx: &Cx) -> Result<()> {
        self.0.epoch_end(cx)
    }
}

/// A face behind the boundary: guarded, its errors named. One type for all components, so that the code of the boundary is
/// in a plugin once. The option is empty only while it is dropped.
struct Crossing {
    name: &'static str,
    face: Option<Box<dyn Face>>,
    host: HostApi_Ref,
}

impl Drop for Crossing {
    fn drop(&mut self) {
        quiet_drop(self.name, self.face.take());
    }
}

impl Crossing {
    fn face(&self) -> Result<&dyn Face> {
        self.face.as_deref().ok_or_else(|| Error::coded(code::MISUSE, "used after its end"))
    }

    fn face_mut(&mut self) -> Result<&mut (dyn Face + 'static)> {
        self.face.as_deref_mut().ok_or_else(|| Error::coded(code::MISUSE, "used after its end"))
    }
}

impl Part for Crossing {
    fn plan(&mut self, site: RStr<'_>) -> AbiResult<RString> {
        guard(self.name, || Ok(self.face_mut()?.plan(site.as_str())?.into()))
    }

    fn bind(&mut self, ctx: Ctx, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<()> {
        let door = Door { ctx, host: self.host };
        guard(self.name, || {
            let inputs = Inputs::new(door, ports.as_slice());
            self.face_mut()?.bind(&BindCx::new(door), &inputs)?;
            door.check()
        })
    }

    fn run(&self, ctx: Ctx, ports: RSlice<'_, PortValue<'_>>) -> AbiResult<RVec<Named>> {
        let door = Door { ctx, host: self.host };
        guard(self.name, || {
            let inputs = Inputs::new(door, ports.as_slice());
            let given = self.face()?.run(&Cx::new(door), &inputs)?;
            door.check()?;
            let named = |(role, name, tensor): Given| Named::new(role, name, tensor.into_handle());
            Ok(given.into_iter().map(named).collect())
        })
    }

    fn event(&self, ctx: Ctx, kind: u32, _ports: RSlice<'_, PortValue<'_>>) -> AbiResult<()> {
        let door = Door { ctx, host: self.host };
        guard(self.name, || {
            if kind == event::EPOCH_END {
                self.face()?.epoch_end(&Cx::new(door))?;
            }
            door.check()
        })
    }
}

fn new<C: Component>(config: &str) -> Result<C> {
    C::new(read(config)?).map_err(|error| Error::coded(code::CONFIG, error.message()))
}

fn part<C: Component>(face: impl Face + 'static, host: HostApi_Ref) -> Result<PartBox> {
    let crossing = Crossing { name: C::NAME, face: Some(Box::new(face)), host };
    Ok(Part_TO::from_value(crossing, TD_Opaque))
}

/// All entries of this library, sorted, since their order of registration is not fixed.
fn entries() -> Vec<(Desc, &'static Entry)> {
    let mut all: Vec<_> = inventory::iter::<Entry>.into_iter().map(|entry| ((entry.desc)(), entry)).collect();
    all.sort_by(|(a, _), (b, _)| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    all
}

/// Descriptions of this library's components.
pub(crate) extern "C" fn components() -> AbiResult<RString> {
    guard("components", || {
        let all: Vec<Desc> = entries().into_iter().map(|(desc, _)| desc).collect();
        Ok(serde_json::to_string(&all).map_err(|error| Error::new(error.to_string()))?.into())
    })
}

/// A component of this library.
pub(crate) extern "C" fn create(
    kind: RStr<'_>,
    name: RStr<'_>,
    config: RStr<'_>,
    host: HostApi_Ref,
) -> AbiResult<PartBox> {
    guard(name.as_str(), || {
        let matches = |desc: &Desc| desc.kind.name() == kind.as_str() && desc.name == name.as_str();
        match entries().into_iter().find(|(desc, _)| matches(desc)) {
            Some((_, entry)) => (entry.create)(config.as_str(), host),
            None => Err(Error::coded(code::UNSUPPORTED, format!("this plugin has no {kind} `{name}`"))),
        }
    })
}
