//! The binary: hands the command line to [`stillhouse::cli`].
fn main() {}
