//! Moving digits: pictures that move about a dark frame and bounce off its borders.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::query::Query;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Rows};
use crate::data::resize::{Filter, Resize};
use crate::data::rng::RngKey;
use crate::data::samples::{FRAMES, IMAGE, Samples, unit};

const KNOWN: &[&str] = &["digits", "frames", "size", "side", "speed", "train", "test", "seed"];
/// Most values of one clip.
const LARGEST_CLIP: usize = 1 << 28;

/// Clips `[T, 1, S, S]` of pictures of another set that move, made when they are asked for.
///
/// Srivastava, Mansimov & Salakhutdinov 2015 (arXiv:1502.04681), Sec. 4: each picture starts anywhere, moves straight ahead at
/// one speed in a direction of its own, and bounces off the borders; where pictures meet, the brighter pixel shows.
///
/// `PLACE` is what `use` accepts for pictures (`digits`, `mnist`, `idx:DIR`). Options: `digits=2` (pictures of a clip),
/// `frames=20`, `size=64` (side of a frame), `side=28` (of a picture; 7/16 of a frame unless written), `speed=3.6` (pixels a
/// frame; 0.1 of the way open to a picture), `train=10000`, `test=1000` (clips), `seed=0`. Clips to train on show training
/// pictures, the others test pictures. A clip follows from the seed and its index alone, so that none is kept.
pub(super) fn load(name: &str, place: &str, base: &Path) -> Result<DataSet, DataError> {
    let (place, query) = Query::parse("moving", place, KNOWN)?;
    let size = query.number("size", 64, 1..=4096)?;
    let side = query.number("side", (size * 7 / 16).max(1), 1..=size)?;
    let way = size - side;
    let motion = Motion {
        digits: query.number("digits", 2, 1..=64)?,
        frames: query.number("frames", 20, 2..=100_000)?,
        size,
        side,
        speed: query.number("speed", way as f64 / 10.0, 0.0..=4096.0)?,
    };
    if motion.frames.saturating_mul(size * size) > LARGEST_CLIP {
        return Err(query.invalid("frames", "clips of at most 2^28 values"));
    }
    let seed = query.number("seed", 0u64, 0..=u64::MAX)?;
    let counts = [query.number("train", 10_000, 1..=10_000_000)?, query.number("test", 1_000, 1..=10_000_000)?];
    let pictures = super::open(place, base)?;
    let part = |samples: &Samples, part: &str, clips: usize| {
        let pictures = shown(samples, motion.side)?;
        let made =
            Moving { pictures, motion: motion.clone(), key: RngKey::new(seed, &format!("moving.{part}")), clips };
        let field = Field::made(vec![motion.frames, 1, size, size], Arc::new(made))?;
        Samples::new(IndexMap::from([(FRAMES.to_owned(), field)]))
    };
    let train = part(&pictures.train, "train", counts[0])?;
    let test = part(&pictures.test, "test", counts[1])?;
    DataSet::new(name, (train, None, test), None)
}

/// How pictures move.
#[derive(Clone, Debug)]
struct Motion {
    digits: usize,
    frames: usize,
    size: usize,
    side: usize,
    speed: f64,
}

/// The pictures of a part, grey and square, brought to one side.
fn shown(samples: &Samples, side: usize) -> Result<Vec<Vec<f32>>, DataError> {
    let field = samples.require("moving", IMAGE)?;
    let &[1, height, width] = field.shape() else {
        return Err(DataError::SampleShape {
            subject: "moving".into(),
            got: field.shape().to_vec(),
            wanted: "[1, H, W]".into(),
            hint: "use grey pictures",
        });
    };
    let resize = Resize::new("moving", [height, width], [side, side], Filter::Bilinear)?;
    let mut pixels = vec![];
    let picture = |&row: &usize| {
        pixels.clear();
        field.push_f32(row, unit(IMAGE), &mut pixels)?;
        Ok(if [height, width] == [side, side] { pixels.clone() } else { resize.plane(&pixels) })
    };
    samples.indices().iter().map(picture).collect()
}

/// The clips of a part.
#[derive(Debug)]
struct Moving {
    pictures: Vec<Vec<f32>>,
    motion: Motion,
    key: RngKey,
    clips: usize,
}

impl Rows for Moving {
    fn rows(&self) -> usize {
        self.clips
    }

    fn push(&self, row: usize, _unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let Motion { digits, frames, size, side, speed } = self.motion;
        let (start, way) = (out.len(), (size - side) as f64);
        out.resize(start + frames * size * size, 0.0);
        let mut rng = self.key.at(row as u64);
        for _ in 0..digits {
            let picture = &self.pictures[rng.below(self.pictures.len())];
            let angle = rng.uniform_f64() * std::f64::consts::TAU;
            let mut at = [rng.uniform_f64() * way, rng.uniform_f64() * way];
            let mut step = [angle.sin() * speed, angle.cos() * speed];
            for frame in out[start..].chunks_exact_mut(size * size) {
                let [top, left] = at.map(|at| at.round() as usize);
                for (y, line) in picture.chunks_exact(side).enumerate() {
                    let from = (top + y) * size + left;
                    let over = &mut frame[from..from + side];
                    over.iter_mut().zip(line).for_each(|(pixel, new)| *pixel = pixel.max(*new));
                }
                for (at, step) in at.iter_mut().zip(&mut step) {
                    (*at, *step) = bounced(*at + *step, *step, way);
                }
            }
        }
        Ok(())
    }
}

/// A place and a step behind a move, reflected at 0 and at the end of the way as often as it takes.
fn bounced(at: f64, step: f64, way: f64) -> (f64, f64) {
    if way <= 0.0 {
        return (0.0, step);
    }
    let turn = at.rem_euclid(2.0 * way);
    let place = if turn > way { 2.0 * way - turn } else { turn };
    // The step changes its sign once for every border on the way.
    let borders = (at / way).floor() as i64;
    (place, if borders.rem_euclid(2) == 0 { step } else { -step })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(text: &str, part: usize, row: usize) -> Vec<f32> {
        let set = load("moving", text, Path::new(".")).unwrap();
        let samples = [&set.train, &set.test][part];
        let mut values = vec![];
        samples.field(FRAMES).unwrap().push_f32(row, 255.0, &mut values).unwrap();
        values
    }

    #[test]
    fn bounced_places_stay_inside_and_turn() {
        assert_eq!(bounced(3.0, 1.0, 10.0), (3.0, 1.0));
        assert_eq!(bounced(-2.0, -3.0, 10.0), (2.0, 3.0));
        assert_eq!(bounced(12.0, 3.0, 10.0), (8.0, -3.0));
        assert_eq!(bounced(23.0, 25.0, 10.0), (3.0, 25.0));
        assert_eq!(bounced(-13.0, -20.0, 10.0), (7.0, -20.0));
        assert_eq!(bounced(4.0, 5.0, 0.0), (0.0, 5.0));
    }

    #[test]
    fn clips_follow_from_seed_and_index() {
        let text = "digits?frames=6&size=24&side=8&train=50&test=5&digits=1";
        let first = clip(text, 0, 7);
        assert_eq!(first.len(), 6 * 24 * 24);
        assert_eq!(first, clip(&format!("{text}&train=1000000"), 0, 7), "the number of clips changes none");
        for other in [clip(text, 0, 8), clip(text, 1, 4), clip(&format!("{text}&seed=1"), 0, 7)] {
            assert_ne!(first, other);
        }
        let sums: Vec<f32> = first.chunks(24 * 24).map(|frame| frame.iter().sum()).collect();
        assert!(sums.iter().all(|sum| (sum - sums[0]).abs() < 1e-3 && *sum > 1.0), "one picture, whole: {sums:?}");
        assert!(first.chunks(24 * 24).collect::<Vec<_>>().windows(2).all(|two| two[0] != two[1]), "it moves");
    }

    #[test]
    fn several_pictures_show_the_brighter_pixel() {
        let text = "digits?frames=3&size=16&side=8&train=4&test=4&digits=3";
        let clip = clip(text, 0, 0);
        assert!(clip.iter().all(|value| (0.0..=1.0).contains(value)));
        assert!(clip.iter().filter(|value| **value > 0.0).count() > 3 * 40);
    }

    #[test]
    fn unfit_options_are_errors() {
        let refused = |text: &str| load("moving", text, Path::new(".")).unwrap_err().to_string();
        assert!(refused("digits?frmaes=3").contains("did you mean `frames`?"));
        assert!(refused("digits?size=8&side=9").contains("`side` of `moving`"));
        assert!(refused("digits?frames=1").contains("a number from 2"));
        assert!(refused("digits?digits=0").contains("a number from 1"));
        assert!(refused("digts").contains("digits"));
    }
}
