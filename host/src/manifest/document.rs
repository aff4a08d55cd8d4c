//! The whole manifest, and the order in which its stages run.

use super::cache::Cache;
use super::data::{Data, View};
use super::model::Model;
use super::recording::Recording;
use super::run::{Plugins, Run};
use super::stage::Stage;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A Stillhouse manifest: data, models, and the stages that train them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the grammar; this host reads 1.
    #[schemars(range(min = 1, max = 1))]
    pub manifest: u32,
    /// A manifest that this one builds on, relative to this file; tables merge, this file wins, lists are replaced.
    pub extends: Option<String>,
    /// How to run: name, seeds, device.
    #[serde(default)]
    pub run: Run,
    /// Where to look for plugins first.
    #[serde(default)]
    pub plugins: Plugins,
    /// What frozen models gave, kept on disk for models with `cache`.
    #[serde(default)]
    pub cache: Cache,
    /// Data sets by name; `[data]` with a key `use` is one set, named `main`.
    #[schemars(extend("minProperties" = 1))]
    pub data: IndexMap<String, Data>,
    /// Models by name: teachers, students, and what stages train.
    #[schemars(extend("minProperties" = 1))]
    pub models: IndexMap<String, Model>,
    /// Versions of a sample, made for one model: size, filter, augmentation.
    #[serde(default)]
    pub views: IndexMap<String, View>,
    /// What models hold at taps, kept on disk: made before the first stage that reads it.
    #[serde(default)]
    pub recordings: IndexMap<String, Recording>,
    /// Training runs by name, in the order in which they run.
    #[schemars(extend("minProperties" = 1))]
    pub stage: IndexMap<String, Stage>,
    /// Paths to sweep over, each with its values: `"stage.distil.terms.kd.temperature" = [1, 2, 4]`.
    #[serde(default)]
    pub sweep: IndexMap<String, Vec<Value>>,
}

impl Manifest {
    /// Stage names in running order: as written, but after all that `after` and `init` name.
    pub fn stage_order(&self) -> Vec<&str> {
        let (mut ordered, left) = self.split_by_order();
        ordered.extend(left);
        ordered
    }

    /// The data set of a stage: the one it names, else the first one written.
    pub fn data_of(&self, stage: &Stage) -> Option<(&str, &Data)> {
        let found = match &stage.data {
            Some(name) => self.data.get_key_value(name),
            None => self.data.first(),
        };
        found.map(|(name, data)| (name.as_str(), data))
    }

    /// The stages that can be ordered, in order, and those that wait for each other.
    pub(super) fn split_by_order(&self) -> (Vec<&str>, Vec<&str>) {
        let mut waiting: Vec<(&str, Vec<&str>)> =
            self.stage.iter().map(|(name, stage)| (name.as_str(), stage.needs().collect())).collect();
        let mut ordered: Vec<&str> = Vec::new();
        let is_ready = |needs: &[&str], ordered: &[&str]| {
            needs.iter().all(|need| ordered.contains(need) || !self.stage.contains_key(*need))
        };
        while let Some(next) = waiting.iter().position(|(_, needs)| is_ready(needs, &ordered)) {
            ordered.push(waiting.remove(next).0);
        }
        (ordered, waiting.into_iter().map(|(name, _)| name).collect())
    }
}
