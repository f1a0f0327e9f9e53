//! What was planned for each rung of each bracket, and what came of it.

use std::collections::BTreeSet;

use super::{Objective, PlannedRung, StudyRecords, TrialRung};
use crate::report::html::table::{Cell, Table, number, words};
use crate::report::html::text::duration;
use crate::text::thousands;

pub(super) fn section(study: &StudyRecords) -> String {
    let planned = study.planned.iter().map(|planned| planned.bracket);
    let begun = study.trials.iter().map(|trial| trial.bracket);
    let brackets: BTreeSet<usize> = planned.chain(begun).collect();
    if brackets.is_empty() {
        return "<p>Nothing is planned yet.</p>\n".to_owned();
    }
    let mut html = match study.has_rungs() {
        true => format!(
            "<p>A bracket begins with many trials. Those that are best after the epochs of a rung, one in {}, go \
             on to the next. Epochs are all that a trial has been trained for by then.</p>\n",
            study.factor
        ),
        false => "<p>Every trial is trained for all its epochs.</p>\n".to_owned(),
    };
    html += "<div class=\"rungs\">\n";
    for bracket in brackets {
        html += &format!(
            "<div><h3>Bracket {bracket}</h3>\n{}</div>\n",
            table(study, bracket)
        );
    }
    html + "</div>\n"
}

fn table(study: &StudyRecords, bracket: usize) -> String {
    let head = [
        "rung", "#epochs", "#planned", "#done", "#best", "#median", "#time",
    ];
    let mut table = Table::new(
        &format!("Rungs of bracket {bracket}"),
        "rungs",
        false,
        &head,
    );
    let of_bracket = || study.trials.iter().filter(|trial| trial.bracket == bracket);
    let planned = || {
        study
            .planned
            .iter()
            .filter(|planned| planned.bracket == bracket)
    };
    let done = of_bracket().flat_map(|trial| trial.rungs.iter().map(|rung| rung.rung));
    let rungs: BTreeSet<usize> = planned().map(|planned| planned.rung).chain(done).collect();
    for rung in rungs {
        let done: Vec<&TrialRung> = of_bracket()
            .flat_map(|trial| &trial.rungs)
            .filter(|it| it.rung == rung)
            .collect();
        let plan = planned().find(|planned| planned.rung == rung);
        table.row("", &row(study.objective, rung, plan, &done));
    }
    table.end()
}

/// A rung: what was planned, and what the trials did that are through it.
fn row(
    objective: Objective,
    rung: usize,
    plan: Option<&PlannedRung>,
    done: &[&TrialRung],
) -> [Cell; 7] {
    let epochs = done.iter().map(|it| it.epochs).max();
    let seconds: f64 = done.iter().map(|it| it.seconds).sum();
    let mut values: Vec<f64> = done.iter().map(|it| it.value).collect();
    values.retain(|value| value.is_finite());
    values.sort_by(|a, b| objective.order(*a, *b));
    let whole = |n: Option<u64>| n.map_or(none(), |n| number(thousands(n), n as f64));
    let value =
        |value: Option<f64>| value.map_or(none(), |value| number(objective.shown(value), value));
    [
        words(&rung.to_string()),
        whole(plan.map(|plan| plan.epochs).or(epochs)),
        whole(plan.map(|plan| plan.n_trials as u64)),
        whole(Some(done.len() as u64)),
        value(values.first().copied()),
        value(median(&values)),
        match done {
            [] => none(),
            _ => number(duration(seconds), seconds),
        },
    ]
}

fn none() -> Cell {
    number("–", f64::NAN)
}

/// Of values in order.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}
