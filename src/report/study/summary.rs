//! The first section: what came out, of how much work, under which settings.

use std::fmt::Write as _;

use super::{FinalRun, StudyRecords, named};
use crate::report::html::table::facts;
use crate::report::html::text::{Text, duration, fixed, percent};
use crate::text::thousands;

pub(super) fn section(study: &StudyRecords) -> String {
    let mut html = cards(study);
    html += "<p>All figures of trials on this page are of the <strong>validation split</strong>. The search \
             did not read the test split.</p>\n";
    if let Some(run) = &study.final_run {
        html += &of_test(run);
    }
    html + &settings(study)
}

/// The best value, and which trial has it.
fn best(study: &StudyRecords) -> (String, String) {
    let so_far = if study.finished { "" } else { ", so far" };
    let best = study.best().and_then(|trial| Some((trial, trial.best?)));
    let Some((trial, best)) = best else {
        return ("–".to_owned(), "no trial has a value yet".to_owned());
    };
    let epoch = trial.best_epoch;
    let epoch = epoch.map_or(String::new(), |epoch| format!(" in epoch {epoch}"));
    let below = format!("trial {}{epoch}{so_far}", trial.number);
    (study.objective.shown(best), below)
}

fn cards(study: &StudyRecords) -> String {
    let title = format!("best {}", study.objective.title());
    let (value, below) = best(study);
    let planned = thousands(study.n_planned() as u64);
    let running = match study.n_running() {
        0 => format!("{planned} planned"),
        n => format!("{planned} planned, {n} running"),
    };
    let n_failed = study.n_failed() as u64;
    let failed = match n_failed {
        0 => "none did",
        _ => "their reasons are in the table",
    };
    let seconds = duration(study.seconds + 0.0); // and not "-0.0 s"
    let cards = [
        (" first", &title[..], value, below),
        ("", "trials", thousands(study.trials.len() as u64), running),
        ("", "failed", thousands(n_failed), failed.to_owned()),
        ("", "epochs", thousands(study.epochs_spent), saved(study)),
        ("", "time", seconds, "of all trials".to_owned()),
    ];
    let mut html = String::from("<dl class=\"cards\">\n");
    for (class, title, value, below) in cards {
        let _ = writeln!(
            html,
            "<div class=\"card{class}\"><dt>{}</dt><dd class=\"value\">{}</dd><dd class=\"below\">{}</dd></div>",
            Text(title),
            Text(&value),
            Text(&below)
        );
    }
    html + "</dl>\n"
}

/// What the epochs are to be compared with.
fn saved(study: &StudyRecords) -> String {
    let all = (study.trials.len() as u64).saturating_mul(study.max_epochs);
    match all {
        0 => "spent so far".to_owned(),
        all => format!("of {}, had all trials had all", thousands(all)),
    }
}

/// Said apart: it is another number than those of the search.
fn of_test(run: &FinalRun) -> String {
    format!(
        "<div class=\"final\" role=\"note\" aria-label=\"Final run\"><p><strong>Final run</strong>: trained on {} \
         with the best configuration, then measured once on the <strong>test split</strong>: accuracy \
         <b>{}</b>, loss {}{}. Folder <code>{}</code>.</p></div>\n",
        named(&run.trained_on),
        percent(run.test_accuracy, 2),
        fixed(run.test_loss, 4),
        run.views
            .as_ref()
            .map_or(String::new(), |views| format!(" ({})", Text(views))),
        named(&run.folder)
    )
}

fn settings(study: &StudyRecords) -> String {
    let epochs = match study.has_rungs() {
        true => format!(
            "{} to {}; one of {} goes on to the next rung",
            study.min_epochs, study.max_epochs, study.factor
        ),
        false => study.max_epochs.to_string(),
    };
    let rows = [
        ("Algorithm", named(&study.algorithm)),
        ("Configurations drawn", named(&study.sampling)),
        ("Objective", Text(study.objective.title()).to_string()),
        ("Epochs of a trial", Text(&epochs).to_string()),
        ("Dimensions", study.dimensions.len().to_string()),
        ("Seed", study.seed.to_string()),
        ("Data", named(&study.data)),
        ("Device", named(&study.device)),
        ("Folder", format!("<code>{}</code>", named(&study.root))),
        ("Started", named(&study.started)),
        ("weft", named(&study.weft)),
    ];
    facts(&rows)
}
