//! Values, keys and names as an error shows them: each fit to stand in one line.

use toml::Value;

use super::child;

/// A value as an error shows it.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Table(_) => "a section".to_owned(),
        Value::Array(elements) if elements.len() == 1 => "a list of 1 value".to_owned(),
        Value::Array(elements) => format!("a list of {} values", elements.len()),
        // TOML would spread text with line breaks over several lines.
        Value::String(text) => one_line(&format!("{text:?}")),
        scalar => scalar.to_string(),
    }
}

/// `model.blocks[1].filter`
pub(super) fn dotted(values: &Value, path: &[String]) -> String {
    let mut shown = String::new();
    let mut node = Some(values);
    for key in path {
        shown = match node {
            Some(Value::Array(_)) => format!("{shown}[{key}]"),
            _ => join(&shown, &quoted_if_odd(key)),
        };
        node = node.and_then(|value| child(value, key));
    }
    one_line(&shown)
}

pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

pub(super) fn quoted_if_odd(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// `a`, `b` or `c`
pub(super) fn list(names: &[String], quote: char, before_last: &str) -> String {
    let shown: Vec<String> = names
        .iter()
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("{} {before_last} {last}", rest.join(", "))
        }
        Some((only, _)) => only.clone(),
        None => "nothing".to_owned(),
    }
}

/// Text from outside, fit to stand in one line of an error.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 120;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The name that was probably meant, if one is close.
pub(super) fn nearest<'a>(typed: &str, names: &'a [String]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let typed = plain(typed);
    let (edits, name) = names
        .iter()
        .map(|name| (n_edits(&typed, &plain(name)), name))
        .min()?;
    let longer = typed.chars().count().max(name.chars().count());
    (edits <= (longer / 3).max(1) && edits < longer).then_some(name)
}

/// How many letters to insert, delete, replace or swap with their neighbour to turn one word into the
/// other (Damerau and Levenshtein's distance, each letter touched once).
pub(super) fn n_edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // rows[i][j]: the edits from the first i letters of `from` to the first j of `to`.
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
