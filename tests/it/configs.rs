//! The configs that ship: all are valid, and the reference lists every key with its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use weft::config::{ExperimentConfig, Loaded};
use weft::model::InputShape;
use weft::tune::Study;

fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut found = Vec::new();
    for folder in [root.clone(), root.join("seed"), root.join("recipes")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_config_is_valid() {
    let configs = shipped();
    assert!(configs.len() >= 7, "{configs:?}");
    for path in configs {
        let loaded = Loaded::new(Some(&path), &[]).unwrap();
        let input = InputShape {
            channels: 1,
            height: 28,
            width: 28,
            n_classes: 10,
        };
        loaded.validate_model(input).unwrap();
    }
}

/// As Keras Tuner's spaces in the seed: 3 * 3 * 16 * 6 * 3 MLPs and 3 * 3 * 4 * 4 * 16 * 3 * 3 CNNs.
#[test]
fn every_study_is_valid() {
    for (name, n_configs) in [("seed-mlp", 2592), ("seed-cnn", 20_736)] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tune");
        let study = Study::read(&root.join(format!("{name}.toml")), &[]).unwrap();
        let counts = study
            .dimensions
            .iter()
            .map(|dimension| dimension.values.count().unwrap());
        assert_eq!(counts.product::<u64>(), n_configs, "{name}");
        assert_eq!(
            (study.plan().epochs(), study.search.max_epochs),
            (148, 10),
            "{name}"
        );
    }
}

#[test]
fn a_printed_config_reads_back_as_itself() {
    for path in shipped() {
        let config = Loaded::new(Some(&path), &[]).unwrap().config;
        let again: ExperimentConfig = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!(again, config, "{}", path.display());
    }
}

fn keys(value: &toml::Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                keys(value, &format!("{prefix}.{key}"), into);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for item in items {
                keys(item, prefix, into);
            }
        }
        _ => {
            into.insert(prefix.trim_start_matches('.').to_owned());
        }
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(
        &toml::Value::Table(toml::from_str(text).unwrap()),
        "",
        &mut found,
    );
    found
}

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/reference.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The commented blocks that begin with a section header, each as TOML of its own.
fn other_kinds(reference: &str) -> Vec<String> {
    let lines = reference
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(""));
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in lines {
        if line.starts_with('[') {
            blocks.push(String::new());
            inside = true;
        }
        inside &= !line.is_empty();
        if inside && let Some(block) = blocks.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

#[test]
fn the_reference_is_the_defaults_and_lists_every_key() {
    let reference = reference();
    let parsed: ExperimentConfig = toml::from_str(&reference).unwrap();
    assert_eq!(parsed, ExperimentConfig::default());
    let defaults = ExperimentConfig::default().to_toml().unwrap();
    assert_eq!(keys_of(&reference), keys_of(&defaults));
}

#[test]
fn the_reference_lists_every_other_kind_with_its_defaults() {
    let blocks = other_kinds(&reference());
    assert_eq!(blocks.len(), 8, "{blocks:#?}");
    for block in blocks {
        let (section, body) = block.split_once('\n').unwrap();
        let kind = body.lines().next().unwrap();
        // Given its kind alone, a section takes its defaults; the block must list them all.
        let bare: ExperimentConfig = toml::from_str(&format!("{section}\n{kind}")).unwrap();
        let full: ExperimentConfig = toml::from_str(&block).unwrap();
        assert_eq!(bare, full, "{block}");
        let name = section.trim_matches(['[', ']']);
        let of_section = |text: &str| -> BTreeSet<String> {
            let keys = keys_of(text).into_iter();
            keys.filter(|key| key.starts_with(name)).collect()
        };
        assert_eq!(
            of_section(&block),
            of_section(&bare.to_toml().unwrap()),
            "{block}"
        );
    }
}

#[test]
fn values_that_make_no_sense_name_the_key_and_the_line() {
    for (text, expected) in [
        ("name = \"a/b\"", "line:1: `name` is \"a/b\""),
        (
            "[data]\nvalidation_fraction = 1.0",
            "line:2: `data.validation_fraction` is 1",
        ),
        ("[train]\nbatch_size = 0", "line:2: `train.batch_size` is 0"),
        (
            "[train]\ndevice = \"tpu\"",
            "line:2: `train.device` is \"tpu\"",
        ),
        (
            "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0",
            "line:3: `optimizer.learning_rate` is 0",
        ),
        (
            "[model]\nkind = \"softmax_regression\"\n[optimizer]\nkind = \"muon\"",
            "line:4: `optimizer.kind` is \"muon\"",
        ),
        (
            "[optimizer]\nkind = \"muon\"\nmomentum = 0.0",
            "line: `optimizer.nesterov` is true",
        ),
        (
            "[augmentation]\nflip = 1.5",
            "line:2: `augmentation.flip` is 1.5",
        ),
        (
            "[augmentation]\nflip = 0.0\nflip_mode = \"alternating\"",
            "line:2: `augmentation.flip` is 0",
        ),
        (
            "[augmentation]\nerase = 0.5\nerase_min = 9\nerase_max = 3",
            "line:3: `augmentation.erase_min` is 9",
        ),
        (
            "[data]\nvalidation_fraction = 0.0",
            "line: `early_stopping.patience` is 10",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line");
        std::fs::write(&path, text).unwrap();
        let error = Loaded::new(Some(&path), &[]).err().unwrap().to_string();
        assert!(
            error.contains(expected),
            "{error}\nshould contain {expected}"
        );
        assert!(error.contains("\nhint: "), "{error}");
    }
}
