//! The best configuration, to read and to use.

use super::{StudyRecords, Trial, named};
use crate::report::html::table::{Table, html, words};
use crate::report::html::text::Text;

pub(super) fn section(study: &StudyRecords) -> String {
    let Some(trial) = study.best() else {
        return "<p>No trial has a value yet.</p>\n".to_owned();
    };
    let value = trial
        .best
        .map_or(String::new(), |best| study.objective.shown(best));
    let so_far = if study.finished { "" } else { " so far" };
    let mut html = format!(
        "<p>Trial {}, {} {}: the best{so_far}. Folder <code>{}</code>.</p>\n{}",
        trial.number,
        study.objective.title(),
        Text(&value),
        named(&trial.folder),
        values(study, trial)
    );
    let root = Text(study.root.trim_end_matches('/')).to_string();
    html += &format!(
        "<p><code>weft train {root}/best.toml</code> trains it again.<br>\n\
         <code>weft tune {root} --final</code> trains it for good and measures it on the test split, once.</p>\n"
    );
    if let Some(config) = &study.best_config {
        html += &format!(
            "<details><summary>The whole configuration, best.toml</summary>\n<div class=\"copy\">\
             <pre class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"best.toml\"><code>{}</code></pre>\
             </div></details>\n",
            Text(config.trim_end())
        );
    }
    html
}

fn values(study: &StudyRecords, trial: &Trial) -> String {
    let mut table = Table::new(
        "Best values",
        "best-values",
        false,
        &["dimension", "value", "sets"],
    );
    for (dimension, value) in study.dimensions.iter().zip(&trial.values) {
        let keys = dimension
            .keys
            .iter()
            .map(|key| format!("<code>{}</code>", named(key)));
        let value = match value {
            Some(value) => html(format!("<code>{}</code>", named(&value.text))),
            None => words("not set"),
        };
        let keys = keys.collect::<Vec<_>>().join(", ");
        table.row("", &[html(named(&dimension.name)), value, html(keys)]);
    }
    table.end()
}
