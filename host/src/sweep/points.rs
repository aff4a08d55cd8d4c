//! The points of a sweep: variants crossed with the grid.

use super::file::SweepError;
use super::names::{labels, word, written};
use toml::Value;

/// A run of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// `dkd,temperature=4`: the variant, then what the grid sets.
    pub name: String,
    /// What it sets, as `--set` takes it.
    pub overrides: Vec<String>,
}

/// A path of the manifest and its values: of the grid several, of a variant one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) path: String,
    pub(super) values: Vec<Value>,
}

/// Overrides that go together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) settings: Vec<Setting>,
}

/// Every variant with every combination of the grid, in its order.
///
/// # Errors
/// Nothing varies, a path is set twice or is the sweep's own, two points have one name.
pub(super) fn cross(
    grid: &[Setting],
    variants: &[Variant],
    seeds: Option<Vec<Value>>,
) -> Result<Vec<Point>, SweepError> {
    if grid.is_empty() && variants.is_empty() {
        let hint = "give lists in `[grid]`, or tables `[variant.NAME]`";
        return Err(SweepError::new("there is nothing to sweep over").hint(hint));
    }
    let seeds: Vec<Setting> = seeds
        .map(|seeds| Setting { path: "run.seeds".into(), values: vec![Value::Array(seeds)] })
        .into_iter()
        .collect();
    check_paths(grid, variants, &seeds)?;
    let paths: Vec<Vec<String>> = grid.iter().map(|setting| keys(&setting.path)).collect();
    let labels = labels(&paths);
    let one = |setting: &Setting| setting.values.first().map(|value| format!("{}={}", setting.path, written(value)));
    let plain = Variant { name: String::new(), settings: vec![] };
    let mut points: Vec<Point> = vec![];
    for variant in if variants.is_empty() { std::slice::from_ref(&plain) } else { variants } {
        let overrides = seeds.iter().chain(&variant.settings).filter_map(one).collect();
        let mut own = vec![Point { name: variant.name.clone(), overrides }];
        for (setting, label) in grid.iter().zip(&labels) {
            own = own.iter().flat_map(|point| extended(point, setting, label)).collect();
        }
        points.extend(own);
    }
    for (at, point) in points.iter().enumerate() {
        if points[..at].iter().any(|other| other.name == point.name) {
            let hint = "give values that read differently, or name them by variants: `[variant.NAME]`";
            return Err(SweepError::new(format!("two points have the name `{}`", point.name)).hint(hint));
        }
    }
    Ok(points)
}

/// A point with each value of a setting.
fn extended(point: &Point, setting: &Setting, label: &str) -> Vec<Point> {
    let with = |(place, value): (usize, &Value)| {
        let comma = if point.name.is_empty() { "" } else { "," };
        let mut overrides = point.overrides.clone();
        overrides.push(format!("{}={}", setting.path, written(value)));
        Point { name: format!("{}{comma}{label}={}", point.name, word(value, place)), overrides }
    };
    setting.values.iter().enumerate().map(with).collect()
}

/// A path's keys.
fn keys(path: &str) -> Vec<String> {
    let parsed = toml_edit::Key::parse(path).map(|keys| keys.iter().map(|key| key.get().to_owned()).collect());
    parsed.unwrap_or_else(|_| vec![path.to_owned()])
}

/// No path is set twice in a point, none lies in another one, and none is the sweep's own.
fn check_paths(grid: &[Setting], variants: &[Variant], seeds: &[Setting]) -> Result<(), SweepError> {
    let plain: &[Setting] = &[];
    let of_variants = variants.iter().map(|variant| variant.settings.as_slice()).chain([plain]);
    for own in of_variants {
        let all: Vec<&Setting> = seeds.iter().chain(own).chain(grid).collect();
        for (at, setting) in all.iter().enumerate() {
            let path = keys(&setting.path);
            if ["name", "dir"].iter().any(|key| path == ["run", key]) {
                let message = format!("`{}` is not to be set: each point has a folder of its own", setting.path);
                return Err(SweepError::new(message));
            }
            let meets = |other: &&&Setting| {
                let other = keys(&other.path);
                other.starts_with(&path) || path.starts_with(&other)
            };
            if let Some(other) = all[..at].iter().find(meets) {
                let message = if other.path == setting.path {
                    format!("`{}` is set twice in one point", setting.path)
                } else {
                    format!("`{}` and `{}` set the same in one point", other.path, setting.path)
                };
                return Err(SweepError::new(message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(path: &str, values: &[f64]) -> Setting {
        Setting { path: path.into(), values: values.iter().map(|value| Value::Float(*value)).collect() }
    }

    #[test]
    fn points_are_variants_times_grid() {
        let grid = [setting("stage.a.lr", &[0.1, 0.2]), setting("stage.a.ema", &[0.5])];
        let variants = [("kd", vec![]), ("fit", vec![setting("stage.a.terms.t.weight", &[2.0])])]
            .map(|(name, settings)| Variant { name: name.into(), settings });
        let points = cross(&grid, &variants, Some(vec![Value::Integer(3)])).expect("points");
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["kd,lr=0.1,ema=0.5", "kd,lr=0.2,ema=0.5", "fit,lr=0.1,ema=0.5", "fit,lr=0.2,ema=0.5"]);
        let wanted = ["run.seeds=[3]", "stage.a.terms.t.weight=2.0", "stage.a.lr=0.2", "stage.a.ema=0.5"];
        assert_eq!(points[3].overrides, wanted);
    }

    #[test]
    fn paths_that_meet_are_errors() {
        let of = |grid: &[Setting], variant: Option<Setting>, seeds: Option<Vec<Value>>| {
            let variants: Vec<Variant> =
                variant.map(|one| Variant { name: "v".into(), settings: vec![one] }).into_iter().collect();
            cross(grid, &variants, seeds).expect_err("is refused").message
        };
        assert_eq!(of(&[], None, None), "there is nothing to sweep over");
        let twice = of(&[setting("a.b", &[1.0])], Some(setting("a.\"b\"", &[1.0])), None);
        assert_eq!(twice, "`a.\"b\"` and `a.b` set the same in one point");
        assert!(of(&[setting("a.b", &[1.0]), setting("a", &[1.0])], None, None).contains("`a.b` and `a`"));
        let seeds = Some(vec![Value::Integer(1)]);
        assert_eq!(of(&[setting("run.seeds", &[1.0])], None, seeds), "`run.seeds` is set twice in one point");
        assert!(of(&[setting("run.name", &[1.0])], None, None).starts_with("`run.name` is not to be set"));
        assert_eq!(of(&[setting("a.b", &[1.0, 1.0])], None, None), "two points have the name `b=1.0`");
    }
}
