//! One file per verb; each reads as a sentence.

mod data;
mod devices;
mod download_bar;
mod evaluate;
mod resume;
mod train;
mod training;

use std::io::Write;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{Cli, Command};

/// Runs a command.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Train(args) => train::run(args),
        Command::Resume(args) => resume::run(args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Devices => {
            devices::run();
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "weft", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A panic from burn, wgpu or weft as an error for people: no backtrace, unless it is asked for.
pub fn report_panic(info: &PanicHookInfo) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let mut stderr = std::io::stderr();
    let _ = writeln!(
        stderr,
        "error: an unexpected failure: {message} ({place})\nhint: checkpoints that were written are \
         kept; `weft resume RUN` goes on from the last one. WEFT_BACKTRACE=1 prints a backtrace"
    );
    if std::env::var_os("WEFT_BACKTRACE").is_some() {
        let _ = writeln!(stderr, "{}", std::backtrace::Backtrace::force_capture());
    }
}

/// A line of results, on stdout. A reader that went away (`| head`) is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line for the person at the terminal, on stderr.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
