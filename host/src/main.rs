//! The binary: hands the command line to [`stillhouse::cli`], on a thread whose stack holds the deepest graphs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// candle walks and drops its tape recursively: long sequences need room. Only what is used takes memory.
const STACK: usize = 1 << 30;

fn main() -> ExitCode {
    stillhouse::exec::keep_freed_memory();
    let worker = std::thread::Builder::new().name("main".into()).stack_size(STACK).spawn(stillhouse::cli::main);
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => {
            eprintln!("error: no thread to work on: {error}");
            ExitCode::FAILURE
        }
    }
}
