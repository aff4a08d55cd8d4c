//! `[data]` and `[views]`.

use schemars::JsonSchema;
use serde::Deserialize;

/// A data set and what is done with it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A preset (`digits`, `fashion-mnist`) or `FORMAT:PATH` (`idx:DIR`, `moving:mnist?digits=2`), the path relative to the manifest.
    #[serde(rename = "use")]
    pub use_: String,
    /// Part of the training samples kept for validation.
    pub split: Option<Split>,
    /// Which part of every picture is kept, and at which size.
    pub fit: Option<Fit>,
    /// Makes a picture and a map of every clip.
    pub map: Option<NextMap>,
    /// Random changes to a training sample, in order.
    #[serde(default)]
    pub augment: Vec<Augment>,
    /// Every sample is augmented in so many ways, of which each epoch draws one; anew each epoch unless written. What a frozen model
    /// gives for them can be kept (`models.X.cache`).
    #[schemars(range(min = 1))]
    pub variants: Option<usize>,
    /// Keep the first so many training samples, for a quick look.
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// Keep the first so many test samples.
    #[schemars(range(min = 1))]
    pub test_limit: Option<usize>,
    /// Whether samples stay in their files until a batch asks for them; unless written, where they would fill more than a quarter of the
    /// memory. For folders of pictures and IDX files that are not packed.
    pub stream: Option<bool>,
    /// Megabytes of decoded pictures that are kept all the same.
    #[serde(default = "cache_mb")]
    pub cache_mb: usize,
    /// What happens at a sample that cannot be read: a picture that does not decode, a label that names no class.
    #[serde(default)]
    pub damaged: Damaged,
}

impl Data {
    /// The format and the path of `FORMAT:PATH`, `moving:FORMAT` and that of `moving:FORMAT:PATH`; none for a preset, moving or not.
    pub fn format_and_path(&self) -> Option<(&str, &str)> {
        format_and_path(&self.use_)
    }
}

/// [`Data::format_and_path`] of a text.
pub(super) fn format_and_path(text: &str) -> Option<(&str, &str)> {
    let (format, path) = text.split_once(':')?;
    if format != "moving" {
        return Some((format, path));
    }
    // A colon behind the name is one of the query's.
    let (inner, path) = path.split_once(':').filter(|(inner, _)| !inner.contains('?'))?;
    Some((&text[..format.len() + 1 + inner.len()], path))
}

fn cache_mb() -> usize {
    64
}

/// What happens at a sample that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damaged {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The sample is left out and counted; at most so many of the set.
    Skip(u64),
}

/// The form that pictures and clips of a set are brought to when they are read, so that a model can see sets of different sizes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Size of the middle that is kept; the whole picture unless written.
    pub crop: Option<Size>,
    /// Size to bring that to; as it is unless written.
    pub size: Option<Size>,
    /// How to bring it to that size.
    #[serde(default)]
    pub filter: Filter,
}

/// The map of a clip's last frame, to be found from the frames before it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextMap {
    /// Frames that the networks see, side by side as channels, the newest last.
    #[schemars(range(min = 1))]
    pub frames: usize,
    /// The map is 1 where the last frame is above this value and 0 elsewhere; the frame itself unless written.
    pub above: Option<f64>,
}

/// A split of the training samples, the same for every run with the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Fraction kept for validation, at least 0 and less than 1.
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub val: f64,
    /// Seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

/// A random change to a training sample.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Augment {
    /// Mirror left to right, half of the time.
    Flip,
    /// Pad with zeros by so many pixels on each side, then cut the original size at random.
    Crop(#[schemars(range(min = 1))] usize),
    /// Blank a square of this side at random.
    Cutout(#[schemars(range(min = 1))] usize),
    /// Add Gaussian noise of this standard deviation, before normalisation.
    Noise(#[schemars(range(min = 0))] f64),
}

/// A version of a sample, made for one model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Size to bring the sample to.
    pub size: Option<Size>,
    /// How to bring it to that size.
    #[serde(default)]
    pub filter: Filter,
    /// The data set whose samples this view shows; the stage's unless written.
    pub data: Option<String>,
    /// Whether the set's augmentation applies; as the stage does unless written.
    pub augment: Option<bool>,
}

/// How to resize.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels covered.
    Area,
}

/// Height and width; one number for a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "SizeForm")]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Height and width: `32` or `[24, 32]`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum SizeForm {
    /// Side of a square.
    Square(#[schemars(range(min = 1))] usize),
    /// Height, width.
    Sides(#[schemars(inner(range(min = 1)))] [usize; 2]),
}

impl From<SizeForm> for Size {
    fn from(form: SizeForm) -> Self {
        match form {
            SizeForm::Square(side) => Self { height: side, width: side },
            SizeForm::Sides([height, width]) => Self { height, width },
        }
    }
}
