//! Leaving the terminal as it was found: cooked mode, main screen, cursor visible, no half line.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::Show;
use crossterm::event::DisableMouseCapture;
use crossterm::terminal::{LeaveAlternateScreen, disable_raw_mode};

/// Longest wait for a terminal that takes no more text.
const LAST_WORDS: Duration = Duration::from_secs(1);

static DASHBOARD: AtomicBool = AtomicBool::new(false);

/// Whether burn's dashboard owns the terminal now.
pub fn set_dashboard(on: bool) {
    DASHBOARD.store(on, Ordering::Release);
}

/// Takes the terminal back for the last words of a process that is ending badly: nothing else in it can
/// write to stdout from now on.
pub fn take_back() {
    if DASHBOARD.swap(false, Ordering::AcqRel) {
        let mut stdout = std::io::stdout().lock();
        let _ = disable_raw_mode();
        let _ = crossterm::execute!(stdout, DisableMouseCapture, LeaveAlternateScreen, Show);
        // The thread that draws the dashboard is still there, and must not draw again.
        std::mem::forget(stdout);
    }
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A progress bar's line, or what is left of it.
        let _ = write!(stderr, "\r\x1b[2K");
    }
}

/// Ends the process now, whatever its other threads are doing: no destructors run that could wait for
/// a device, and the terminal is clean.
pub fn leave(code: i32) -> ! {
    // A terminal that was stopped (Ctrl-S) would make the last words wait.
    std::thread::spawn(move || {
        std::thread::sleep(LAST_WORDS);
        signal_hook::low_level::exit(code)
    });
    take_back();
    signal_hook::low_level::exit(code)
}

/// Which of stdin, stdout and stderr are a terminal.
#[cfg(unix)]
pub fn standard_streams() -> Vec<i32> {
    let streams = [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO];
    // SAFETY: the call only looks at the number of a file.
    let is_terminal = |stream: &i32| unsafe { libc::isatty(*stream) == 1 };
    streams.into_iter().filter(is_terminal).collect()
}

/// After the terminal was closed: what is written to it goes nowhere. Otherwise each write is an error,
/// on which the print macros that the dashboard uses panic, in a destructor even, which aborts.
#[cfg(unix)]
pub fn let_go(terminals: &[i32]) {
    use std::os::fd::AsRawFd;
    let nowhere = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    let Ok(nowhere) = nowhere else { return };
    for stream in terminals {
        // SAFETY: both are open files; the standard streams are never closed, only replaced.
        unsafe { libc::dup2(nowhere.as_raw_fd(), *stream) };
    }
}

/// Lets Ctrl-C through although the dashboard switches the terminal to raw mode, in which it is a key
/// like any other (and one that burn ignores). Ctrl-Z and Ctrl-\ stay keys: they would stop or end the
/// process in the middle of the dashboard.
#[cfg(unix)]
pub fn keep_ctrl_c() {
    use std::time::Instant;
    const PATIENCE: Duration = Duration::from_secs(5);
    // The dashboard's own thread switches to raw mode, at some time after it was started.
    let started = Instant::now();
    while started.elapsed() < PATIENCE && DASHBOARD.load(Ordering::Acquire) {
        if allow_interrupt_in_raw_mode() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(unix)]
fn allow_interrupt_in_raw_mode() -> bool {
    // SAFETY: termios is plain data, for which zeros are valid; the calls get a valid pointer to it.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        let raw = libc::tcgetattr(libc::STDIN_FILENO, &raw mut settings) == 0
            && settings.c_lflag & libc::ICANON == 0;
        if raw {
            settings.c_lflag |= libc::ISIG;
            settings.c_cc[libc::VSUSP] = libc::_POSIX_VDISABLE;
            settings.c_cc[libc::VQUIT] = libc::_POSIX_VDISABLE;
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const settings);
        }
        raw
    }
}

/// Elsewhere Ctrl-C stays a key of the dashboard.
#[cfg(not(unix))]
pub fn keep_ctrl_c() {}
