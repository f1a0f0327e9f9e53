//! Every number of every config, with values that no number should have.

use std::collections::BTreeSet;
use std::fs;

use toml::Value;
use weft::config::Loaded;
use weft::config::layers::ConfigError;
use weft::data::idx::{Images, write_images, write_labels};
use weft::model::InputShape;

use crate::common::{assert_orderly, run, say};

const REFERENCE: &str = include_str!("../../../configs/reference.toml");

const HOSTILE: [&str; 16] = [
    "nan",
    "-nan",
    "inf",
    "-inf",
    "-1",
    "-1.5",
    "1e308",
    "1e-308",
    "0.99999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "\"text\"",
    "true",
    "[]",
    "{}",
    "1979-05-27",
];

/// What may stand where, and why that is well. That training bears it is tried out below.
const HARMLESS: [(&[&str], &str, &str); 6] = [
    (
        &["*"],
        "1e-308",
        "small, and refused where that is too small",
    ),
    (
        &["*"],
        "0.99999999999999",
        "below 1, and refused where an f32 makes it 1",
    ),
    (
        &[
            "seed",
            "train.epochs",
            "train.batch_size",
            "train.evaluation_batch_size",
        ],
        "9223372036854775807",
        "any seed will do; a person ends the run; all images are one batch",
    ),
    (
        &[
            "early_stopping.patience",
            "schedule.patience",
            "schedule.warmup_epochs",
            "checkpoint.every_minutes",
            "report.every_minutes",
        ],
        "9223372036854775807",
        "as good as never",
    ),
    (
        &[
            "optimizer.learning_rate",
            "optimizer.adam_learning_rate",
            "optimizer.epsilon",
            "optimizer.weight_decay",
            "schedule.minimum_learning_rate",
            "train.clip_norm",
            "early_stopping.min_delta",
        ],
        "9223372036854775807",
        "far too much, but a number like another; a loss that is none ends the run",
    ),
    (
        &["augmentation.erase_min", "augmentation.erase_max"],
        "*",
        "not used without augmentation.erase",
    ),
];

/// The reference, and each of its commented sections as a config of its own.
fn documents() -> Vec<String> {
    let mut documents = vec![REFERENCE.to_owned()];
    for paragraph in REFERENCE.split("\n\n") {
        if paragraph.starts_with("# [") {
            let lines = paragraph.lines().map(|line| line.trim_start_matches("# "));
            documents.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(documents.len() >= 7, "{}", documents.len());
    documents
}

/// The keys of all numbers, such as `model.blocks[1].filters`.
fn numbers(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(key.to_owned()),
        Value::Table(table) => {
            for (name, child) in table {
                let separator = if key.is_empty() { "" } else { "." };
                numbers(child, &format!("{key}{separator}{name}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, child) in elements.iter().enumerate() {
                numbers(child, &format!("{key}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// The config as TOML with another value at `key`.
fn with(document: &Value, key: &str, value: &str) -> String {
    let mut document = document.clone();
    let mut node = &mut document;
    for part in key.replace('[', ".").replace(']', "").split('.') {
        node = match node {
            Value::Array(elements) => &mut elements[part.parse::<usize>().unwrap()],
            other => &mut other[part],
        };
    }
    *node = value.parse().unwrap();
    toml::to_string(&document).unwrap()
}

/// Where an f32 takes the number for 0, or for 1, and computes with its inverse.
const TOO_CLOSE: [(&str, &str); 11] = [
    ("optimizer.learning_rate", "1e-308"),
    ("optimizer.adam_learning_rate", "1e-308"),
    ("optimizer.epsilon", "1e-308"),
    ("schedule.factor", "1e-308"),
    ("optimizer.beta_1", "0.99999999999999"),
    ("optimizer.beta_2", "0.99999999999999"),
    ("optimizer.momentum", "0.99999999999999"),
    ("model.dense_dropout", "0.99999999999999"),
    ("model.blocks[0].dropout", "0.99999999999999"),
    ("model.dropout", "0.99999999999999"),
    ("model.block_dropout", "0.99999999999999"),
];

fn is_harmless(key: &str, value: &str) -> bool {
    HARMLESS.iter().any(|(keys, what, _)| {
        (keys.contains(&key) || keys == &["*"]) && ["*", value].contains(what)
    })
}

/// Two mistakes are of more than one key: a rectangle without sides, a block that leaves nothing.
fn is_named_otherwise(key: &str, error: &ConfigError) -> bool {
    let says = |words: &str| error.message.contains(words);
    key == "augmentation.erase" && says("`augmentation.erase_min` is 0")
        || key.ends_with("].pool") && says("`model.blocks[") && says("pixels are left")
}

fn loaded(path: &std::path::Path, sets: &[String]) -> Result<Loaded, ConfigError> {
    let input = InputShape {
        channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
    };
    let loaded = Loaded::new(Some(path), sets).map_err(|error| error.downcast().unwrap())?;
    loaded.validate_model(input)?;
    Ok(loaded)
}

#[test]
fn a_hostile_number_is_refused_by_key_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (file, base) = (
        folder.path().join("mine.toml"),
        folder.path().join("base.toml"),
    );
    let (mut n_refused, mut accepted) = (0, BTreeSet::new());
    for text in documents() {
        let document: Value = Value::Table(text.parse().unwrap());
        fs::write(&base, &text).unwrap();
        loaded(&base, &[]).unwrap();
        let mut keys = Vec::new();
        numbers(&document, "", &mut keys);
        for key in keys {
            for value in HOSTILE {
                fs::write(&file, with(&document, &key, value)).unwrap();
                let set = format!("{key}={value}");
                let outcomes = [loaded(&file, &[]), loaded(&base, &[set])];
                for (outcome, place) in outcomes.into_iter().zip(["mine.toml:", "--set "]) {
                    match outcome {
                        Ok(_) => {
                            accepted.insert((key.clone(), value, text.clone()));
                        }
                        Err(error) => {
                            assert_orderly(&error.to_string());
                            let named = error.message.contains(place)
                                && error.message.contains(&format!("`{key}`"));
                            assert!(
                                named || is_named_otherwise(&key, &error),
                                "{key} = {value}: {error}"
                            );
                            assert!(error.hint.is_some(), "{error}");
                            n_refused += 1;
                        }
                    }
                }
            }
        }
    }
    for (key, value, _) in &accepted {
        let well = is_harmless(key, value) && !TOO_CLOSE.contains(&(&key[..], *value));
        assert!(well, "{key} = {value} was accepted");
    }
    let n_trained = train_with(&accepted);
    say(&format!(
        "numbers: {n_refused} hostile values refused by key; {} harmless ones, {n_trained} of them trained with",
        accepted.len()
    ));
}

/// Trains an epoch or two with each of the accepted values, on images that take no time.
fn train_with(accepted: &BTreeSet<(String, &str, String)>) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (part, n_images) in [("train", 40), ("t10k", 20)] {
        let pixels = (0..n_images * 64).map(|pixel| (pixel * 37) as u8).collect();
        let images = Images {
            n_images,
            channels: 1,
            height: 8,
            width: 8,
            pixels,
        };
        let labels: Vec<u8> = (0..n_images).map(|image| (image % 2) as u8).collect();
        fs::write(
            at.join(format!("{part}-images-idx3-ubyte")),
            write_images(&images),
        )
        .unwrap();
        fs::write(
            at.join(format!("{part}-labels-idx1-ubyte")),
            write_labels(&labels),
        )
        .unwrap();
    }
    for (key, value, text) in accepted {
        let config = at.join("mine.toml");
        fs::write(&config, text).unwrap();
        let set = format!("{key}={value}");
        let mut args = vec!["train", "mine.toml", "--device", "cpu", "-q", "--data", "."];
        args.extend(["--set", "train.epochs=2"]);
        // No improvement is large enough: this ends a run without an end after two epochs.
        args.extend(["--set", "early_stopping.patience=1"]);
        args.extend(["--set", "early_stopping.min_delta=1e30", "--set", &set]);
        let ended = run(at, &args);
        if !ended.status.success() {
            // What only training or the data shows: weights beyond all numbers, no image left.
            let text = ended.refusal();
            let known = [
                "loss is ",
                "no training image",
                "1e-308 of 40 images is no image",
            ];
            let known = known.iter().any(|words| text.contains(words));
            assert!(known, "{key} = {value}: {text}");
        }
    }
    accepted.len()
}
