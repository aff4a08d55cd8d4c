//! Reads what a plugin says of its components.

use serde_json::Value;
use std::collections::HashSet;
use stillhouse_plugin::desc::{Desc, Kind};

/// What is wrong with a description.
pub(super) enum Fault {
    /// It cannot be read, or contradicts itself.
    Bad(String),
    /// A setting of the component bears the name of a key that the host reads.
    Reserved { kind: Kind, component: String, key: String },
}

/// Components in the plugin's order, and notes on those that were left out.
pub(super) type Described = (Vec<Desc>, Vec<String>);

/// Reads the list of descriptions. Unknown keys mean nothing; a component that a `newer` plugin describes in a way that this
/// host does not understand is left out with a note, in any other plugin it is a fault.
pub(super) fn read(json: &str, newer: bool, reserved: &[&str]) -> Result<Described, Fault> {
    let all: Vec<Value> =
        serde_json::from_str(json).map_err(|error| Fault::Bad(format!("no list in JSON: {error}")))?;
    let (mut components, mut notes): (Vec<Desc>, _) = (vec![], vec![]);
    let mut names = HashSet::new();
    for (index, value) in all.into_iter().enumerate() {
        let label = value["name"].as_str().map_or_else(|| format!("component {index}"), |name| format!("`{name}`"));
        let desc = match serde_json::from_value::<Desc>(value) {
            Ok(desc) => desc,
            Err(error) if newer => {
                notes.push(format!("{label} is left out, since this host does not understand it: {error}"));
                continue;
            }
            Err(error) => return Err(Fault::Bad(format!("{label}: {error}"))),
        };
        check(&desc, reserved)?;
        if !names.insert((desc.kind, desc.name.clone())) {
            return Err(Fault::Bad(format!("{} {label} is listed twice", desc.kind.name())));
        }
        components.push(desc);
    }
    Ok((components, notes))
}

fn check(desc: &Desc, reserved: &[&str]) -> Result<(), Fault> {
    let named = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    if !named(&desc.name) {
        return Err(Fault::Bad(format!("{:?} is no name: letters, digits, `_`, `-` and `.` make one", desc.name)));
    }
    let mut ports = HashSet::new();
    if let Some(port) = desc.ports.iter().find(|port| !ports.insert(&port.name)) {
        return Err(Fault::Bad(format!("`{}` has two ports `{}`", desc.name, port.name)));
    }
    let settings = desc.settings();
    match reserved.iter().find(|key| settings.contains(**key)) {
        None => Ok(()),
        Some(key) => Err(Fault::Reserved { kind: desc.kind, component: desc.name.clone(), key: (*key).to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str, newer: bool) -> String {
        match read(json, newer, &["weight"]) {
            Ok((components, notes)) => format!("{} components, notes: {}", components.len(), notes.join("; ")),
            Err(Fault::Bad(cause)) => cause,
            Err(Fault::Reserved { component, key, .. }) => format!("`{component}` uses `{key}`"),
        }
    }

    #[test]
    fn description_with_unknown_keys_is_read() {
        let json =
            r#"[{"kind": "loss", "name": "kd", "colour": 3, "ports": [{"name": "a", "source": "data", "new": []}]}]"#;
        assert_eq!(fault(json, false), "1 components, notes: ");
    }

    #[test]
    fn description_without_name_is_fault() {
        assert_eq!(fault(r#"[{"kind": "loss"}]"#, false), "component 0: missing field `name`");
    }

    #[test]
    fn description_of_unknown_kind_is_left_out_of_newer_plugin_only() {
        let json = r#"[{"kind": "sampler", "name": "s"}, {"kind": "loss", "name": "kd"}]"#;
        let cause = "unknown variant `sampler`, expected one of `loss`, `connector`, `module`, `distiller`";
        assert_eq!(fault(json, false), format!("`s`: {cause}"));
        let note = format!("`s` is left out, since this host does not understand it: {cause}");
        assert_eq!(fault(json, true), format!("1 components, notes: {note}"));
    }

    #[test]
    fn description_listed_twice_is_fault() {
        let json = r#"[{"kind": "loss", "name": "kd"}, {"kind": "loss", "name": "kd"}]"#;
        assert_eq!(fault(json, false), "loss `kd` is listed twice");
    }

    #[test]
    fn description_with_separator_in_name_is_fault() {
        let wanted = r#""a::b" is no name: letters, digits, `_`, `-` and `.` make one"#;
        assert_eq!(fault(r#"[{"kind": "loss", "name": "a::b"}]"#, false), wanted);
    }

    #[test]
    fn description_with_reserved_key_behind_reference_is_fault() {
        let json = r##"[{"kind": "loss", "name": "kd", "schema": {
            "anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#"}],
            "$defs": {"A": {"properties": {"weight": {}}}}}}]"##;
        assert_eq!(fault(json, false), "`kd` uses `weight`");
    }
}
