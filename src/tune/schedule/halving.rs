//! Who goes on to the next rung. Both kinds of halving rank by score and break ties by the order in
//! which the trials were started.

use std::cmp::Reverse;

use super::{Next, Rung, Standing};

/// Successive halving as Hyperband runs it: a rung is decided when all of its trials have a score
/// or have failed, and its best go on, as many as the plan has places. So what is trained does not
/// depend on how many workers there are or on which of them is quick. Nothing is found when all
/// that is left must wait, or nothing is left.
pub(super) fn synchronous(
    brackets: &[Vec<Rung>],
    in_sequence: bool,
    trials: &[Standing],
) -> Option<Next> {
    for (number, rungs) in brackets.iter().enumerate() {
        let members: Vec<usize> = (0..trials.len())
            .filter(|&trial| trials[trial].bracket == number)
            .collect();
        match in_bracket(rungs, members, trials) {
            Bracket::Open(next) => return Some(next),
            Bracket::Waits if in_sequence => return None,
            Bracket::Waits | Bracket::Over => {}
        }
    }
    None
}

enum Bracket {
    Open(Next),
    Waits,
    Over,
}

fn in_bracket(rungs: &[Rung], mut members: Vec<usize>, trials: &[Standing]) -> Bracket {
    if let Some(next) = rungs
        .first()
        .and_then(|first| enter(first, &members, trials))
    {
        return Bracket::Open(next);
    }
    for (rung, places) in rungs.iter().enumerate() {
        if let Some(next) = climb(places, &members, trials) {
            return Bracket::Open(next);
        }
        if !members.iter().all(|&trial| trials[trial].settled(rung)) {
            return Bracket::Waits;
        }
        let Some(above) = rungs.get(rung + 1) else {
            break;
        };
        members.retain(|&trial| trials[trial].scores.len() > rung);
        rank(&mut members, rung, trials);
        members.truncate(above.n_trials);
    }
    Bracket::Over
}

/// ASHA: from the top down, a trial among the best `1 / factor` of all that have finished its rung
/// goes on at once; if there is none, a new trial starts.
pub(super) fn asynchronous(rungs: &[Rung], factor: u64, trials: &[Standing]) -> Option<Next> {
    for above in rungs.iter().skip(1).rev() {
        let below = above.rung - 1;
        let mut finished: Vec<usize> = (0..trials.len())
            .filter(|&trial| trials[trial].finished(below))
            .collect();
        rank(&mut finished, below, trials);
        finished.truncate((finished.len() as u64 / factor) as usize);
        if let Some(next) = climb(above, &finished, trials) {
            return Some(next);
        }
    }
    let all: Vec<usize> = (0..trials.len()).collect();
    rungs.first().and_then(|first| enter(first, &all, trials))
}

/// A place in the lowest rung: first for a trial that lost its own by an interruption.
fn enter(first: &Rung, members: &[usize], trials: &[Standing]) -> Option<Next> {
    climb(first, members, trials).or_else(|| {
        (members.len() < first.n_trials).then_some(Next::Start {
            bracket: first.bracket,
            epochs: first.epochs,
        })
    })
}

/// The first of `members` that stands right below `rung`, ready for it.
fn climb(rung: &Rung, members: &[usize], trials: &[Standing]) -> Option<Next> {
    let ready = |&&trial: &&usize| trials[trial].ready_for(rung.rung);
    members.iter().find(ready).map(|&trial| Next::Promote {
        trial,
        rung: rung.rung,
        epochs: rung.epochs,
    })
}

/// Best first. Those that have no score of `rung`, because they failed in it, come last.
fn rank(members: &mut [usize], rung: usize, trials: &[Standing]) {
    // Stable, so equal scores stay in the order of their start.
    members.sort_by(|&left, &right| {
        let key = |trial: usize| {
            trials[trial]
                .scores
                .get(rung)
                .map(|&score| worst_if_nan(score))
        };
        let (left, right) = (Reverse(key(left)), Reverse(key(right)));
        left.partial_cmp(&right)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
}

fn worst_if_nan(score: f64) -> f64 {
    if score.is_nan() {
        f64::NEG_INFINITY
    } else {
        score
    }
}

impl Standing {
    /// The rung need not wait for it.
    fn settled(&self, rung: usize) -> bool {
        self.scores.len() > rung || self.failed
    }

    /// It was in the rung, and has a score there or failed there.
    fn finished(&self, rung: usize) -> bool {
        self.settled(rung) && self.scores.len() >= rung
    }

    fn ready_for(&self, rung: usize) -> bool {
        self.scores.len() == rung && !self.running && !self.failed
    }
}
