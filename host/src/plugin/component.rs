//! A component of a loaded plugin, and how its errors read.

use super::error::PluginError;
use crate::manifest::nearest;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stillhouse_plugin::abi::abi_stable::std_types::RResult;
use stillhouse_plugin::abi::{AbiError, HostApi_Ref, PartBox, PluginModule_Ref, code};
use stillhouse_plugin::desc::Desc;

/// A loaded plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Name: that of its crate.
    pub name: String,
    /// Version of its crate.
    pub version: String,
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Version of the interface that it speaks, major and minor.
    pub abi: (u32, u32),
    /// Compiler and target.
    pub built_with: String,
    /// Components that were left out, and why.
    pub notes: Vec<String>,
}

/// A plugin that a lock file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Its name.
    pub name: String,
    /// Its version when it was locked.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// Something that a plugin offers.
#[derive(Clone)]
pub struct Component {
    /// What it says of itself.
    pub desc: Desc,
    /// Where it comes from.
    pub plugin: Arc<Plugin>,
    pub(super) module: PluginModule_Ref,
    /// Whether parts of it were made.
    pub(super) used: Arc<AtomicBool>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Component({} {})", self.desc.kind.name(), self.full_name())
    }
}

impl Component {
    /// `plugin::name`, which no other plugin shares.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.plugin.name, self.desc.name)
    }

    /// Makes a part with these settings (a JSON object), which computes through `host`.
    ///
    /// # Errors
    /// The settings are wrong ([`PluginError::Config`]), or the component failed or panicked.
    pub fn create(&self, config: &str, host: HostApi_Ref) -> Result<PartBox, PluginError> {
        let create = self.module.create();
        match create(self.desc.kind.name().into(), self.desc.name.as_str().into(), config.into(), host) {
            RResult::ROk(part) => {
                self.used.store(true, Ordering::Relaxed);
                Ok(part)
            }
            RResult::RErr(error) => Err(self.error(&error)),
        }
    }

    /// An error that a call of this component gave, with its name.
    pub fn error(&self, error: &AbiError) -> PluginError {
        let component = self.desc.name.clone();
        let within: String = error.context.iter().rev().map(|context| format!("{context}: ")).collect();
        let message = format!("{within}{}", error.message);
        if error.code == code::CONFIG {
            let (message, hint) = config_message(&message);
            return PluginError::Config { component, message, hint };
        }
        // A panic is told as "`name` panicked at ..."; the name stands before it already.
        let name = format!("`{component}` ");
        let message = message.strip_prefix(&name).unwrap_or(&message).to_owned();
        PluginError::Failed {
            plugin: self.plugin.name.clone(),
            kind: self.desc.kind,
            component,
            message,
            code: error.code,
        }
    }
}

/// A message about settings in the host's words, and the nearest right name for a wrong one.
///
/// ``at `inner.a`: unknown field `a`, expected `b` `` names the field twice; ``unknown field `a`, expected `b` `` says its
/// place in other words.
fn config_message(raw: &str) -> (String, Option<String>) {
    let placed = raw.strip_prefix("at `").and_then(|rest| rest.split_once("`: "));
    let (place, said) = placed.map_or(("", raw), |(place, said)| (place, said));
    let unknown = |what: &str| said.strip_prefix(what).and_then(|rest| rest.split_once('`'));
    if let Some((field, rest)) = unknown("unknown field `") {
        let place = match place {
            "" => field.to_owned(),
            _ if place == field || place.ends_with(&format!(".{field}")) => place.to_owned(),
            _ => format!("{place}.{field}"),
        };
        return (format!("at `{place}`: unknown field{rest}"), suggestion(field, rest));
    }
    let hint = unknown("unknown variant `").and_then(|(variant, rest)| suggestion(variant, rest));
    (raw.to_owned(), hint)
}

/// The nearest of the names in backticks.
fn suggestion(wrong: &str, expected: &str) -> Option<String> {
    let names = expected.split('`').skip(1).step_by(2);
    nearest(wrong, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::config_message;

    fn hinted(raw: &str) -> (String, String) {
        let (message, hint) = config_message(raw);
        (message, hint.unwrap_or_default())
    }

    #[test]
    fn config_message_of_unknown_field_says_it_once() {
        let (message, hint) = hinted("at `inner.angle_wieght`: unknown field `angle_wieght`, expected `angle_weight`");
        assert_eq!(message, "at `inner.angle_wieght`: unknown field, expected `angle_weight`");
        assert_eq!(hint, "did you mean `angle_weight`?");
    }

    #[test]
    fn config_message_without_place_gets_one() {
        let (message, hint) = hinted("unknown field `tempreature`, expected `scale`, `temperature`");
        assert_eq!(message, "at `tempreature`: unknown field, expected `scale`, `temperature`");
        assert_eq!(hint, "did you mean `temperature`?");
    }

    #[test]
    fn config_message_of_flattened_field_joins_its_place() {
        let (message, hint) = hinted("at `inner`: unknown field `x`, there are no fields");
        assert_eq!((message.as_str(), hint.as_str()), ("at `inner.x`: unknown field, there are no fields", ""));
    }

    #[test]
    fn config_message_of_unknown_variant_keeps_it() {
        let raw = "at `norm`: unknown variant `l3`, expected `l1` or `l2`";
        assert_eq!(hinted(raw), (raw.into(), "did you mean `l1`?".into()));
    }
}
