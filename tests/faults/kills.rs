//! Proves the first promise: after a kill at any moment a run goes on, and ends with the same bytes as
//! one that nothing disturbed. No epoch that was reported is lost, nor is the best checkpoint.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::{cases, say};
use crate::tiny::{self, Draws, EPOCHS, End, STEPS_PER_EPOCH, Tiny, succeed};

/// Starts a process, kills it after a while, and tells whether the kill met it alive.
fn kill_after(mut child: Child, wait: Duration) -> bool {
    std::thread::sleep(wait);
    let alive = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    alive
}

/// What the kills met.
#[derive(Debug, Default)]
struct Met {
    no_run_yet: u32,
    no_checkpoint_yet: u32,
    amid: u32,
    leftovers: u32,
    over: u32,
}

impl Met {
    fn note(&mut self, run: &Path, alive: bool) {
        let store = weft::run::checkpoints::Store::new(run);
        let steps = store.steps().unwrap();
        self.leftovers += u32::from(!store.leftovers().unwrap().is_empty());
        match (alive, tiny::is_run(run), steps.is_empty()) {
            (false, ..) => self.over += 1,
            (_, false, _) => self.no_run_yet += 1,
            (_, _, true) => self.no_checkpoint_yet += 1,
            _ => self.amid += 1,
        }
    }
}

/// Trains with `n_kills` kills at moments drawn from `draws`, then to the end.
fn train_with_kills(
    tiny: &Tiny,
    draws: &mut Draws,
    n_kills: u32,
    took: Duration,
    met: &mut Met,
) -> End {
    let place = tiny.place();
    let run = place.path().join("tiny");
    for _ in 0..n_kills {
        let mut command = if tiny::is_run(&run) {
            tiny.resume(place.path(), &[])
        } else {
            let _ = std::fs::remove_dir_all(&run); // an empty folder has the name
            tiny.train(place.path(), &[])
        };
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let wait = took.mul_f64(draws.below(1000) as f64 / 1000.0);
        let alive = kill_after(child, wait);
        met.note(&run, alive);
        if tiny::is_run(&run) {
            tiny::assert_nothing_lost(&run);
        }
    }
    if tiny::is_run(&run) {
        succeed(&mut tiny.resume(place.path(), &[]));
    } else {
        let _ = std::fs::remove_dir_all(&run);
        succeed(&mut tiny.train(place.path(), &[]));
    }
    End::of(&run)
}

fn kill_at_random(n_runs: u32, n_kills: u32, seed: u64) {
    let tiny = Tiny::new();
    let (expected, _) = tiny.undisturbed(&[]);
    let (_, took) = tiny.undisturbed(&[]);
    let (mut met, mut draws) = (Met::default(), Draws(seed));
    for number in 0..n_runs {
        let end = train_with_kills(&tiny, &mut draws, n_kills, took, &mut met);
        assert_eq!(
            end, expected,
            "run {number} with {n_kills} kills, seed {seed}"
        );
    }
    let kills = n_runs * n_kills;
    say(&format!(
        "{kills} kills at random moments in {n_runs} runs, 0 ends differ; they met {met:?}"
    ));
    assert!(
        met.amid > kills / 10,
        "too few kills met a run at work: {met:?}"
    );
}

#[test]
fn kills_at_random_moments() {
    kill_at_random(cases(200), 1, 1);
}

#[test]
fn chains_of_five_kills() {
    kill_at_random(cases(50), 5, 2);
}

/// Every step of a run, on both CPU backends: killed after it (the checkpoint is an earlier one), and
/// stopped after it with a checkpoint.
#[test]
fn an_end_at_every_step() {
    let tiny = Tiny::new();
    let mut n_ends = 0;
    for device in ["cpu", "ndarray"] {
        let on = ["--device", device];
        let (expected, _) = tiny.undisturbed(&on);
        for step in 0..EPOCHS * STEPS_PER_EPOCH {
            for end in ["--kill-at-step", "--stop-at-step"] {
                let place = tiny.place();
                let step = step.to_string();
                let ended = tiny.train(place.path(), &[&on[..], &[end, &step]].concat());
                let status = { ended }.status().unwrap();
                assert_eq!(
                    status.success(),
                    end == "--stop-at-step",
                    "{end} {step}: {status:?}"
                );
                let run = place.path().join("tiny");
                tiny::assert_nothing_lost(&run);
                succeed(&mut tiny.resume(place.path(), &on));
                assert_eq!(End::of(&run), expected, "{device} {end} {step}");
                n_ends += 1;
            }
        }
    }
    say(&format!(
        "{n_ends} ends at every step, on flex and ndarray, 0 ends differ"
    ));
}
