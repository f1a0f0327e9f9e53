//! The records of a run folder, as plain serde types: what train writes and report reads. Every f64
//! comes back from disk with the same bits.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{atomic, disk};
use crate::evaluate::confusion::{ClassScores, Confusion};
use crate::evaluate::predictions::{Calibration, Predictions};
use crate::evaluate::tta::Tta;

pub const STATE_SCHEMA: u32 = 2;
pub const EVALUATION_SCHEMA: u32 = 2;
const CSV_HEADER: &str = "epoch,step,seconds,learning_rate,train_loss,train_accuracy,valid_loss,\
                          valid_accuracy,best\n";

/// One line of results.csv.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    pub epoch: u64,
    pub step: u64,
    #[serde(with = "exact")]
    pub seconds: f64,
    #[serde(with = "exact")]
    pub learning_rate: f64,
    #[serde(with = "exact")]
    pub train_loss: f64,
    #[serde(with = "exact")]
    pub train_accuracy: f64,
    /// None without a validation split.
    #[serde(with = "exact_option")]
    pub valid_loss: Option<f64>,
    #[serde(with = "exact_option")]
    pub valid_accuracy: Option<f64>,
    pub best: bool,
}

/// state.json of a checkpoint: what training must know to go on, beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    pub schema: u32,
    /// Counts from 1: the epoch that the run is in.
    pub epoch: u64,
    /// The batches of this epoch that are done.
    pub batch: u64,
    pub step: u64,
    pub best: Option<Best>,
    pub epochs_without_improvement: u64,
    pub plateau: Plateau,
    pub history: Vec<EpochRow>,
    pub totals: EpochTotals,
    #[serde(with = "exact")]
    pub epoch_seconds: f64,
    /// Time that went into checkpoints, over the whole run.
    #[serde(with = "exact")]
    pub checkpoint_seconds: f64,
    pub finished: bool,
    /// Each start of a process whose work is in here: the first, and every resume.
    pub starts: Vec<Start>,
    /// Each time that the run diverged and went back.
    pub rollbacks: Vec<Rollback>,
}

/// A process that trained this run, and what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Steps that were done by then, and rollbacks.
    pub step: u64,
    pub n_rollbacks: usize,
    /// UTC, ISO 8601.
    pub time: String,
    pub weft: String,
    /// Of the folder in which it was started. None where there is none, and in older records.
    #[serde(default)]
    pub git_commit: Option<String>,
    /// As `--device` takes it, and as people call it.
    pub backend: String,
    pub device: String,
    pub cpu_threads: usize,
    /// Keys of the config that differ from those before this start.
    pub changes: Vec<Change>,
    /// Whether it was asked to go on where patience had ended the run, and patience began anew.
    pub overruled_patience: bool,
}

/// A key of the config that was changed, with its values in TOML. None where it is not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub key: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            shown(&self.from),
            shown(&self.to)
        )
    }
}

/// A run that diverged went back to an earlier checkpoint, with a smaller learning rate from there on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Where it was seen, and what.
    pub step: u64,
    pub what: String,
    /// The checkpoint it went back to.
    pub to_step: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: u64,
    pub step: u64,
    /// Of the metric that the run watches.
    #[serde(with = "exact")]
    pub value: f64,
}

/// A learning rate that falls when the metric stops improving.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// What the learning rate is multiplied by now.
    #[serde(with = "exact")]
    pub factor: f64,
    pub epochs_without_improvement: u64,
    #[serde(with = "exact_option")]
    pub best: Option<f64>,
}

/// Sums over the batches of the epoch in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochTotals {
    #[serde(with = "exact")]
    pub loss_sum: f64,
    pub correct: u64,
    pub images: u64,
}

impl TrainState {
    /// Before the first batch of epoch 1.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schema: STATE_SCHEMA,
            epoch: 1,
            batch: 0,
            step: 0,
            best: None,
            epochs_without_improvement: 0,
            plateau: Plateau {
                factor: 1.0,
                epochs_without_improvement: 0,
                best: None,
            },
            history: Vec::new(),
            totals: EpochTotals::default(),
            epoch_seconds: 0.0,
            checkpoint_seconds: 0.0,
            finished: false,
            starts: Vec::new(),
            rollbacks: Vec::new(),
        }
    }

    /// The step at which the epoch in progress began.
    #[must_use]
    pub fn epoch_start(&self) -> u64 {
        self.step - self.batch.min(self.step)
    }
}

impl Default for TrainState {
    fn default() -> Self {
        Self::new()
    }
}

/// environment.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub weft: String,
    pub burn: String,
    pub device: String,
    pub adapter: Option<Adapter>,
    pub os: String,
    pub arch: String,
    pub cpu_threads: usize,
    /// Where the data came from, and its SHA-256.
    pub data: serde_json::Value,
    pub git_commit: Option<String>,
    pub command_line: Vec<String>,
    /// UTC, ISO 8601.
    pub started: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    pub name: String,
    pub api: String,
    pub driver: String,
}

/// evaluation.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub schema: u32,
    pub split: String,
    pub checkpoint_step: u64,
    /// The last epoch that was done by then.
    pub checkpoint_epoch: u64,
    /// Whether the checkpoint was saved within the epoch that follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub within_epoch: bool,
    /// Whether the model is the average of the weights (`train.ema_decay`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub averaged: bool,
    /// Set where the loss, the accuracy and all below are of the mean of several views of each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tta: Option<TestTimeAugmentation>,
    pub n_images: u64,
    /// Mean cross-entropy in nats as the device computed it, in f32.
    #[serde(with = "exact")]
    pub loss: f64,
    /// The same of the probabilities in predictions.csv, in f64.
    #[serde(with = "exact")]
    pub negative_log_likelihood: f64,
    #[serde(with = "exact")]
    pub accuracy: f64,
    /// Part of the images whose class is one of the two most probable.
    #[serde(with = "exact")]
    pub top_2_accuracy: f64,
    pub class_names: Vec<String>,
    pub classes: Vec<ClassScores>,
    /// Each class counts the same.
    pub macro_mean: ClassScores,
    /// Each image counts the same.
    pub weighted_mean: ClassScores,
    pub confusion: Confusion,
    pub calibration: Calibration,
    /// Of the forward pass and what goes with it, compiling kernels included.
    #[serde(with = "exact")]
    pub images_per_second: f64,
    pub device: String,
    /// UTC, ISO 8601.
    pub time: String,
}

/// Which views an evaluation averaged, and what the images alone gave in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestTimeAugmentation {
    pub mode: Tta,
    pub n_views: usize,
    #[serde(with = "exact")]
    pub plain_loss: f64,
    #[serde(with = "exact")]
    pub plain_accuracy: f64,
}

impl Evaluation {
    /// The views that were averaged.
    #[must_use]
    pub fn mode(&self) -> Tta {
        self.tta.map_or(Tta::None, |tta| tta.mode)
    }

    /// "epoch 3", or "epoch 3 and a part of epoch 4".
    #[must_use]
    pub fn epochs(&self) -> String {
        let epoch = self.checkpoint_epoch;
        match self.within_epoch {
            true => format!(
                "epoch {epoch} and a part of epoch {}",
                epoch.saturating_add(1)
            ),
            false => format!("epoch {epoch}"),
        }
    }

    /// "mean of 2 views: flip", where it is one.
    #[must_use]
    pub fn views(&self) -> Option<String> {
        self.mode().told()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{}{source}\nhint: {}", named(.path, .source), disk::remedy(.source))]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not a record that this weft reads: {reason}\nhint: {hint}", .path.display())]
    Invalid {
        path: PathBuf,
        reason: String,
        hint: &'static str,
    },
}

type Result<T> = std::result::Result<T, RecordError>;

/// The bytes of a record as weft stores it. Fails only on a map whose keys are not text.
pub fn to_json(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a file that is no record, such as config.toml.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic::write_file(path, text.as_bytes()).map_err(io_error(path))
}

pub fn write_json(path: &Path, record: &impl Serialize) -> Result<()> {
    let written = to_json(record).map_err(io::Error::from);
    written
        .and_then(|bytes| atomic::write_file(path, &bytes))
        .map_err(io_error(path))
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    from_json(&std::fs::read(path).map_err(io_error(path))?, path)
}

/// `path` is where the bytes came from, for the error.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    let hint = "delete it to have it written anew, or use the weft that wrote it";
    serde_json::from_slice(bytes).map_err(|error| invalid(path, error.to_string(), hint))
}

/// Whether evaluation.json is there, and of another schema than this weft's.
#[must_use]
pub fn is_evaluation_of_another_weft(path: &Path) -> bool {
    let schema = std::fs::read(path).map(|bytes| evaluation_schema(&bytes, path));
    matches!(schema, Ok(Ok(schema)) if schema != EVALUATION_SCHEMA)
}

fn evaluation_schema(bytes: &[u8], path: &Path) -> Result<u32> {
    #[derive(Deserialize)]
    struct Schema {
        #[serde(default)]
        schema: u32,
    }
    Ok(from_json::<Schema>(bytes, path)?.schema)
}

/// Reads evaluation.json. Its schema is looked at first: an earlier weft's lacks the other fields.
pub fn read_evaluation(path: &Path) -> Result<Evaluation> {
    let bytes = std::fs::read(path).map_err(io_error(path))?;
    let schema = evaluation_schema(&bytes, path)?;
    let hint = "`weft evaluate` writes it anew";
    if schema != EVALUATION_SCHEMA {
        let reason = format!("another weft wrote it (schema {schema}, not {EVALUATION_SCHEMA})");
        return Err(invalid(path, reason, hint));
    }
    let evaluation: Evaluation = from_json(&bytes, path)?;
    let n_classes = evaluation.class_names.len();
    let agrees = evaluation.classes.len() == n_classes
        && evaluation.confusion.n_classes() == n_classes
        && evaluation.confusion.n_images() == evaluation.n_images;
    match agrees {
        true => Ok(evaluation),
        false => {
            let reason = "its counts of classes and images disagree".to_owned();
            Err(invalid(path, reason, hint))
        }
    }
}

/// Reads predictions.csv.
pub fn read_predictions(path: &Path) -> Result<Predictions> {
    let bytes = std::fs::read(path).map_err(io_error(path))?;
    let hint = "delete it; `weft evaluate` writes it anew";
    Predictions::from_csv(&bytes).map_err(|reason| invalid(path, reason, hint))
}

/// Reads state.json. Its schema is looked at first: another one may lack the other fields.
pub fn train_state(bytes: &[u8], path: &Path) -> Result<TrainState> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let Schema { schema } = from_json(bytes, path)?;
    if schema != STATE_SCHEMA {
        let reason = format!("it has schema {schema}, and this weft reads schema {STATE_SCHEMA}");
        return Err(invalid(path, reason, "use the weft that wrote it"));
    }
    let state: TrainState = from_json(bytes, path)?;
    if state.epoch == 0 {
        let reason = "it is in epoch 0, and epochs count from 1".to_owned();
        return Err(invalid(path, reason, "use another checkpoint"));
    }
    Ok(state)
}

/// Adds a row to results.csv, and the header first if there is none. A line that a kill tore goes.
pub fn append(path: &Path, row: &EpochRow) -> Result<()> {
    let text = read_or_empty(path)?;
    let whole = whole_lines(&text);
    let line = csv_line(row).map_err(io_error(path))?;
    let written = if whole.is_empty() {
        atomic::write_file(path, format!("{CSV_HEADER}{line}\n").as_bytes())
    } else if whole.len() < text.len() || atomic::is_link(path) {
        atomic::write_file(path, format!("{whole}{line}\n").as_bytes())
    } else {
        atomic::append_line(path, &line)
    };
    written.map_err(io_error(path))
}

/// The rows of results.csv: none if it does not exist yet. A torn last line is not a row.
pub fn read(path: &Path) -> Result<Vec<EpochRow>> {
    let text = read_or_empty(path)?;
    let hint = "repair or delete that line; `weft resume` needs only the checkpoints";
    csv::Reader::from_reader(whole_lines(&text).as_bytes())
        .deserialize()
        .map(|row| row.map_err(|error| invalid(path, error.to_string(), hint)))
        .collect()
}

/// Makes results.csv what it was when `history` was all there was: the rows after it, a torn or
/// damaged line go, rows that are missing come back.
pub fn restore(path: &Path, history: &[EpochRow]) -> Result<()> {
    let lines: io::Result<Vec<String>> = history.iter().map(csv_line).collect();
    let lines = lines.map_err(io_error(path))?;
    let text: String = lines
        .iter()
        .fold(CSV_HEADER.to_owned(), |text, line| text + line + "\n");
    match atomic::read_regular(path, text.len() as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && history.is_empty() => Ok(()),
        Ok(bytes) if bytes == text.as_bytes() && !atomic::is_link(path) => Ok(()),
        _ => atomic::write_file(path, text.as_bytes()).map_err(io_error(path)),
    }
}

#[must_use]
pub fn utc_now() -> String {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    utc_text(since_1970.as_secs())
}

/// ISO 8601 to the second, such as `2026-01-31T09:05:00Z`.
#[must_use]
pub fn utc_text(seconds_since_1970: u64) -> String {
    let (days, seconds) = (seconds_since_1970 / 86_400, seconds_since_1970 % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The Gregorian date of a day since 1970, after Howard Hinnant's "chrono-compatible low-level date
/// algorithms". Years begin in March, so that the leap day ends one; 400 of them are an era.
fn civil_from_days(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn csv_line(row: &EpochRow) -> io::Result<String> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    writer.serialize(row).map_err(io::Error::other)?;
    let bytes = writer.into_inner().map_err(io::Error::other)?;
    String::from_utf8(bytes)
        .map(|line| line.trim_end().to_owned())
        .map_err(io::Error::other)
}

fn read_or_empty(path: &Path) -> Result<String> {
    match atomic::read_regular(path, u64::MAX).and_then(as_text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(io_error(path)),
    }
}

fn as_text(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(bytes).map_err(invalid)
}

/// Up to the last newline: what stands after it was torn by a kill.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').map_or("", |last| &text[..=last])
}

/// The path, unless the error names it.
fn named(path: &Path, source: &io::Error) -> String {
    let path = path.display().to_string();
    if source.to_string().contains(&path) {
        String::new()
    } else {
        path + ": "
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path, source }
}

fn invalid(path: &Path, reason: String, hint: &'static str) -> RecordError {
    RecordError::Invalid {
        path: path.to_owned(),
        reason,
        hint,
    }
}

/// An f64 as a number, or as text where JSON has no number for it: NaN and the infinities. A run
/// that diverged must stay readable.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.serialize_str(&value.to_string())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(value) => Ok(value),
            NumberOrText::Text(text) => text
                .parse()
                .map_err(|_| D::Error::custom(format!("{text:?} is not a number"))),
        }
    }
}

mod exact_option {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Exact(#[serde(with = "super::exact")] f64);

    pub(super) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::exact::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|Exact(value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn row(epoch: u64) -> EpochRow {
        EpochRow {
            epoch,
            step: epoch * 375,
            seconds: 4.25,
            learning_rate: 1e-3,
            train_loss: 0.1 + 0.2,
            train_accuracy: 0.781,
            valid_loss: Some(f64::MIN_POSITIVE),
            valid_accuracy: None,
            best: epoch == 2,
        }
    }

    #[test]
    fn results_grow_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        assert_eq!(read(&path).unwrap(), []);
        for epoch in 1..=3 {
            append(&path, &row(epoch)).unwrap();
        }
        assert_eq!(read(&path).unwrap(), [row(1), row(2), row(3)]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(CSV_HEADER) && text.lines().count() == 4,
            "{text}"
        );
    }

    #[test]
    fn the_header_names_the_fields_in_order() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(row(1)).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert!(text.starts_with(CSV_HEADER), "{text}");
    }

    #[test]
    fn a_torn_line_is_dropped_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        append(&path, &row(1)).unwrap();
        append(&path, &row(2)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for length in 0..text.len() {
            let whole = text[..length].matches('\n').count().saturating_sub(1);
            fs::write(&path, &text[..length]).unwrap();
            assert_eq!(
                read(&path).unwrap(),
                [row(1), row(2)][..whole],
                "cut at {length}"
            );
            // Not at each: appending waits for the disk.
            if length % 10 == 0 {
                append(&path, &row(9)).unwrap();
                assert_eq!(read(&path).unwrap().len(), whole + 1, "cut at {length}");
            }
        }
    }

    #[test]
    fn restore_cuts_back_mends_and_completes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        restore(&path, &[]).unwrap();
        assert!(!path.exists());
        for epoch in 1..=4 {
            append(&path, &row(epoch)).unwrap();
        }
        let torn = fs::read_to_string(&path).unwrap() + "2,750,4.2";
        fs::write(&path, torn).unwrap();
        restore(&path, &[row(1), row(2)]).unwrap();
        assert_eq!(read(&path).unwrap(), [row(1), row(2)]);
        restore(&path, &[row(1), row(2), row(3)]).unwrap();
        assert_eq!(read(&path).unwrap(), [row(1), row(2), row(3)]);
        fs::write(&path, [0xff, 0, b'\n']).unwrap();
        restore(&path, &[row(1)]).unwrap();
        assert_eq!(read(&path).unwrap(), [row(1)]);
        restore(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), CSV_HEADER);
    }

    #[test]
    fn a_bad_row_and_another_schema_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        fs::write(&path, format!("{CSV_HEADER}1,2,x,0,0,0,,,true\n")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("results.csv") && error.contains("line: 2"),
            "{error}"
        );
        let error = train_state(br#"{"schema": 9}"#, Path::new("state.json")).unwrap_err();
        assert!(error.to_string().contains("schema 9"), "{error}");
    }

    #[test]
    fn records_come_back_from_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut state = TrainState::new();
        state.history = vec![
            row(1),
            EpochRow {
                train_loss: f64::INFINITY,
                ..row(2)
            },
        ];
        state.best = Some(Best {
            epoch: 2,
            step: 750,
            value: f64::NEG_INFINITY,
        });
        write_json(&path, &state).unwrap();
        assert_eq!(
            train_state(&fs::read(&path).unwrap(), &path).unwrap(),
            state
        );
        state.epoch_seconds = f64::NAN;
        write_json(&path, &state).unwrap();
        assert!(
            read_json::<TrainState>(&path)
                .unwrap()
                .epoch_seconds
                .is_nan()
        );
        fs::write(&path, "{").unwrap();
        let error = read_json::<TrainState>(&path).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(utc_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_text(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc_text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc_text(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(utc_text(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc_text(4_107_542_400), "2100-03-01T00:00:00Z"); // 2100 has no leap day
        assert_eq!(utc_now().len(), 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn every_float_keeps_its_bits(bits: u64, scale in 0usize..3) {
            // Any bits, then values of the sizes that a run has.
            let any = f64::from_bits(bits);
            let value = [any, bits as f64 / 2f64.powi(64), bits as f64][scale];
            let row = EpochRow { train_loss: value, valid_loss: Some(-value), ..row(1) };
            let json: EpochRow = from_json(&to_json(&row).unwrap(), Path::new("")).unwrap();
            let line = format!("{CSV_HEADER}{}\n", csv_line(&row).unwrap());
            let csv: EpochRow =
                csv::Reader::from_reader(line.as_bytes()).deserialize().next().unwrap().unwrap();
            for read in [json, csv] {
                for (came, went) in [(read.train_loss, value), (-read.valid_loss.unwrap(), value)] {
                    let same = came.to_bits() == went.to_bits();
                    prop_assert!(same || (came.is_nan() && went.is_nan()), "{read:?}");
                }
            }
        }
    }
}
