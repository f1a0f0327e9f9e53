//! Checks a run folder from end to end: what a resume, an evaluation or a person would rely on.

use std::fmt;
use std::path::Path;

use anyhow::{Result, anyhow};

use crate::config::{ExperimentConfig, Loaded};
use crate::evaluate::predictions::{CALIBRATION_BINS, Predictions};
use crate::experiment::{config_of, state_of};
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, Pointer, Store};
use crate::run::input::ModelInput;
use crate::run::records::{self, Environment, EpochRow, Evaluation, TrainState};
use crate::train::checkpoint::{AVERAGE_FILE, is_averaged};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Good,
    /// It holds, and there is something to know.
    Note,
    /// It does not hold.
    Bad,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it came out.
    pub verdict: Verdict,
    /// A file of the run folder.
    pub subject: String,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Bad => "FAILED",
        };
        write!(f, "{verdict:<6}  {}: {}", self.subject, self.what)
    }
}

/// What was found in a run folder.
#[derive(Default)]
pub struct Findings {
    /// All checks, in the order in which they were made.
    pub all: Vec<Finding>,
    /// The newest checkpoint that is whole, with its state.
    pub newest: Option<(Checkpoint, TrainState)>,
}

impl Findings {
    /// Checks that do not hold.
    pub fn n_bad(&self) -> usize {
        let bad = |finding: &&Finding| finding.verdict == Verdict::Bad;
        self.all.iter().filter(bad).count()
    }

    fn add(&mut self, verdict: Verdict, subject: impl Into<String>, what: impl Into<String>) {
        let (subject, what) = (subject.into(), what.into());
        self.all.push(Finding {
            verdict,
            subject,
            what,
        });
    }

    fn add_result(&mut self, subject: impl Into<String>, result: Result<String>) {
        match result {
            Ok(what) => self.add(Verdict::Good, subject, what),
            Err(error) => self.add(Verdict::Bad, subject, one_line(&error)),
        }
    }
}

/// Makes every check. Writes nothing.
pub fn check(run: &RunFolder) -> Findings {
    let mut findings = Findings::default();
    if let Some(holder) = run.writer() {
        let what =
            format!("{holder}, is writing this run: what it does just now may look unfinished");
        findings.add(Verdict::Note, "lock", what);
    }
    let config = Loaded::new(Some(&run.config()), &[]).map(|loaded| loaded.config);
    findings.add_result(
        "config.toml",
        match &config {
            Ok(config) => Ok(format!("{}, {}", config.name, config.model.summary())),
            Err(error) => Err(anyhow!("{error:#}")),
        },
    );
    let environment = records::read_json::<Environment>(&run.environment());
    let environment = environment.map(|it| format!("started {} on {}", it.started, it.device));
    findings.add_result("environment.json", environment.map_err(Into::into));

    let store = Store::new(&run.root);
    check_checkpoints(&store, &mut findings);
    check_input(run, &mut findings);
    if let Some((checkpoint, state)) = findings.newest.clone() {
        check_pointers(&store, &state, &mut findings);
        if let Ok(config) = &config {
            check_config(config, &checkpoint, &mut findings);
        }
        findings.add_result("history", check_history(&state.history, state.step));
        check_results(&run.results(), &state, &mut findings);
    }
    if records::is_evaluation_of_another_weft(&run.evaluation()) {
        let what = "another weft wrote it: `weft evaluate` writes it anew";
        findings.add(Verdict::Note, "evaluation.json", what);
    } else if run.evaluation().exists() {
        findings.add_result("evaluation.json", check_evaluation(&run.evaluation()));
        if run.predictions().exists() {
            findings.add_result("predictions.csv", check_predictions(run));
        }
    }
    findings
}

fn check_checkpoints(store: &Store, findings: &mut Findings) {
    let steps = match store.steps() {
        Ok(steps) => steps,
        Err(error) => return findings.add_result("checkpoints", Err(error.into())),
    };
    if steps.is_empty() {
        let what = "there is none: the run ended before it saved one; `weft resume` begins anew";
        findings.add(Verdict::Bad, "checkpoints", what);
    }
    let mut data_sha256: Option<String> = None;
    for step in steps {
        let whole = check_checkpoint(store, step);
        let subject = format!("checkpoints/step-{step}");
        let (checkpoint, state) = match whole {
            Ok(whole) => whole,
            Err(error) => {
                findings.add_result(subject, Err(error));
                continue;
            }
        };
        let manifest = &checkpoint.manifest;
        let first = data_sha256.get_or_insert_with(|| manifest.data_sha256.clone());
        if *first != manifest.data_sha256 {
            findings.add(Verdict::Bad, subject, "it was trained on other data");
            continue;
        }
        let bytes: u64 = manifest.files.values().map(|entry| entry.bytes).sum();
        let what = format!(
            "epoch {}, batch {}; {} files, {bytes} bytes, SHA-256 right",
            manifest.epoch,
            manifest.batch,
            manifest.files.len()
        );
        findings.add(Verdict::Good, subject, what);
        findings.newest = Some((checkpoint, state)); // steps ascend
    }
    if let Ok(leftovers) = store.leftovers()
        && !leftovers.is_empty()
    {
        let what = format!(
            "{} left by a process that was killed; the next save removes it",
            leftovers.join(", ")
        );
        findings.add(Verdict::Note, "checkpoints", what);
    }
}

/// A checkpoint that verifies, and whose parts tell the same story.
fn check_checkpoint(store: &Store, step: u64) -> Result<(Checkpoint, TrainState)> {
    let checkpoint = store.load(step)?;
    let state = state_of(&checkpoint)?;
    let manifest = &checkpoint.manifest;
    let places = [
        ("step", state.step, manifest.step),
        ("epoch", state.epoch, manifest.epoch),
        ("batch", state.batch, manifest.batch),
    ];
    for (name, of_state, of_manifest) in places {
        if of_state != of_manifest {
            return Err(anyhow!(
                "state.json is of {name} {of_state}, the manifest of {of_manifest}"
            ));
        }
    }
    let config = config_of(&checkpoint)?;
    if config.identity()? != manifest.config_sha256 {
        return Err(anyhow!(
            "its config.toml is not the one that the manifest names"
        ));
    }
    match (config.train.averages(), is_averaged(&checkpoint)) {
        (true, false) => Err(anyhow!(
            "it has no {AVERAGE_FILE}, and train.ema_decay asks for it"
        )),
        (false, true) => Err(anyhow!("it has {AVERAGE_FILE}, and train.ema_decay is 0")),
        _ => Ok((checkpoint, state)),
    }
}

/// input.json: whole, and of the data that the checkpoints were trained on.
fn check_input(run: &RunFolder, findings: &mut Findings) {
    if !run.input().exists() {
        let what = "there is none: an earlier weft began this run; `weft evaluate` adds it, for `weft predict`";
        return findings.add(Verdict::Note, "input.json", what);
    }
    let newest = findings.newest.as_ref();
    let data_sha256 = newest.map(|(checkpoint, _)| checkpoint.manifest.data_sha256.clone());
    let checked = match ModelInput::read(&run.input()) {
        Err(error) => Err(error.into()),
        Ok(input) if data_sha256.is_some_and(|it| it != input.data_sha256) => Err(anyhow!(
            "it is of other data than the newest checkpoint was trained on"
        )),
        Ok(input) => Ok(format!(
            "{} x {} x {} pixels, {} classes, SHA-256 right",
            input.channels,
            input.height,
            input.width,
            input.class_names.len()
        )),
    };
    findings.add_result("input.json", checked);
}

fn check_pointers(store: &Store, state: &TrainState, findings: &mut Findings) {
    let best = state.best.as_ref().map(|best| best.step);
    let recoverable = store.recoverable().unwrap_or_default();
    for (name, pointer, expected) in [
        ("checkpoints/last", Pointer::Last, Some(state.step)),
        ("checkpoints/best", Pointer::Best, best),
    ] {
        let pointed = store.pointed(pointer);
        let comes_back = |step| recoverable.iter().any(|(_, there)| *there == step);
        let is_whole = expected.is_some_and(|step| store.load(step).is_ok());
        let (verdict, what) = if pointed == expected && is_whole {
            (Verdict::Good, step_text(expected))
        } else if pointed.is_some_and(comes_back) {
            let what = format!(
                "it names {}, which was being replaced; `weft resume` brings it back",
                step_text(pointed)
            );
            (Verdict::Note, what)
        } else if pointed == expected && expected.is_none() {
            continue; // without validation nothing is the best
        } else if is_whole && expected == Some(state.step) && pointed != Some(state.step) {
            let what = format!(
                "it does not name {} yet: a kill came between; the next save mends it",
                step_text(expected)
            );
            (Verdict::Note, what)
        } else {
            let names = match pointed == expected {
                true => format!("it names {}", step_text(pointed)),
                false => {
                    let (pointed, expected) = (step_text(pointed), step_text(expected));
                    format!("it names {pointed}, and should name {expected}")
                }
            };
            let what = names + ", which is ";
            (
                Verdict::Bad,
                what + if is_whole {
                    "whole"
                } else {
                    "missing or damaged"
                },
            )
        };
        findings.add(verdict, name, what);
    }
}

fn step_text(step: Option<u64>) -> String {
    step.map_or_else(|| "no step".to_owned(), |step| format!("step-{step}"))
}

fn check_config(config: &ExperimentConfig, newest: &Checkpoint, findings: &mut Findings) {
    let changes = match config_of(newest).and_then(|made_with| made_with.changes(config)) {
        Ok(changes) => changes,
        Err(error) => return findings.add_result("config.toml", Err(error)),
    };
    let (fixed, free) = changes;
    for (verdict, why, changes) in [
        (Verdict::Bad, "changed in what fixes the weights", fixed),
        (Verdict::Note, "changed since the last checkpoint", free),
    ] {
        for change in changes {
            findings.add(verdict, "config.toml", format!("{why}: {change}"));
        }
    }
}

fn check_history(history: &[EpochRow], step: u64) -> Result<String> {
    let mut before = 0;
    for (index, row) in history.iter().enumerate() {
        let epoch = index as u64 + 1;
        if row.epoch != epoch {
            return Err(anyhow!("epoch {} stands where {epoch} should", row.epoch));
        }
        if row.step <= before || row.step > step {
            return Err(anyhow!("epoch {epoch} ends at step {}", row.step));
        }
        let numbers = [
            Some(row.train_loss),
            row.valid_loss,
            Some(row.learning_rate),
        ];
        if numbers
            .into_iter()
            .flatten()
            .any(|number| !number.is_finite())
        {
            return Err(anyhow!("epoch {epoch} has a number that is not finite"));
        }
        before = row.step;
    }
    Ok(format!(
        "{} epochs, none skipped or repeated",
        history.len()
    ))
}

fn check_results(path: &Path, state: &TrainState, findings: &mut Findings) {
    let rows = match records::read(path) {
        Ok(rows) => rows,
        Err(error) => return findings.add_result("results.csv", Err(error.into())),
    };
    let history = &state.history;
    let common = rows.len().min(history.len());
    let (verdict, what) = if rows[..common] != history[..common] {
        (
            Verdict::Bad,
            "it differs from the epochs of the newest checkpoint".to_owned(),
        )
    } else if rows.len() == history.len() {
        (
            Verdict::Good,
            format!("{common} rows, as in the newest checkpoint"),
        )
    } else {
        let (n, m) = (rows.len(), history.len());
        let what =
            format!("{n} rows, and the newest checkpoint has {m}: `weft resume` restores them");
        (Verdict::Note, what)
    };
    findings.add(verdict, "results.csv", what);
}

fn check_evaluation(path: &Path) -> Result<String> {
    let evaluation = records::read_evaluation(path)?;
    let (images, accuracy) = (
        evaluation.confusion.n_images(),
        evaluation.confusion.accuracy(),
    );
    if (accuracy - evaluation.accuracy).abs() > 1e-12 {
        let said = evaluation.accuracy;
        return Err(anyhow!(
            "its confusion gives accuracy {accuracy}, and it says {said}"
        ));
    }
    let without = evaluation
        .tta
        .map(|tta| format!("{:.4}", tta.plain_accuracy));
    let (split, step) = (&evaluation.split, evaluation.checkpoint_step);
    Ok(format!(
        "{images} images of the {split} split at step {step}, accuracy {accuracy:.4}{}",
        evaluation.mode().note(without)
    ))
}

/// predictions.csv gives the confusion that evaluation.json counts.
fn check_predictions(run: &RunFolder) -> Result<String> {
    let predictions = records::read_predictions(&run.predictions())?;
    let evaluation = records::read_evaluation(&run.evaluation())?;
    let n_images = predictions.n_images();
    if predictions.confusion() != evaluation.confusion {
        return Err(anyhow!("it does not give the confusion of evaluation.json"));
    }
    if let Some(key) = differs(&predictions, &evaluation) {
        return Err(anyhow!("it does not give the {key} of evaluation.json"));
    }
    Ok(format!("{n_images} rows, as evaluation.json counts them"))
}

/// The first number of evaluation.json that does not follow from its predictions.
fn differs(predictions: &Predictions, evaluation: &Evaluation) -> Option<&'static str> {
    let confusion = &evaluation.confusion;
    let classes = (0..confusion.n_classes()).map(|class| confusion.class_scores(class));
    let likelihood = predictions.negative_log_likelihood();
    let close = |one: f64, two: f64, most: f64| (one - two).abs() <= most * two.abs().max(1.0);
    // The device's loss goes on where a probability is too small for f32.
    let label = |image| predictions.probabilities(image)[predictions.label(image)];
    let comparable = (0..predictions.n_images()).all(|image| label(image) > 1e-30);
    let all = [
        ("classes", classes.eq(evaluation.classes.iter().copied())),
        (
            "macro_mean",
            confusion.macro_mean() == evaluation.macro_mean,
        ),
        (
            "weighted_mean",
            confusion.weighted_mean() == evaluation.weighted_mean,
        ),
        (
            "negative_log_likelihood",
            close(likelihood, evaluation.negative_log_likelihood, 1e-12),
        ),
        (
            "top_2_accuracy",
            close(
                predictions.top_k_accuracy(2),
                evaluation.top_2_accuracy,
                1e-12,
            ),
        ),
        (
            "calibration",
            predictions.calibration(CALIBRATION_BINS) == evaluation.calibration,
        ),
        (
            "loss",
            !comparable || close(likelihood, evaluation.loss, 1e-3),
        ),
    ];
    all.into_iter()
        .find_map(|(key, is_right)| (!is_right).then_some(key))
}

/// An error without its hint, in one line.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.split("\nhint: ").next().unwrap_or_default();
    text.replace('\n', "; ")
}
