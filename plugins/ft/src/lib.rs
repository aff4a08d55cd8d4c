//! Factor transfer: the distiller [`Ft`] with its two stages; its parts [`FtEncoder`], [`FtDecoder`] and [`FtFactor`] stand
//! alone, too.
//!
//! Each part is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/ft) has
//! manifest fragments.

mod connectors;
mod distiller;
mod factor;
mod layers;

pub use connectors::{FtDecoder, FtDecoderConfig, FtEncoder, FtEncoderConfig};
pub use distiller::{Ft, FtConfig};
pub use factor::{FtFactor, FtFactorConfig};

stillhouse_plugin::export_plugin!();
