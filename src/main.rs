//! The binary: parse, run, exit code. Nothing else.

use std::process::ExitCode;

use clap::Parser;

/// The system's allocator costs a CNN step on the CPU about a seventh of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weft::device::configure_runtimes();
    weft::commands::failure::install();
    weft::commands::main(weft::cli::Cli::parse())
}
