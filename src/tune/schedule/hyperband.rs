//! How many trials each rung has, and how long they train: Hyperband's Algorithm 1 (Li et al., JMLR
//! 18(185), 2018), in whole numbers throughout. A logarithm in floating point can say 4.999… for
//! the five halvings from 243, and so lose a bracket.

use super::{Plan, Rung};

/// All brackets of all iterations, those that halve most often first.
pub(super) fn brackets(plan: &Plan) -> Vec<Vec<Rung>> {
    let most = most_halvings(plan);
    let order = (0..plan.iterations).flat_map(|_| (0..=most).rev());
    order
        .enumerate()
        .map(|(bracket, halvings)| {
            // n = ceil(B / R * factor^s / (s + 1)) with the budget B = (s_max + 1) R.
            let share = (u64::from(most) + 1).saturating_mul(power(plan, halvings));
            rungs(
                plan,
                bracket,
                halvings,
                share.div_ceil(u64::from(halvings) + 1),
            )
        })
        .collect()
}

/// ASHA's only bracket: the rungs of Hyperband's most aggressive one, with trials as asked for. The
/// paper counts the rungs' epochs up from the least; counting down from the most makes the last
/// rung a full training also where the two are not a power of the factor apart.
pub(super) fn asynchronous_bracket(plan: &Plan) -> Vec<Rung> {
    rungs(plan, 0, most_halvings(plan), plan.n_trials as u64)
}

/// `s_max`, the largest s for which `min_epochs * factor^s` is not above `max_epochs`.
fn most_halvings(plan: &Plan) -> u32 {
    let mut ratio = plan.max_epochs / plan.min_epochs.max(1);
    let mut halvings = 0;
    while ratio >= plan.factor() {
        ratio /= plan.factor();
        halvings += 1;
    }
    halvings
}

/// One bracket of `halvings + 1` rungs, the last of which has `max_epochs`. Each rung adds an epoch
/// at least: its exact length is 1 or more, and the next one is more than that longer.
fn rungs(plan: &Plan, bracket: usize, halvings: u32, n_trials: u64) -> Vec<Rung> {
    (0..=halvings)
        .map(|rung| Rung {
            bracket,
            rung: rung as usize,
            n_trials: usize::try_from(n_trials / power(plan, rung)).unwrap_or(usize::MAX),
            epochs: rounded(plan.max_epochs, power(plan, halvings - rung)).max(1),
        })
        .collect()
}

/// Never overflows, for `factor^s_max` is at most `max_epochs`.
fn power(plan: &Plan, exponent: u32) -> u64 {
    plan.factor().saturating_pow(exponent)
}

/// To the nearest whole number, a half upwards.
fn rounded(numerator: u64, denominator: u64) -> u64 {
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    whole + u64::from(rest >= denominator - rest)
}
