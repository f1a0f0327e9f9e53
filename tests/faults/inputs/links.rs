//! Links in and around a run folder: nothing outside is written or deleted through one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use weft::run::checkpoints::{CheckpointError, Meta, Pointer, Store};
use weft::run::{RunError, RunFolder};

use crate::common::{SMALL, listing, run, small_run};

fn meta(step: u64) -> Meta {
    Meta {
        step,
        epoch: 1,
        batch: 0,
        best: None,
        config_sha256: "c0ffee".to_owned(),
        data_sha256: "da7a".to_owned(),
    }
}

const FILES: [(&str, &[u8]); 1] = [("model.bin", b"weights")];

/// Moves what stands at `path` to a folder outside and leaves a link to it.
fn move_out(path: &Path, outside: &Path) {
    let target = outside.join(path.file_name().unwrap());
    fs::rename(path, &target).unwrap();
    symlink(target, path).unwrap();
}

fn folders() -> (TempDir, TempDir) {
    (TempDir::new().unwrap(), TempDir::new().unwrap())
}

#[test]
fn a_run_name_that_is_a_link_is_taken() {
    let (at, outside) = folders();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let before = listing(outside.path());
    fs::create_dir(at.path().join("runs")).unwrap();
    symlink(outside.path(), at.path().join("runs/small")).unwrap();
    // Nor is one made where a link leads that leads nowhere.
    symlink(
        outside.path().join("absent"),
        at.path().join("runs/small-2"),
    )
    .unwrap();
    small_run(at.path());
    assert!(at.path().join("runs/small-3/results.csv").exists());
    assert!(listing(outside.path()) == before);
}

#[test]
fn the_folder_of_all_runs_may_be_a_link() {
    let (at, outside) = folders();
    symlink(outside.path(), at.path().join("runs")).unwrap();
    small_run(at.path());
    run(at.path(), &["resume", "runs/small", "--epochs", "3"]).success();
    assert!(outside.path().join("small/checkpoints/last").exists());
}

#[test]
fn a_folder_of_checkpoints_that_is_a_link_is_refused() {
    let (at, outside) = folders();
    let root = small_run(at.path());
    move_out(&root.join("checkpoints"), outside.path());
    let (before, before_here) = (listing(outside.path()), listing(&root));
    for args in [
        &["resume", "runs/small", "--epochs", "3"][..],
        &["evaluate", "runs/small"],
    ] {
        let ended = run(at.path(), args);
        let text = ended.refusal();
        assert!(text.contains("checkpoints: it is a link"), "{text}");
    }
    let store = Store::new(&root);
    let is_link = |result: Result<(), CheckpointError>| {
        assert!(
            matches!(result, Err(CheckpointError::Link(_))),
            "{result:?}"
        );
    };
    is_link(store.write(&meta(9), &FILES));
    is_link(store.point(Pointer::Best, 9));
    is_link(store.prune(&[]).map(drop));
    is_link(store.steps().map(drop));
    is_link(store.load(9).map(drop));
    is_link(store.latest_whole().map(drop));
    assert!(listing(outside.path()) == before);
    assert!(listing(&root) == before_here);
}

#[test]
fn a_link_that_leads_nowhere_makes_no_folder_there() {
    let (at, outside) = folders();
    symlink(outside.path().join("absent"), at.path().join("checkpoints")).unwrap();
    let error = Store::new(at.path()).write(&meta(1), &FILES).unwrap_err();
    assert!(matches!(error, CheckpointError::Link(_)), "{error}");
    assert!(listing(outside.path()).is_empty());
}

#[test]
fn files_that_are_links_are_replaced_not_followed() {
    let (at, outside) = folders();
    let root = small_run(at.path());
    let files = [
        "results.csv",
        "config.toml",
        "environment.json",
        "checkpoints/best",
        "checkpoints/last",
    ];
    for file in files {
        move_out(&root.join(file), outside.path());
    }
    symlink(outside.path().join("absent"), root.join("evaluation.json")).unwrap();
    let before = listing(outside.path());
    run(at.path(), &["resume", "runs/small", "--epochs", "3"]).success();
    assert!(listing(outside.path()) == before);
    let rows = fs::read_to_string(root.join("results.csv")).unwrap();
    assert_eq!(rows.lines().count(), 4, "{rows}");
    for file in [
        "results.csv",
        "config.toml",
        "evaluation.json",
        "checkpoints/last",
    ] {
        let kind = fs::symlink_metadata(root.join(file)).unwrap();
        assert!(kind.is_file(), "{file} is a link still");
    }
    let config = fs::read_to_string(root.join("config.toml")).unwrap();
    assert!(config.contains("epochs = 3"), "{config}");
}

#[test]
fn a_lock_that_is_a_link_is_refused() {
    let (at, outside) = folders();
    let root = small_run(at.path());
    let target = outside.path().join("precious");
    fs::write(&target, "x").unwrap();
    fs::remove_file(root.join("lock")).unwrap();
    for target in [target, outside.path().join("absent")] {
        symlink(target, root.join("lock")).unwrap();
        let before = listing(outside.path());
        let error = RunFolder::open(&root).unwrap().lock().unwrap_err();
        assert!(matches!(error, RunError::Lock { .. }), "{error}");
        let ended = run(at.path(), &["resume", "runs/small", "--epochs", "3"]);
        assert!(ended.refusal().contains("lock: it is a link"), "{ended:?}");
        assert!(listing(outside.path()) == before);
        fs::remove_file(root.join("lock")).unwrap();
    }
}

#[test]
fn a_checkpoint_that_is_a_link_is_none() {
    let (at, outside) = folders();
    let elsewhere = Store::new(outside.path());
    elsewhere.write(&meta(7), &FILES).unwrap();
    let before = listing(outside.path());
    let store = Store::new(at.path());
    for step in [1, 2] {
        store.write(&meta(step), &FILES).unwrap();
    }
    for target in [elsewhere.step_folder(7), outside.path().join("absent")] {
        symlink(target, store.step_folder(7)).unwrap();
        let error = store.load(7).unwrap_err();
        assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
        assert_eq!(store.steps().unwrap(), [1, 2]);
        store.write(&meta(7), &[("model.bin", b"own")]).unwrap();
        assert_eq!(store.load(7).unwrap().file("model.bin").unwrap(), b"own");
        fs::remove_dir_all(store.step_folder(7)).unwrap();
    }
    // A link within a checkpoint goes with it; what it leads to stays.
    symlink(outside.path(), store.step_folder(1).join("link")).unwrap();
    for step in [3, 4] {
        store.write(&meta(step), &FILES).unwrap();
    }
    assert_eq!(store.prune(&[]).unwrap(), [1, 2]);
    assert!(listing(outside.path()) == before);
}

/// A read of one of these would fill memory, and no process can stop another from placing them.
#[test]
fn files_without_an_end_are_not_read() {
    let endless = |path: &Path| {
        fs::remove_file(path).unwrap();
        symlink("/dev/zero", path).unwrap();
    };
    let at = TempDir::new().unwrap();
    let root = small_run(at.path());
    let store = Store::new(&root);
    let newest = store.step_folder(*store.steps().unwrap().last().unwrap());
    endless(&root.join("checkpoints/last"));
    assert_eq!(store.pointed(Pointer::Last), None);
    for file in ["manifest.json", "state.json", "model.bpk"] {
        let bytes = fs::read(newest.join(file)).unwrap();
        endless(&newest.join(file));
        let (_, damaged) = store.latest_whole().unwrap();
        assert_eq!(damaged[0].file, file);
        fs::remove_file(newest.join(file)).unwrap();
        fs::write(newest.join(file), bytes).unwrap();
    }
    let config = fs::read(root.join("config.toml")).unwrap();
    endless(&root.join("config.toml"));
    run(at.path(), &["resume", "runs/small", "--epochs", "3"]).refusal();
    fs::remove_file(root.join("config.toml")).unwrap();
    fs::write(root.join("config.toml"), config).unwrap();
    // The rows are in the checkpoint: they come back.
    endless(&root.join("results.csv"));
    run(at.path(), &["resume", "runs/small", "--epochs", "3"]).success();
    let rows = fs::read_to_string(root.join("results.csv")).unwrap();
    assert_eq!(rows.lines().count(), 4, "{rows}");
    let args = [&SMALL[..], &["--runs-dir", "/dev/zero"]].concat();
    run(at.path(), &args).refusal();
}
