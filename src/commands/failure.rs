//! How a failure below weft is told: one error, one hint, no backtrace unless it is asked for; and the
//! process ends, even if a thread that failed left the others waiting.

use std::io::Write;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use anyhow::Error;

use super::describe;
use crate::failure::{self, Panic, Severity, Work};
use crate::run::checkpoints::Store;
use crate::terminal;

/// How long the main thread may take to end by itself after a failure: an error that it returns may
/// know more, and a device that is gone is reported by all its calls within milliseconds.
const GRACE: Duration = Duration::from_secs(3);

/// Wakes the watchdog.
static ALARM: OnceLock<Sender<()>> = OnceLock::new();

/// Takes over panics and the log, and starts the watchdog. Call it once, after
/// [`crate::device::configure_runtimes`].
pub fn install() {
    let (alarm, alarms) = mpsc::channel();
    let _ = ALARM.set(alarm);
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
    let started = watchdog.spawn(move || {
        if alarms.recv().is_ok() {
            std::thread::sleep(GRACE);
            // Also where the main thread told it but waits for a device in a destructor.
            end_now(None);
        }
    });
    drop(started);
    std::panic::set_hook(Box::new(hook));
    if log::set_logger(&DeviceLog).is_ok() {
        log::set_max_level(log::LevelFilter::Error);
    }
}

fn hook(info: &PanicHookInfo) {
    if failure::is_expected() {
        return;
    }
    let panic = Panic::new(info);
    let severity = panic.severity();
    failure::record(panic, severity);
    if severity == Severity::Fatal {
        raise();
    }
}

fn raise() {
    if let Some(alarm) = ALARM.get() {
        let _ = alarm.send(());
    }
}

/// cubecl writes to the log, and nowhere else, that wgpu lost the device.
struct DeviceLog;

impl log::Log for DeviceLog {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() == log::Level::Error && metadata.target().starts_with("cubecl_wgpu")
    }

    fn log(&self, record: &log::Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if let Some(reason) = text.strip_prefix("the wgpu device was lost ") {
            failure::record_lost(&plain(reason));
            raise();
        }
    }

    fn flush(&self) {}
}

/// "(Unknown): a reason" as "Unknown: a reason", "(Destroyed): " as "Destroyed".
fn plain(reason: &str) -> String {
    let text = reason.trim_start_matches('(').replacen("):", ":", 1);
    text.trim_end_matches([':', ' ']).to_owned()
}

/// Ends a command: its error, if any, is told.
pub fn end(result: std::thread::Result<anyhow::Result<ExitCode>>) -> ExitCode {
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            tell(Some(&error));
            ExitCode::FAILURE
        }
        Err(payload) => {
            let message = failure::one_line(failure::message(&*payload));
            if message.starts_with("Killing training") {
                terminal::leave(130);
            }
            // Without a recorded panic it is one that passed the hook by.
            tell(Some(&Error::msg(message)));
            ExitCode::FAILURE
        }
    }
}

/// Ends the process without waiting for anything.
fn end_now(error: Option<&Error>) -> ! {
    tell(error);
    terminal::leave(1)
}

/// Prints the one error. Whoever comes second says nothing.
fn tell(error: Option<&Error>) {
    if !failure::claim_end() {
        return;
    }
    let text = match Failure::find(error) {
        Some(failure) => failure.text(&failure::work()),
        None => error.map(describe).unwrap_or_default(),
    };
    terminal::take_back();
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "error: {text}");
    if std::env::var_os("WEFT_BACKTRACE").is_some() {
        if let Some(error) = error {
            let _ = writeln!(stderr, "\n{error:?}");
        }
        for panic in [failure::first(), failure::first_kernel()]
            .into_iter()
            .flatten()
        {
            let Panic {
                message,
                place,
                thread,
                backtrace,
            } = panic;
            let backtrace = backtrace.as_deref().unwrap_or_default();
            let _ = writeln!(
                stderr,
                "\n{message}\nat {place}, thread {thread}\n{backtrace}"
            );
        }
    }
}

/// What failed, in plain words.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The device is gone.
    Lost(String),
    /// A buffer could not be had.
    Memory(String),
    /// A panic: its message and its place.
    Internal { message: String, place: String },
    /// An error that burn returned.
    Execution(String),
}

impl Failure {
    /// The failure behind an error of the main thread, or behind no answer at all. None if the error
    /// is an ordinary one, which says itself what is wrong.
    fn find(error: Option<&Error>) -> Option<Self> {
        let root = error.and_then(root_of_burn_error);
        let panic = failure::first();
        if panic.is_some_and(|panic| panic.message.starts_with("wgpu error")) {
            await_loss();
        }
        if let Some(reason) = failure::lost() {
            // wgpu also gives up a device on which some allocations failed.
            return Self::of_device(reason).or_else(|| Some(Self::Lost(reason.to_owned())));
        }
        let texts = [panic.map(|panic| &panic.message), root.as_ref()];
        let of_device = texts
            .into_iter()
            .flatten()
            .find_map(|text| Self::of_device(text));
        if of_device.is_some() {
            return of_device;
        }
        let kernel = failure::first_kernel().filter(|_| root.is_some());
        if let Some(panic) = panic.or(kernel) {
            return Some(Self::Internal {
                message: panic.message.clone(),
                place: panic.place.clone(),
            });
        }
        root.map(Self::Execution)
    }

    /// What a text of burn's or wgpu's says about the device, if it does.
    fn of_device(text: &str) -> Option<Self> {
        const MEMORY: &[&str] = &[
            "out of memory",
            "out of device memory",
            "not enough memory",
            "can't allocate",
        ];
        const LOST: &[&str] = &[
            "device was poisoned",
            "device is lost",
            "device lost",
            "devicelost",
        ];
        let lower = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(MEMORY) {
            Some(Self::Memory(text.to_owned()))
        } else if has(LOST) {
            Some(Self::Lost(text.to_owned()))
        } else {
            None
        }
    }

    fn text(&self, work: &Work) -> String {
        let device = work.device.as_deref().unwrap_or("the device");
        let (what, advice) = match self {
            Self::Lost(reason) => (
                format!("the GPU was lost: {device}: {reason}"),
                "a driver that was reset or updated, or a GPU that overheated or was taken away, does this",
            ),
            Self::Memory(reason) => (
                format!("out of memory on {device}: {reason}"),
                "a smaller train.batch_size or train.evaluation_batch_size needs less",
            ),
            Self::Internal { message, place } => (
                format!("an internal failure on {device}: {message} ({place})"),
                "WEFT_BACKTRACE=1 prints a backtrace",
            ),
            Self::Execution(reason) => (
                format!("the computation failed on {device}: {reason}"),
                "--device cpu computes without the GPU; WEFT_BACKTRACE=1 prints more",
            ),
        };
        format!("{what}\nhint: {}{advice}", kept(work))
    }
}

/// The first call that fails on a lost device may be told before the loss is.
fn await_loss() {
    for _ in 0..100 {
        if failure::lost().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The last cause that burn or cubecl gives for a failed computation, on one line: the first things
/// they say are that an execution failed, and what else failed for that.
fn root_of_burn_error(error: &Error) -> Option<String> {
    let texts: Vec<String> = error.chain().map(ToString::to_string).collect();
    let text = texts.iter().find(|text| {
        text.contains("An error happened during execution")
            || text.contains("Caused by:\n") && text.contains("Asked at:\n")
    })?;
    let told = text.split("\nAsked at:").next().unwrap_or(text);
    let told = told.split("\nBacktrace:").next().unwrap_or(told);
    let root = told.rsplit("Caused by:").next().unwrap_or(told);
    Some(failure::one_line(
        &root.replace("No backtrace available", ""),
    ))
}

/// Which checkpoint holds, and what goes on from it.
fn kept(work: &Work) -> String {
    let Some(run) = &work.run else {
        return String::new();
    };
    let root = run.display();
    match Store::new(run).latest_whole() {
        Ok((checkpoint, _)) => format!(
            "{} (epoch {}) is whole: `weft resume {root}` goes on from it; ",
            checkpoint.folder.display(),
            checkpoint.manifest.epoch
        ),
        Err(_) => format!("{root} has no checkpoint yet, so `weft train` starts anew; "),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const EXECUTION: &str = "An error happened during execution\nCaused by:\n  Several failures at once\n\
        Caused by:\n  skipped `ReduceKernel`: it needed memory 78\nCaused by:\n  An IO error happened\n\
        Caused by:\n  can't allocate buffer of size: 137984000\nNo backtrace available\nAsked at:\nNo \
        backtrace available\n";

    #[test]
    fn the_root_of_what_burn_says_is_told() {
        let error = anyhow!(EXECUTION).context("reading the epoch's loss");
        let root = "can't allocate buffer of size: 137984000";
        assert_eq!(root_of_burn_error(&error).as_deref(), Some(root));
        assert_eq!(
            Failure::find(Some(&error)),
            Some(Failure::Memory(root.to_owned()))
        );
    }

    #[test]
    fn what_wgpu_says_of_a_lost_device_is_tidied() {
        assert_eq!(plain("(Destroyed): "), "Destroyed");
        assert_eq!(
            plain("(Unknown): Device (0) is lost"),
            "Unknown: Device (0) is lost"
        );
        let given_up = Failure::of_device("Unknown: Out of memory");
        assert!(matches!(given_up, Some(Failure::Memory(_))));
    }

    #[test]
    fn an_ordinary_error_stays_as_it_is() {
        assert_eq!(
            Failure::find(Some(&anyhow!("mine.toml: no such file"))),
            None
        );
    }

    #[test]
    fn the_checkpoint_that_holds_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let work = Work {
            device: Some("Radeon".to_owned()),
            run: Some(folder.path().to_owned()),
        };
        let lost = Failure::Lost("Unknown".to_owned());
        let text = lost.text(&work);
        assert!(
            text.starts_with("the GPU was lost: Radeon: Unknown\nhint: ")
                && text.contains("has no checkpoint yet"),
            "{text}"
        );
        let meta = crate::run::checkpoints::Meta {
            step: 40,
            epoch: 2,
            batch: 8,
            best: None,
            config_sha256: String::new(),
            data_sha256: String::new(),
        };
        let store = Store::new(folder.path());
        store.write(&meta, &[("model.bpk", b"weights")]).unwrap();
        let text = lost.text(&work);
        let resume = format!("`weft resume {}`", folder.path().display());
        assert!(
            text.contains("step-40 (epoch 2) is whole") && text.contains(&resume),
            "{text}"
        );
    }
}
