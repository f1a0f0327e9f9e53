//! Proves that no bytes make a reader panic: random ones, and good ones with random changes. What is
//! accepted must make sense, and of a checkpoint nothing is accepted that is not the original.
//!
//! The draws are the same on each run; WEFT_SOAK=100 draws a hundred times as many.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use weft::config::layers::ConfigError;
use weft::config::{ExperimentConfig, Loaded};
use weft::data::idx::{Images, decompress, read_images, read_labels, write_images, write_labels};
use weft::model::InputShape;
use weft::run::checkpoints::{CheckpointError, Meta, Store};
use weft::run::records;
use weft::text::thousands;

use crate::common::{assert_orderly, cases, say, small_run};

/// A change of some bytes. Positions are taken modulo the length.
#[derive(Debug, Clone)]
enum Change {
    Flip {
        at: usize,
        bit: u8,
    },
    Put {
        at: usize,
        byte: u8,
    },
    Cut {
        at: usize,
    },
    Drop {
        at: usize,
        length: usize,
    },
    Insert {
        at: usize,
        bytes: Vec<u8>,
    },
    /// A piece of one of the seeds.
    Splice {
        seed: usize,
        from: usize,
        length: usize,
        at: usize,
    },
}

/// What a case is made of.
#[derive(Debug, Clone)]
enum Input {
    Random(Vec<u8>),
    Changed { seed: usize, changes: Vec<Change> },
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    let length = 0usize..64;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Put { at, byte }),
        1 => at().prop_map(|at| Change::Cut { at }),
        2 => (at(), length.clone()).prop_map(|(at, length)| Change::Drop { at, length }),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        3 => (any::<usize>(), at(), length, at())
            .prop_map(|(seed, from, length, at)| Change::Splice { seed, from, length, at }),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..256).prop_map(Input::Random),
        9 => (any::<usize>(), prop::collection::vec(change(), 1..6))
            .prop_map(|(seed, changes)| Input::Changed { seed, changes }),
    ]
}

impl Input {
    fn bytes(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Random(bytes) => bytes.clone(),
            Self::Changed { seed, changes } => {
                let mut bytes = seeds[seed % seeds.len()].clone();
                for change in changes {
                    change.apply(&mut bytes, seeds);
                }
                bytes
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = |at: &usize, length: usize| at % length.max(1);
        let length = bytes.len();
        match self {
            Self::Flip { at, bit } if length > 0 => bytes[place(at, length)] ^= 1 << bit,
            Self::Put { at, byte } if length > 0 => bytes[place(at, length)] = *byte,
            Self::Flip { .. } | Self::Put { .. } => {}
            Self::Cut { at } => bytes.truncate(place(at, length)),
            Self::Drop { at, length: n } => {
                let at = place(at, length);
                bytes.drain(at..(at + n).min(length));
            }
            Self::Insert { at, bytes: new } => {
                let at = place(at, length);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Splice {
                seed,
                from,
                length: n,
                at,
            } => {
                let seed = &seeds[seed % seeds.len()];
                let from = place(from, seed.len());
                let piece = seed[from..(from + n).min(seed.len())].to_vec();
                let at = place(at, length);
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Draws `n` inputs and hands them to `check`, which says whether it was accepted. Says the counts.
fn fuzz(what: &str, n: u32, seeds: &[Vec<u8>], check: impl Fn(&[u8]) -> bool) {
    let n_cases = cases(n);
    let config = Config {
        cases: n_cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let n_accepted = Cell::new(0);
    let outcome = TestRunner::new_with_rng(config, rng).run(&input(), |input| {
        let accepted = check(&input.bytes(seeds));
        n_accepted.set(n_accepted.get() + u32::from(accepted));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{what}: {error}");
    }
    let (n_cases, accepted) = (u64::from(n_cases), u64::from(n_accepted.get()));
    let (n_cases, accepted) = (thousands(n_cases), thousands(accepted));
    say(&format!(
        "fuzz {what}: {n_cases} cases, {accepted} accepted, 0 panics"
    ));
}

fn small_images() -> Vec<u8> {
    write_images(&Images {
        n_images: 4,
        channels: 1,
        height: 3,
        width: 5,
        pixels: (0..60).collect(),
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Whether both readers agree that these are images or labels, and their sizes with their content.
fn read_idx(bytes: &[u8]) -> bool {
    match (read_images(bytes), read_labels(bytes)) {
        (Ok(images), Err(_)) => {
            let n_pixels = images.n_images * images.height * images.width;
            assert!(images.pixels.len() == n_pixels && n_pixels > 0);
            assert_eq!(write_images(&images), bytes);
            true
        }
        (Err(_), Ok(labels)) => {
            assert_eq!(write_labels(&labels), bytes);
            true
        }
        (Err(first), Err(second)) => {
            assert_orderly(&first.to_string());
            assert_orderly(&second.to_string());
            false
        }
        (Ok(_), Ok(_)) => panic!("images and labels at once"),
    }
}

#[test]
fn idx() {
    let seeds = [small_images(), write_labels(&[3, 1, 4, 1, 5])];
    fuzz("idx", 50_000, &seeds, |bytes| {
        let plain = read_idx(bytes);
        // Without the magic of gzip, decompressing is checking.
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            assert_eq!(decompress(bytes).is_ok(), plain);
        }
        plain
    });
}

#[test]
fn gz() {
    let (images, labels) = (small_images(), write_labels(&[3, 1, 4, 1, 5]));
    let noise = write_labels(
        &(0..2000u64)
            .map(|n| ((n * n * 7919) >> 7) as u8)
            .collect::<Vec<_>>(),
    );
    let members = [gzip(&images[..10]), gzip(&images[10..])].concat();
    let seeds = [gzip(&images), gzip(&labels), gzip(&noise), members];
    let good = [images, labels, noise];
    fuzz("gz", 20_000, &seeds, |bytes| match decompress(bytes) {
        Ok(content) => {
            assert!(read_idx(&content));
            // Whatever a checksum let through is what was put in.
            assert!(!bytes.starts_with(&[0x1f, 0x8b]) || good.contains(&content));
            true
        }
        Err(error) => {
            assert_orderly(&error.to_string());
            false
        }
    });
}

fn shipped_configs() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut paths = Vec::new();
    for folder in [root.join("seed"), root] {
        let entries = fs::read_dir(folder).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let mut texts: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    // Comments hide most changes.
    let bare = |text: &[u8]| {
        let table: toml::Table = std::str::from_utf8(text).unwrap().parse().unwrap();
        toml::to_string(&table).unwrap().into_bytes()
    };
    texts.extend(texts.clone().iter().map(|text| bare(text)));
    texts
}

#[test]
fn config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let input = InputShape {
        channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
    };
    fuzz("config", 10_000, &shipped_configs(), |bytes| {
        fs::write(&path, bytes).unwrap();
        let loaded = match Loaded::new(Some(&path), &[]) {
            Ok(loaded) => loaded,
            Err(error) => {
                let error = error.downcast::<ConfigError>().unwrap();
                assert_orderly(&error.to_string());
                assert!(error.message.contains("mine.toml"), "{error}");
                return false;
            }
        };
        let text = loaded.config.to_toml().unwrap();
        let again: ExperimentConfig = toml::from_str(&text).unwrap();
        assert_eq!(again, loaded.config);
        match loaded.validate_model(input) {
            Ok(()) => true,
            Err(error) => {
                assert_orderly(&error.to_string());
                assert!(error.message.contains("`model."), "{error}");
                false
            }
        }
    });
}

/// As after `--set`: any text, which is a key and a value or nothing.
#[test]
fn overrides() {
    let seeds = [
        &b"model.blocks[1].filters=16"[..],
        b"model.blocks.0.kernel=5",
        b"model={kind=\"mlp\",hidden=[16,16]}",
        b"optimizer.kind=sgd",
        b"train.epochs=3",
        b"name=\"x\"",
    ]
    .map(<[u8]>::to_vec);
    fuzz("overrides", 10_000, &seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        match Loaded::new(None, &[text]) {
            Ok(_) => true,
            Err(error) => {
                let error = error.downcast::<ConfigError>().unwrap();
                assert_orderly(&error.to_string());
                false
            }
        }
    });
}

/// The files of a real checkpoint's folder and of its run.
fn of_a_run(files: &[&str]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let root = small_run(folder.path());
    let store = Store::new(&root);
    let newest = store.step_folder(*store.steps().unwrap().last().unwrap());
    let read = |file: &&str| fs::read(newest.join(file)).or_else(|_| fs::read(root.join(file)));
    files.iter().map(|file| read(file).unwrap()).collect()
}

#[test]
fn train_state() {
    let path = Path::new("state.json");
    fuzz(
        "state.json",
        20_000,
        &of_a_run(&["state.json"]),
        |bytes| match records::train_state(bytes, path) {
            Ok(state) => {
                assert!(state.epoch >= 1);
                let json = records::to_json(&state).unwrap();
                records::train_state(&json, path).unwrap();
                true
            }
            Err(error) => {
                assert_orderly(&error.to_string());
                assert!(error.to_string().contains("state.json"), "{error}");
                false
            }
        },
    );
}

#[test]
fn results() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.csv");
    let state = of_a_run(&["state.json"]).remove(0);
    let history = records::train_state(&state, Path::new("state.json"));
    let history = history.unwrap().history;
    fuzz("results.csv", 2_000, &of_a_run(&["results.csv"]), |bytes| {
        fs::write(&path, bytes).unwrap();
        let rows = records::read(&path);
        if let Err(error) = &rows {
            assert_orderly(&error.to_string());
            assert!(error.to_string().contains("results.csv"), "{error}");
        }
        // Whatever stands there, a resume brings back what the checkpoint has.
        records::restore(&path, &history).unwrap();
        assert_eq!(records::read(&path).unwrap(), history);
        rows.is_ok()
    });
}

#[test]
fn checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let meta = Meta {
        step: 64,
        epoch: 3,
        batch: 0,
        best: None,
        config_sha256: "c0ffee".repeat(10),
        data_sha256: "da7a".repeat(16),
    };
    let model: Vec<u8> = (0..3000u32).map(|n| ((n * n) >> 3) as u8).collect();
    let state = of_a_run(&["state.json"]).remove(0);
    store
        .write(&meta, &[("model.bpk", &model), ("state.json", &state)])
        .unwrap();
    let original = store.load(64).unwrap();
    for name in ["manifest.json", "model.bpk", "state.json"] {
        let path = store.step_folder(64).join(name);
        let whole = fs::read(&path).unwrap();
        // Spliced with the other files too.
        let mut seeds = vec![whole.clone()];
        if name != "manifest.json" {
            seeds.push(model.clone());
        }
        fuzz(&format!("checkpoint's {name}"), 3_000, &seeds, |bytes| {
            fs::write(&path, bytes).unwrap();
            match store.load(64) {
                Ok(checkpoint) => {
                    assert!(bytes == whole, "accepted other bytes");
                    assert!(checkpoint == original);
                    true
                }
                Err(CheckpointError::Damaged(damaged)) => {
                    assert!(bytes != whole, "refused the original");
                    assert_eq!(damaged.file, name);
                    assert_orderly(&damaged.to_string());
                    false
                }
                Err(other) => panic!("{other}"),
            }
        });
        fs::write(&path, &whole).unwrap();
    }
}
