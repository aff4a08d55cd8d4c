//! Relations between the samples of a batch: [`RkdDistance`] (pairs), [`RkdAngle`] (triplets), and [`Rkd`], both at once.
//!
//! Pairs and triplets are two operations of the plugin's own, [`Distances`] and [`AngleHuber`], so that neither the differences
//! of all pairs nor the angles of all triplets are ever in memory. The
//! [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/rkd) has manifest fragments.

mod angle;
mod angles;
mod distance;
mod distances;
mod rkd;
mod space;
mod vectors;

pub use angle::{RkdAngle, RkdAngleConfig};
pub use angles::AngleHuber;
pub use distance::{RkdDistance, RkdDistanceConfig};
pub use distances::Distances;
pub use rkd::{Rkd, RkdConfig};

stillhouse_plugin::export_plugin!();
