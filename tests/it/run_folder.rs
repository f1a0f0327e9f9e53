//! Proves that a checkpoint is either whole or not used: damage of any kind is found and named, the
//! one before is used, leftovers of a kill do no harm, and pruning touches nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use weft::run::checkpoints::{CheckpointError, Meta, Pointer, Store};
use weft::run::disk::{self, Operation};

const FILES: [(&str, &[u8]); 3] = [
    ("model.bin", b"weights"),
    ("optimizer.bin", b"moments"),
    ("state.json", b"{}"),
];

fn meta(step: u64) -> Meta {
    let (config_sha256, data_sha256) = ("c0ffee".to_owned(), "da7a".to_owned());
    Meta {
        step,
        epoch: step / 10 + 1,
        batch: step % 10,
        best: None,
        config_sha256,
        data_sha256,
    }
}

fn store_with(steps: &[u64]) -> (TempDir, Store) {
    let run = tempfile::tempdir().unwrap();
    let store = Store::new(run.path());
    for &step in steps {
        store.write(&meta(step), &FILES).unwrap();
    }
    (run, store)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Step 20 is damaged by `damage`: it must be named with `file`, and step 10 used.
fn expect_damage(damage: impl Fn(&Path), file: &str, reason: &str) {
    let (_run, store) = store_with(&[10, 20]);
    damage(&store.step_folder(20));
    let error = store.load(20).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged(_)), "{error}");
    let (checkpoint, damaged) = store.latest_whole().unwrap();
    assert_eq!(checkpoint.manifest.step, 10);
    assert_eq!(checkpoint.file("model.bin").unwrap(), b"weights");
    assert_eq!((damaged.len(), damaged[0].step), (1, 20));
    let text = damaged[0].to_string();
    assert!(
        text.contains("step-20") && text.contains(file) && text.contains(reason),
        "{text}"
    );
}

#[test]
fn a_checkpoint_comes_back_as_it_was_written() {
    let (_run, store) = store_with(&[9, 100, 20]);
    assert_eq!(store.steps().unwrap(), [9, 20, 100]);
    let (checkpoint, damaged) = store.latest_whole().unwrap();
    assert!(damaged.is_empty());
    assert_eq!(
        (checkpoint.manifest.step, checkpoint.manifest.epoch),
        (100, 11)
    );
    assert_eq!(checkpoint.manifest.config_sha256, "c0ffee");
    for (name, bytes) in FILES {
        assert_eq!(checkpoint.file(name).unwrap(), bytes);
    }
    let error = checkpoint.file("absent.bin").unwrap_err().to_string();
    assert!(error.contains("absent.bin"), "{error}");
}

#[test]
fn every_flipped_bit_of_every_file_is_found() {
    let (_run, store) = store_with(&[10]);
    for name in names(&store.step_folder(10)) {
        let path = store.step_folder(10).join(&name);
        let bytes = fs::read(&path).unwrap();
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << (index % 8);
            fs::write(&path, &flipped).unwrap();
            match store.load(10).unwrap_err() {
                CheckpointError::Damaged(damaged) => assert_eq!(damaged.file, name, "byte {index}"),
                other => panic!("{name}, byte {index}: {other}"),
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
    store.load(10).unwrap();
}

#[test]
fn truncated_and_deleted_files_are_found() {
    for name in ["model.bin", "optimizer.bin", "state.json", "manifest.json"] {
        expect_damage(
            |folder| fs::remove_file(folder.join(name)).unwrap(),
            name,
            "is missing",
        );
        let truncate = |folder: &Path| {
            let bytes = fs::read(folder.join(name)).unwrap();
            fs::write(folder.join(name), &bytes[..bytes.len() - 1]).unwrap();
        };
        expect_damage(truncate, name, "");
        expect_damage(|folder| fs::write(folder.join(name), "").unwrap(), name, "");
    }
    let grow = |folder: &Path| fs::write(folder.join("model.bin"), "weights and more").unwrap();
    expect_damage(grow, "model.bin", "16 bytes, and the manifest says 7");
}

#[test]
fn a_manifest_of_another_step_or_schema_is_refused() {
    let swap = |folder: &Path| {
        let other = folder.parent().unwrap().join("step-10/manifest.json");
        fs::copy(other, folder.join("manifest.json")).unwrap();
    };
    expect_damage(swap, "manifest.json", "is that of step 10");
    let newer = |folder: &Path| fs::write(folder.join("manifest.json"), "{\"schema\": 2}").unwrap();
    expect_damage(
        newer,
        "manifest.json",
        "schema 2, and this weft reads schema 1",
    );
}

#[test]
fn a_checkpoint_of_a_newer_weft_is_never_deleted() {
    let (run, store) = store_with(&[10, 20, 30]);
    let manifest = store.step_folder(30).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"schema\": 1", "\"schema\": 2")).unwrap();
    let (checkpoint, damaged) = store.latest_whole().unwrap();
    assert_eq!((checkpoint.manifest.step, damaged.len()), (20, 1));
    store.write(&meta(25), &FILES).unwrap();
    assert_eq!(store.prune(&[25]).unwrap(), [10]);
    store.write(&meta(30), &FILES).unwrap();
    store.prune(&[30]).unwrap();
    assert_eq!(store.latest_whole().unwrap().0.manifest.step, 30);
    let aside = names(&run.path().join("checkpoints"));
    assert!(
        aside.iter().any(|name| name.starts_with("newer-step-30-")),
        "{aside:?}"
    );
}

#[test]
fn without_a_whole_one_the_error_tells_what_was_found() {
    let (_run, store) = store_with(&[]);
    let error = store.latest_whole().unwrap_err().to_string();
    assert!(error.contains("none was written yet"), "{error}");
    store.write(&meta(7), &FILES).unwrap();
    fs::remove_file(store.step_folder(7).join("model.bin")).unwrap();
    let error = store.latest_whole().unwrap_err().to_string();
    assert!(error.contains("step-7: model.bin is missing"), "{error}");
    let error = store.load(8).unwrap_err().to_string();
    assert!(
        error.contains("step-8") && error.contains("are step-7"),
        "{error}"
    );
}

#[test]
fn an_equal_step_is_kept_and_any_other_replaced() {
    let (run, store) = store_with(&[10]);
    let manifest = store.step_folder(10).join("manifest.json");
    let written = || fs::metadata(&manifest).unwrap().modified().unwrap();
    let first = written();
    store.write(&meta(10), &FILES).unwrap();
    assert_eq!(written(), first);
    store.write(&meta(10), &[("model.bin", b"other")]).unwrap();
    assert_eq!(store.load(10).unwrap().file("model.bin").unwrap(), b"other");
    fs::write(store.step_folder(10).join("model.bin"), "broken!").unwrap();
    store.write(&meta(10), &FILES).unwrap();
    assert_eq!(
        store.load(10).unwrap().file("model.bin").unwrap(),
        b"weights"
    );
    assert_eq!(
        names(&run.path().join("checkpoints")),
        BTreeSet::from(["step-10".to_owned()])
    );
}

/// A disk that says it has written, and gives back something else.
fn lying_disk() -> disk::Watch {
    disk::watch(|operation| {
        if let Operation::Rename(from, to) = operation
            && to.file_name().is_some_and(|name| name == "step-10")
            && from.join("model.bin").exists()
            && !from.to_string_lossy().contains(".replaced-")
        {
            fs::write(from.join("model.bin"), "garbage").unwrap();
        }
        Ok(())
    })
}

#[test]
fn what_is_replaced_comes_back_if_the_new_one_does_not_verify() {
    let (run, store) = store_with(&[10]);
    let watch = lying_disk();
    let error = store.write(&meta(10), &[("model.bin", b"another")]);
    drop(watch);
    assert!(
        matches!(error, Err(CheckpointError::Damaged(_))),
        "{error:?}"
    );
    let there = store.load(10).unwrap();
    assert_eq!(there.file("model.bin").unwrap(), b"weights");
    assert_eq!(
        names(&run.path().join("checkpoints")),
        BTreeSet::from(["step-10".to_owned()])
    );
}

#[test]
fn nothing_is_deleted_for_a_checkpoint_that_does_not_verify() {
    let (_run, store) = store_with(&[1, 2, 3]);
    let watch = lying_disk();
    store.write(&meta(10), &FILES).unwrap();
    drop(watch);
    let error = store.prune(&[10, 3]);
    assert!(
        matches!(error, Err(CheckpointError::Damaged(_))),
        "{error:?}"
    );
    assert_eq!(store.steps().unwrap(), [1, 2, 3, 10]);
    // An older one that is damaged, be it the best, is no reason to end a run.
    store.write(&meta(11), &FILES).unwrap();
    fs::remove_file(store.step_folder(10).join("model.bin")).unwrap();
    assert_eq!(store.prune(&[11, 10]).unwrap(), [1, 2]);
}

#[test]
fn what_comes_after_a_step_can_be_taken_back() {
    let (run, store) = store_with(&[10, 20, 30]);
    store.remove_after(10).unwrap();
    assert_eq!(store.steps().unwrap(), [10]);
    assert_eq!(
        names(&run.path().join("checkpoints")),
        BTreeSet::from(["step-10".to_owned()])
    );
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let (run, store) = store_with(&[]);
    for name in ["", "../x", "a/b", "a\\b", "manifest.json", ".hidden", "C:x"] {
        let error = store.write(&meta(1), &[(name, b"x")]).unwrap_err();
        assert!(matches!(error, CheckpointError::FileName(_)), "{error}");
    }
    assert!(names(run.path()).is_empty());
}

#[test]
fn a_failed_write_leaves_no_part() {
    let (run, store) = store_with(&[]);
    let twice: [(&str, &[u8]); 2] = [("model.bin", b"x"), ("model.bin", b"x")];
    let error = store.write(&meta(1), &twice).unwrap_err().to_string();
    assert!(error.contains("model.bin"), "{error}");
    assert!(names(&run.path().join("checkpoints")).is_empty());
}

#[test]
fn pointers_name_a_step() {
    let (run, store) = store_with(&[10, 20]);
    assert_eq!(store.pointed(Pointer::Best), None);
    store.point(Pointer::Best, 10).unwrap();
    store.point(Pointer::Last, 20).unwrap();
    assert_eq!(
        (store.pointed(Pointer::Best), store.pointed(Pointer::Last)),
        (Some(10), Some(20))
    );
    let file = run.path().join("checkpoints/best");
    assert_eq!(fs::read_to_string(&file).unwrap(), "step-10\n");
    fs::write(file, "step-../x\n").unwrap();
    assert_eq!(store.pointed(Pointer::Best), None);
}

#[test]
fn leftovers_of_a_kill_are_ignored_and_then_pruned() {
    let (run, store) = store_with(&[10]);
    let folder = run.path().join("checkpoints");
    for leftover in [".tmp-step-20-1", ".old-step-5-1"] {
        fs::create_dir(folder.join(leftover)).unwrap();
        fs::write(folder.join(leftover).join("model.bin"), "part").unwrap();
    }
    fs::write(folder.join(".tmp-best-1-0"), "step-").unwrap();
    // A kill of this same process id, in another life.
    let same = folder.join(format!(".tmp-step-20-{}", std::process::id()));
    fs::create_dir(same).unwrap();
    assert_eq!(store.latest_whole().unwrap().0.manifest.step, 10);
    store.write(&meta(20), &FILES).unwrap();
    assert!(store.prune(&[]).unwrap().is_empty());
    let expected = ["step-10", "step-20"].map(str::to_owned);
    assert_eq!(names(&folder), BTreeSet::from(expected));
}

#[test]
fn prune_keeps_the_two_newest_whole_ones_and_the_best() {
    let (_run, store) = store_with(&[10, 20, 30, 40, 50, 60]);
    store.point(Pointer::Best, 10).unwrap();
    fs::remove_file(store.step_folder(60).join("model.bin")).unwrap();
    assert_eq!(store.prune(&[30]).unwrap(), [20, 60]);
    assert_eq!(store.steps().unwrap(), [10, 30, 40, 50]);
    assert_eq!(store.prune(&[]).unwrap(), [30]);
}

#[test]
fn prune_deletes_nothing_that_is_not_its_own() {
    let (run, store) = store_with(&[10, 20, 30]);
    let folder = run.path().join("checkpoints");
    fs::write(run.path().join("step-1"), "beside").unwrap();
    fs::create_dir(folder.join("step-07")).unwrap();
    fs::create_dir(folder.join("mine")).unwrap();
    fs::write(folder.join("step-3"), "a file").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("precious"), "x").unwrap();
    #[cfg(unix)]
    for link in ["step-5", ".tmp-link"] {
        std::os::unix::fs::symlink(elsewhere.path(), folder.join(link)).unwrap();
    }
    assert_eq!(store.prune(&[]).unwrap(), [10]);
    let left = names(&folder);
    assert!(
        ["step-07", "mine", "step-3", "step-20", "step-30"]
            .iter()
            .all(|n| left.contains(*n))
    );
    assert!(run.path().join("step-1").exists());
    assert!(elsewhere.path().join("precious").exists());
}
