//! The terminal after each bad end (Ctrl-C, a second one, a panic, a terminal that is closed) is as it was
//! before: cooked, main screen, cursor visible, no half line. And a reader that goes away is no error.
//!
//! The terminals are real ones: pseudo-terminals that the program is started in.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use weft::run::checkpoints::Store;

const PATIENCE: Duration = Duration::from_secs(60);

/// A program in a terminal of its own.
struct Terminal {
    /// The person's side.
    keyboard: File,
    /// The program's side, kept open to look at its settings.
    line: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (ours, theirs) = unsafe {
            let nothing = std::ptr::null_mut();
            let opened = libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                nothing,
                std::ptr::null(),
                &raw const size,
            );
            assert_eq!(opened, 0, "no pseudo-terminal");
            (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        let (master, slave) = (ours.as_raw_fd(), theirs.as_raw_fd());
        command
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs.try_clone().unwrap())
            .env("TERM", "xterm-256color");
        unsafe {
            // The window's programs are a session of their own, with this as its terminal.
            command.pre_exec(move || {
                libc::close(master);
                libc::setsid();
                // Under `nohup` it would be ignored from the start.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                libc::ioctl(slave, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // The command keeps its copies of the program's side until it is dropped.
        drop(command);
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (keyboard.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            keyboard,
            line: theirs,
            screen,
            child,
        }
    }

    fn settings(&self) -> (libc::tcflag_t, libc::tcflag_t, libc::tcflag_t) {
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            libc::tcgetattr(self.line.as_raw_fd(), &raw mut settings);
            (settings.c_lflag, settings.c_iflag, settings.c_oflag)
        }
    }

    fn is_raw(&self) -> bool {
        self.settings().0 & libc::ICANON == 0
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn send(&self, signal: i32) {
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was written last is still on its way.
                std::thread::sleep(Duration::from_millis(50));
                return status;
            }
            if started.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("the program hangs:\n{}", self.end_of_text());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// The end of it: a dashboard fills hundreds of screens.
    fn end_of_text(&self) -> String {
        let text = self.text();
        let start = text.char_indices().rev().nth(1000);
        text[start.map_or(0, |(at, _)| at)..].to_owned()
    }

    fn assert_clean(&self, before: (libc::tcflag_t, libc::tcflag_t, libc::tcflag_t)) {
        let text = self.text();
        assert_eq!(self.settings(), before, "not as it was:\n{text}");
        for (on, off) in [
            ("\x1b[?1049h", "\x1b[?1049l"),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?1000h", "\x1b[?1000l"),
        ] {
            assert!(
                text.rfind(off) >= text.rfind(on),
                "no {off:?} at last:\n{text}"
            );
        }
        let last = text.rsplit('\n').next().unwrap();
        let left = last.rsplit("\x1b[2K").next().unwrap();
        assert!(
            left.is_empty() || left.starts_with("\x1b["),
            "half a line: {last:?}"
        );
    }
}

fn training(at: &Path, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = [
        "weft",
        "train",
        "--device",
        "cpu",
        "--name",
        "x",
        "--runs-dir",
    ]
    .map(str::to_owned)
    .to_vec();
    args.push(at.display().to_string());
    for assignment in [
        "data.source=sample",
        "model={kind=\"mlp\", hidden=[16]}",
        "train.epochs=100000",
        "train.batch_size=1",
        "early_stopping.patience=0",
    ] {
        args.extend(["--set".to_owned(), assignment.to_owned()]);
    }
    args.extend(more.iter().map(|&word| word.to_owned()));
    args
}

fn weft(args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command
        .args(&args[1..])
        .env("WEFT_OFFLINE", "1")
        .env("WEFT_DATA", "");
    command
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !there() {
        assert!(started.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
}

/// A training in a terminal, past its first checkpoint, and the settings that the terminal had.
fn started(
    at: &Path,
    more: &[&str],
) -> (Terminal, (libc::tcflag_t, libc::tcflag_t, libc::tcflag_t)) {
    let probe = Terminal::start(Command::new("true"));
    let before = probe.settings();
    let terminal = Terminal::start(weft(&training(at, more)));
    wait_for("a checkpoint", || at.join("x/checkpoints/last").exists());
    (terminal, before)
}

/// The step of the newest checkpoint, which is whole.
fn newest(at: &Path) -> u64 {
    let store = Store::new(&at.join("x"));
    store.latest_whole().unwrap().0.manifest.step
}

#[test]
fn ctrl_c_works_in_the_dashboard_and_at_the_progress_bar() {
    for more in [&["--tui"][..], &[]] {
        let folder = tempfile::tempdir().unwrap();
        let (mut terminal, before) = started(folder.path(), more);
        assert_eq!(terminal.is_raw(), !more.is_empty());
        let before_it = newest(folder.path());
        terminal.press(b"\x03");
        assert_eq!(
            terminal.wait().code(),
            Some(130),
            "{}",
            terminal.end_of_text()
        );
        terminal.assert_clean(before);
        assert!(terminal.text().contains("a checkpoint is saved"));
        assert!(newest(folder.path()) > before_it, "no checkpoint was saved");
    }
}

#[test]
fn a_second_sigterm_leaves_the_dashboard_at_once_and_clean() {
    // The first one may meet the end of a step, and be done with before the second one: not each time.
    let mut tries = 0..3;
    assert!(
        tries.any(|_| leaves_at_once()),
        "the second one was waited for"
    );
}

/// Whether no checkpoint came between two signals.
fn leaves_at_once() -> bool {
    let folder = tempfile::tempdir().unwrap();
    // A step that takes long: all images at once through a wide network.
    let slow = [
        "--tui",
        "--set",
        "model.hidden=[4000, 4000]",
        "--set",
        "train.batch_size=4000",
    ];
    let (mut terminal, before) = started(folder.path(), &slow);
    let before_it = newest(folder.path());
    terminal.send(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(20));
    terminal.send(libc::SIGTERM);
    assert_eq!(
        terminal.wait().code(),
        Some(143),
        "{}",
        terminal.end_of_text()
    );
    terminal.assert_clean(before);
    newest(folder.path()) == before_it
}

#[test]
fn a_closed_terminal_saves_a_checkpoint() {
    for more in [&["--tui"][..], &[]] {
        let folder = tempfile::tempdir().unwrap();
        let (mut terminal, _) = started(folder.path(), more);
        let before_it = newest(folder.path());
        // What the system sends when a terminal's window is closed.
        terminal.send(libc::SIGHUP);
        assert_eq!(
            terminal.wait().code(),
            Some(129),
            "{}",
            terminal.end_of_text()
        );
        assert!(newest(folder.path()) > before_it, "no checkpoint was saved");
    }
}

#[test]
fn a_panic_under_the_dashboard_is_readable_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "terminal::child_panics_under_the_dashboard",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(RUNS, folder.path());
    let probe = Terminal::start(Command::new("true"));
    let before = probe.settings();
    let mut terminal = Terminal::start(child);
    assert_eq!(
        terminal.wait().code(),
        Some(1),
        "{}",
        terminal.end_of_text()
    );
    terminal.assert_clean(before);
    let text = terminal.text();
    let after = text.rsplit("\x1b[?1049l").next().unwrap();
    assert_eq!(after.matches("error: ").count(), 1, "{text}");
    assert!(
        after.contains("a failure of a test") && after.contains("is whole"),
        "{text}"
    );
}

const RUNS: &str = "WEFT_TEST_RUNS";

#[test]
#[ignore = "a child of the test above"]
fn child_panics_under_the_dashboard() {
    weft::device::configure_runtimes();
    weft::commands::failure::install();
    let runs = std::path::PathBuf::from(std::env::var_os(RUNS).unwrap());
    let last = runs.join("x/checkpoints/last");
    std::thread::spawn(move || {
        wait_for("a checkpoint", || last.exists());
        panic!("a failure of a test");
    });
    let cli = weft::cli::Cli::parse_from(training(&runs, &["--tui"]));
    let code = weft::commands::main(cli);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().display().to_string();
    let mut trained = training(folder.path(), &["--set", "train.epochs=1", "--no-test"]);
    trained.extend(["--set".to_owned(), "train.batch_size=100".to_owned()]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for args in [
        trained,
        words(&format!("weft evaluate {runs}/x")),
        words(&format!("weft resume {runs}/x")),
        words("weft data --set data.source=sample"),
        words("weft devices"),
        words("weft completions bash"),
        words("weft train --help"),
        words("weft train --print-config"),
    ] {
        let mut child = weft(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        assert!(!said.contains("error"), "{args:?}: {said}");
    }
}
