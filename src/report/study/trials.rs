//! The table of all trials.

use super::{Dimension, Status, StudyRecords, Trial, named};
use crate::report::html::table::{Cell, Table, html, number, words};
use crate::report::html::text::{Text, duration};
use crate::text::{printable, thousands};

/// The columns before those of the dimensions.
pub(super) const COLUMNS_BEFORE: usize = 8;
/// What the rows take at most, in bytes. Of more trials the best are shown.
const MOST_BYTES: usize = 3_200_000;

pub(super) fn section(study: &StudyRecords) -> String {
    if study.trials.is_empty() {
        return "<p>No trial has begun.</p>\n".to_owned();
    }
    let shown = shown(study);
    let part = match shown.len() == study.trials.len() {
        true => String::new(),
        false => format!(
            " These are the {} best of {}, to keep this page small.",
            thousands(shown.len() as u64),
            thousands(study.trials.len() as u64)
        ),
    };
    let is_number: Vec<bool> = study.dimensions.iter().map(is_numeric).collect();
    let head = head(study, &is_number);
    let head: Vec<&str> = head.iter().map(|title| &title[..]).collect();
    let mut table = Table::new("All trials", "trials", true, &head);
    let best = study.best().map(|trial| trial.number);
    for trial in shown {
        let class = if Some(trial.number) == best {
            "ours"
        } else {
            ""
        };
        table.row(class, &row(study, trial, &is_number));
    }
    format!(
        "<p>The best is marked; study.csv beside this page has the same table.{part}</p>\n{}",
        table.end()
    )
}

/// The titles of the columns. A leading `#` marks numbers, and none of a name's is taken for it.
fn head(study: &StudyRecords, is_number: &[bool]) -> Vec<String> {
    let objective = format!("#{}", study.objective.title());
    let before: [&str; COLUMNS_BEFORE] = [
        "trial",
        "status",
        &objective,
        "#best epoch",
        "#epochs",
        "rung",
        "bracket",
        "#time",
    ];
    let dimensions = study.dimensions.iter().zip(is_number);
    let dimensions = dimensions.map(|(dimension, is_number)| {
        let title = printable(dimension.name.trim_start_matches('#'));
        format!("{}{title}", if *is_number { "#" } else { "" })
    });
    let before = before.into_iter().map(str::to_owned);
    before
        .chain(dimensions)
        .chain(["folder".to_owned()])
        .collect()
}

/// Whether its values sort by their place on its axis.
fn is_numeric(dimension: &Dimension) -> bool {
    let values = dimension.values.as_ref();
    values.is_none_or(|values| values.iter().all(|value| value.parse::<f64>().is_ok()))
}

/// All of them, if they are not too large, else the best; by number.
fn shown(study: &StudyRecords) -> Vec<&Trial> {
    let mut trials: Vec<&Trial> = study.trials.iter().collect();
    let is_number = vec![true; study.dimensions.len()];
    trials.sort_by(|a, b| {
        let value = |trial: &Trial| trial.counts();
        match (value(a), value(b)) {
            (Some(a), Some(b)) => study.objective.order(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    });
    let mut bytes = 0;
    let fits = |trial: &&&Trial| {
        let mut one = Table::new("", "", true, &[]);
        one.row("", &row(study, trial, &is_number));
        bytes += one.end().len();
        bytes <= MOST_BYTES
    };
    let n = trials.iter().take_while(fits).count();
    trials.truncate(n);
    trials.sort_by_key(|trial| trial.number);
    trials
}

fn row(study: &StudyRecords, trial: &Trial, is_number: &[bool]) -> Vec<Cell> {
    let none = || number("–", f64::NAN);
    let whole = |n: u64| number(thousands(n), n as f64);
    let rung = trial
        .last_rung()
        .map_or("–".to_owned(), |rung| rung.to_string());
    let mut cells = vec![
        words(&trial.number.to_string()),
        html(status(&trial.status)),
        trial
            .best
            .map_or_else(none, |best| number(study.objective.shown(best), best)),
        trial.best_epoch.map_or_else(none, whole),
        whole(trial.epochs()),
        words(&rung),
        words(&trial.bracket.to_string()),
        number(
            duration(trial.seconds()),
            (trial.seconds() * 10.0).round() / 10.0,
        ),
    ];
    for (index, is_number) in is_number.iter().enumerate() {
        cells.push(match trial.values.get(index) {
            Some(Some(value)) if *is_number => {
                number(&value.text[..], (value.position * 1e5).round() / 1e5)
            }
            Some(Some(value)) => html(named(&value.text)),
            _ if *is_number => none(),
            _ => words("–"),
        });
    }
    cells.push(html(format!("<code>{}</code>", named(&trial.folder))));
    cells
}

fn status(status: &Status) -> String {
    match status {
        Status::Running => "running".to_owned(),
        Status::Done => "done".to_owned(),
        Status::Failed(reason) => {
            format!(
                "<span class=\"failed\">failed</span>: {}",
                Text(reason).to_string().replace('\n', "<br>")
            )
        }
    }
}
