//! Proves that damage to a real checkpoint is always found and named, by checkpoint and by file, and
//! that the checkpoint before it is then used.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;
use weft::experiment::ResumePoint;
use weft::random::Stream;
use weft::run::RunFolder;
use weft::run::checkpoints::{CheckpointError, Manifest, Store, sha256_hex};

use crate::common::{assert_orderly, cases, copy_folder, run, say, small_run};

const FILES: [&str; 6] = [
    "manifest.json",
    "average.bpk",
    "model.bpk",
    "optimizer.bpk",
    "scheduler.bpk",
    "state.json",
];

/// A run with two whole checkpoints.
pub(crate) struct Trained {
    folder: TempDir,
    root: PathBuf,
    steps: [u64; 2],
}

impl Trained {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = small_run(folder.path());
        let steps = Store::new(&root).steps().unwrap();
        let trained = Self {
            folder,
            root,
            steps: steps[..].try_into().unwrap(),
        };
        let point = trained.resume_point();
        assert!(point.damaged.is_empty() && point.state.epoch == 3);
        trained
    }

    fn newest(&self) -> PathBuf {
        Store::new(&self.root).step_folder(self.steps[1])
    }

    fn resume_point(&self) -> ResumePoint {
        ResumePoint::find(&RunFolder::open(&self.root).unwrap()).unwrap()
    }

    /// The newest checkpoint must be named with `file`, and the one before it taken.
    fn expect_found(&self, file: &str, case: &str) {
        let point = self.resume_point();
        assert_eq!(point.checkpoint.manifest.step, self.steps[0], "{case}");
        assert_eq!(point.state.step, self.steps[0], "{case}");
        let [damaged] = &point.damaged[..] else {
            panic!("{case}: {:?}", point.damaged);
        };
        assert_eq!(
            (damaged.step, &damaged.file[..]),
            (self.steps[1], file),
            "{case}"
        );
        let text = damaged.to_string();
        let place = format!("step-{}: {file} ", self.steps[1]);
        assert!(text.contains(&place), "{case}: {text}");
        assert_orderly(&text);
    }

    /// The same, for damage that the checksums find.
    fn expect_not_whole(&self, file: &str, case: &str) {
        self.expect_found(file, case);
        let store = Store::new(&self.root);
        match store.load(self.steps[1]) {
            Err(CheckpointError::Damaged(damaged)) => assert_eq!(damaged.file, file, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
        let (checkpoint, damaged) = store.latest_whole().unwrap();
        assert_eq!(checkpoint.manifest.step, self.steps[0], "{case}");
        assert_eq!(damaged.len(), 1, "{case}");
    }
}

/// Puts `content` in the place of a file for as long as `check` takes.
fn with_content(path: &Path, content: &[u8], check: impl FnOnce()) {
    let whole = fs::read(path).unwrap();
    fs::write(path, content).unwrap();
    check();
    fs::write(path, whole).unwrap();
}

#[test]
fn a_file_cut_at_any_kib_is_found() {
    let trained = Trained::new();
    let mut n_cases = 0;
    for file in FILES {
        let path = trained.newest().join(file);
        let whole = fs::read(&path).unwrap();
        let mut lengths: Vec<usize> = (0..whole.len()).step_by(1024).collect();
        lengths.extend([1, whole.len() / 2, whole.len() - 1]);
        for length in lengths {
            with_content(&path, &whole[..length], || {
                trained.expect_not_whole(file, &format!("{file} cut at {length}"));
            });
            n_cases += 1;
        }
        // As long as before, but with nothing in it: what a file system leaves after a power cut.
        with_content(&path, &vec![0; whole.len()], || {
            trained.expect_not_whole(file, &format!("{file} of zeros"));
        });
        with_content(&path, &[&whole[..], b"\n"].concat(), || {
            trained.expect_not_whole(file, &format!("{file} with a byte more"));
        });
        n_cases += 2;
    }
    assert!(trained.resume_point().damaged.is_empty());
    say(&format!("checkpoint: {n_cases} wrong lengths, all found"));
}

#[test]
fn a_thousand_flipped_bits_are_found() {
    let trained = Trained::new();
    let n_cases = cases(1000);
    let mut stream = Stream::new(&[2]);
    for case in 0..n_cases {
        let file = FILES[case as usize % FILES.len()];
        let path = trained.newest().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = stream.below(bytes.len() as u64) as usize;
        let bit = stream.below(8);
        bytes[at] ^= 1 << bit;
        with_content(&path, &bytes, || {
            trained.expect_not_whole(file, &format!("{file}: bit {bit} of byte {at}"));
        });
    }
    assert!(trained.resume_point().damaged.is_empty());
    say(&format!("checkpoint: {n_cases} flipped bits, all found"));
}

#[test]
fn a_missing_file_a_folder_and_another_steps_file_are_found() {
    let trained = Trained::new();
    let older = Store::new(&trained.root).step_folder(trained.steps[0]);
    for file in FILES {
        let path = trained.newest().join(file);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        trained.expect_not_whole(file, &format!("{file} is missing"));
        fs::create_dir(&path).unwrap();
        trained.expect_not_whole(file, &format!("{file} is a folder"));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, &whole).unwrap();
        let other = fs::read(older.join(file)).unwrap();
        with_content(&path, &other, || {
            trained.expect_not_whole(file, &format!("{file} is that of the step before"));
        });
    }
    assert!(trained.resume_point().damaged.is_empty());
}

/// Writes a manifest that verifies, whatever it says.
fn write_sealed(folder: &Path, manifest: &Manifest) {
    #[derive(Serialize)]
    struct Sealed<'a> {
        #[serde(flatten)]
        manifest: &'a Manifest,
        manifest_sha256: String,
    }
    let manifest_sha256 = sha256_hex(&serde_json::to_vec(manifest).unwrap());
    let sealed = Sealed {
        manifest,
        manifest_sha256,
    };
    let mut bytes = serde_json::to_vec_pretty(&sealed).unwrap();
    bytes.push(b'\n');
    fs::write(folder.join("manifest.json"), bytes).unwrap();
}

/// Replaces state.json by one that its manifest vouches for.
fn write_state(folder: &Path, manifest: &Manifest, state: &str) {
    let mut manifest = manifest.clone();
    let entry = manifest.files.get_mut("state.json").unwrap();
    entry.bytes = state.len() as u64;
    entry.sha256 = sha256_hex(state.as_bytes());
    fs::write(folder.join("state.json"), state).unwrap();
    write_sealed(folder, &manifest);
}

#[test]
fn a_newer_schema_is_named_and_the_checkpoint_before_it_used() {
    let trained = Trained::new();
    let folder = trained.newest();
    let whole = trained.resume_point().checkpoint;
    let good = String::from_utf8(whole.file("state.json").unwrap().to_vec()).unwrap();

    let newer = Manifest {
        schema: 2,
        ..whole.manifest.clone()
    };
    write_sealed(&folder, &newer);
    trained.expect_not_whole("manifest.json", "a newer manifest");
    for schema in ["2", "0", "4294967295", "4294967296", "-1", "\"1\"", "null"] {
        let text = format!("{{\"schema\": {schema}, \"what\": []}}");
        with_content(&folder.join("manifest.json"), text.as_bytes(), || {
            trained.expect_not_whole("manifest.json", &text);
        });
    }

    // Whole files, sealed by a weft that knows more or does otherwise.
    let step = format!("\"step\": {}", trained.steps[1]);
    for (from, to) in [
        ("\"schema\": 2", "\"schema\": 3"),
        ("\"epoch\": 3", "\"epoch\": 0"),
        ("\"epoch\": 3", "\"epoch\": 18446744073709551615"),
        (&step[..], "\"step\": 0"),
        ("\"finished\": true", "\"finished\": 1"),
        ("\"finished\"", "\"fresh\""),
    ] {
        assert!(good.contains(from), "{good}");
        let state = good.replace(from, to);
        write_state(&folder, &whole.manifest, &state);
        trained.expect_found("state.json", &format!("{from} -> {to}"));
    }
    for state in ["", "{}", "null", "[]", &"[".repeat(100_000)] {
        write_state(&folder, &whole.manifest, state);
        trained.expect_found("state.json", "no state");
    }
    write_state(&folder, &whole.manifest, &good);
    assert!(trained.resume_point().damaged.is_empty());
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_refused() {
    let trained = Trained::new();
    let whole = trained.resume_point().checkpoint.manifest;
    let model = whole.files["model.bpk"].clone();
    fs::copy(
        trained.newest().join("model.bpk"),
        trained.folder.path().join("model"),
    )
    .unwrap();
    let absolute = trained.folder.path().join("model").display().to_string();
    for name in [
        "../../../../model",
        &absolute,
        "",
        "..",
        ".hidden",
        "a\\b",
        "manifest.json",
    ] {
        let mut manifest = whole.clone();
        manifest.files.insert(name.to_owned(), model.clone());
        write_sealed(&trained.newest(), &manifest);
        trained.expect_not_whole(name, name);
    }
    for bytes in [u64::MAX, 1 << 50] {
        let mut manifest = whole.clone();
        manifest.files.get_mut("model.bpk").unwrap().bytes = bytes;
        write_sealed(&trained.newest(), &manifest);
        trained.expect_not_whole("model.bpk", "a size beyond memory");
    }
    let mut manifest = whole.clone();
    manifest.files.remove("state.json");
    write_sealed(&trained.newest(), &manifest);
    trained.expect_found("state.json", "not part of it");
}

#[test]
fn when_all_are_damaged_the_error_lists_what_was_found() {
    let trained = Trained::new();
    let store = Store::new(&trained.root);
    fs::write(trained.newest().join("model.bpk"), "").unwrap();
    let older = store.step_folder(trained.steps[0]);
    fs::remove_file(older.join("optimizer.bpk")).unwrap();
    let run_folder = RunFolder::open(&trained.root).unwrap();
    let error = ResumePoint::find(&run_folder).err().unwrap();
    let typed = error.downcast_ref::<CheckpointError>();
    assert!(
        matches!(typed, Some(CheckpointError::NoneWhole { .. })),
        "{error}"
    );
    let [first, second] = trained.steps;
    for text in [
        error.to_string(),
        store.latest_whole().unwrap_err().to_string(),
        run(trained.folder.path(), &["resume", "runs/small"])
            .refusal()
            .to_owned(),
        run(trained.folder.path(), &["evaluate", "runs/small"])
            .refusal()
            .to_owned(),
    ] {
        assert!(
            text.contains(&format!("step-{second}: model.bpk has 0 bytes")),
            "{text}"
        );
        assert!(
            text.contains(&format!("step-{first}: optimizer.bpk is missing")),
            "{text}"
        );
        assert_orderly(&text);
    }
}

#[test]
fn the_program_goes_on_from_the_checkpoint_before() {
    let trained = Trained::new();
    let [first, second] = trained.steps;
    for file in FILES {
        let copy = trained.folder.path().join("runs/copy");
        copy_folder(&trained.root, &copy);
        let path = Store::new(&copy).step_folder(second).join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let ended = run(
            trained.folder.path(),
            &["resume", "runs/copy", "--device", "cpu"],
        );
        let text = ended.success();
        assert!(text.contains(&format!("step-{first} (epoch 2")), "{text}");
        let warning = format!("step-{second}: {file} ");
        assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
        let rows = fs::read_to_string(copy.join("results.csv")).unwrap();
        assert_eq!(rows.lines().count(), 3, "{rows}");
        // The damaged one was replaced by the same step, trained again to the same bytes.
        let same = |root: &Path| fs::read(Store::new(root).step_folder(second).join("model.bpk"));
        assert!(same(&copy).unwrap() == same(&trained.root).unwrap());
        fs::remove_dir_all(&copy).unwrap();
    }
}
