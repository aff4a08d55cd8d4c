//! A library without a preamble: its author forgot `export_plugin!`.

/// Something to export.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_plain_answer() -> u32 {
    42
}
