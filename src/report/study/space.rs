//! What was searched: each dimension with its values.

use super::ticks::short;
use super::{Dimension, StudyRecords, named};
use crate::report::html::table::{Table, html, words};
use crate::text::thousands;

/// Of longer lists of values the first so many are shown, and the last.
const MOST_VALUES: usize = 12;

pub(super) fn section(study: &StudyRecords) -> String {
    if study.dimensions.is_empty() {
        return "<p>The search has no dimension.</p>\n".to_owned();
    }
    let head = ["dimension", "values", "scale", "sets", "only where"];
    let mut table = Table::new("Dimensions of the search", "space", false, &head);
    for dimension in &study.dimensions {
        let keys = dimension
            .keys
            .iter()
            .map(|key| format!("<code>{}</code>", named(key)));
        let condition = match &dimension.condition {
            Some(condition) => html(format!("<code>{}</code>", named(condition))),
            None => words(""),
        };
        let cells = [
            html(named(&dimension.name)),
            html(values(dimension)),
            words(scale(dimension)),
            html(keys.collect::<Vec<_>>().join(", ")),
            condition,
        ];
        table.row("", &cells);
    }
    table.end()
}

fn values(dimension: &Dimension) -> String {
    let Some(values) = &dimension.values else {
        return format!("{} to {}", short(dimension.min), short(dimension.max));
    };
    let shown = |values: &[String]| {
        let codes = values
            .iter()
            .map(|value| format!("<code>{}</code>", named(value)));
        codes.collect::<Vec<_>>().join(", ")
    };
    match &values[..] {
        [first @ .., last] if first.len() >= MOST_VALUES => format!(
            "{}, …, {} ({} values)",
            shown(&first[..MOST_VALUES - 1]),
            shown(std::slice::from_ref(last)),
            thousands(values.len() as u64)
        ),
        all => shown(all),
    }
}

fn scale(dimension: &Dimension) -> &'static str {
    let is_number = |text: &String| text.parse::<f64>().is_ok();
    match &dimension.values {
        Some(values) if !values.iter().all(is_number) => "",
        _ if dimension.log => "logarithmic",
        _ => "linear",
    }
}
