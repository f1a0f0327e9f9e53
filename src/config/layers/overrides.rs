//! `--set key=value`: reading one, and laying it over the file.

use std::collections::BTreeMap;

use toml::Value;

use super::words::{describe, dotted, one_line};
use super::{ConfigError, Merged, Origin, Path, child, child_mut, get, get_mut};

/// What follows a key goes down one call per part; TOML's own parser stops at about as many.
const DEEPEST_KEY: usize = 80;

#[derive(Debug, Clone)]
pub(super) struct Override {
    /// Where it was given, for the start of an error: `--set model.dropout=2`, made fit for one line.
    pub(super) origin: String,
    path: Path,
    value: Value,
}

/// `model.blocks[1].filters` and `model.blocks.1.filters` are the same key: errors print the first
/// form, and a shell takes the second without quotes.
pub(super) fn split_key(dotted_key: &str) -> Path {
    dotted_key
        .replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(|k| k.trim().to_owned())
        .collect()
}

impl Override {
    pub(super) fn read(assignment: &str) -> Result<Self, ConfigError> {
        let origin = format!("--set {}", one_line(assignment));
        let hint = "write `--set key=value`, for example `--set model.dropout=0.2`";
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(ConfigError::new(format!("{origin}: there is no `=`"), hint));
        };
        let value = value.trim();
        // `data.source=/some/dir` and `name=mine` need no quotes, which a shell would eat.
        let value = value
            .parse()
            .unwrap_or_else(|_| Value::String(value.to_owned()));
        Self::new(origin, key, value, hint)
    }

    /// A value for a key, given at `origin`; `hint` says how such a thing is written.
    pub(super) fn new(
        origin: String,
        key: &str,
        value: Value,
        hint: &str,
    ) -> Result<Self, ConfigError> {
        let complain = |what: &str| Err(ConfigError::new(format!("{origin}: {what}"), hint));
        if key.trim().is_empty() {
            return complain("there is no key before the `=`");
        }
        let path = split_key(key);
        if path.iter().any(String::is_empty) {
            return complain("a part of the key is empty");
        }
        if path.len() > DEEPEST_KEY {
            return complain("the key has too many parts");
        }
        Ok(Override {
            origin,
            path,
            value,
        })
    }

    /// Puts the value into the document, making the sections on the way to it.
    pub(super) fn place(&self, merged: &mut Merged, index: usize) -> Result<(), ConfigError> {
        self.check_way(&merged.values)?;
        let mut node = &mut merged.values;
        for (depth, key) in self.path.iter().enumerate() {
            let is_new = child(node, key).is_none();
            if is_new {
                merged
                    .origins
                    .insert(self.path[..=depth].to_vec(), Origin::Override(index));
            }
            node = match node {
                Value::Table(table) => table
                    .entry(key.clone())
                    .or_insert_with(|| Value::Table(toml::Table::new())),
                // `check_way` has found every other step to be possible.
                other => match child_mut(other, key) {
                    Some(next) => next,
                    None => return Err(self.complaint("this key leads nowhere", "check the key")),
                },
            };
        }
        *node = self.value.clone();
        forget_below(&mut merged.origins, &self.path);
        merged
            .origins
            .insert(self.path.clone(), Origin::Override(index));
        Ok(())
    }

    /// Whether each part of the key leads on. A section that is not there yet can be made; an
    /// element of a list cannot.
    fn check_way(&self, values: &Value) -> Result<(), ConfigError> {
        for (depth, key) in self.path.iter().enumerate() {
            let parent_path = &self.path[..depth];
            let parent = get(values, parent_path);
            let shown = dotted(values, parent_path);
            let is_index = key.bytes().all(|byte| byte.is_ascii_digit());
            match parent {
                Some(Value::Table(table)) if depth == 0 || !is_index || table.contains_key(key) => {
                }
                Some(Value::Array(elements)) => self.check_index(key, &shown, elements.len())?,
                Some(Value::Table(_)) | None if is_index => {
                    return Err(self.complaint(
                        &format!("there is no list `{shown}` with an element {key}"),
                        &format!(
                            "a list can be given as a whole: {}",
                            self.typed(&format!("{shown}=[…]"), "'")
                        ),
                    ));
                }
                None => {}
                Some(other) => {
                    return Err(self.complaint(
                        &format!(
                            "`{shown}` is {}, so no key stands below it",
                            describe(other)
                        ),
                        &format!(
                            "to change it, write {}",
                            self.typed(&format!("{shown}=value"), "")
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_index(&self, key: &str, list: &str, n_elements: usize) -> Result<(), ConfigError> {
        // Compared as text, so that `+1` and `01` are refused like any other stray word.
        if (0..n_elements).any(|index| index.to_string() == key) {
            return Ok(());
        }
        let hint = match n_elements {
            0 => "the list is empty".to_owned(),
            1 => format!("it has one element, `{list}.0`"),
            n => format!("its {n} elements are `{list}.0` to `{list}.{}`", n - 1),
        };
        Err(self.complaint(
            &format!("the list `{list}` has no element `{}`", one_line(key)),
            &hint,
        ))
    }

    /// An assignment in the way that this one was given.
    fn typed(&self, assignment: &str, quote: &str) -> String {
        match self.origin.starts_with("--set ") {
            true => format!("`--set {quote}{assignment}{quote}`"),
            false => format!("`{assignment}`"),
        }
    }

    fn complaint(&self, what: &str, hint: &str) -> ConfigError {
        ConfigError::new(format!("{}: {what}", self.origin), hint)
    }
}

/// Empties the sections of the file whose `kind` an override changes: what stood there belongs to
/// the other kind. Done before any override is placed, so what overrides give stays, in any order.
pub(super) fn forget_other_kinds(merged: &mut Merged, overrides: &[Override]) {
    let mut kinds = BTreeMap::new();
    for each in overrides {
        if let [section @ .., last] = each.path.as_slice()
            && last == "kind"
            && !section.is_empty()
        {
            // A later override of the same kind wins.
            kinds.insert(section, &each.value);
        }
    }
    for (section, kind) in kinds {
        if let Some(Value::Table(table)) = get_mut(&mut merged.values, section)
            && table.get("kind").is_some_and(|old| old != kind)
        {
            table.clear();
            forget_below(&mut merged.origins, section);
        }
    }
}

fn forget_below(origins: &mut BTreeMap<Path, Origin>, path: &[String]) {
    origins.retain(|other, _| other.len() <= path.len() || !other.starts_with(path));
}
