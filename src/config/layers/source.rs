//! Reads TOML text into plain values and the line of every key, and words its syntax errors.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::words::{dotted, one_line};
use super::{ConfigError, Path};

pub(super) fn read(name: &str, text: &str) -> Result<(Value, BTreeMap<Path, usize>), ConfigError> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok((Value::Table(table), lines_of_keys(text))),
        Err(error) => Err(syntax_error(name, text, error.message(), error.span())),
    }
}

fn lines_of_keys(text: &str) -> BTreeMap<Path, usize> {
    let starts = line_starts(text);
    let mut lines = BTreeMap::new();
    // The recoverable parse serves text with one known mistake too (see `duplicate_key`).
    let (document, _errors) = DeTable::parse_recoverable(text);
    record_table(document.get_ref(), &mut Vec::new(), &mut |path, span| {
        lines.insert(path.to_vec(), line_at(&starts, span.start));
    });
    lines
}

fn record_table(
    table: &DeTable<'_>,
    path: &mut Path,
    record: &mut impl FnMut(&[String], Range<usize>),
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        record(path, key.span());
        record_value(value.get_ref(), path, record);
        path.pop();
    }
}

fn record_value(
    value: &DeValue<'_>,
    path: &mut Path,
    record: &mut impl FnMut(&[String], Range<usize>),
) {
    match value {
        DeValue::Table(table) => record_table(table, path, record),
        DeValue::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                path.push(index.to_string());
                record(path, element.span());
                record_value(element.get_ref(), path, record);
                path.pop();
            }
        }
        _ => {}
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect()
}

fn line_at(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|&start| start <= offset)
}

fn syntax_error(name: &str, text: &str, message: &str, span: Option<Range<usize>>) -> ConfigError {
    let span = span.unwrap_or(0..0);
    let starts = line_starts(text);
    let line = line_at(&starts, span.start);
    if message == "duplicate key"
        && let Some(error) = duplicate_key(name, text, &span, line)
    {
        return error;
    }
    let start = starts[line - 1];
    let column = text
        .get(start..span.start)
        .map_or(0, |before| before.chars().count())
        + 1;
    let whole_line = text.lines().nth(line - 1).unwrap_or_default().trim();
    let (what, hint) = reword(message, text.get(span).unwrap_or_default(), whole_line);
    ConfigError::new(format!("{name}:{line}:{column}: {what}"), hint)
}

/// The parser's message for the commonest mistakes in the words of a newcomer.
fn reword(message: &str, found: &str, whole_line: &str) -> (String, String) {
    let the_line = format!("the line reads `{}`", one_line(whole_line));
    let found = one_line(found);
    if message.starts_with("string values must be quoted") {
        if found.is_empty() {
            return ("a value is missing".to_owned(), the_line);
        }
        // `3 4` is more likely a forgotten comma than text.
        let is_text = !found.starts_with(|c: char| c.is_ascii_digit());
        let hint = if is_text {
            format!("put text in quotes: {found:?}")
        } else {
            the_line
        };
        return (format!("`{found}` is not a TOML value"), hint);
    }
    if message.contains("as i128") || message.contains("as u128") {
        return (format!("the number {found} is too large"), the_line);
    }
    (one_line(message), the_line)
}

/// The parser gives the place but not the section. So the second of the two keys gets a name that
/// nothing else has, and is then looked up in the text parsed again.
fn duplicate_key(name: &str, text: &str, span: &Range<usize>, line: usize) -> Option<ConfigError> {
    const STAND_IN: &str = "weft-stand-in-for-a-duplicate-key";
    let raw_key = text.get(span.clone())?;
    let (key, _) = format!("{raw_key} = 0")
        .parse::<toml::Table>()
        .ok()?
        .into_iter()
        .next()?;
    let renamed = format!("{}{STAND_IN}{}", &text[..span.start], &text[span.end..]);
    let lines = lines_of_keys(&renamed);
    let mut path = lines
        .keys()
        .find(|path| path.last().is_some_and(|k| k == STAND_IN))?
        .clone();
    *path.last_mut()? = key;

    let hint = match lines.get(&path) {
        Some(first) if *first != line => format!("line {first} has it too; keep one of the two"),
        _ => "keep one of the two".to_owned(),
    };
    let values = renamed
        .parse::<toml::Table>()
        .map_or_else(|_| Value::Boolean(false), Value::Table);
    let shown = dotted(&values, &path);
    Some(ConfigError::new(
        format!("{name}:{line}: `{shown}` is given twice"),
        hint,
    ))
}
