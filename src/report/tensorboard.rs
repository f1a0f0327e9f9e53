//! TensorBoard's event files: `tensorboard --logdir runs` shows the epochs of each run, its config as
//! hyper-parameters and the sheet of misclassified images.
//!
//! The file follows results.csv. Each start of a process, and each turn back to an earlier epoch,
//! begins a new file with every row that there is and empties the one before it, so that no epoch is
//! there twice or missing, and a record that a kill tore is gone. Within a process rows are appended.
//! A TensorBoard that is open shows all of that: it waits at the end of a file for more or for a file
//! with a later name, which is also why the emptied file stays until the next one is begun.

pub mod proto;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use prost::Message;

use crate::config::ExperimentConfig;
use crate::run::records::{self, EpochRow, Evaluation};
use crate::run::{RunFolder, atomic, disk};
use proto::{
    Content, Event, HParam, HParams, HParamsPluginData, Image, Kind, PluginData, SessionEndInfo,
    SessionLog, SessionStartInfo, Summary, SummaryMetadata, Value, What,
};

/// What every event file begins its name with: TensorBoard looks for "tfevents".
const FILE_PREFIX: &str = "events.out.tfevents.";
/// `SessionLog.START`
const START: i32 = 1;
/// `Status.STATUS_SUCCESS` of the HParams plugin.
const SUCCESS: i32 = 1;

/// The event file of a run that is being trained.
pub struct EventLog {
    run: RunFolder,
    hparams: BTreeMap<String, HParam>,
    file: PathBuf,
    /// The rows that are in the file.
    written: Vec<EpochRow>,
}

impl EventLog {
    /// Begins a file with the rows that results.csv has.
    pub fn begin(run: &RunFolder, config: &ExperimentConfig) -> Result<Self> {
        let mut log = Self {
            run: run.clone(),
            hparams: hparams(config)?,
            file: PathBuf::new(),
            written: Vec::new(),
        };
        log.rewrite(records::read(&run.results())?)?;
        Ok(log)
    }

    /// Adds the rows that results.csv has got. If rows are gone there, the run has turned back.
    pub fn follow(&mut self) -> Result<()> {
        let rows = records::read(&self.run.results())?;
        match rows.strip_prefix(&self.written[..]) {
            None => self.rewrite(rows),
            Some(new) => {
                let now = seconds_now();
                let events: Vec<Event> = new.iter().map(|row| epoch(now, row)).collect();
                self.append(&events)?;
                self.written = rows;
                Ok(())
            }
        }
    }

    /// Adds the result: loss and accuracy on the test split, the sheet of misclassified images if it
    /// was drawn, and that the run has ended.
    pub fn finish(&self, evaluation: Option<&Evaluation>) -> Result<()> {
        let now = seconds_now();
        let mut events = Vec::new();
        if let Some(evaluation) = evaluation {
            let split = &evaluation.split;
            // Of the images alone, as the other splits' are; those of several views have a tag that says so.
            let plain = evaluation
                .tta
                .map(|tta| (tta.plain_loss, tta.plain_accuracy));
            let (loss, accuracy) = plain.unwrap_or((evaluation.loss, evaluation.accuracy));
            let mut scalars = vec![
                (format!("loss/{split}"), loss),
                (format!("accuracy/{split}"), accuracy),
            ];
            if let Some(tta) = evaluation.tta {
                let mode = tta.mode.name();
                scalars.push((format!("loss/{split}_{mode}"), evaluation.loss));
                scalars.push((format!("accuracy/{split}_{mode}"), evaluation.accuracy));
            }
            let scalars = scalars.iter().map(|(tag, value)| scalar(tag, *value));
            let epoch = evaluation.checkpoint_epoch;
            events.push(summary(now, epoch, scalars.collect()));
            // Without an evaluation, what lies there is of an earlier end.
            if let Ok(png) = std::fs::read(self.run.plots().join("misclassified.png")) {
                events.extend(picture(now, epoch, "misclassified", png));
            }
        }
        let end = SessionEndInfo {
            status: SUCCESS,
            end_time_secs: now,
        };
        events.push(of_hparams(
            now,
            "session_end_info",
            HParams::SessionEnd(end),
        ));
        self.append(&events)
    }

    /// Begins a new file with these rows; what was written before goes.
    fn rewrite(&mut self, rows: Vec<EpochRow>) -> Result<()> {
        let folder = self.run.tensorboard();
        let now = seconds_now();
        let before = files(&self.run)?;
        // When the epochs ended, had nothing come between them.
        let mut time = now - rows.iter().map(|row| row.seconds).sum::<f64>();
        let start = SessionStartInfo {
            hparams: self.hparams.clone(),
            start_time_secs: time,
        };
        let mut events = vec![
            event(time, 0, What::FileVersion("brain.Event:2".to_owned())),
            event(time, 0, What::SessionLog(SessionLog { status: START })),
            of_hparams(time, "session_start_info", HParams::SessionStart(start)),
        ];
        for row in &rows {
            time += row.seconds;
            events.push(epoch(time, row));
        }
        // TensorBoard reads the files of a folder in the order of their names.
        let newest = before.iter().filter_map(|path| number_of(path)).max();
        let number = newest.map_or(0, |newest| newest + 1).max(now as u64);
        self.file = folder.join(format!("{FILE_PREFIX}{number:010}.weft"));
        RunFolder::write(&self.file, &framed(&events)).context(CONTEXT)?;
        for path in before {
            match number_of(&path) == newest {
                true => atomic::write_file(&path, b"").context(CONTEXT)?,
                false => disk::remove(&path).context(CONTEXT)?,
            }
        }
        self.written = rows;
        Ok(())
    }

    fn append(&self, events: &[Event]) -> Result<()> {
        atomic::append(&self.file, &framed(events)).context(CONTEXT)
    }
}

const CONTEXT: &str = "TensorBoard's events cannot be written";

/// The event files of a run that weft wrote.
fn files(run: &RunFolder) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(run.tensorboard()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(CONTEXT)?,
    };
    let paths = entries.map(|entry| Ok(entry.context(CONTEXT)?.path()));
    let paths: Result<Vec<PathBuf>> = paths.collect();
    let is_ours = |path: &PathBuf| number_of(path).is_some();
    Ok(paths?.into_iter().filter(is_ours).collect())
}

fn number_of(path: &std::path::Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(FILE_PREFIX)?
        .strip_suffix(".weft")?
        .parse()
        .ok()
}

fn seconds_now() -> f64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs_f64()
}

/// A row of results.csv.
fn epoch(time: f64, row: &EpochRow) -> Event {
    let values = [
        ("loss/train", Some(row.train_loss)),
        ("loss/validation", row.valid_loss),
        ("accuracy/train", Some(row.train_accuracy)),
        ("accuracy/validation", row.valid_accuracy),
        ("learning_rate", Some(row.learning_rate)),
        ("seconds", Some(row.seconds)),
    ];
    let scalars = values
        .iter()
        .filter_map(|(tag, value)| Some(scalar(tag, (*value)?)));
    summary(time, row.epoch, scalars.collect())
}

fn scalar(tag: &str, value: f64) -> Value {
    Value {
        tag: tag.to_owned(),
        metadata: None,
        content: Some(Content::SimpleValue(value as f32)),
    }
}

/// None if it is no PNG: its first chunk has the sides (PNG specification, 11.2.1).
fn picture(time: f64, epoch: u64, tag: &str, png: Vec<u8>) -> Option<Event> {
    let side = |at: usize| -> Option<i32> {
        let bytes = png.get(at..at + 4)?.try_into().ok()?;
        i32::try_from(u32::from_be_bytes(bytes)).ok()
    };
    let (width, height) = (side(16)?, side(20)?);
    if !png.starts_with(b"\x89PNG\r\n\x1a\n") {
        return None;
    }
    let image = Image {
        height,
        width,
        colorspace: 3,
        encoded_image_string: png,
    };
    let value = Value {
        tag: tag.to_owned(),
        metadata: None,
        content: Some(Content::Image(image)),
    };
    Some(summary(time, epoch, vec![value]))
}

fn of_hparams(time: f64, tag: &str, data: HParams) -> Event {
    let content = HParamsPluginData {
        version: 0,
        data: Some(data),
    };
    let value = Value {
        tag: format!("_hparams_/{tag}"),
        metadata: Some(SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "hparams".to_owned(),
                content: content.encode_to_vec(),
            }),
        }),
        content: None,
    };
    summary(time, 0, vec![value])
}

fn summary(time: f64, step: u64, value: Vec<Value>) -> Event {
    event(time, step, What::Summary(Summary { value }))
}

fn event(wall_time: f64, step: u64, what: What) -> Event {
    Event {
        wall_time,
        step: step as i64,
        what: Some(what),
    }
}

/// The config, key by key, but for what makes no difference to a result.
fn hparams(config: &ExperimentConfig) -> Result<BTreeMap<String, HParam>> {
    let is_left_out = |key: &str| {
        ["name", "data.source"].contains(&key)
            || ["checkpoint.", "report."]
                .iter()
                .any(|section| key.starts_with(section))
    };
    let values = config.values()?.into_iter();
    let kept = values.filter(|(key, _)| !is_left_out(key));
    Ok(kept.map(|(key, value)| (key, hparam(&value))).collect())
}

/// From a value in TOML.
fn hparam(text: &str) -> HParam {
    let kind = match text.parse::<toml::Value>() {
        Ok(toml::Value::Integer(number)) => Kind::NumberValue(number as f64),
        Ok(toml::Value::Float(number)) => Kind::NumberValue(number),
        Ok(toml::Value::Boolean(yes)) => Kind::BoolValue(yes),
        Ok(toml::Value::String(text)) => Kind::StringValue(text),
        _ => Kind::StringValue(text.to_owned()),
    };
    HParam { kind: Some(kind) }
}

/// TFRecord (<https://www.tensorflow.org/tutorials/load_data/tfrecord>): the length, its checksum, the
/// bytes, their checksum.
fn framed(events: &[Event]) -> Vec<u8> {
    let mut file = Vec::new();
    for event in events {
        let bytes = event.encode_to_vec();
        let length = (bytes.len() as u64).to_le_bytes();
        file.extend(length);
        file.extend(masked_crc(&length).to_le_bytes());
        file.extend(&bytes);
        file.extend(masked_crc(&bytes).to_le_bytes());
    }
    file
}

/// CRC-32C, turned and shifted, because a checksum over data with checksums would be weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_in_the_specification() {
        // CRC-32C of 32 zero bytes is 0x8a9136aa (RFC 3720, B.4).
        assert_eq!(
            masked_crc(&[0; 32]),
            0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
        let version = event(0.0, 0, What::FileVersion("brain.Event:2".to_owned()));
        let file = framed(std::slice::from_ref(&version));
        assert_eq!(file[..8], 15u64.to_le_bytes());
        assert_eq!(file.len(), 8 + 4 + 15 + 4);
        assert_eq!(Event::decode(&file[12..27]).unwrap(), version);
    }

    #[test]
    fn values_of_a_config_keep_their_kind() {
        let kind = |text| hparam(text).kind.unwrap();
        assert_eq!(kind("3"), Kind::NumberValue(3.0));
        assert_eq!(kind("1e-8"), Kind::NumberValue(1e-8));
        assert_eq!(kind("true"), Kind::BoolValue(true));
        assert_eq!(kind("\"adam\""), Kind::StringValue("adam".to_owned()));
        assert_eq!(
            kind("[512, 512]"),
            Kind::StringValue("[512, 512]".to_owned())
        );
        let all = hparams(&ExperimentConfig::default()).unwrap();
        assert!(all.contains_key("model.blocks[0].filters") && !all.contains_key("data.source"));
    }
}
