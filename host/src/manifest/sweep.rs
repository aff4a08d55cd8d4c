//! `[sweep]`: the grid of overrides.

use super::document::Manifest;
use serde_json::Value;

impl Manifest {
    /// The points of the grid, each a list of overrides for [`load`](super::load); the last path varies fastest.
    ///
    /// One point without overrides if there is no `[sweep]`.
    pub fn sweep_points(&self) -> Vec<Vec<String>> {
        let mut points = vec![Vec::new()];
        for (path, values) in &self.sweep {
            let extended = points.iter().flat_map(|point: &Vec<String>| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.push(format!("{path}={}", as_toml(value)));
                    point
                })
            });
            points = extended.collect();
        }
        points
    }
}

/// A value as TOML on one line.
fn as_toml(value: &Value) -> String {
    match toml::Value::try_from(value) {
        Ok(value) => value.to_string(),
        Err(_) => value.to_string(),
    }
}
