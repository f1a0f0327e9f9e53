use super::super::tests::small;
use super::*;
use crate::run::study::{Event, Failure, Running};

/// Carries out what a study decides, without training: a trial's value is a function of its place and
/// its epochs. `stop_after` ends it after so many rungs, as a kill would.
fn run(
    study: &Study,
    mut log: StudyLog,
    n_workers: usize,
    stop_after: usize,
) -> (StudyLog, Vec<u64>) {
    let mut running: Vec<Job> = Vec::new();
    let mut draws = crate::random::Stream::new(&[n_workers as u64, 9]);
    let (mut order, mut done) = (Vec::new(), 0);
    let alive = |worker: &str| worker == "alive";
    loop {
        while running.len() < n_workers {
            let Turn::Train(job) = study.turn(&log, None, &alive) else {
                break;
            };
            log.apply(Event::Start {
                trial: job.trial,
                bracket: job.bracket,
                rung: job.rung,
                epochs: job.epochs,
                values: job.is_new.then(|| job.point.clone()),
                worker: "alive".to_owned(),
                time: String::new(),
            })
            .unwrap();
            running.push(job);
        }
        if running.is_empty() || done == stop_after {
            return (log, order);
        }
        let job = running.remove(draws.below(running.len() as u64) as usize);
        done += 1;
        order.push(job.trial as u64);
        let place: f64 = study
            .dimensions
            .iter()
            .map(|dimension| {
                dimension
                    .values
                    .coordinate(&job.point[&dimension.name])
                    .unwrap()
            })
            .sum();
        log.apply(Event::End {
            trial: job.trial,
            rung: job.rung,
            value: place / 4.0 + job.epochs as f64 / 100.0,
            best_epoch: job.epochs,
            trained: job.epochs - job.from,
            seconds: 0.0,
            device: String::new(),
            time: String::new(),
        })
        .unwrap();
    }
}

/// The log as it is after a kill: whoever was at work is gone.
fn killed(mut log: StudyLog) -> StudyLog {
    for trial in &mut log.trials {
        if let Some(running) = &mut trial.running {
            running.worker = "gone".to_owned();
        }
    }
    log
}

#[test]
fn hyperband_has_one_outcome_however_many_work_at_it() {
    for sampling in ["random", "tpe"] {
        let study = small(&format!(
            "sampling = \"{sampling}\"\nmax_epochs = 9\niterations = 2"
        ));
        let (alone, _) = run(&study, StudyLog::default(), 1, usize::MAX);
        assert_eq!(alone.trials.len(), 2 * (9 + 5 + 3), "{sampling}");
        assert_eq!(alone.epochs(), study.plan().epochs());
        for n_workers in 2..6 {
            let (many, _) = run(&study, StudyLog::default(), n_workers, usize::MAX);
            assert_eq!(many.trials, alone.trials, "{sampling}, {n_workers} workers");
        }
    }
}

#[test]
fn a_study_that_was_killed_after_any_rung_goes_on_as_if_it_had_not_been() {
    for settings in [
        "algorithm = \"hyperband\"",
        "algorithm = \"hyperband\"\nsampling = \"tpe\"",
        "algorithm = \"asha\"\ntrials = 12",
        "algorithm = \"asha\"\ntrials = 12\nsampling = \"tpe\"",
        "algorithm = \"random\"\ntrials = 12\nsampling = \"tpe\"",
    ] {
        let study = small(&format!("max_epochs = 9\n{settings}"));
        let (whole, order) = run(&study, StudyLog::default(), 1, usize::MAX);
        for stop_after in 0..order.len() {
            let (part, _) = run(&study, StudyLog::default(), 1, stop_after);
            let (rest, _) = run(&study, killed(part), 1, usize::MAX);
            assert_eq!(
                rest.trials, whole.trials,
                "{settings}, killed after {stop_after} rungs"
            );
        }
    }
}

#[test]
fn a_trial_whose_worker_is_alive_is_left_to_it() {
    let study = small("algorithm = \"random\"\ntrials = 2\nmax_epochs = 3");
    let (mut log, _) = run(&study, StudyLog::default(), 1, 0);
    let held = Running {
        rung: 0,
        epochs: 3,
        worker: "alive".to_owned(),
        crashes: 0,
    };
    assert_eq!(log.trials[0].running, Some(held));
    let Turn::Train(second) = study.turn(&log, None, &|_| true) else {
        panic!("a second trial is to be begun");
    };
    assert_eq!((second.trial, second.is_new), (2, true));
    let Turn::Train(first) = study.turn(&log, None, &|_| false) else {
        panic!("the first trial is to be taken over");
    };
    assert_eq!((first.trial, first.is_new), (1, false));
    assert_eq!(first.point, log.trials[0].values);
    log.trials[0].failed = Some(Failure {
        why: "it diverged".to_owned(),
        epochs: 3,
        trained: 1,
        seconds: 0.0,
    });
    log.trials[0].running = None;
    assert!(matches!(study.turn(&log, None, &|_| true), Turn::Train(job) if job.trial == 2));
}

#[test]
fn a_budget_of_epochs_is_not_overspent() {
    let study = small("algorithm = \"random\"\ntrials = 4\nmax_epochs = 3");
    let alive = |_: &str| true;
    let (log, _) = run(&study, StudyLog::default(), 1, 1);
    // Three epochs are done, and three are under way.
    assert!(matches!(study.turn(&log, Some(9), &alive), Turn::Train(_)));
    assert_eq!(study.turn(&log, Some(8), &alive), Turn::BudgetSpent);
    let resumed = study.turn(&killed(log.clone()), Some(6), &|worker| worker == "alive");
    assert!(matches!(resumed, Turn::Train(job) if job.trial == 2 && !job.is_new));
}

#[test]
fn no_place_is_tried_twice_while_there_are_others() {
    let study = small("algorithm = \"random\"\ntrials = 16\nmax_epochs = 1\n");
    let (log, _) = run(&study, StudyLog::default(), 1, usize::MAX);
    let mut places: Vec<String> = log
        .trials
        .iter()
        .map(|trial| format!("{:?}", trial.values))
        .collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 16);
}
