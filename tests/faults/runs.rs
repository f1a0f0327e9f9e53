//! Proves what holds around a run: one writer, names that are never taken twice, checkpoints in the
//! order of their steps whatever the clock says, memory and open files that do not grow, a disk that
//! is really full, and a resume that tells what it changes and refuses what it cannot.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use weft::run::checkpoints::{Pointer, Store};

use crate::common::{assert_orderly, say};
use crate::tiny::{End, Tiny, succeed};

fn error_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_orderly(&text);
    text
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_second_trainer_leaves_at_once_and_names_the_first() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let run = place.path().join("tiny");
    let mut first = tiny.train(place.path(), &["--set", "train.epochs=100000"]);
    let mut first = first.stderr(Stdio::null()).spawn().unwrap();
    wait_until("a first checkpoint", || {
        run.join("checkpoints/last").exists()
    });
    let started = Instant::now();
    let error = error_of(&tiny.resume(place.path(), &[]).output().unwrap());
    let took = started.elapsed();
    first.kill().unwrap();
    first.wait().unwrap();
    let holder = format!("pid {}", first.id());
    assert!(error.contains("another process writes this run"), "{error}");
    assert!(error.contains(&holder), "{holder}: {error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The kill has freed it.
    succeed(&mut tiny.resume(place.path(), &["--stop-at-step", "1"]));
}

#[test]
fn eight_runs_that_start_at_once_get_eight_folders() {
    let tiny = Tiny::new();
    let (expected, _) = tiny.undisturbed(&[]);
    let place = tiny.place();
    let children: Vec<_> = (0..8)
        .map(|_| tiny.train(place.path(), &[]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let runs: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(runs.len(), 8);
    for run in runs {
        assert_eq!(End::of(&run.unwrap().path()), expected);
    }
}

#[test]
fn the_step_orders_checkpoints_and_not_the_clock() {
    let tiny = Tiny::new();
    let (expected, _) = tiny.undisturbed(&[]);
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &["--stop-at-step", "19"]));
    let run = place.path().join("tiny");
    let store = Store::new(&run);
    let steps = store.steps().unwrap();
    assert!(steps.len() >= 2 && steps.last() == Some(&19), "{steps:?}");
    // The clock was set back a day while it ran: the newest looks oldest.
    for (age, step) in steps.iter().enumerate() {
        let time = SystemTime::now() - Duration::from_secs(86_400 * (age as u64 + 1));
        for entry in fs::read_dir(store.step_folder(*step)).unwrap() {
            let file = fs::File::options().write(true).open(entry.unwrap().path());
            file.unwrap().set_modified(time).unwrap();
        }
        #[cfg(unix)]
        fs::File::open(store.step_folder(*step))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let output = tiny
        .resume(place.path(), &["--stop-at-step", "19"])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(store.latest_whole().unwrap().0.manifest.step, 19);
    succeed(&mut tiny.resume(place.path(), &[]));
    assert_eq!(End::of(&run), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn memory_and_open_files_stay_flat_over_500_epochs() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let mut child = tiny.train(place.path(), &["--set", "train.epochs=500"]);
    let mut child = child.spawn().unwrap();
    let results = place.path().join("tiny/results.csv");
    let mut samples: Vec<(usize, u64, usize)> = Vec::new();
    while child.try_wait().unwrap().is_none() {
        let epochs = fs::read_to_string(&results).map_or(0, |text| text.lines().count());
        if epochs > samples.last().map_or(50, |last| last.0 + 10)
            && let Some((kilobytes, files)) = usage(child.id())
        {
            samples.push((epochs, kilobytes, files));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    assert!(samples.len() >= 10, "{samples:?}");
    let (early, late) = (
        &samples[..samples.len() / 3],
        &samples[samples.len() * 2 / 3..],
    );
    let median = |part: &[(usize, u64, usize)]| {
        let mut sizes: Vec<u64> = part.iter().map(|sample| sample.1).collect();
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    };
    let most = |part: &[(usize, u64, usize)]| part.iter().map(|sample| sample.2).max().unwrap();
    let (before, after) = (median(early), median(late));
    say(&format!(
        "500 epochs: {before} KiB of memory in the first third, {after} in the last; open files {} and {}",
        most(early),
        most(late)
    ));
    // The allocator breathes by some MiB; the rows of 500 epochs are a tenth of one.
    assert!(after < before + 8 * 1024, "{samples:?}");
    assert!(most(late) <= most(early) + 2, "{samples:?}");
}

/// KiB in memory and open files of a process, if it is still there.
#[cfg(target_os = "linux")]
fn usage(pid: u32) -> Option<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes = line.split_whitespace().nth(1)?.parse().ok()?;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((kilobytes, files))
}

#[test]
fn a_run_goes_on_after_its_folder_was_moved() {
    let tiny = Tiny::new();
    let (expected, _) = tiny.undisturbed(&[]);
    let (here, there) = (tiny.place(), tiny.place());
    succeed(&mut tiny.train(here.path(), &["--stop-at-step", "13"]));
    fs::create_dir(there.path().join("deep")).unwrap();
    fs::rename(here.path().join("tiny"), there.path().join("deep/tiny")).unwrap();
    succeed(&mut tiny.resume(&there.path().join("deep"), &[]));
    assert_eq!(End::of(&there.path().join("deep/tiny")), expected);
}

#[test]
fn a_finished_run_says_so_and_changes_nothing() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    let before = End::of(&run);
    let mut command = crate::common::weft();
    let output = command.arg("resume").arg(&run).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(
        text.contains("is finished: 3 of 3 epochs are done"),
        "{text}"
    );
    assert_eq!(End::of(&run), before);
}

#[test]
fn a_change_of_what_fixes_the_weights_is_refused_with_a_diff() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &["--stop-at-step", "9"]));
    let run = place.path().join("tiny");
    let config = fs::read(run.join("config.toml")).unwrap();
    let refused = [
        "--set",
        "model.hidden=[9]",
        "--set",
        "train.batch_size=10",
        "--set",
        "seed=4",
    ];
    let error = error_of(&tiny.resume(place.path(), &refused).output().unwrap());
    for line in [
        "\n  model.hidden: [8] -> [9]",
        "\n  seed: 3 -> 4",
        "\n  train.batch_size: 20 -> 10",
    ] {
        assert!(error.contains(line), "{error}");
    }
    assert_eq!(
        fs::read(run.join("config.toml")).unwrap(),
        config,
        "nothing was changed"
    );

    let allowed = [
        "--set",
        "early_stopping.patience=7",
        "--set",
        "checkpoint.every_minutes=3",
    ];
    succeed(&mut tiny.resume(
        place.path(),
        &[&allowed[..], &["--device", "ndarray"]].concat(),
    ));
    let newest = Store::new(&run).latest_whole().unwrap().0;
    let state = weft::experiment::state_of(&newest).unwrap();
    let changes: Vec<String> = state.starts[1]
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        changes,
        [
            "checkpoint.every_minutes: 0.00001 -> 3.0",
            "early_stopping.patience: 0 -> 7"
        ]
    );
    assert_eq!(state.starts[1].backend, "ndarray");
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("patience = 7"), "{config}");
}

/// What is asked of a run that patience had ended is not forgotten when a kill comes at once.
#[test]
fn going_on_after_patience_survives_a_kill() {
    let tiny = Tiny::new();
    let place = tiny.place();
    // No epoch is an improvement.
    let patience = [
        "--set",
        "early_stopping.patience=1",
        "--set",
        "early_stopping.min_delta=100",
    ];
    succeed(&mut tiny.train(place.path(), &patience));
    let run = place.path().join("tiny");
    let newest = || Store::new(&run).latest_whole().unwrap().0;
    let state = weft::experiment::state_of(&newest()).unwrap();
    assert!(state.finished && state.history.len() == 2, "{state:?}");

    let more = ["--epochs", "4", "--set", "early_stopping.patience=3"];
    let killed = [&more[..], &["--kill-at-step", "17"]].concat();
    assert!(
        !tiny
            .resume(place.path(), &killed)
            .status()
            .unwrap()
            .success()
    );
    succeed(&mut tiny.resume(place.path(), &[]));
    let state = weft::experiment::state_of(&newest()).unwrap();
    assert_eq!(state.history.len(), 4);
    let output = crate::common::weft()
        .arg("verify")
        .arg(&run)
        .arg("--exact")
        .output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    assert!(text.contains("the same, byte for byte"), "{text}");
}

/// The checkpoint before the newest is only of use with the best one that it knows.
#[test]
fn the_fallback_keeps_its_best() {
    let tiny = Tiny::new();
    // Until the newest epoch is the best and the one before was not.
    for seed in 0..40 {
        let place = tiny.place();
        let seed = format!("seed={seed}");
        let steps = "checkpoint.every_minutes=0";
        let more = ["--set", &seed, "--set", steps, "--set", "train.epochs=6"];
        succeed(&mut tiny.train(place.path(), &more));
        let run = place.path().join("tiny");
        let rows = weft::run::records::read(&run.join("results.csv")).unwrap();
        let ends = rows.iter().map(|row| row.best).collect::<Vec<_>>();
        if !ends.ends_with(&[false, true]) {
            continue;
        }
        let store = Store::new(&run);
        let newest = store.pointed(Pointer::Last).unwrap();
        fs::remove_file(store.step_folder(newest).join("model.bpk")).unwrap();
        let (fallback, _) = store.latest_whole().unwrap();
        assert!(fallback.manifest.step < newest);
        store.load(fallback.manifest.best.unwrap()).unwrap();
        return;
    }
    panic!("no seed made such a run");
}

/// The best checkpoint is damaged, not by weft: it is named, and the run goes on to its end.
#[test]
fn a_best_checkpoint_that_was_damaged_is_named_and_replaced() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    let store = Store::new(&run);
    let best = store.pointed(Pointer::Best).unwrap();
    assert!(best < store.pointed(Pointer::Last).unwrap());
    fs::remove_file(store.step_folder(best).join("model.bpk")).unwrap();
    let named = format!("step-{best}: model.bpk is missing");
    let output = tiny
        .resume(place.path(), &["--epochs", "5"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("warning: the best epoch is lost") && text.contains(&named),
        "{text}"
    );
    let now = store.pointed(Pointer::Best).unwrap();
    assert!(now > best);
    store.load(now).unwrap();
    let findings = weft::verify::check(&weft::run::RunFolder { root: run.clone() });
    assert_eq!(findings.n_bad(), 0, "{:#?}", findings.all);

    fs::remove_file(store.step_folder(now).join("model.bpk")).unwrap();
    let mut command = crate::common::weft();
    let output = command.arg("evaluate").arg(&run).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // The newest whole one may be the best itself: then the one before it is the last.
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("warning: ") && text.contains("model.bpk is missing"),
        "{text}"
    );
}

/// A file system of a few hundred KiB that is really full: an error that tells where and how much,
/// and a run that goes on once there is room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let tiny = Tiny::new();
    let (expected, _) = tiny.undisturbed(&[]);
    let place = tiny.place();
    let Some(disk) = SmallDisk::mount(place.path(), "1m") else {
        return say("SKIPPED: a full disk: no file system can be mounted here");
    };
    let ballast = place.path().join("ballast");

    // No room at all: nothing begins.
    fill(&ballast, place.path(), 20_000);
    let error = error_of(&tiny.train(place.path(), &[]).output().unwrap());
    assert!(
        error.contains("has room for ") && error.contains("two checkpoints take about"),
        "{error}"
    );
    assert!(!place.path().join("tiny").exists());

    // Room at first, and then not.
    fs::remove_file(&ballast).unwrap();
    succeed(&mut tiny.train(place.path(), &["--stop-at-step", "5"]));
    let child = tiny.resume(place.path(), &["--set", "train.epochs=100000"]);
    let child = { child }.stderr(Stdio::piped()).spawn().unwrap();
    let run = place.path().join("tiny");
    wait_until("an epoch", || run.join("results.csv").exists());
    // It takes all there is, so that the checkpoint that comes next finds none.
    while child_is_alive(child.id()) {
        fill(&ballast, place.path(), 0);
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = error_of(&child.wait_with_output().unwrap());
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("/tiny"), "{error}");
    say(&format!("a full disk: {}", error.lines().next().unwrap()));
    fs::remove_file(&ballast).unwrap();
    crate::tiny::assert_nothing_lost(&run);

    // The same place, a run that meets no end: what was saved is what an undisturbed one saves.
    fs::remove_dir_all(&run).unwrap();
    succeed(&mut tiny.train(place.path(), &[]));
    assert_eq!(End::of(&run), expected);
    drop(disk);
}

#[cfg(target_os = "linux")]
fn child_is_alive(pid: u32) -> bool {
    // A process that has ended and was not waited for yet is a zombie.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

/// Writes zeros until so many bytes are left.
#[cfg(target_os = "linux")]
fn fill(ballast: &Path, on: &Path, leave: u64) {
    use std::io::Write;
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(ballast)
        .unwrap();
    while let Some(free) = weft::run::disk::free_bytes(on).filter(|&free| free > leave) {
        let n = (free - leave).min(4096) as usize;
        if file.write_all(&vec![0; n]).is_err() {
            break;
        }
    }
}

#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at);
        let mounted = command.stderr(Stdio::null()).status().ok()?;
        mounted.success().then(|| Self(at.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
