//! The process that a person started: it starts workers, notices when one dies, shows what they do, and
//! stops them when it is time.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::budget::Budget;
use super::shown::Shown;
use super::{BUDGET_SPENT, STOPPED, TOLD};
use crate::cli::TuneArgs;
use crate::device;
use crate::experiment::Experiment;
use crate::run::study::{Event, MOST_CRASHES, StudyFolder, now, token, worker_id};
use crate::train::StopFlag;
use crate::tune::Study;
use crate::tune::result::Circumstances;
use crate::tune::turn::Turn;

/// How often the workers and the log are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often the table and the page are written anew while the search goes on.
const WRITE_AGAIN: Duration = Duration::from_secs(30);

/// So many workers may end without a word before they begin.
const MOST_STILLBORN: usize = 5;
/// SIGTERM, as if it had been sent.
const TERMINATED: i32 = 15;

/// Runs a search.
pub(super) struct Supervisor<'a> {
    study: &'a Study,
    folder: &'a StudyFolder,
    args: &'a TuneArgs,
    around: Circumstances,
    budget: Option<Budget>,
    stop: StopFlag,
    shown: Shown<'a>,
    /// One for each job; None once it has nothing left to do.
    workers: Vec<Option<Process>>,
    /// Workers that ended before they had anything to do.
    stillborn: usize,
    written: Instant,
}

/// A worker's process.
struct Process {
    child: Child,
    /// As the log calls it.
    worker: String,
    /// Reads what it says on stderr.
    words: Option<JoinHandle<String>>,
}

/// Why the search ended for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    /// All its workers are gone while others, that another process started, go on.
    Elsewhere,
    TimeSpent,
    EpochsSpent,
    Signal(i32),
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        study: &'a Study,
        folder: &'a StudyFolder,
        experiment: &Experiment,
        args: &'a TuneArgs,
        budget: Option<Budget>,
        stop: StopFlag,
    ) -> Result<Self> {
        let log = folder.read()?;
        let mut shown = Shown::new(study, folder, args.quiet);
        shown.introduce(experiment, &log, args.jobs, budget);
        Ok(Self {
            study,
            folder,
            args,
            around: Circumstances {
                device: experiment.device.name.clone(),
                data: experiment.splits.source().title(),
                finished: false,
            },
            budget,
            stop,
            shown,
            workers: Vec::new(),
            stillborn: 0,
            written: Instant::now(),
        })
    }

    pub(super) fn run(mut self) -> Result<ExitCode> {
        let begun = Instant::now();
        for _ in 0..self.args.jobs {
            let worker = self.start()?;
            self.workers.push(Some(worker));
        }
        let end = self.watch(begun);
        // Whatever happened, no worker is left alone.
        self.dismiss();
        let end = end?;
        self.shown.news(&self.folder.read()?);
        self.around.finished = end == End::Done;
        self.write()?;
        let log = self.folder.read()?;
        self.shown.conclude(&log, end);
        match end {
            End::Signal(signal) => Ok(ExitCode::from((128 + signal) as u8)),
            End::Done if self.study.best(&log).is_none() => {
                Err(super::none_left(&log, self.folder))
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn watch(&mut self, begun: Instant) -> Result<End> {
        let mut seen = 0;
        let mut epochs_spent = false;
        loop {
            if let Some(signal) = self.stop.signal() {
                self.shown
                    .note("stopping: each trial saves a checkpoint (once more leaves at once)");
                return Ok(End::Signal(signal));
            }
            if matches!(self.budget, Some(Budget::Time(most)) if begun.elapsed() >= most) {
                self.shown
                    .note("the time is spent: each trial saves a checkpoint");
                return Ok(End::TimeSpent);
            }
            let length = fs::metadata(self.folder.log()).map_or(0, |log| log.len());
            if length != seen {
                seen = length;
                self.shown.news(&self.folder.read()?);
            }
            if self.shown.is_new() && self.written.elapsed() >= WRITE_AGAIN {
                self.write()?;
            }
            self.shown.tick();
            for index in 0..self.workers.len() {
                epochs_spent |= self.look_after(index)?;
            }
            if self.workers.iter().all(Option::is_none) {
                return self.without_workers(epochs_spent);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Why none is left.
    fn without_workers(&self, epochs_spent: bool) -> Result<End> {
        let lock = self.folder.lock()?;
        let log = lock.read()?;
        let is_alive = |worker: &str| self.folder.is_alive(worker);
        let mut running = log.trials.iter().filter_map(|trial| trial.running.as_ref());
        Ok(match self.study.turn(&log, None, &is_alive) {
            Turn::Done => End::Done,
            _ if epochs_spent => End::EpochsSpent,
            _ if running.any(|running| is_alive(&running.worker)) => End::Elsewhere,
            // They were told to leave by somebody else.
            _ => End::Signal(TERMINATED),
        })
    }

    /// Sees whether a worker has left, and why. True if it was because the epochs are spent.
    fn look_after(&mut self, index: usize) -> Result<bool> {
        let Some(worker) = &mut self.workers[index] else {
            return Ok(false);
        };
        let Some(status) = worker
            .child
            .try_wait()
            .context("a worker cannot be watched")?
        else {
            return Ok(false);
        };
        let (id, words) = (worker.worker.clone(), worker.words());
        self.workers[index] = None;
        match status.code().map(u8::try_from) {
            Some(Ok(0)) => Ok(false),
            Some(Ok(BUDGET_SPENT)) => Ok(true),
            // It got the signal that this process is about to see.
            Some(Ok(STOPPED)) => Ok(false),
            Some(Ok(TOLD)) => bail!("{}", words.trim_start_matches("error: ")),
            _ => {
                self.crashed(&id, &status, &words)?;
                self.workers[index] = Some(self.start()?);
                Ok(false)
            }
        }
    }

    /// Notes that a trial took its process down, whoever has it by now. A worker that never had one failed
    /// for another reason.
    fn crashed(&mut self, worker: &str, status: &ExitStatus, words: &str) -> Result<()> {
        let told = words
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("error: "));
        let why = match told {
            Some(told) => format!("its process ended with: {told}"),
            None => format!("its process was ended from outside ({status}): out of memory?"),
        };
        let lock = self.folder.lock()?;
        let log = lock.read()?;
        let Some(&(trial, rung)) = log.claims.get(worker) else {
            self.stillborn += 1;
            if told.is_some() || self.stillborn >= MOST_STILLBORN {
                bail!("a worker could not begin: {why}");
            }
            return Ok(());
        };
        let running = log.trials[trial - 1].running.as_ref();
        let Some(running) = running.filter(|running| running.rung == rung) else {
            // It had ended its rung, or somebody else has done so since.
            return Ok(());
        };
        let then = match running.worker == worker && running.crashes + 1 >= MOST_CRASHES {
            true => "that was once too often",
            false => "it is tried again",
        };
        self.shown
            .note(&format!("warning: trial {trial}: {why}; {then}"));
        Ok(lock.append(&Event::Crash {
            trial,
            rung,
            worker: worker.to_owned(),
            why,
            time: now(),
        })?)
    }

    fn start(&self) -> Result<Process> {
        let program = std::env::current_exe().context("weft cannot find itself")?;
        let mut command = Command::new(program);
        let token = token();
        command
            .arg("tune")
            .arg(&self.folder.root)
            .args(["--worker", &token]);
        command.arg("--device").arg(&self.study.config.train.device);
        if let Some(data) = &self.args.place.data {
            command.arg("--data").arg(data);
        }
        if let Some(Budget::Epochs(most)) = self.budget {
            command.arg("--most-epochs").arg(most.to_string());
        }
        if self.args.jobs > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
            let threads = device::threads() / usize::from(self.args.jobs);
            command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command.spawn().context("a worker cannot be started")?;
        let words = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).trim().to_owned()
            })
        });
        Ok(Process {
            worker: worker_id(child.id(), &token),
            child,
            words,
        })
    }

    /// Asks the workers to leave, and waits until they have saved what they have.
    fn dismiss(&mut self) {
        for worker in self.workers.iter_mut().flatten() {
            // The end of its stdin tells it.
            drop(worker.child.stdin.take());
        }
        for mut worker in self.workers.drain(..).flatten() {
            let _ = worker.child.wait();
        }
    }

    /// Writes the best config, the table and the page.
    fn write(&mut self) -> Result<()> {
        self.shown.written();
        self.written = Instant::now();
        super::shown::write(self.study, self.folder, &self.around)
    }
}

impl Process {
    /// What it said, once it has ended.
    fn words(&mut self) -> String {
        let words = self.words.take().and_then(|words| words.join().ok());
        words.unwrap_or_default()
    }
}

/// A worker whose supervisor was killed must not go on: started again, the search would find it there.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe, and nothing else is called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            match u32::try_from(libc::getppid()) == Ok(parent) {
                true => Ok(()),
                // It died before it could be watched.
                false => Err(std::io::ErrorKind::NotFound.into()),
            }
        });
    }
}

/// Elsewhere the end of its stdin has to do: it saves a checkpoint first.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

/// In a worker: raises the flag when stdin ends, which is when its supervisor is gone or wants it to go.
pub(super) fn leave_with_parent(stop: &StopFlag) {
    let raised = stop.handle();
    let watcher = std::thread::Builder::new().name("supervisor".to_owned());
    let started = watcher.spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        let _ =
            raised.compare_exchange(0, TERMINATED as usize, Ordering::AcqRel, Ordering::Acquire);
    });
    drop(started);
}
