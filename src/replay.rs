//! Trains a run again as it was trained, kills that once on the way, and compares the bytes. Each part
//! is a process of its own, as the kill must be a real one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::config::ExperimentConfig;
use crate::experiment::{config_of, state_of};
use crate::report::ReportConfig;
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, Store};
use crate::run::records::{Change, EpochRow, Start, TrainState};
use crate::train::Place;

/// A stretch of a run in one config on one backend.
#[derive(Debug, PartialEq)]
struct Part {
    from: Place,
    to: Place,
    backend: String,
    overruled_patience: bool,
    config: ExperimentConfig,
}

/// What was compared, and whether it is the same.
pub struct Comparison {
    /// The name of a file.
    pub name: String,
    /// Whether every byte that should be is the same.
    pub same: bool,
}

/// Replays a run up to its newest checkpoint. `say` hears of each part before it begins.
pub fn replay(
    newest: &Checkpoint,
    state: &TrainState,
    data: Option<&Path>,
    say: &dyn Fn(&str),
) -> Result<Vec<Comparison>> {
    let parts = parts(config_of(newest)?, state)?;
    let folder = new_folder()?;
    let result = Replay {
        folder: &folder,
        data,
        say,
    }
    .run(&parts, state, newest);
    let removed = std::fs::remove_dir_all(&folder);
    let comparisons = result?;
    removed.with_context(|| format!("{} cannot be removed", folder.display()))?;
    Ok(comparisons)
}

/// A folder that nobody else has: making it is the test.
fn new_folder() -> Result<PathBuf> {
    let mut tries = 0;
    loop {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        let name = format!("weft-replay-{}-{nanos}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        tries += 1;
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < 100 => {}
            made => {
                made.with_context(|| format!("{} cannot be made", folder.display()))?;
                return Ok(folder);
            }
        }
    }
}

/// The stretches of a run: a new one at each start that changed something or ran elsewhere.
fn parts(newest: ExperimentConfig, state: &TrainState) -> Result<Vec<Part>> {
    let mut configs = vec![newest];
    for start in state.starts.iter().skip(1).rev() {
        let after = &configs[configs.len() - 1];
        let before = undo(after, &start.changes)?;
        configs.push(before);
    }
    configs.reverse();
    let mut parts: Vec<Part> = Vec::new();
    for (start, config) in state.starts.iter().zip(configs) {
        refuse_gpu(start)?;
        match parts.last_mut() {
            Some(part)
                if part.backend == start.backend
                    && start.changes.is_empty()
                    && !start.overruled_patience => {}
            _ => {
                let from = Place {
                    n_rollbacks: start.n_rollbacks,
                    step: start.step,
                };
                if let Some(before) = parts.last_mut() {
                    before.to = from;
                }
                parts.push(Part {
                    from,
                    to: Place::of(state),
                    backend: start.backend.clone(),
                    overruled_patience: start.overruled_patience,
                    config,
                });
            }
        }
    }
    ensure!(
        !parts.is_empty(),
        "the newest checkpoint does not say how it was made"
    );
    Ok(parts)
}

fn refuse_gpu(start: &Start) -> Result<()> {
    if start.backend == "gpu" {
        bail!(
            "from step {} on this run was trained on {}, whose sums differ in their last bits from run \
             to run\nhint: an exact replay needs a run that was trained with --device cpu or ndarray",
            start.step,
            start.device
        );
    }
    Ok(())
}

/// The config before changes were made.
fn undo(config: &ExperimentConfig, changes: &[Change]) -> Result<ExperimentConfig> {
    let mut value = toml::Value::try_from(config)?;
    for change in changes {
        let mut place = &mut value;
        let mut keys = change.key.split('.').peekable();
        while let Some(key) = keys.next() {
            let table = place.as_table_mut().context("a change names no key")?;
            if keys.peek().is_some() {
                place = table.get_mut(key).context("a change names no section")?;
                continue;
            }
            match &change.from {
                Some(text) => table.insert(key.to_owned(), text.parse()?),
                None => table.remove(key),
            };
            break;
        }
    }
    Ok(value.try_into()?)
}

impl Part {
    fn n_steps(&self) -> u64 {
        self.to.step.saturating_sub(self.from.step)
    }

    /// Somewhere between its ends, if there is a step between them.
    fn middle(&self) -> Option<Place> {
        let Place { n_rollbacks, step } = self.from;
        let same_way = n_rollbacks == self.to.n_rollbacks;
        let ahead = if same_way { self.n_steps() / 2 } else { 0 };
        let step = step + ahead.max(1);
        (self.from < self.to).then_some(Place { n_rollbacks, step })
    }
}

/// How a process of a replay begins.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    Train,
    /// A part after the first.
    Resume,
    /// After the kill.
    GoOn,
}

const FAILED: &str = "the replay failed; see above";

struct Replay<'a> {
    folder: &'a Path,
    data: Option<&'a Path>,
    say: &'a dyn Fn(&str),
}

impl Replay<'_> {
    fn run(
        &self,
        parts: &[Part],
        state: &TrainState,
        newest: &Checkpoint,
    ) -> Result<Vec<Comparison>> {
        let run = RunFolder {
            root: self.folder.join("replay"),
        };
        let longest = parts.iter().max_by_key(|part| part.n_steps());
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let stop = (!is_last || !state.finished).then_some(part.to);
            let kill = (Some(part) == longest).then(|| part.middle()).flatten();
            (self.say)(&describe(part, kill));
            self.set_up(&run, part, index)?;
            let begin = if index == 0 {
                Begin::Train
            } else {
                Begin::Resume
            };
            if kill.is_some() {
                let ended = self.process(&run, part, begin, stop, kill)?;
                ensure!(!ended, "the replay was to be killed, and ended by itself");
                // It is there now, and what it was asked for is in its checkpoint.
                ensure!(self.process(&run, part, Begin::GoOn, stop, None)?, FAILED);
            } else {
                ensure!(self.process(&run, part, begin, stop, None)?, FAILED);
            }
        }
        compare(state, newest, &run)
    }

    /// The first part is trained from a file; for the others the run's own config is changed.
    fn set_up(&self, run: &RunFolder, part: &Part, index: usize) -> Result<()> {
        let mut config = part.config.clone();
        config.name = "replay".to_owned();
        config.report = ReportConfig::NONE;
        let path = match index {
            0 => self.folder.join("replay.toml"),
            _ => run.config(),
        };
        std::fs::write(&path, config.to_toml()?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Runs one process; whether it ended well.
    fn process(
        &self,
        run: &RunFolder,
        part: &Part,
        begin: Begin,
        stop: Option<Place>,
        kill: Option<Place>,
    ) -> Result<bool> {
        let mut arguments: Vec<OsString> = Vec::new();
        if begin == Begin::Train {
            arguments.extend(["train".into(), self.folder.join("replay.toml").into()]);
            arguments.extend(["--runs-dir".into(), self.folder.into()]);
        } else {
            arguments.extend(["resume".into(), run.root.clone().into()]);
        }
        if begin == Begin::Resume && part.overruled_patience {
            arguments.push(format!("--epochs={}", part.config.train.epochs).into());
        }
        arguments.extend([
            "--no-test".into(),
            "--device".into(),
            (&part.backend).into(),
        ]);
        if let Some(data) = self.data {
            arguments.extend(["--data".into(), data.into()]);
        }
        for (what, place) in [("stop", stop), ("kill", kill)] {
            if let Some(Place { n_rollbacks, step }) = place {
                arguments.push(format!("--{what}-at-step={step}").into());
                arguments.push(format!("--{what}-after-rollbacks={n_rollbacks}").into());
            }
        }
        let program = std::env::current_exe().context("this program cannot be found")?;
        let status = Command::new(program)
            .args(&arguments)
            .stdout(Stdio::null())
            .status()
            .context("the replay cannot be started")?;
        Ok(status.success())
    }
}

fn describe(part: &Part, kill: Option<Place>) -> String {
    let (from, to, backend) = (part.from.step, part.to.step, &part.backend);
    let way = match part.to.n_rollbacks - part.from.n_rollbacks {
        0 => String::new(),
        n => format!(", with {n} rollbacks on the way"),
    };
    let kill = kill.map(|kill| format!(", killed after step {} and resumed", kill.step));
    let kill = kill.unwrap_or_default();
    format!("replay  steps {from} to {to} with --device {backend}{way}{kill}")
}

fn compare(state: &TrainState, newest: &Checkpoint, run: &RunFolder) -> Result<Vec<Comparison>> {
    let replayed = Store::new(&run.root).latest_whole()?.0;
    let again = state_of(&replayed)?;
    let tensors = |checkpoint: &Checkpoint| -> BTreeMap<String, Vec<u8>> {
        let files = checkpoint.files.clone().into_iter();
        files.filter(|(name, _)| name.ends_with(".bpk")).collect()
    };
    let replayed = tensors(&replayed);
    let mut comparisons: Vec<Comparison> = tensors(newest)
        .iter()
        .map(|(name, bytes)| Comparison {
            name: format!("checkpoints/step-{}/{name}", state.step),
            same: replayed.get(name) == Some(bytes),
        })
        .collect();
    comparisons.push(Comparison {
        name: "results.csv but for its seconds".to_owned(),
        same: without_clock(&state.history) == without_clock(&again.history),
    });
    let turns = |state: &TrainState| -> Vec<u64> {
        let back = state.rollbacks.iter().map(|rollback| rollback.to_step);
        back.collect()
    };
    comparisons.push(Comparison {
        name: "the best epoch and the place in the run".to_owned(),
        same: (state.best, state.epoch, state.batch) == (again.best, again.epoch, again.batch)
            && Place::of(state) == Place::of(&again)
            && turns(state) == turns(&again),
    });
    Ok(comparisons)
}

fn without_clock(history: &[EpochRow]) -> Vec<EpochRow> {
    let still = |row: &EpochRow| EpochRow {
        seconds: 0.0,
        ..*row
    };
    history.iter().map(still).collect()
}
