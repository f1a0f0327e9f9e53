//! A search that is killed at any moment, as a whole or one of its workers, and started again has the
//! outcome of one that nothing disturbed: the same trials, values, rungs, and the same bytes in the
//! trials' checkpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weft::run::study::{StudyFolder, StudyLog};

use crate::common::{cases, say, weft};
use crate::tiny::{self, Draws, End, Tiny, succeed};

/// Cosine schedule, dropout, augmentation and checkpoints within epochs come from the tiny run.
const SEARCH: &str = "
[search]
max_epochs = 4
factor = 2
[search.space]
\"optimizer.learning_rate\" = { min = 1e-3, max = 1e-1, scale = \"log\" }
\"model.dropout\" = { min = 0.0, max = 0.4, step = 0.1 }
";

struct Search {
    tiny: Tiny,
    file: PathBuf,
}

impl Search {
    fn new(settings: &str) -> Self {
        let tiny = Tiny::new();
        let base = fs::read_to_string(tiny.config()).unwrap();
        let search = SEARCH.replace("[search]\n", &format!("[search]\n{settings}\n"));
        let file = tiny.config().with_file_name("study.toml");
        fs::write(&file, base + &search).unwrap();
        Self { tiny, file }
    }

    fn command(&self, place: &Path, more: &[&str]) -> Command {
        let mut command = weft();
        command
            .arg("tune")
            .arg(&self.file)
            .arg("--runs-dir")
            .arg(place);
        command.arg("-q").args(more).stdin(Stdio::null());
        command
    }

    fn spawn(&self, place: &Path, more: &[&str]) -> Child {
        let mut command = self.command(place, more);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn undisturbed(&self) -> (TempDir, Outcome, Duration) {
        let place = self.tiny.place();
        let started = Instant::now();
        succeed(&mut self.command(place.path(), &[]));
        let took = started.elapsed();
        let outcome = Outcome::of(&place.path().join("tiny"));
        (place, outcome, took)
    }
}

/// All of a study but for the clock and who did it.
#[derive(Debug, PartialEq)]
struct Outcome {
    log: StudyLog,
    ends: Vec<End>,
    best: String,
}

impl Outcome {
    fn of(root: &Path) -> Self {
        let study = StudyFolder::open(root).unwrap();
        let mut log = study.read().unwrap();
        log.started = None;
        log.claims.clear();
        log.torn.clear();
        log.n_lines = 0;
        for trial in &mut log.trials {
            for rung in &mut trial.rungs {
                rung.seconds = 0.0;
            }
        }
        let trials = 1..=log.trials.len();
        Self {
            ends: trials
                .map(|number| End::of(&study.trial(number).root))
                .collect(),
            best: fs::read_to_string(study.best()).unwrap(),
            log,
        }
    }
}

fn log_of(place: &Path) -> Option<StudyLog> {
    let study = StudyFolder::open(&place.join("tiny")).ok()?;
    Some(study.read().unwrap())
}

#[test]
fn a_search_that_was_killed_five_times_ends_as_one_that_was_not() {
    for settings in ["", "sampling = \"tpe\"", "algorithm = \"asha\"\ntrials = 8"] {
        let search = Search::new(settings);
        let (_place, expected, took) = search.undisturbed();
        let mut draws = Draws(7);
        let (mut amid, n_kills) = (0, 5);
        for number in 0..cases(2) {
            let place = search.tiny.place();
            for _ in 0..n_kills {
                let mut child = search.spawn(place.path(), &[]);
                std::thread::sleep(took.mul_f64(draws.below(600) as f64 / 1000.0));
                child.kill().unwrap();
                child.wait().unwrap();
                let running =
                    |log: StudyLog| log.trials.iter().any(|trial| trial.running.is_some());
                amid += u32::from(log_of(place.path()).is_some_and(running));
            }
            succeed(&mut search.command(place.path(), &[]));
            let outcome = Outcome::of(&place.path().join("tiny"));
            assert_eq!(outcome, expected, "{settings:?}, search {number}");
        }
        say(&format!(
            "{amid} of {} kills met a trial at work ({settings:?})",
            cases(2) * n_kills
        ));
        assert!(amid > 0, "no kill met a trial at work");
    }
}

/// The rungs of a trial together are one training, with one schedule.
#[test]
fn a_trial_that_climbed_all_rungs_is_the_training_of_its_config() {
    let search = Search::new("");
    let (place, outcome, _) = search.undisturbed();
    let root = place.path().join("tiny");
    let mut n_climbed = 0;
    for (index, trial) in outcome.log.trials.iter().enumerate() {
        if trial.rungs.last().is_none_or(|rung| rung.epochs < 4) {
            continue;
        }
        n_climbed += usize::from(trial.rungs.len() > 1);
        let name = format!("alone-{index}");
        let mut command = weft();
        command
            .arg("train")
            .arg(root.join(format!("trials/{:04}/config.toml", index + 1)));
        command.arg("--runs-dir").arg(place.path());
        succeed(
            command
                .args(["--name", &name, "-q", "--no-test"])
                .stdin(Stdio::null()),
        );
        assert_eq!(
            End::of(&place.path().join(&name)),
            outcome.ends[index],
            "trial {}",
            index + 1
        );
    }
    assert!(n_climbed > 0);
}

/// The processes of workers, by the log.
#[cfg(unix)]
fn kill_a_worker(place: &Path, draws: &mut Draws) -> bool {
    let Some(log) = log_of(place) else {
        return false;
    };
    let running: Vec<_> = log
        .trials
        .iter()
        .filter_map(|trial| trial.running.as_ref())
        .collect();
    if running.is_empty() {
        return false;
    }
    let chosen = running[draws.below(running.len() as u64) as usize];
    let pid = chosen.worker.split('-').next().unwrap();
    Command::new("kill")
        .args(["-9", pid])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Four workers under two supervisors write one study; workers are killed under them, then both
/// supervisors, and then one goes on alone.
#[cfg(unix)]
#[test]
fn four_workers_and_kills_have_the_outcome_of_one() {
    let search = Search::new("iterations = 2");
    let (_place, expected, took) = search.undisturbed();
    let mut draws = Draws(11);
    let mut n_killed = 0;
    for number in 0..cases(2) {
        let place = search.tiny.place();
        let mut children = vec![
            search.spawn(place.path(), &["--jobs", "2"]),
            search.spawn(place.path(), &["--jobs", "2"]),
        ];
        for _ in 0..4 {
            std::thread::sleep(took.mul_f64(0.02 + draws.below(100) as f64 / 1000.0));
            n_killed += u32::from(kill_a_worker(place.path(), &mut draws));
        }
        // A worker that dies is replaced: the search itself ends only when it is over.
        for child in &mut children {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        succeed(&mut search.command(place.path(), &["--jobs", "4"]));
        let outcome = Outcome::of(&place.path().join("tiny"));
        assert_eq!(outcome, expected, "search {number}");
    }
    say(&format!("{n_killed} workers were killed under four"));
    assert!(n_killed > 0, "no kill met a worker");
}

/// A signal asks for checkpoints and leaves nobody behind.
#[cfg(unix)]
#[test]
fn a_search_that_is_told_to_stop_saves_and_goes_on_later() {
    let search = Search::new("");
    let (_place, expected, took) = search.undisturbed();
    let place = search.tiny.place();
    let mut n_stopped = 0;
    for part in [0.3, 0.5, 0.7] {
        let mut child = search.spawn(place.path(), &["--jobs", "2"]);
        std::thread::sleep(took.mul_f64(part));
        let pid = child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let status = child.wait().unwrap();
        n_stopped += u32::from(status.code() == Some(128 + 15));
        assert!(
            matches!(status.code(), Some(0 | 143)) || status.code().is_none(),
            "{status:?}"
        );
        // Nobody is left: the workers' locks are free.
        if let Some(log) = log_of(place.path()) {
            let study = StudyFolder::open(&place.path().join("tiny")).unwrap();
            for trial in log.trials.iter().filter_map(|trial| trial.running.as_ref()) {
                assert!(!study.is_alive(&trial.worker), "{}", trial.worker);
            }
        }
    }
    assert!(n_stopped > 0, "it was never stopped");
    succeed(&mut search.command(place.path(), &[]));
    assert_eq!(Outcome::of(&place.path().join("tiny")), expected);
    assert!(tiny::is_run(&place.path().join("tiny/trials/0001")));
}
