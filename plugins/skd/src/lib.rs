//! Spatiotemporal distillation of networks that predict maps: the distiller [`Skd`] (a teacher's map and the true one) and the
//! loss [`SkdMap`] (the true one alone), for teachers, for students alone, and for the network that joins two students.
//!
//! The [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/skd) has the three steps as stages of a manifest.

mod distance;
mod distiller;
mod map;

pub use distance::Norm;
pub use distiller::{Skd, SkdConfig};
pub use map::{SkdMap, SkdMapConfig};

stillhouse_plugin::export_plugin!();

/// No code of the publication is public; see the README.
const CITATION: &str = "Li, Fu, Zhao & Ge, Spatiotemporal Knowledge Distillation for Efficient Estimation of Aerial Video Saliency, IEEE \
                        Transactions on Image Processing, 2019, arXiv:1904.04992";
