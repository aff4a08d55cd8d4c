//! Compares the types that a plugin was compiled with to the host's, and says in a line where they differ.

use std::cmp::Ordering;
use stillhouse_plugin::abi::abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, AbiInstabilityErrors, check_layout_compatibility,
};
use stillhouse_plugin::abi::abi_stable::library::LibHeader;
use stillhouse_plugin::abi::abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};
use stillhouse_plugin::abi::{ABI_MINOR, host_layout};

/// A difference, short and in full.
pub(super) struct Mismatch {
    pub(super) difference: String,
    pub(super) report: String,
}

/// Checks the module behind `header`, of a plugin that speaks this minor version.
///
/// A newer side has what the older one has, and more after it. So the older side is the interface, and the newer one must
/// implement it; of equal sides each must implement the other.
pub(super) fn check(header: &'static LibHeader, minor: u32) -> Result<(), Mismatch> {
    let Some(plugin) = header.layout() else {
        let difference = "its types are not described".to_owned();
        return Err(Mismatch { report: difference.clone(), difference });
    };
    compare((host_layout(), ABI_MINOR), (plugin, minor))
}

/// The types of both sides, each with its minor version.
fn compare(host: (&'static TypeLayout, u32), plugin: (&'static TypeLayout, u32)) -> Result<(), Mismatch> {
    match plugin.1.cmp(&host.1) {
        Ordering::Less => implements(plugin.0, host.0, true),
        Ordering::Greater => implements(host.0, plugin.0, false),
        Ordering::Equal => implements(host.0, plugin.0, false).and_then(|()| implements(plugin.0, host.0, true)),
    }
}

/// `swapped`: the interface is the plugin's, so that what the comparison expects is what the host finds.
fn implements(
    interface: &'static TypeLayout,
    implementation: &'static TypeLayout,
    swapped: bool,
) -> Result<(), Mismatch> {
    check_layout_compatibility(interface, implementation)
        .map_err(|errors| Mismatch { difference: reduce(&errors, swapped), report: errors.to_string() })
}

/// The deepest difference, as `create > param_3 > parameter > param_2: expected f64, found f32`.
fn reduce(errors: &AbiInstabilityErrors, swapped: bool) -> String {
    let Some(deepest) = errors.errors.iter().filter(|error| !error.errs.is_empty()).max_by_key(|error| depth(error))
    else {
        return "the types differ".into();
    };
    let mut place: Vec<String> = vec![];
    for step in &deepest.stack_trace {
        let name = match &step.found {
            TLFieldOrFunction::Field(field) => field.name(),
            TLFieldOrFunction::Function(function) => function.name.as_str(),
        };
        // Positions in tuples belong to wrappers of pointers; a function bears the name of its field.
        let is_position = name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_position && place.last().is_none_or(|last| last != name) {
            place.push(name.to_owned());
        }
    }
    let said = deepest.errs.first().map_or_else(String::new, |error| told(error, swapped));
    let place = if place.is_empty() { "the module".to_owned() } else { place.join(" > ") };
    format!("{place}: {said}")
}

/// Steps to an error; of equal ones the first counts, which `max_by_key` would not take.
fn depth(error: &AbiInstabilityError) -> (usize, std::cmp::Reverse<usize>) {
    (error.stack_trace.len(), std::cmp::Reverse(error.index))
}

/// What one comparison expected and found, the host's side first.
fn told(error: &AbiInstability, swapped: bool) -> String {
    use AbiInstability as Differs;
    let sides = |what: &str, expected: String, found: String| {
        let (host, plugin) = if swapped { (found, expected) } else { (expected, found) };
        format!("expected {}{what}, found {}", short(&host), short(&plugin))
    };
    match error {
        Differs::Name(v) => sides("", v.expected.to_string(), v.found.to_string()),
        Differs::Package(v) => sides(" (crate)", v.expected.to_string(), v.found.to_string()),
        Differs::PackageVersion(v) => sides(" (version of the crate)", v.expected.to_string(), v.found.to_string()),
        Differs::MismatchedPrimitive(v) => {
            let name = |primitive| format!("{primitive:?}").to_lowercase();
            sides("", name(v.expected), name(v.found))
        }
        Differs::FieldCountMismatch(v) => sides(" fields", v.expected.to_string(), v.found.to_string()),
        Differs::MismatchedPrefixSize(v) => sides(" fields in the prefix", v.expected.to_string(), v.found.to_string()),
        Differs::Size(v) => sides(" bytes", v.expected.to_string(), v.found.to_string()),
        Differs::Alignment(v) => sides(" bytes of alignment", v.expected.to_string(), v.found.to_string()),
        Differs::UnexpectedField(v) => {
            sides("", format!("field `{}`", v.expected.name()), format!("field `{}`", v.found.name()))
        }
        Differs::UnexpectedVariant(v) => {
            sides("", format!("variant `{}`", v.expected), format!("variant `{}`", v.found))
        }
        other => short(&format!("{other:?}")),
    }
}

/// The beginning of a text that may be long, in one line.
fn short(text: &str) -> String {
    const MOST: usize = 100;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use next_interface::abi::host_layout as next_layout;

    fn difference(host: (&'static TypeLayout, u32), plugin: (&'static TypeLayout, u32)) -> Option<String> {
        compare(host, plugin).err().map(|mismatch| mismatch.difference)
    }

    #[test]
    fn older_plugin_in_newer_host_fits() {
        assert_eq!(difference((next_layout(), ABI_MINOR + 1), (host_layout(), ABI_MINOR)), None);
    }

    #[test]
    fn newer_plugin_in_older_host_fits() {
        assert_eq!(difference((host_layout(), ABI_MINOR), (next_layout(), ABI_MINOR + 1)), None);
    }

    #[test]
    fn more_under_an_equal_minor_is_a_difference() {
        let is_told = |said: Option<String>| said.is_some_and(|said| said.contains("21") && said.contains("22"));
        assert!(is_told(difference((host_layout(), 1), (next_layout(), 1))));
        assert!(is_told(difference((next_layout(), 1), (host_layout(), 1))));
    }

    #[test]
    fn less_under_a_higher_minor_is_a_difference() {
        assert!(difference((next_layout(), 1), (host_layout(), 2)).is_some());
        assert!(difference((host_layout(), 2), (next_layout(), 1)).is_some());
    }
}
