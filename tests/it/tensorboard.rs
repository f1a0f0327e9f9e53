//! TensorBoard's event files: they hold each row of results.csv once, whatever a kill or a turn back
//! left behind. tests/parity/tensorboard_events.py reads them with TensorBoard itself.

use std::fs;
use std::path::PathBuf;

use prost::Message;
use weft::config::ExperimentConfig;
use weft::report::tensorboard::EventLog;
use weft::report::tensorboard::proto::{Content, Event, Value, What};
use weft::run::RunFolder;
use weft::run::records::{self, EpochRow};

fn row(epoch: u64, train_loss: f64) -> EpochRow {
    EpochRow {
        epoch,
        step: 10 * epoch,
        seconds: 2.0,
        learning_rate: 0.1,
        train_loss,
        train_accuracy: 0.5,
        valid_loss: None,
        valid_accuracy: None,
        best: false,
    }
}

fn run_in(folder: &tempfile::TempDir) -> RunFolder {
    RunFolder::create(folder.path(), "x").unwrap()
}

fn log(run: &RunFolder) -> EventLog {
    EventLog::begin(run, &ExperimentConfig::default()).unwrap()
}

/// In the order in which TensorBoard reads them.
fn files(run: &RunFolder) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.tensorboard()).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The whole records of a file; what is torn at its end is left out, as TensorBoard does.
fn events(bytes: &[u8]) -> Vec<Event> {
    let (mut events, mut rest) = (Vec::new(), bytes);
    while let Some(length) = rest.get(..8) {
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some(record) = rest
            .get(12..12 + length)
            .filter(|_| rest.len() >= 16 + length)
        else {
            break;
        };
        events.push(Event::decode(record).unwrap());
        rest = &rest[16 + length..];
    }
    events
}

/// Epoch and value of a tag in all files.
fn points(run: &RunFolder, tag: &str) -> Vec<(i64, f32)> {
    let bytes = files(run).into_iter().map(|path| fs::read(path).unwrap());
    let mut points = Vec::new();
    for event in bytes.flat_map(|bytes| events(&bytes)) {
        if let Some(What::Summary(summary)) = event.what {
            let values = summary
                .value
                .into_iter()
                .filter(|value: &Value| value.tag == tag);
            points.extend(values.filter_map(|value| match value.content {
                Some(Content::SimpleValue(value)) => Some((event.step, value)),
                _ => None,
            }));
        }
    }
    points
}

#[test]
fn each_epoch_is_there_once_after_a_turn_back_and_after_a_torn_write() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder);
    let results = run.results();
    let mut events = log(&run);
    for epoch in 1..=3 {
        records::append(&results, &row(epoch, 0.5 / epoch as f64)).unwrap();
        events.follow().unwrap();
        assert_eq!(points(&run, "loss/train").len() as u64, epoch);
    }
    assert_eq!(files(&run).len(), 1);
    assert!(points(&run, "loss/validation").is_empty());

    // The run diverged in epoch 4, and goes on from epoch 2.
    records::restore(&results, &[row(1, 0.5), row(2, 0.25)]).unwrap();
    records::append(&results, &row(3, 0.125)).unwrap();
    events.follow().unwrap();
    let expected = [(1, 0.5), (2, 0.25), (3, 0.125)];
    assert_eq!(points(&run, "loss/train"), expected);

    let newest = files(&run).pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(points(&run, "loss/train"), expected[..2]);
    for _ in 0..3 {
        log(&run);
    }
    assert_eq!(points(&run, "loss/train"), expected);
    assert_eq!(files(&run).len(), 2);
}

#[test]
fn what_is_not_wefts_stays() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder);
    let other = run.tensorboard().join("events.out.tfevents.7.other");
    fs::create_dir(run.tensorboard()).unwrap();
    fs::write(&other, "theirs").unwrap();
    log(&run);
    log(&run);
    log(&run).finish(None).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"theirs");
}
