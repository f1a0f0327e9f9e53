//! The binary: parse, run, exit code. Nothing else.

use std::process::ExitCode;

use clap::Parser;

/// The system's allocator costs a CNN step on the CPU about a seventh of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option for how long, in milliseconds, unused memory stays with the process; the crate does not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// A step frees as much as it takes and the next one takes it again: between the two it is not given back, as it
/// would be after a second. `MIMALLOC_PURGE_DELAY` goes before this.
fn keep_memory_between_steps() {
    // SAFETY: an option is a number, of which a known one is set and others are ignored.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 60_000) };
}

fn main() -> ExitCode {
    keep_memory_between_steps();
    weft::device::configure_runtimes();
    weft::commands::failure::install();
    weft::commands::main(weft::cli::Cli::parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its default tells it from the others: no other option is 1000.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            assert_eq!(get(), 1000);
            keep_memory_between_steps();
            assert_eq!(get(), 60_000);
        }
    }
}
