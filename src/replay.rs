//! Trains a run again as it was trained, kills that once on the way, and compares the bytes. Each part
//! is a process of its own, as the kill must be a real one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::config::ExperimentConfig;
use crate::experiment::{config_of, state_of};
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, Store};
use crate::run::records::{Change, EpochRow, Start, TrainState};

/// A stretch of a run in one config on one backend.
#[derive(Debug, PartialEq)]
struct Part {
    from: u64,
    to: u64,
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
    let folder = std::env::temp_dir().join(format!("weft-replay-{}", std::process::id()));
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
                if let Some(before) = parts.last_mut() {
                    before.to = start.step;
                }
                parts.push(Part {
                    from: start.step,
                    to: state.step,
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
        std::fs::create_dir_all(self.folder)
            .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        let run = RunFolder {
            root: self.folder.join("replay"),
        };
        let longest = parts
            .iter()
            .max_by_key(|part| part.to.saturating_sub(part.from));
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let stop = (!is_last || !state.finished).then_some(part.to);
            let middle = part.from + part.to.saturating_sub(part.from) / 2;
            // Within an epoch, where the epochs have several steps.
            let kills = Some(part) == longest && part.to > part.from;
            let kill = kills.then_some(middle.max(part.from + 1));
            (self.say)(&describe(part, kill));
            self.set_up(&run, part, index)?;
            if let Some(kill) = kill {
                let kill = format!("--kill-at-step={kill}");
                let status = self.part(&run, part, index, stop, Some(kill))?;
                ensure!(!status, "the replay was to be killed, and ended by itself");
            }
            // After the kill the run is there, and is resumed.
            let again = if kill.is_some() { index.max(1) } else { index };
            let status = self.part(&run, part, again, stop, None)?;
            ensure!(status, "the replay failed; see above");
        }
        compare(state, newest, &run)
    }

    /// The first part is trained from a file; for the others the run's own config is changed.
    fn set_up(&self, run: &RunFolder, part: &Part, index: usize) -> Result<()> {
        let mut config = part.config.clone();
        config.name = "replay".to_owned();
        let path = match index {
            0 => self.folder.join("replay.toml"),
            _ => run.config(),
        };
        std::fs::write(&path, config.to_toml()?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Runs one process; whether it ended well.
    fn part(
        &self,
        run: &RunFolder,
        part: &Part,
        index: usize,
        stop: Option<u64>,
        kill: Option<String>,
    ) -> Result<bool> {
        let mut arguments: Vec<OsString> = Vec::new();
        if index == 0 {
            arguments.extend(["train".into(), self.folder.join("replay.toml").into()]);
            arguments.extend(["--runs-dir".into(), self.folder.into()]);
        } else {
            arguments.extend(["resume".into(), run.root.clone().into()]);
            if part.overruled_patience && kill.is_none() {
                arguments.push(format!("--epochs={}", part.config.train.epochs).into());
            }
        }
        arguments.extend([
            "--no-test".into(),
            "--device".into(),
            (&part.backend).into(),
        ]);
        if let Some(data) = self.data {
            arguments.extend(["--data".into(), data.into()]);
        }
        arguments.extend(stop.map(|step| format!("--stop-at-step={step}").into()));
        arguments.extend(kill.map(Into::into));
        let program = std::env::current_exe().context("this program cannot be found")?;
        let status = Command::new(program)
            .args(&arguments)
            .stdout(Stdio::null())
            .status()
            .context("the replay cannot be started")?;
        Ok(status.success())
    }
}

fn describe(part: &Part, kill: Option<u64>) -> String {
    let Part {
        from, to, backend, ..
    } = part;
    let kill = kill.map(|step| format!(", killed after step {step} and resumed"));
    format!(
        "replay  steps {from} to {to} with --device {backend}{}",
        kill.unwrap_or_default()
    )
}

fn compare(state: &TrainState, newest: &Checkpoint, run: &RunFolder) -> Result<Vec<Comparison>> {
    let replayed = Store::new(&run.root).latest_whole()?.0;
    let replayed_state = state_of(&replayed)?;
    let tensors = |checkpoint: &Checkpoint| -> BTreeMap<String, Vec<u8>> {
        let files = checkpoint.files.clone().into_iter();
        files.filter(|(name, _)| name.ends_with(".bpk")).collect()
    };
    let (original, again) = (tensors(newest), tensors(&replayed));
    let mut comparisons: Vec<Comparison> = original
        .iter()
        .map(|(name, bytes)| Comparison {
            name: format!("checkpoints/step-{}/{name}", state.step),
            same: again.get(name) == Some(bytes),
        })
        .collect();
    comparisons.push(Comparison {
        name: "results.csv but for its seconds".to_owned(),
        same: without_clock(&state.history) == without_clock(&replayed_state.history),
    });
    comparisons.push(Comparison {
        name: "the best epoch and the place in the run".to_owned(),
        same: (state.best, state.step, state.epoch, state.batch)
            == (
                replayed_state.best,
                replayed_state.step,
                replayed_state.epoch,
                replayed_state.batch,
            ),
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
