//! From the start of a process to its first step: weft starts itself twice, with a kernel cache that is
//! empty at first.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::record::{FirstStep, Start};

/// The line of JSON that the started process prints when its first step is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// Wall clock of the step.
    pub first_step_seconds: f64,
}

/// Starts the program twice.
///
/// * `arguments`: make it take one step and print [`Told`]
/// * `step_ms`: what a step takes when nothing is left to compile
pub(super) fn measure(arguments: &[OsString], step_ms: f64) -> Result<Start> {
    let caches = Caches::new()?;
    Ok(Start {
        cold: first_step(arguments, &caches.0, step_ms)?,
        warm: first_step(arguments, &caches.0, step_ms)?,
    })
}

/// A folder that goes when this is dropped.
struct Caches(PathBuf);

impl Caches {
    fn new() -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).with_context(|| {
            format!(
                "{} cannot be made, for the kernels of a cold start\n\
                 hint: set TMPDIR to a folder that can be written, or use --no-start",
                folder.display()
            )
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        // Left behind in the folder for temporary files, it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn first_step(arguments: &[OsString], caches: &Path, step_ms: f64) -> Result<FirstStep> {
    let program = std::env::current_exe().context("weft does not find itself")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("WEFT_CACHE", caches.join("weft"))
        // What drivers keep would make a cold start a warm one: Mesa's and NVIDIA's.
        .env("MESA_SHADER_CACHE_DIR", caches.join("mesa"))
        .env("__GL_SHADER_DISK_CACHE_PATH", caches.join("nvidia"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().context("weft cannot be started again")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let read = BufReader::new(stdout).read_line(&mut line);
        read.context("the started weft cannot be heard")?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut words = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What it says matters only if it fails.
        let _ = stderr.read_to_string(&mut words);
    }
    let status = child.wait().context("the started weft")?;
    let told: Told = match serde_json::from_str(&line) {
        Ok(told) if status.success() => told,
        _ => bail!(
            "the weft that was started for its first step ended with {status}: {}\n\
             hint: --no-start leaves that out",
            words.trim()
        ),
    };
    let usual = step_ms * 1e-3;
    Ok(FirstStep {
        seconds,
        first_step_seconds: told.first_step_seconds,
        warm_up_seconds: (told.first_step_seconds - usual).max(0.0),
    })
}
