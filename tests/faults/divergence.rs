//! Proves that a run that diverges never saves what is not finite, says where it happened and what is
//! kept, and with `rollback` goes back to the start of the epoch, the same way after a kill.

use std::path::Path;
use std::process::Output;

use weft::run::RunFolder;
use weft::run::checkpoints::Store;
use weft::verify;

use crate::common::{assert_orderly, cases, say};
use crate::tiny::{self, Draws, End, Tiny, succeed};

/// So fast that the weights overflow within an epoch.
const WILD: [&str; 6] = [
    "--set",
    "optimizer={kind=\"sgd\", learning_rate=1e25, momentum=0.0}",
    "--set",
    "train.clip_norm=0",
    "--set",
    "model.batch_norm=false",
];

/// A rate that grows until the sum of an epoch's losses overflows: three rollbacks make it bearable,
/// one of them from a validation, one in the second epoch.
pub(crate) const HOT: [&str; 8] = [
    "--set",
    "model.kind=\"softmax_regression\"",
    "--set",
    "optimizer={kind=\"sgd\", learning_rate=3e37, momentum=0.0}",
    "--set",
    "train.clip_norm=0",
    "--set",
    "schedule={kind=\"cosine\", warmup_epochs=2.5}",
];

pub(crate) const ROLLBACK: [&str; 2] = ["--set", "train.on_divergence=\"rollback\""];

fn error_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_orderly(&text);
    text
}

fn assert_all_finite(run: &Path) {
    let store = Store::new(run);
    for step in store.steps().unwrap() {
        for (name, bytes) in store.load(step).unwrap().files {
            if name.ends_with(".bpk") {
                let bytes = burn::tensor::Bytes::from_bytes_vec(bytes);
                for tensor in burn_pack::Reader::from_bytes(bytes)
                    .unwrap()
                    .into_tensors()
                    .unwrap()
                {
                    let numbers = tensor.to_bytes().unwrap();
                    let finite = |n: &[u8]| f32::from_le_bytes(n.try_into().unwrap()).is_finite();
                    assert!(
                        numbers.chunks_exact(4).all(finite),
                        "step {step}: {}",
                        tensor.name
                    );
                }
            }
        }
    }
    let folder = RunFolder {
        root: run.to_owned(),
    };
    let findings = verify::check(&folder);
    assert_eq!(findings.n_bad(), 0, "{:#?}", findings.all);
}

#[test]
fn a_divergence_stops_with_the_step_and_what_is_kept() {
    let tiny = Tiny::new();
    for device in ["cpu", "ndarray"] {
        let place = tiny.place();
        let arguments = [&WILD[..], &["--device", device]].concat();
        let error = error_of(&tiny.train(place.path(), &arguments).output().unwrap());
        assert!(error.contains("error: the training diverged: "), "{error}");
        assert!(
            error.contains(" at step ") && error.contains("(epoch 1)"),
            "{error}"
        );
        assert!(error.contains("the checkpoint of step "), "{error}");
        assert!(
            error.contains("train.clip_norm") && error.contains("rollback"),
            "{error}"
        );
        assert_all_finite(&place.path().join("tiny"));
    }
}

#[test]
fn rollbacks_end_after_three() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let arguments = [&WILD[..], &ROLLBACK].concat();
    let error = error_of(&tiny.train(place.path(), &arguments).output().unwrap());
    assert!(error.contains("diverged after 3 rollbacks"), "{error}");
    let run = place.path().join("tiny");
    assert_all_finite(&run);
    // Three in a run, not in a process.
    for _ in 0..2 {
        let error = error_of(&tiny.resume(place.path(), &[]).output().unwrap());
        assert!(error.contains("diverged after 3 rollbacks"), "{error}");
        let newest = Store::new(&run).latest_whole().unwrap().0;
        let state = weft::experiment::state_of(&newest).unwrap();
        assert_eq!(state.rollbacks.len(), 3);
    }
}

#[test]
fn a_rollback_goes_on_with_a_smaller_rate_and_survives_kills() {
    let tiny = Tiny::new();
    let mut arguments = HOT.to_vec();
    arguments.extend(ROLLBACK);
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &arguments));
    let run = place.path().join("tiny");
    let expected = End::of(&run);
    assert_all_finite(&run);
    let newest = Store::new(&run).latest_whole().unwrap().0;
    let state = weft::experiment::state_of(&newest).unwrap();
    let back: Vec<u64> = state
        .rollbacks
        .iter()
        .map(|rollback| rollback.to_step)
        .collect();
    assert_eq!(back, [0, 0, 8], "{:?}", state.rollbacks);
    assert!(
        state.rollbacks[1].what.contains("validation"),
        "{:?}",
        state.rollbacks
    );
    let factor = weft::train::ROLLBACK_FACTOR.powi(3);
    let last = state.history.last().unwrap().learning_rate;
    assert!(last <= 3e37 * factor, "{last}");

    let mut draws = Draws(11);
    let n_kills = cases(24);
    for number in 0..n_kills {
        let place = tiny.place();
        let step = (number % 24).to_string();
        let mut first = tiny.train(place.path(), &arguments);
        assert!(
            !first
                .args(["--kill-at-step", &step])
                .status()
                .unwrap()
                .success()
        );
        if draws.below(2) == 0 {
            // Once more, further on.
            let step = (draws.below(24)).to_string();
            let _ = tiny
                .resume(place.path(), &["--kill-at-step", &step])
                .status()
                .unwrap();
        }
        succeed(&mut tiny.resume(place.path(), &[]));
        assert_eq!(
            End::of(&place.path().join("tiny")),
            expected,
            "kill {number}"
        );
    }
    say(&format!(
        "{} rollbacks in a run; {n_kills} kills in it, 0 ends differ",
        state.rollbacks.len()
    ));
}

#[test]
fn a_run_that_stopped_can_be_resumed_with_rollbacks() {
    let tiny = Tiny::new();
    let arguments = HOT.to_vec();
    let place = tiny.place();
    error_of(&tiny.train(place.path(), &arguments).output().unwrap());
    succeed(&mut tiny.resume(place.path(), &ROLLBACK));
    let run = place.path().join("tiny");
    assert_all_finite(&run);
    let newest = Store::new(&run).latest_whole().unwrap().0;
    let state = weft::experiment::state_of(&newest).unwrap();
    assert!(!state.rollbacks.is_empty() && state.finished);
    let changes = &state.starts[1].changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(
        changes[0].to_string(),
        "train.on_divergence: \"stop\" -> \"rollback\""
    );
    assert_eq!(tiny::EPOCHS as usize, state.history.len());
}

#[test]
fn a_finished_run_that_goes_on_and_rolls_back_goes_on_to_its_end() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let arguments = [&HOT[..], &ROLLBACK, &["--set", "train.epochs=1"]].concat();
    succeed(&mut tiny.train(place.path(), &arguments));
    let state = || {
        let newest = Store::new(&place.path().join("tiny"))
            .latest_whole()
            .unwrap()
            .0;
        weft::experiment::state_of(&newest).unwrap()
    };
    let before = state();
    assert!(before.finished && before.history.len() == 1);
    succeed(&mut tiny.resume(place.path(), &["--epochs", "3"]));
    let after = state();
    // Back to where it had been finished.
    let back = after.rollbacks.last().unwrap().to_step;
    assert_eq!(back, before.step, "{:?}", after.rollbacks);
    assert!(after.finished && after.history.len() == 3, "{after:?}");
}
