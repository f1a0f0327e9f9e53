//! One file per verb; each reads as a sentence.

mod bench;
mod data;
mod devices;
mod download_bar;
mod evaluate;
mod events;
mod export;
pub mod failure;
mod plots;
mod predict;
mod recipes;
mod report;
mod resume;
mod signals;
mod train;
mod training;
mod tune;
mod verify;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::run::disk;

/// Runs a command and tells its error, also one that is a panic.
pub fn main(cli: Cli) -> ExitCode {
    failure::end(std::panic::catch_unwind(|| {
        let code = run(cli)?;
        match LOST.get() {
            Some(error) => Err(lost(error)),
            None => Ok(code),
        }
    }))
}

/// Runs a command.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Train(args) => train::run(args),
        Command::Resume(args) => resume::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Recipes(args) => recipes::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
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

/// An error and its causes as one text, the hint last. A cause that the text has already is left out.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut hints = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let (what, hint) = cause.split_once("\nhint: ").unwrap_or((&cause, ""));
        if !text.contains(what) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(what);
        }
        if !hint.is_empty() && !hints.contains(hint) {
            hints.push_str("\nhint: ");
            hints.push_str(hint);
        }
    }
    text + &hints
}

/// The folder of `--data`, else of WEFT_DATA.
fn data_dir(argument: Option<&Path>) -> Option<PathBuf> {
    let from_environment = || {
        let value = std::env::var_os("WEFT_DATA")?;
        (!value.is_empty()).then(|| value.into())
    };
    argument.map(Path::to_path_buf).or_else(from_environment)
}

/// A `--set` assignment of a text, whatever it looks like.
fn quoted(key: &str, text: String) -> String {
    format!("{key}={}", toml::Value::String(text))
}

/// What kept a line of results from being written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// A line of results, on stdout. Where it cannot be written, the command goes on with its work and ends
/// in that error; a reader that went away (`| head`) is none.
fn say(line: &str) {
    if let Err(error) = line_out(line) {
        let _ = LOST.set(error);
    }
}

/// A line of results. False if nobody reads them.
fn line_out(line: &str) -> io::Result<bool> {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn lost(error: &io::Error) -> anyhow::Error {
    let remedy = disk::remedy(error);
    anyhow!("stdout cannot be written: {error}\nhint: {remedy}, or send it elsewhere")
}

/// A line for the person at the terminal, on stderr.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::describe;

    #[test]
    fn an_error_says_each_thing_once_and_the_hint_last() {
        let full = anyhow!("no space left").context("a.txt: no space left\nhint: delete something");
        assert_eq!(
            describe(&full),
            "a.txt: no space left\nhint: delete something"
        );
        let plain = Err::<(), _>(anyhow!("not found\nhint: look"))
            .context("mine.toml cannot be read")
            .unwrap_err();
        assert_eq!(
            describe(&plain),
            "mine.toml cannot be read: not found\nhint: look"
        );
    }
}
