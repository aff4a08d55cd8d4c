//! What a run leaves behind and shows: its folder, its log, its progress, the final table.

mod changes;
mod comparison;
mod folder;
mod line;
mod log;
mod measures;
mod output;
mod progress;
mod table;
mod tables;

pub use changes::{changed_since, has_begun, same_run};
pub use comparison::{Comparison, Difference, Reached, Row, compare_runs, read_run};
pub use folder::{FolderError, RunFolder, tidy};
pub use log::EventLog;
pub use measures::{Measure, Measures};
pub use output::{show, tell};
pub use progress::Progress;
pub(crate) use table::write_columns;
pub use table::{Summary, Table, summarise};
pub use tables::TableFiles;
