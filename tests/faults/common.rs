//! What the fault tests share: the program under a deadline, a small run, a folder as it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing that these tests start takes a tenth of it; what does is a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, without a network and without the machine's own settings.
pub(crate) fn weft() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command
        .env("WEFT_OFFLINE", "1")
        .env("WEFT_DATA", "")
        .env_remove("RUST_BACKTRACE");
    command
}

/// Runs the program in `folder` to its end. One that hangs is killed, and fails the test.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Ended {
    let mut child = weft()
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Read beside the waiting, so that a full pipe holds nobody up.
    let stdout = read_aside(child.stdout.take().unwrap());
    let stderr = read_aside(child.stderr.take().unwrap());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("weft {args:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ended {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Ended {
    /// The text of an orderly refusal: exit code 1, `error: `, no panic, few lines, a hint.
    pub(crate) fn refusal(&self) -> &str {
        let text = self.stderr.trim_end();
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_orderly(text);
        let error = &text[text.find("error: ").unwrap()..];
        assert!(error.contains("\nhint: "), "{text}");
        error
    }

    /// What a success said.
    pub(crate) fn success(&self) -> &str {
        assert!(self.status.success(), "{self:?}");
        &self.stdout
    }
}

/// Whether an error is one for people: not a panic, no control characters, short.
pub(crate) fn assert_orderly(text: &str) {
    for sign in ["unexpected failure", "panicked", "overflowed its stack"] {
        assert!(!text.contains(sign), "{text}");
    }
    let stray = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(stray), "{text:?}");
    assert!(text.len() < 4096, "{} bytes: {text}", text.len());
}

/// Arguments of `weft train` for a run that takes a tenth of a second.
pub(crate) const SMALL: [&str; 11] = [
    "train",
    "--device",
    "cpu",
    "--set",
    "data.source=sample",
    "--set",
    "model.kind=mlp",
    "--set",
    "model.hidden=[16]",
    "--no-test",
    "-q",
];

/// A run `runs/small` of two epochs in `folder`, with a checkpoint after each.
pub(crate) fn small_run(folder: &Path) -> PathBuf {
    let args = [
        "--name",
        "small",
        "--set",
        "train.epochs=2",
        "--set",
        "train.ema_decay=0.9",
    ];
    run(folder, &[&SMALL[..], &args].concat()).success();
    folder.join("runs/small")
}

/// What stands in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    File(Vec<u8>),
    Folder,
    Link(PathBuf),
}

/// All that stands in and below a folder, links not followed: two listings are equal if nothing was
/// written, deleted or added.
pub(crate) fn listing(folder: &Path) -> BTreeMap<PathBuf, Standing> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let standing = if kind.is_symlink() {
                Standing::Link(fs::read_link(&path).unwrap())
            } else if kind.is_dir() {
                folders.push(path.clone());
                Standing::Folder
            } else {
                Standing::File(fs::read(&path).unwrap())
            };
            found.insert(path, standing);
        }
    }
    found
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (path, standing) in listing(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        match standing {
            Standing::File(bytes) => fs::write(to, bytes).unwrap(),
            Standing::Folder => fs::create_dir(to).unwrap(),
            Standing::Link(target) => panic!("a link to {}", target.display()),
        }
    }
}

/// A number of cases, times WEFT_SOAK where somebody has the time.
pub(crate) fn cases(n: u32) -> u32 {
    match std::env::var("WEFT_SOAK") {
        Ok(factor) if !factor.is_empty() => {
            let factor: u32 = factor.parse().expect("WEFT_SOAK is a whole number");
            n.checked_mul(factor.max(1))
                .expect("WEFT_SOAK is too large")
        }
        _ => n,
    }
}

/// A line that is seen although the test passes: the test harness captures the print macros only.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "faults: {line}");
}
