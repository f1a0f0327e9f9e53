use super::*;
use crate::random::Stream;

pub(super) fn plan(algorithm: Algorithm, min_epochs: u64, max_epochs: u64, factor: u64) -> Plan {
    Plan {
        algorithm,
        min_epochs,
        max_epochs,
        factor,
        n_trials: 20,
        iterations: 1,
        in_sequence: false,
    }
}

/// `(n_trials, epochs)` by bracket.
fn table(plan: &Plan) -> Vec<Vec<(usize, u64)>> {
    let rungs = plan.rungs();
    let n_brackets = rungs.last().map_or(0, |rung| rung.bracket + 1);
    let mut table = vec![Vec::new(); n_brackets];
    for rung in rungs {
        assert_eq!(rung.rung, table[rung.bracket].len());
        table[rung.bracket].push((rung.n_trials, rung.epochs));
    }
    table
}

/// Algorithm 1 of the JMLR paper: n = ceil((s_max + 1) / (s + 1) * eta^s), n_i = floor(n / eta^i).
/// The paper's own Table 1, for the same R and eta, has 27, 9 and 6 trials in place of 34, 15 and 8:
/// it rounds (s_max + 1) / (s + 1) down before it multiplies, and so spends less than the budget.
/// Both are set side by side in <https://github.com/automl/SMAC3/issues/977>; the algorithm counts
/// here, as it does there.
#[test]
fn brackets_are_those_of_algorithm_1() {
    assert_eq!(
        table(&plan(Algorithm::Hyperband, 1, 81, 3)),
        [
            vec![(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
            vec![(34, 3), (11, 9), (3, 27), (1, 81)],
            vec![(15, 9), (5, 27), (1, 81)],
            vec![(8, 27), (2, 81)],
            vec![(5, 81)],
        ]
    );
}

#[test]
fn epochs_are_whole_and_the_number_of_halvings_is_exact() {
    assert_eq!(table(&plan(Algorithm::Hyperband, 1, 243, 3)).len(), 6);
    assert_eq!(table(&plan(Algorithm::Hyperband, 1, 242, 3)).len(), 5);
    assert_eq!(table(&plan(Algorithm::Hyperband, 2, 250, 5)).len(), 3 + 1);
    assert_eq!(
        table(&plan(Algorithm::Hyperband, 1, 10, 3)),
        [
            vec![(9, 1), (3, 3), (1, 10)],
            vec![(5, 3), (1, 10)],
            vec![(3, 10)]
        ]
    );
    // 7 / 2 rounds up, 7 / 4 too.
    let halves = table(&plan(Algorithm::Hyperband, 1, 7, 2));
    assert_eq!(halves[0], [(4, 2), (2, 4), (1, 7)]);
}

#[test]
fn iterations_number_their_brackets_on() {
    let twice = Plan {
        iterations: 2,
        ..plan(Algorithm::Hyperband, 1, 9, 3)
    };
    let table = table(&twice);
    assert_eq!(table.len(), 6);
    assert_eq!(table[0..3], table[3..6]);
    assert_eq!(
        twice.epochs(),
        2 * plan(Algorithm::Hyperband, 1, 9, 3).epochs()
    );
}

#[test]
fn what_is_planned_is_bounded_and_climbs() {
    let mut stream = Stream::new(&[1]);
    for _ in 0..500 {
        let max = 1 + stream.below(1_000);
        let plan = plan(
            Algorithm::Hyperband,
            1 + stream.below(max),
            max,
            2 + stream.below(5),
        );
        for bracket in plan.brackets() {
            assert!(bracket[0].epochs >= plan.min_epochs, "{plan:?}");
            assert_eq!(bracket.last().unwrap().epochs, max);
            assert!(bracket.last().unwrap().n_trials >= 1);
            assert!(
                bracket
                    .windows(2)
                    .all(|pair| pair[0].epochs < pair[1].epochs)
            );
        }
    }
}

#[test]
fn epochs_count_only_what_a_rung_adds() {
    assert_eq!(plan(Algorithm::Random, 1, 7, 3).epochs(), 140);
    // 9 * 1 + 3 * (3 - 1) + 1 * (10 - 3), then 5 * 3 + 1 * 7, then 3 * 10.
    assert_eq!(plan(Algorithm::Hyperband, 1, 10, 3).epochs(), 22 + 22 + 30);
    // 20 trials, 6 of them to 3 epochs, 2 to 10.
    let asha = plan(Algorithm::Asha, 1, 10, 3);
    assert_eq!(table(&asha), [[(20, 1), (6, 3), (2, 10)]]);
    assert_eq!(asha.epochs(), 20 + 6 * 2 + 2 * 7);
}

#[test]
fn senseless_plans_neither_panic_nor_loop() {
    for algorithm in [Algorithm::Random, Algorithm::Hyperband, Algorithm::Asha] {
        for (min, max, factor) in [(0, 0, 0), (9, 3, 3), (1, u64::MAX, 2), (0, 5, 1)] {
            let plan = plan(algorithm, min, max, factor);
            assert!(plan.epochs() > 0);
            assert!(matches!(plan.next(&[]), Next::Start { bracket: 0, .. }));
        }
        let empty = Plan {
            n_trials: 0,
            iterations: 0,
            ..plan(algorithm, 1, 9, 3)
        };
        assert_eq!((empty.epochs(), empty.next(&[])), (0, Next::Done));
    }
}

#[test]
fn names_are_snake_case() {
    let json = serde_json::to_string(&[Algorithm::Random, Algorithm::Hyperband, Algorithm::Asha]);
    assert_eq!(json.unwrap(), r#"["random","hyperband","asha"]"#);
}

fn scored(scores: &[f64]) -> Standing {
    Standing {
        scores: scores.to_vec(),
        ..Standing::default()
    }
}

fn failed(scores: &[f64]) -> Standing {
    Standing {
        failed: true,
        ..scored(scores)
    }
}

fn running(scores: &[f64]) -> Standing {
    Standing {
        running: true,
        ..scored(scores)
    }
}

const fn promote(trial: usize, rung: usize, epochs: u64) -> Next {
    Next::Promote {
        trial,
        rung,
        epochs,
    }
}

const fn start(bracket: usize, epochs: u64) -> Next {
    Next::Start { bracket, epochs }
}

#[test]
fn a_synchronous_rung_waits_for_all_and_breaks_ties_by_index() {
    let plan = plan(Algorithm::Hyperband, 1, 3, 3); // (3, 1), (1, 3); then (2, 3)
    let next = |trials: &[Standing]| plan.next(trials);
    assert_eq!(next(&[scored(&[0.5]), scored(&[0.5])]), start(0, 1));
    // The rung is not decided, but the next bracket can start.
    let waiting = [scored(&[0.5]), scored(&[0.5]), running(&[])];
    assert_eq!(next(&waiting), start(1, 3));
    let in_sequence = Plan {
        in_sequence: true,
        ..plan.clone()
    };
    assert_eq!(in_sequence.next(&waiting), Next::Wait);
    let tie = [scored(&[0.2]), scored(&[0.5]), scored(&[0.5])];
    assert_eq!(next(&tie), promote(1, 1, 3));
    let nan = [
        scored(&[f64::NAN]),
        scored(&[f64::NEG_INFINITY]),
        failed(&[]),
    ];
    assert_eq!(
        next(&nan),
        promote(0, 1, 3),
        "not-a-number ties with the worst"
    );
    let interrupted = [scored(&[0.5]), scored(&[]), running(&[])];
    assert_eq!(next(&interrupted), promote(1, 0, 1));
    // A failure above takes the place with it; one below leaves it to the next best.
    let above = [scored(&[0.2]), failed(&[0.9]), scored(&[0.5])];
    assert_eq!(in_sequence.next(&above), start(1, 3));
    let below = [scored(&[0.2]), failed(&[]), scored(&[0.5])];
    assert_eq!(next(&below), promote(2, 1, 3));
    let none = [failed(&[]), failed(&[]), failed(&[])];
    assert_eq!(in_sequence.next(&none), start(1, 3));
}

#[test]
fn asha_promotes_at_once_and_from_the_top() {
    let plan = Plan {
        n_trials: 9,
        ..plan(Algorithm::Asha, 1, 9, 3)
    };
    let next = |trials: &[Standing]| plan.next(trials);
    assert_eq!(next(&[scored(&[0.1]), scored(&[0.2])]), start(0, 1));
    let three = [scored(&[0.1]), scored(&[0.2]), scored(&[0.2])];
    assert_eq!(next(&three), promote(1, 1, 3));
    let climbing = [scored(&[0.1]), running(&[0.2]), scored(&[0.2])];
    assert_eq!(next(&climbing), start(0, 1), "the one place is taken");
    let with_failure = [failed(&[]), scored(&[0.2]), failed(&[])];
    assert_eq!(
        next(&with_failure),
        promote(1, 1, 3),
        "failures have finished"
    );
    // Trial 3 is ready for rung 1, but trial 2 is ready for the last.
    let mut full = vec![
        scored(&[0.5, 0.1]),
        scored(&[0.6, 0.2]),
        scored(&[0.7, 0.3]),
    ];
    full.extend([0.8, 0.1, 0.1, 0.1, 0.1, 0.1].map(|score| scored(&[score])));
    assert_eq!(next(&full), promote(2, 2, 9));
    full[2].scores.push(0.4);
    assert_eq!(next(&full), promote(3, 1, 3));
    full[3].running = true;
    assert_eq!(next(&full), Next::Wait);
    full[3] = failed(&[0.8]);
    assert_eq!(next(&full), Next::Done);
}
