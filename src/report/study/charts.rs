//! The sections with charts. What each shows is said in words too, and the numbers are in the tables.

use super::rungs::median;
use super::view::{MOST_CURVES, shown_curves};
use super::{Objective, StudyRecords, named};
use crate::report::html::frame::chart;
use crate::report::html::table::{Table, bar, html, with_bar};
use crate::report::html::text::{count, percent};
use crate::text::thousands;

/// Of fewer trials an estimate is said to be rough.
const FEW_TRIALS: usize = 100;
const NONE: &str = "<p>No trial has a value yet.</p>\n";

fn has_values(study: &StudyRecords) -> bool {
    study.trials.iter().any(|trial| trial.counts().is_some())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The best value of each trial, and the best so far.
pub(super) fn history(study: &StudyRecords) -> String {
    if !has_values(study) {
        return NONE.to_owned();
    }
    let objective = study.objective;
    let mut values: Vec<f64> = study
        .trials
        .iter()
        .filter_map(|trial| trial.counts())
        .collect();
    values.sort_by(|a, b| objective.order(*a, *b));
    let of_best = study
        .best()
        .and_then(|trial| Some((trial.number, trial.best?)));
    let mut summary = of_best.map_or(String::new(), |(number, best)| {
        format!("Trial {number} is the best: {}. ", objective.shown(best))
    });
    if let Some(median) = median(&values).filter(|_| values.len() > 2) {
        summary += &format!(
            "Half of {} with a value reach {} or better. ",
            count(values.len() as u64, "trial"),
            objective.shown(median)
        );
    }
    if study.n_failed() > 0 {
        summary += &format!("{} failed: a cross at the lower edge. ", study.n_failed());
    }
    summary += "The line is the best so far. On the axis of the better half, what is worse stands faint at its edge.";
    let title = format!("{} of each trial", capital(objective.title()));
    format!(
        "<div class=\"tools\" id=\"history-tools\"></div>\n{}",
        chart("history", &title, &summary)
    )
}

/// The epochs of the trials.
pub(super) fn curves(study: &StudyRecords) -> String {
    let all = study
        .trials
        .iter()
        .filter(|trial| !trial.curve.is_empty())
        .count();
    let shown = shown_curves(study).len();
    if shown == 0 {
        return "<p>No epoch is done yet.</p>\n".to_owned();
    }
    let part = match shown == all {
        true => format!("{}.", capital(&count(shown as u64, "trial"))),
        false => format!(
            "{} of {} trials, so that this page stays small: the {} best, and some of the others.",
            thousands(shown as u64),
            thousands(all as u64),
            MOST_CURVES / 2
        ),
    };
    let title = format!("{} after each epoch", capital(study.objective.title()));
    let summary = format!("{part} A line ends where its trial was stopped, failed, or is now.");
    format!(
        "<div class=\"tools\" id=\"curves-tools\"></div>\n{}",
        chart("curves", &title, &summary)
    )
}

/// Parallel coordinates.
pub(super) fn parallel(study: &StudyRecords) -> String {
    if !has_values(study) || study.dimensions.is_empty() {
        return NONE.to_owned();
    }
    let summary = format!(
        "One axis for each dimension, the {} on the right; one line for each trial with a value, the better the \
         stronger. A value that is not set in a trial is below its axis. Drag along an axis to see only the \
         trials that pass there.",
        study.objective.title()
    );
    format!(
        "<div class=\"tools\" id=\"parallel-tools\"></div>\n{}",
        chart("parallel", "Trials", &summary)
    )
}

/// One small chart for each dimension.
pub(super) fn values(study: &StudyRecords) -> String {
    if !has_values(study) || study.dimensions.is_empty() {
        return NONE.to_owned();
    }
    let objective = study.objective.title();
    let better = match study.objective {
        Objective::ValidationAccuracy => "higher",
        Objective::ValidationLoss => "lower",
    };
    let mut html = format!(
        "<p>Each point is a trial: the value of the dimension across, the {objective} up ({better} is better). A \
         trial that was stopped early has its value of then.</p>\n\
         <div class=\"tools\" id=\"values-tools\"></div>\n<div class=\"charts small\">\n"
    );
    for (index, dimension) in study.dimensions.iter().enumerate() {
        let active = study
            .trials
            .iter()
            .filter(|trial| matches!(trial.values.get(index), Some(Some(_))));
        let n = active.filter(|trial| trial.counts().is_some()).count();
        let scale = if dimension.log { "Logarithmic. " } else { "" };
        let summary = format!("{scale}{}.", capital(&count(n as u64, "trial")));
        html += &chart(&format!("value-{index}"), &named(&dimension.name), &summary);
    }
    html + "</div>\n"
}

/// What the objective hung on.
pub(super) fn importance(study: &StudyRecords) -> String {
    let Some(found) = &study.importance else {
        return "<p>Too few trials for an estimate of how much each dimension matters.</p>\n"
            .to_owned();
    };
    let n = found.n_trials;
    let few = if n < FEW_TRIALS {
        ", which are few"
    } else {
        ""
    };
    format!(
        "<p>How much of the variance of the {} each dimension explains alone: the main effects of a functional \
         ANOVA (fANOVA) of a model that was fitted to the trials. The rest is what several dimensions do \
         together. It is an estimate from {} after {}{few}, and over the whole space that was searched: a dimension that \
         hardly matters near the best may stand high here.</p>\n{}",
        study.objective.title(),
        count(n as u64, "trial"),
        count(found.epochs, "epoch"),
        shares_table(study, &found.shares, found.interactions)
    )
}

/// The largest share first, that of interactions last.
fn shares_table(study: &StudyRecords, shares: &[f64], interactions: f64) -> String {
    let dimensions = study.dimensions.iter().zip(shares);
    let mut rows: Vec<(f64, String)> = dimensions
        .map(|(dimension, share)| (*share, named(&dimension.name)))
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let head = ["dimension", "#share of the variance"];
    let mut table = Table::new("Importance", "importance", false, &head);
    let mut row = |class: &str, share: f64, title: String| {
        let bar = bar(if share.is_finite() { share } else { 0.0 }, "validation");
        table.row(
            class,
            &[html(title), with_bar(&percent(share, 1), share, &bar)],
        );
    };
    for (share, title) in rows {
        row("", share, title);
    }
    row("mean", interactions, "interactions of several".to_owned());
    table.end()
}
