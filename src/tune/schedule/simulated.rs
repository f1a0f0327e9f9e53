//! Whole searches by simulated workers.

use super::*;
use crate::random::Stream;

/// A world in which what a trial scores, and whether it fails, depends on the trial and the rung
/// alone, but how long that takes depends on `pace` too.
struct World {
    seed: u64,
    pace: u64,
    n_workers: usize,
    failures_in_100: u64,
}

impl World {
    /// Runs to the end, or until `limit` trials have left a rung; then all workers are stopped.
    /// Ten thousand decisions are more than any plan here needs. Answers with the epochs spent.
    fn search(&self, plan: &Plan, trials: &mut Vec<Standing>, limit: usize) -> u64 {
        let mut busy: Vec<(u64, usize, u64)> = Vec::new(); // (done at, trial, epochs)
        let (mut now, mut finished, mut spent) = (0, 0, 0);
        for _ in 0..10_000 {
            let next = plan.next(trials);
            if busy.len() < self.n_workers
                && let Some((trial, epochs)) = begin(next, trials)
            {
                let rung = trials[trial].scores.len();
                busy.push((now + self.duration(trial, rung), trial, epochs));
            } else if let Some(first) = (0..busy.len()).min_by_key(|&slot| busy[slot]) {
                assert_ne!(next, Next::Done, "trials run");
                let (done_at, trial, epochs) = busy.swap_remove(first);
                now = done_at;
                spent += self.leave(plan, &mut trials[trial], trial, epochs);
                finished += 1;
            } else {
                assert_eq!(next, Next::Done, "nothing runs");
                return spent;
            }
            if finished == limit {
                trials.iter_mut().for_each(|trial| trial.running = false);
                return spent;
            }
        }
        panic!("the search goes on without end: {plan:?}");
    }

    fn leave(&self, plan: &Plan, standing: &mut Standing, trial: usize, epochs: u64) -> u64 {
        let rung = standing.scores.len();
        let mut stream = Stream::new(&[self.seed, 1, trial as u64, rung as u64]);
        standing.running = false;
        standing.failed = stream.below(100) < self.failures_in_100;
        if !standing.failed {
            standing.scores.push(stream.below(30) as f64); // few values, so that there are ties
        }
        let bracket = &plan.brackets()[standing.bracket];
        assert_eq!(bracket[rung].epochs, epochs);
        let before = rung.checked_sub(1).map_or(0, |below| bracket[below].epochs);
        epochs - before
    }

    fn duration(&self, trial: usize, rung: usize) -> u64 {
        Stream::new(&[self.pace, 2, trial as u64, rung as u64]).below(1_000)
    }
}

/// The trial that now runs, and the epochs to which it does.
fn begin(next: Next, trials: &mut Vec<Standing>) -> Option<(usize, u64)> {
    let (trial, epochs) = match next {
        Next::Start { bracket, epochs } => {
            trials.push(Standing {
                bracket,
                ..Standing::default()
            });
            (trials.len() - 1, epochs)
        }
        Next::Promote {
            trial,
            rung,
            epochs,
        } => {
            assert_eq!(trials[trial].scores.len(), rung, "rungs are consecutive");
            (trial, epochs)
        }
        Next::Wait | Next::Done => return None,
    };
    trials[trial].running = true;
    Some((trial, epochs))
}

fn random_plan(algorithm: Algorithm, stream: &mut Stream) -> Plan {
    let max = 1 + stream.below(40);
    Plan {
        n_trials: stream.below(40) as usize,
        iterations: 1 + stream.below(2) as usize,
        in_sequence: stream.below(2) == 0,
        ..tests::plan(algorithm, 1 + stream.below(max), max, 2 + stream.below(3))
    }
}

#[test]
fn workers_pace_and_interruptions_change_nothing_under_synchronous_halving() {
    for seed in 0..60 {
        let mut stream = Stream::new(&[seed, 7]);
        for algorithm in [Algorithm::Random, Algorithm::Hyperband] {
            let plan = random_plan(algorithm, &mut stream);
            let failures_in_100 = [0, 15, 100][stream.below(3) as usize];
            let world = |pace, n_workers| World {
                seed,
                pace,
                n_workers,
                failures_in_100,
            };
            let mut alone = Vec::new();
            let spent = world(0, 1).search(&plan, &mut alone, usize::MAX);
            if failures_in_100 == 0 {
                assert_eq!(spent, plan.epochs(), "{plan:?}");
            }
            for (pace, n_workers) in [(1, 4), (2, 4), (3, 9)] {
                let mut together = Vec::new();
                let spent_together =
                    world(pace, n_workers).search(&plan, &mut together, usize::MAX);
                assert_eq!(together, alone, "{plan:?}");
                assert_eq!(spent_together, spent);
                let mut resumed = Vec::new();
                world(pace, n_workers).search(&plan, &mut resumed, 1 + stream.below(30) as usize);
                world(pace + 9, 2).search(&plan, &mut resumed, usize::MAX);
                assert_eq!(resumed, alone, "{plan:?}");
            }
        }
    }
}

#[test]
fn asha_ends_with_the_best_of_every_rung_promoted() {
    for seed in 0..100 {
        let mut stream = Stream::new(&[seed, 8]);
        let plan = random_plan(Algorithm::Asha, &mut stream);
        let world = World {
            seed,
            pace: seed,
            n_workers: 1 + stream.below(6) as usize,
            failures_in_100: 0,
        };
        let mut trials = Vec::new();
        world.search(&plan, &mut trials, 1 + stream.below(30) as usize);
        world.search(&plan, &mut trials, usize::MAX);
        assert_eq!(trials.len(), plan.n_trials);
        for rung in plan.rungs() {
            let reached = |trial: &&Standing| trial.scores.len() > rung.rung;
            assert!(
                trials.iter().filter(reached).count() >= rung.n_trials,
                "{plan:?}"
            );
        }
        let with_failures = World {
            failures_in_100: 30,
            ..world
        };
        with_failures.search(&plan, &mut Vec::new(), usize::MAX);
    }
}
