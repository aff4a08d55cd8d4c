//! What a run leaves behind and shows: its folder, its log, its progress, the final table.

mod folder;
mod progress;
mod table;

pub use folder::{EventLog, FolderError, RunFolder};
pub use progress::Progress;
pub use table::{Summary, Table, summarise};
