use super::tree::{Leaf, Part};
use super::*;
use crate::tune::sampler::{Axis, Sampling, index_of, propose};

fn axes(axes: &[(&str, Axis)]) -> Vec<NamedAxis> {
    let named = |&(name, axis): &(&str, Axis)| NamedAxis {
        name: name.to_owned(),
        axis,
    };
    axes.iter().map(named).collect()
}

fn scored_by(
    axes: &[NamedAxis],
    n: u64,
    seed: u64,
    score: impl Fn(&[f64]) -> f64,
) -> Vec<Observed> {
    (0..n)
        .map(|trial| propose(Sampling::Random, seed, trial, axes, &[]))
        .map(|point| Observed {
            score: score(&point),
            point: point.into_iter().map(Some).collect(),
            epochs: 1,
        })
        .collect()
}

fn four_axes() -> Vec<NamedAxis> {
    axes(&[
        ("rate", Axis::Continuous),
        ("decay", Axis::Continuous),
        ("layers", Axis::Grid(6)),
        ("kind", Axis::Choice(4)),
    ])
}

/// A share is between 0 and 1, and together they are 1.
fn checked(importance: Option<Importance>) -> Importance {
    let importance = importance.unwrap();
    let shares = importance.main.iter().chain([&importance.interactions]);
    assert!(shares.clone().all(|share| (0.0..=1.0).contains(share)));
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{importance:?}");
    importance
}

#[test]
fn the_variance_of_a_tree_is_taken_apart_exactly() {
    // f(a, b) is 0 for a in the first half, and 1 or 3 by category b in the second.
    let both = axes(&[("a", Axis::Continuous), ("b", Axis::Choice(4))]);
    let leaf = |from, to, held: [bool; 4], score| Leaf {
        parts: vec![Part::Interval { from, to }, Part::Categories(held.to_vec())],
        score,
    };
    let leaves = [
        leaf(0.0, 0.5, [true; 4], 0.0),
        leaf(0.5, 1.0, [false, true, true, true], 1.0),
        leaf(0.5, 1.0, [true, false, false, false], 3.0),
    ];
    // The mean is 3/4 and the variance 3/8 + 9/8 - 9/16 = 15/16. Along a the mean is 0 or 3/2, so
    // the variance 9/16; along b, 1/2 at three categories and 3/2 at one, so 3/16.
    let shares = effects::shares(&both, &leaves).unwrap();
    assert!((shares[0] - 9.0 / 15.0).abs() < 1e-12, "{shares:?}");
    assert!((shares[1] - 3.0 / 15.0).abs() < 1e-12, "{shares:?}");
    assert_eq!(effects::shares(&both, &leaves[..1]), None);
}

#[test]
fn shares_follow_the_variances_of_a_sum() {
    let axes = four_axes();
    // Variances 9/12 and 1/12 of even axes, so 0.9 and 0.1.
    let observed = scored_by(&axes, 300, 1, |p| 3.0 * p[0] + p[1]);
    let found = checked(importance(&axes, &observed, 1));
    assert!((found.main[0] - 0.9).abs() < 0.05, "{found:?}");
    assert!((found.main[1] - 0.1).abs() < 0.05, "{found:?}");
    assert!(
        found.main[2..].iter().all(|&share| share < 0.01),
        "{found:?}"
    );
    assert!(found.interactions < 0.05, "{found:?}");
    // Also with as few trials as a person has, if not as sharply.
    let found = checked(importance(&axes, &observed[..40], 1));
    assert!(found.main[0] > 0.75 && found.main[2..].iter().all(|&share| share < 0.05));
}

#[test]
fn grids_and_categories_count_each_value_alike() {
    let axes = four_axes();
    // Among six steps, one in six is apart: variance 5/36. Among four categories, one: 3/16.
    let one_apart = |p: &[f64]| {
        f64::from(u8::from(index_of(p[2], 6) == 5)) + f64::from(u8::from(index_of(p[3], 4) == 1))
    };
    let found = checked(importance(&axes, &scored_by(&axes, 400, 2, one_apart), 1));
    let truth = (5.0 / 36.0) / (5.0 / 36.0 + 3.0 / 16.0);
    assert!((found.main[2] - truth).abs() < 0.05, "{found:?}");
    assert!((found.main[3] - (1.0 - truth)).abs() < 0.05, "{found:?}");
}

#[test]
fn what_axes_do_together_only_is_interaction() {
    let axes = four_axes();
    let differ = |p: &[f64]| f64::from(u8::from((p[0] < 0.5) != (p[1] < 0.5)));
    let found = checked(importance(&axes, &scored_by(&axes, 300, 3, differ), 1));
    assert!(found.interactions > 0.75, "{found:?}");
}

#[test]
fn the_order_of_categories_does_not_matter() {
    let axes = four_axes();
    let score = |p: &[f64]| p[0] + [0.3, 0.1, 0.9, 0.2][index_of(p[3], 4)];
    let observed = scored_by(&axes, 80, 4, score);
    let mut turned = observed.clone();
    for observed in &mut turned {
        observed.point[3] = observed.point[3].map(|u| (u + 0.25) % 1.0);
    }
    let (left, right) = (
        importance(&axes, &observed, 1),
        importance(&axes, &turned, 1),
    );
    for (left, right) in checked(left).main.iter().zip(checked(right).main) {
        assert!((left - right).abs() < 1e-9, "{left} {right}");
    }
}

/// The second axis is active for one kind in four only, and that kind alone scores: with a fixed
/// value in place of the missing ones, the axis would seem to tell the kinds apart.
#[test]
fn inactive_dimensions_have_no_effect_of_their_own() {
    let axes = axes(&[
        ("kind", Axis::Choice(4)),
        ("momentum", Axis::Continuous),
        ("rate", Axis::Continuous),
        ("layers", Axis::Grid(6)),
    ]);
    let score = |p: &[f64]| if p[0] < 0.25 { 1.0 } else { 0.0 };
    let mut observed = scored_by(&axes, 200, 5, score);
    for observed in &mut observed {
        observed.point[1] = observed.point[1].filter(|_| observed.score == 1.0);
    }
    let found = checked(importance(&axes, &observed, 1));
    assert!(found.main[0] > 0.95 && found.main[1] < 0.02, "{found:?}");
    observed
        .iter_mut()
        .for_each(|observed| observed.point.truncate(1));
    assert!(checked(importance(&axes, &observed, 1)).main[0] > 0.95);
}

#[test]
fn scores_of_one_number_of_epochs_count() {
    let axes = four_axes();
    let mut observed = scored_by(&axes, 60, 6, |p| p[0]);
    let short = importance(&axes, &observed, 1);
    let mut long = scored_by(&axes, 59, 7, |p| p[1]);
    long.iter_mut().for_each(|observed| observed.epochs = 9);
    observed.splice(30..30, long.clone());
    assert_eq!(importance(&axes, &observed, 1), short);
    // One more, and as many are long as short: then the long ones count.
    observed.push(long[0].clone());
    long.push(long[0].clone());
    assert_eq!(importance(&axes, &observed, 1), importance(&axes, &long, 1));
}

#[test]
fn too_little_says_nothing() {
    let axes = four_axes();
    let observed = scored_by(&axes, 12, 8, |p| p[0]);
    assert_eq!(importance(&axes, &[], 1), None);
    assert_eq!(importance(&axes, &observed[..11], 1), None);
    checked(importance(&axes, &observed, 1));
    let mut failed = observed.clone();
    failed[3].score = f64::NAN;
    assert_eq!(importance(&axes, &failed, 1), None);
    failed.extend(observed);
    checked(importance(&axes, &failed, 1));
    let constant = scored_by(&axes, 50, 8, |_| 0.1);
    assert_eq!(importance(&axes, &constant, 1), None);
    let same_point = vec![constant[0].clone(); 50];
    assert_eq!(importance(&axes, &same_point, 1), None);
}

#[test]
fn axes_of_one_value_and_odd_points_are_borne() {
    let axes = axes(&[
        ("one", Axis::Choice(1)),
        ("none", Axis::Grid(0)),
        ("rate", Axis::Continuous),
        ("steps", Axis::Grid(1 << 40)),
    ]);
    let mut observed = scored_by(&axes, 60, 9, |p| p[2] * 1e9 - 1e12);
    observed[0].point[2] = Some(f64::NAN);
    observed[1].point[2] = Some(1.0);
    observed[2].point[2] = Some(-3.0);
    observed[3].point.clear();
    let found = checked(importance(&axes, &observed, 1));
    assert_eq!(found.main[..2], [0.0, 0.0]);
    assert!(found.main[2] > 0.7, "{found:?}");
    assert_eq!(importance(&[], &observed, 1), None);
}

#[test]
fn the_seed_decides_and_changes_little() {
    let axes = four_axes();
    let observed = scored_by(&axes, 60, 10, |p| p[0] + 0.5 * p[2]);
    let of_seed = |seed| checked(importance(&axes, &observed, seed));
    assert_eq!(of_seed(1), of_seed(1));
    let (one, other) = (of_seed(1), of_seed(2));
    assert_ne!(one, other);
    for (left, right) in one.main.iter().zip(&other.main) {
        assert!((left - right).abs() < 0.06, "{one:?} {other:?}");
    }
}
