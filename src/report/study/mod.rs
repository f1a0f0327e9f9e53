//! report.html and study.csv of a hyper-parameter study: what `weft tune` tried, what came out, what it
//! hung on. Made like the page of a run: Rust writes all text and tables, the script adds charts.

mod best;
mod charts;
mod csv;
mod records;
mod rungs;
mod space;
mod summary;
mod ticks;
mod trials;
mod view;

#[cfg(test)]
mod made_up;
#[cfg(test)]
mod tests;

use anyhow::Result;

pub use self::csv::csv;
pub use self::records::{
    Dimension, FinalRun, Importance, Objective, PlannedRung, Status, StudyRecords, Trial,
    TrialRung, Value,
};
use super::html::frame::{Frame, STYLE};
use super::html::text::{Text, count, json, name};
use crate::text::printable;

const SCRIPT: [&str; 8] = [
    include_str!("../../../assets/report/base.js"),
    include_str!("../../../assets/report/tables.js"),
    include_str!("../../../assets/report/charts.js"),
    include_str!("../../../assets/report/page.js"),
    include_str!("../../../assets/report/study_trials.js"),
    include_str!("../../../assets/report/study_charts.js"),
    include_str!("../../../assets/report/study_parallel.js"),
    include_str!("../../../assets/report/study.js"),
];
const STUDY_STYLE: &str = include_str!("../../../assets/report/study.css");

/// The page. The same records give the same bytes, and it begins as every report of weft's does, so that
/// `html::write` replaces it.
pub fn page(study: &StudyRecords) -> Result<String> {
    let sections = [
        ("summary", "Summary", summary::section(study)),
        ("best", "Best configuration", best::section(study)),
        ("rungs", "Rungs", rungs::section(study)),
        ("history", "Trials in their order", charts::history(study)),
        ("curves", "Learning curves", charts::curves(study)),
        (
            "parallel",
            "All dimensions at once",
            charts::parallel(study),
        ),
        ("importance", "Importance", charts::importance(study)),
        ("values", "Each dimension", charts::values(study)),
        ("trials", "All trials", trials::section(study)),
        ("space", "Search space", space::section(study)),
    ];
    let mut html = String::new();
    let mut navigation = Vec::new();
    for (id, title, body) in sections {
        html += &format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title}</h2>\n\
             {body}</section>\n"
        );
        navigation.push((id.to_owned(), title.to_owned()));
    }
    let title = format!("{}, a study", printable(&study.name));
    let frame = Frame {
        title: &title,
        heading: &format!("{} <span class=\"what\">study</span>", named(&study.name)),
        status: &status(study),
        is_live: !study.finished,
        navigation: &navigation,
        html: &html,
        data: &json(&view::View::new(study))?,
        style: &[STYLE, STUDY_STYLE].concat(),
        scripts: &SCRIPT,
    };
    Ok(frame.page())
}

/// A name from outside, as it is shown: what would turn the text around is written out.
fn named(text: &str) -> String {
    name(&printable(text))
}

/// The line below the heading.
fn status(study: &StudyRecords) -> String {
    let (class, text) = match study.finished {
        true => ("done", "finished"),
        false => ("training", "not finished"),
    };
    format!(
        "<span class=\"status {class}\">{text}: {}</span><span>{}</span><span>{}</span>",
        Text(&count(study.trials.len() as u64, "trial")),
        named(&study.data),
        named(&study.device)
    )
}
