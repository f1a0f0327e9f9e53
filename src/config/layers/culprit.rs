//! Finds the value that serde rejected.
//!
//! serde says what is wrong but, inside a section with a `kind`, not where: it reads such a section
//! into a buffer first and forgets the places. So the place is found by experiment: change one
//! suspect, deserialize again, and see whether the message changes with it.

use toml::Value;

use super::{Path, get, get_mut};

/// A text that no one writes, to recognise in a message.
const MARK: &str = "\u{0}weft";

/// A long file is searched for a second at most; then the error stands without its line.
const MOST_VALUES_READ: usize = 500_000;
const FEWEST_ATTEMPTS: usize = 16;

/// What serde's message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    UnknownKey { key: String, valid: Vec<String> },
    UnknownVariant { variant: String, valid: Vec<String> },
    MissingKey { key: String },
    Mismatch { found: String, expected: String },
    Other,
}

/// The rejected value (for a missing key: the section that lacks it).
#[derive(Debug)]
pub(super) struct Culprit {
    pub(super) path: Path,
    /// The message once the value is changed: for a missing `kind`, it lists the kinds.
    pub(super) next_message: Option<String>,
}

/// Deserializes changed values: the message of the failure, if it fails.
pub(super) type Attempt<'a> = &'a dyn Fn(&Value) -> Option<String>;

impl Rejection {
    pub(super) fn read(message: &str) -> Rejection {
        if let Some((key, valid)) = name_and_valid(message, "unknown field `") {
            return Rejection::UnknownKey { key, valid };
        }
        if let Some((variant, valid)) = name_and_valid(message, "unknown variant `") {
            return Rejection::UnknownVariant { variant, valid };
        }
        if let Some(rest) = message.strip_prefix("missing field `") {
            return Rejection::MissingKey {
                key: rest.trim_end_matches('`').to_owned(),
            };
        }
        let mismatch = ["invalid type: ", "invalid value: ", "invalid "]
            .iter()
            .find_map(|prefix| message.strip_prefix(prefix)?.rsplit_once(", expected "));
        match mismatch {
            Some((found, expected)) => Rejection::Mismatch {
                found: found.to_owned(),
                expected: expected.to_owned(),
            },
            None => Rejection::Other,
        }
    }
}

/// "unknown field `x`, expected one of `a`, `b`" -> x, [a, b].
fn name_and_valid(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?;
    // The name is whatever was typed and may hold anything, so the end is looked for from behind.
    let end = rest
        .rfind("`, expected ")
        .or_else(|| rest.rfind("`, there are no "))?;
    let valid = rest[end + 1..]
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    Some((rest[..end].to_owned(), valid))
}

pub(super) fn find(values: &Value, message: &str, attempt: Attempt<'_>) -> Option<Culprit> {
    let search = Search {
        values,
        message,
        attempt,
    };
    let found = match Rejection::read(message) {
        Rejection::UnknownKey { key, .. } => search.unknown_key(&key),
        Rejection::UnknownVariant { variant, .. } => search.unknown_variant(&variant),
        Rejection::MissingKey { key } => search.missing_key(&key),
        Rejection::Mismatch { found, expected } => search.mismatch(&found, &expected),
        Rejection::Other => None,
    };
    found.or_else(|| search.by_removal())
}

struct Search<'a> {
    values: &'a Value,
    message: &'a str,
    attempt: Attempt<'a>,
}

impl Search<'_> {
    fn unknown_key(&self, key: &str) -> Option<Culprit> {
        // The key with a zero byte behind it sorts right after the key, so no other key overtakes it.
        let renamed = format!("{key}\u{0}");
        let expected = self
            .message
            .replacen(&format!("`{key}`"), &format!("`{renamed}`"), 1);
        self.first_guilty(
            |path, _| path.last().is_some_and(|last| last == key),
            |values, path| rename(values, path, &renamed),
            |next| next == Some(&expected),
        )
    }

    fn unknown_variant(&self, variant: &str) -> Option<Culprit> {
        let renamed = format!("{variant}\u{0}");
        let expected = self
            .message
            .replacen(&format!("`{variant}`"), &format!("`{renamed}`"), 1);
        self.first_guilty(
            |_, value| value.as_str() == Some(variant),
            |values, path| replace(values, path, Value::String(renamed.clone())),
            |next| next == Some(&expected),
        )
    }

    fn missing_key(&self, key: &str) -> Option<Culprit> {
        let not_wanted_here = format!("unknown field `{key}`");
        self.first_guilty(
            |_, value| {
                value
                    .as_table()
                    .is_some_and(|table| !table.contains_key(key))
            },
            |values, path| {
                if let Some(Value::Table(table)) = get_mut(values, path) {
                    table.insert(key.to_owned(), Value::String(MARK.to_owned()));
                }
            },
            |next| {
                next != Some(self.message)
                    && !next.is_some_and(|next| next.starts_with(&not_wanted_here))
            },
        )
    }

    fn mismatch(&self, found: &str, expected: &str) -> Option<Culprit> {
        let shown_mark = format!("{MARK:?}");
        self.first_guilty(
            |_, value| may_be(value, found),
            |values, path| replace(values, path, Value::String(MARK.to_owned())),
            |next| match next {
                Some(next) if next == self.message => false,
                // Refused as text where a different thing is wanted: an innocent, and now spoilt.
                Some(next) if next.contains(&shown_mark) => {
                    next.ends_with(expected) || expected.starts_with("fewer elements")
                }
                _ => true,
            },
        )
    }

    /// For the messages of a type's own checks, which have no fixed form.
    fn by_removal(&self) -> Option<Culprit> {
        self.first_guilty(
            |path, value| !path.is_empty() && !value.is_table() && !value.is_array(),
            remove,
            |next| {
                next != Some(self.message)
                    && !next.is_some_and(|next| next.starts_with("missing field"))
            },
        )
    }

    /// Changes one suspect after another until the message shows that it was the one. serde stops at
    /// the first mistake, so the suspects are tried from last to first: those behind the mistake
    /// make no difference, and stay changed, so that two equal mistakes are told apart.
    fn first_guilty(
        &self,
        is_suspect: impl Fn(&[String], &Value) -> bool,
        change: impl Fn(&mut Value, &[String]),
        is_guilty: impl Fn(Option<&str>) -> bool,
    ) -> Option<Culprit> {
        let mut suspects = Vec::new();
        walk(self.values, &mut Vec::new(), &mut |path, value| {
            if is_suspect(path, value) {
                suspects.push(path.to_vec());
            }
        });
        let (mut values, n_left) = self.without_the_innocent_end(&suspects, &change);
        suspects.truncate(n_left);
        let n_attempts = (MOST_VALUES_READ / count(self.values)).max(FEWEST_ATTEMPTS);
        for path in suspects.into_iter().rev().take(n_attempts) {
            let mut changed = values.clone();
            change(&mut changed, &path);
            let next_message = (self.attempt)(&changed);
            if is_guilty(next_message.as_deref()) {
                return Some(Culprit { path, next_message });
            }
            if next_message.as_deref() == Some(self.message) {
                values = changed;
            }
        }
        None
    }

    /// The values with the end of the suspects changed, as far as that makes no difference, and the
    /// number of suspects before it. Halving the list finds it: a file may hold thousands of them.
    fn without_the_innocent_end(
        &self,
        suspects: &[Path],
        change: &impl Fn(&mut Value, &[String]),
    ) -> (Value, usize) {
        let mut best = (self.values.clone(), suspects.len());
        let mut least = 0;
        while least < best.1 {
            let middle = least + (best.1 - least) / 2;
            let mut changed = best.0.clone();
            for path in suspects[middle..best.1].iter().rev() {
                change(&mut changed, path);
            }
            if (self.attempt)(&changed).as_deref() == Some(self.message) {
                best = (changed, middle);
            } else {
                least = middle + 1;
            }
        }
        best
    }
}

/// How many values.
fn count(values: &Value) -> usize {
    let mut n_values = 0;
    walk(values, &mut Vec::new(), &mut |_, _| n_values += 1);
    n_values
}

/// Whether serde may have described this value as `found`.
fn may_be(value: &Value, found: &str) -> bool {
    match value {
        Value::Boolean(value) => found == format!("boolean `{value}`") || found == "unit variant",
        Value::Integer(value) => found == format!("integer `{value}`") || found == "unit variant",
        Value::Float(_) => found.starts_with("floating point ") || found == "unit variant",
        Value::String(text) => found == format!("string {text:?}"),
        Value::Datetime(date) => found == format!("string \"{date}\"") || found == "unit variant",
        Value::Table(_) => ["map", "unit variant"].contains(&found),
        Value::Array(elements) => {
            ["sequence", "unit variant"].contains(&found)
                || found == format!("length {}", elements.len())
        }
    }
}

/// Every value with its path, in the order in which serde reads them.
fn walk(value: &Value, path: &mut Path, visit: &mut impl FnMut(&[String], &Value)) {
    visit(path, value);
    let children: Vec<(String, &Value)> = match value {
        Value::Table(table) => table
            .iter()
            .map(|(key, child)| (key.clone(), child))
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(index, child)| (index.to_string(), child))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        path.push(key);
        walk(child, path, visit);
        path.pop();
    }
}

fn replace(values: &mut Value, path: &[String], new: Value) {
    if let Some(value) = get_mut(values, path) {
        *value = new;
    }
}

fn rename(values: &mut Value, path: &[String], new_key: &str) {
    let Some((key, parent)) = path.split_last() else {
        return;
    };
    if let Some(Value::Table(table)) = get_mut(values, parent) {
        // Rebuilt rather than removed and inserted: the order must hold.
        *table = std::mem::take(table)
            .into_iter()
            .map(|(k, value)| {
                if k == *key {
                    (new_key.to_owned(), value)
                } else {
                    (k, value)
                }
            })
            .collect();
    }
}

fn remove(values: &mut Value, path: &[String]) {
    let Some((key, parent)) = path.split_last() else {
        return;
    };
    if get(values, path).is_none() {
        return;
    }
    match get_mut(values, parent) {
        Some(Value::Table(table)) => {
            table.remove(key);
        }
        Some(Value::Array(elements)) => {
            if let Ok(index) = key.parse::<usize>() {
                elements.remove(index);
            }
        }
        _ => {}
    }
}
