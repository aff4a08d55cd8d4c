//! From a case to parts: the map as a file has it.

use super::case::Case;
use super::error::EvalError;
use super::setting::holds;
use crate::manifest::{OneOrMany, nearest};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use stillhouse_plugin::desc::Kind;

/// Which parts, with which settings, make up which golden cases. The file explains its grammar at the top.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenMap {
    /// Version of the grammar.
    #[serde(deserialize_with = "first_version")]
    #[serde(rename = "map")]
    _version: u64,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
    #[serde(default)]
    not_mapped: Vec<NotMapped>,
}

/// Parts of one algorithm and variant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) algorithm: OneOrMany<String>,
    pub(super) variant: OneOrMany<String>,
    #[serde(default)]
    pub(super) when: Map<String, Value>,
    pub(super) factor: Option<Value>,
    #[serde(default)]
    pub(super) out: IndexMap<String, String>,
    pub(super) network: Option<NetworkRule>,
    #[serde(default, rename = "part")]
    pub(super) parts: Vec<PartRule>,
}

/// A predictor of frames, which runs before the parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkRule {
    pub(super) name: String,
    pub(super) arch: Map<String, Value>,
    #[serde(default)]
    pub(super) modules: IndexMap<String, ModuleRule>,
    pub(super) given: Value,
    pub(super) frames: String,
    pub(super) sampling: Option<String>,
    pub(super) taps: Vec<String>,
    #[serde(default)]
    pub(super) params: IndexMap<String, OneOrMany<String>>,
}

/// A module in a slot of a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModuleRule {
    #[serde(rename = "use")]
    pub(super) use_: String,
    #[serde(default)]
    pub(super) config: Map<String, Value>,
}

/// One part of a rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartRule {
    name: Option<String>,
    #[serde(default = "loss")]
    pub(super) kind: Kind,
    #[serde(rename = "use")]
    pub(super) use_: String,
    #[serde(default)]
    pub(super) when: Map<String, Value>,
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    #[serde(default)]
    pub(super) ports: IndexMap<String, OneOrMany<String>>,
    #[serde(default)]
    pub(super) params: IndexMap<String, OneOrMany<String>>,
    pub(super) weight: Option<Value>,
    #[serde(default)]
    pub(super) stage: String,
    #[serde(default)]
    pub(super) phase: String,
    pub(super) samples: Option<Value>,
    pub(super) plan: Option<PlanRule>,
}

/// A distiller that only plans.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanRule {
    pub(super) term: String,
    pub(super) at: String,
}

/// Cases that no parts stand for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotMapped {
    algorithm: OneOrMany<String>,
    #[serde(default = "any")]
    variant: OneOrMany<String>,
    reason: String,
}

/// What the map says of a case.
pub(super) enum Found<'a> {
    Rule(&'a Rule),
    NotMapped(&'a str),
}

impl PartRule {
    /// Its name in the rule: that of the component unless written.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.use_)
    }
}

impl GoldenMap {
    /// Reads a map.
    ///
    /// # Errors
    /// The file is missing, or not of the grammar.
    pub fn load(path: &Path) -> Result<GoldenMap, EvalError> {
        let text = std::fs::read_to_string(path).map_err(|error| EvalError::file(path, error))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            EvalError::File { path: path.into(), message: format!("line {line}: {}", error.message()) }
        })
    }

    /// The map for a case: `map.toml` in its folder or one above, else `tests/golden/map.toml` below the working folder, the
    /// binary, or a folder above one of them.
    ///
    /// # Errors
    /// There is none, or it is not of the grammar.
    pub fn find(case: &Path) -> Result<GoldenMap, EvalError> {
        let absolute = std::path::absolute(case).unwrap_or_else(|_| case.into());
        let beside = absolute.ancestors().skip(1).map(|folder| folder.join("map.toml"));
        let places = [std::env::current_dir().ok(), std::env::current_exe().ok()];
        let below =
            |place: PathBuf| place.ancestors().map(|folder| folder.join("tests/golden/map.toml")).collect::<Vec<_>>();
        let mut all = beside.chain(places.into_iter().flatten().flat_map(below));
        match all.find(|path| path.is_file()) {
            Some(path) => GoldenMap::load(&path),
            None => Err(EvalError::NoMap(case.into())),
        }
    }

    /// The first rule that the case fits, or the reason why there is none.
    pub(super) fn find_rule(&self, case: &Case) -> Result<Found<'_>, EvalError> {
        let named = |rule: &&Rule| names(&rule.algorithm, &case.algorithm) && names(&rule.variant, &case.variant);
        let mut candidates = self.rules.iter().filter(named).peekable();
        if let Some(first) = candidates.peek().copied() {
            return match candidates.find(|rule| holds(&rule.when, case)) {
                Some(rule) => Ok(Found::Rule(rule)),
                None => Err(no_condition(first, case)),
            };
        }
        let excused =
            |entry: &&NotMapped| names(&entry.algorithm, &case.algorithm) && names(&entry.variant, &case.variant);
        match self.not_mapped.iter().find(excused) {
            Some(entry) => Ok(Found::NotMapped(&entry.reason)),
            None => Err(self.unknown(case)),
        }
    }

    /// Kinds and names of the parts that a case asks for; none for a case without parts.
    ///
    /// # Errors
    /// The map does not know the case.
    pub fn parts(&self, case: &Case) -> Result<Vec<(Kind, String)>, EvalError> {
        let rule = match self.find_rule(case)? {
            Found::NotMapped(_) => return Ok(vec![]),
            Found::Rule(rule) => rule,
        };
        let modules = rule.network.iter().flat_map(|network| network.modules.values());
        let modules = modules.map(|module| (Kind::Module, module.use_.clone()));
        let parts = rule.parts.iter().filter(|part| holds(&part.when, case));
        Ok(parts.map(|part| (part.kind, part.use_.clone())).chain(modules).collect())
    }

    fn unknown(&self, case: &Case) -> EvalError {
        let of_algorithm = self.rules.iter().filter(|rule| names(&rule.algorithm, &case.algorithm));
        let variants: Vec<&str> = of_algorithm.flat_map(|rule| rule.variant.iter().map(String::as_str)).collect();
        let algorithms = || self.rules.iter().flat_map(|rule| rule.algorithm.iter().map(String::as_str));
        let hint = match (nearest(&case.variant, variants.iter().copied()), nearest(&case.algorithm, algorithms())) {
            (Some(close), _) => format!("did you mean variant `{close}`?"),
            (None, Some(close)) if variants.is_empty() => format!("did you mean algorithm `{close}`?"),
            _ => "add a `[[rule]]` for it, or a `[[not_mapped]]` with the reason".into(),
        };
        EvalError::Unknown { algorithm: case.algorithm.clone(), variant: case.variant.clone(), hint }
    }
}

/// `*` names everything.
fn names(list: &OneOrMany<String>, name: &str) -> bool {
    list.iter().any(|known| known == name || known == "*")
}

fn no_condition(first: &Rule, case: &Case) -> EvalError {
    let wanted = serde_json::to_string(&first.when).unwrap_or_default();
    EvalError::Rule {
        rule: format!("{}/{}", case.algorithm, case.variant),
        message: format!("no rule's conditions hold for `{}`; the first one wants {wanted}", case.name),
        hint: Some("add a `[[rule]]` for these hyperparameters".into()),
    }
}

fn loss() -> Kind {
    Kind::Loss
}

fn any() -> OneOrMany<String> {
    OneOrMany::from(vec!["*".to_owned()])
}

fn first_version<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    match u64::deserialize(reader)? {
        1 => Ok(1),
        other => Err(serde::de::Error::custom(format!("this host knows version 1 of the map, not {other}"))),
    }
}
