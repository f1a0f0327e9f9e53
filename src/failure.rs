//! What failed below weft: the first panic of the process, and whether the GPU was lost. Facts only;
//! `commands/failure` tells them.
//!
//! burn 0.22.1 and cubecl 0.11.3 compute on threads of their own ("DSD-…" and "DSU-…", one per device
//! and stage). A panic there is caught, logged at best, and its output marked as failed; the thread
//! that trains hears of it when it reads something that depends on it, which may be minutes later.
//! A lost device is told once, to a callback that cubecl writes to the log.

use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A panic, as its hook saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Its message on one line.
    pub message: String,
    /// `crate-version/src/file.rs:line`, without the folders before it.
    pub place: String,
    /// Name of its thread.
    pub thread: String,
    /// Where it came from, if WEFT_BACKTRACE asks for it.
    pub backtrace: Option<String>,
}

/// What a panic means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The run cannot go on.
    Fatal,
    /// A kernel that could not be made or tuned. While burn tries out kernels it catches this and takes
    /// another one; otherwise whatever needs the kernel's output fails when it is read.
    Kernel,
    /// Only what is shown.
    Display,
}

/// What the process is doing, for the words of an error.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// What to call the device.
    pub device: Option<String>,
    /// The run folder that is being written.
    pub run: Option<PathBuf>,
}

static FIRST: OnceLock<Panic> = OnceLock::new();
static FIRST_KERNEL: OnceLock<Panic> = OnceLock::new();
static LOST: OnceLock<String> = OnceLock::new();
static MAIN_ENDED: AtomicBool = AtomicBool::new(false);
static WORK: Mutex<Work> = Mutex::new(Work {
    device: None,
    run: None,
});

thread_local! {
    static EXPECTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Crates whose code runs on a device thread while kernels are made or tried out.
const KERNEL_MAKERS: &[&str] = &[
    "cubek-",
    "cubecl-core-",
    "cubecl-std-",
    "burn-cubecl-",
    "burn-cubecl-fusion-",
];

impl Panic {
    /// Reads what the hook is given.
    pub fn new(info: &PanicHookInfo) -> Self {
        let payload = info.payload();
        let place = info.location().map(|at| {
            let file = at.file().replace('\\', "/");
            let shown = match file.split_once("/registry/src/") {
                Some((_, below)) => below.split_once('/').map_or(below, |(_, path)| path),
                None => &file,
            };
            format!("{shown}:{}", at.line())
        });
        let backtrace = std::env::var_os("WEFT_BACKTRACE")
            .map(|_| std::backtrace::Backtrace::force_capture().to_string());
        Self {
            message: one_line(message(payload)),
            place: place.unwrap_or_else(|| "an unknown place".to_owned()),
            thread: std::thread::current()
                .name()
                .unwrap_or("without a name")
                .to_owned(),
            backtrace,
        }
    }

    /// What it means.
    pub fn severity(&self) -> Severity {
        if self.thread == "train-renderer" {
            return Severity::Display;
        }
        let of_kernel = KERNEL_MAKERS
            .iter()
            .any(|made| self.place.starts_with(made))
            || self.place.starts_with("cubecl-runtime-") && self.place.contains("/src/tune/");
        match self.thread.starts_with("DS") && of_kernel {
            true => Severity::Kernel,
            false => Severity::Fatal,
        }
    }
}

/// The text that a panic carries.
pub fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A text on one line, without the empty ones, and not endless.
pub fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

/// Keeps a panic, unless an earlier one of its kind is known.
pub fn record(panic: Panic, severity: Severity) {
    match severity {
        Severity::Fatal => drop(FIRST.set(panic)),
        Severity::Kernel => drop(FIRST_KERNEL.set(panic)),
        Severity::Display => {}
    }
}

/// The panic that ended the run.
pub fn first() -> Option<&'static Panic> {
    FIRST.get()
}

/// The first kernel that could not be made or tuned: a cause only if something else failed.
pub fn first_kernel() -> Option<&'static Panic> {
    FIRST_KERNEL.get()
}

/// Notes that the GPU is gone. The first reason is kept.
pub fn record_lost(reason: &str) {
    let _ = LOST.set(one_line(reason));
}

/// Why the GPU is gone, if it is.
pub fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

/// An error once something has failed that no result can be trusted after. A checkpoint is not written
/// without asking this: a failed computation's output may hold anything.
pub fn check() -> anyhow::Result<()> {
    if let Some(reason) = lost() {
        anyhow::bail!("the GPU was lost: {reason}");
    }
    if let Some(panic) = first() {
        anyhow::bail!("{} ({})", panic.message, panic.place);
    }
    Ok(())
}

/// Says what the process is doing now.
pub fn set_work(work: Work) {
    *lock() = work;
}

/// What the process is doing.
pub fn work() -> Work {
    lock().clone()
}

fn lock() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may panic without that being a failure. The hook looks at [`is_expected`].
pub fn expecting<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    EXPECTED.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    EXPECTED.set(false);
    result
}

/// Whether this thread is in [`expecting`].
pub fn is_expected() -> bool {
    EXPECTED.get()
}

/// The main thread is about to tell how it ended. False if somebody else has.
pub fn claim_end() -> bool {
    !MAIN_ENDED.swap(true, Ordering::AcqRel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(thread: &str, place: &str) -> Severity {
        let panic = Panic {
            message: String::new(),
            place: place.to_owned(),
            thread: thread.to_owned(),
            backtrace: None,
        };
        panic.severity()
    }

    #[test]
    fn only_kernels_that_are_tried_out_and_the_display_may_panic() {
        let wgpu = "cubecl-wgpu-0.11.3/src/compute/device_poison.rs:42";
        assert_eq!(panic("DSD-3-0", wgpu), Severity::Fatal);
        let tuning = "cubecl-runtime-0.11.3/src/tune/local.rs:224";
        assert_eq!(panic("DSD-3-0", tuning), Severity::Kernel);
        assert_eq!(panic("main", tuning), Severity::Fatal);
        let runtime = "cubecl-runtime-0.11.3/src/client.rs:224";
        assert_eq!(panic("DSD-3-0", runtime), Severity::Fatal);
        let kernel = "cubek-matmul-0.3.1/src/launch.rs:1";
        assert_eq!(panic("DSU-3-0", kernel), Severity::Kernel);
        let dashboard = "burn-train-0.22.1/src/renderer/tui/renderer.rs:700";
        assert_eq!(panic("train-renderer", dashboard), Severity::Display);
        assert_eq!(panic("train-worker", dashboard), Severity::Fatal);
    }

    #[test]
    fn a_message_is_one_line_and_not_endless() {
        assert_eq!(one_line("wgpu error: X\n\n  In Y\n"), "wgpu error: X In Y");
        let long = one_line(&"é ".repeat(1000));
        assert!(
            long.chars().count() == 302 && long.ends_with(" …"),
            "{long}"
        );
    }

    #[test]
    fn an_expected_panic_is_known_as_one_only_while_it_lasts() {
        assert!(expecting(is_expected).unwrap());
        assert!(!is_expected());
    }
}
