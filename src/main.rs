//! The binary: parse, run, print the error, exit code. Nothing else.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// The system's allocator costs a CNN step on the CPU about a seventh of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weft::device::configure_runtimes();
    std::panic::set_hook(Box::new(weft::commands::report_panic));
    let cli = weft::cli::Cli::parse();
    match std::panic::catch_unwind(|| weft::commands::run(cli)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let error = weft::commands::describe(&error);
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
        // The hook has said why.
        Err(_) => ExitCode::FAILURE,
    }
}
