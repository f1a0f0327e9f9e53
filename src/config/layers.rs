//! TOML text plus `--set key=value` overrides, turned into a typed config, with errors that name the
//! line, the full key and the fix. Generic over the config type: it knows no key of weft's own.
//!
//! `file` reads a file, `source` its text and keeps the line of every key, `overrides` reads and
//! places `--set`, `culprit` finds the value that serde rejected, `explain` says what it is and
//! what to write instead, in the `words` that all of them share.

mod culprit;
mod explain;
mod file;
mod overrides;
mod source;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use toml::Value;

use overrides::Override;

/// The keys from the root down to one value; an index into an array is a key of digits.
type Path = Vec<String>;

/// What is wrong, where, and what to do: two lines for a person, without the leading `error: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
pub struct ConfigError {
    /// `configs/mine.toml:12: unknown key `model.drop_out``
    pub message: String,
    /// The fix, without the leading `hint: `.
    pub hint: Option<String>,
}

impl ConfigError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        ConfigError {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// A value that parses but makes no sense. `origin` is from [`Layers::origin`]; `why` goes on
    /// after "but", as in "must be at least 0 and below 1".
    pub fn invalid(
        origin: &str,
        key: &str,
        value: impl fmt::Display,
        why: &str,
        hint: &str,
    ) -> Self {
        let value = words::one_line(&value.to_string());
        Self::new(format!("{origin}: `{key}` is {value}, but {why}"), hint)
    }
}

/// Where a value was given.
#[derive(Debug, Clone)]
enum Origin {
    Line(usize),
    /// The index into [`Layers::overrides`].
    Override(usize),
}

/// One TOML file with the overrides laid over it.
#[derive(Debug, Clone)]
pub struct Layers {
    name: String,
    file: Value,
    lines: BTreeMap<Path, usize>,
    overrides: Vec<Override>,
    merged: Merged,
}

/// The file and the overrides as one document. Built anew for each override, since an override of a
/// `kind` takes values away and a later one may bring them back.
#[derive(Debug, Clone)]
struct Merged {
    values: Value,
    origins: BTreeMap<Path, Origin>,
}

impl Layers {
    /// Reads a file.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        Self::parse(&path.display().to_string(), &file::read(path)?)
    }

    /// Reads the text of a TOML file; `name` stands for it in errors (a path, or "built-in quickstart").
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let (file, lines) = source::read(name, text)?;
        let merged = merge(&file, &lines, &[])?;
        Ok(Layers {
            name: name.to_owned(),
            file,
            lines,
            overrides: Vec::new(),
            merged,
        })
    }

    /// Lays `model.dropout=0.2` or `model.blocks.0.filters=16` over the file. The value is read as
    /// TOML, and as plain text where it is not TOML. Missing sections are made; the later one wins.
    ///
    /// An override that changes the `kind` of a section drops what the file says in that section,
    /// since those keys belong to the other kind.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        self.lay(Override::read(assignment)?)
    }

    /// The same for a value that was given somewhere else than on the command line: `origin` is where.
    pub fn place(&mut self, origin: &str, key: &str, value: Value) -> Result<(), ConfigError> {
        let hint = "write the key with dots between its parts, as in model.dropout";
        self.lay(Override::new(origin.to_owned(), key, value, hint)?)
    }

    /// Adds a value that the file means without saying so. To be called before any override.
    pub fn imply(&mut self, section: &str, key: &str, value: Value) -> Result<(), ConfigError> {
        if let Value::Table(file) = &mut self.file {
            let section = file
                .entry(section)
                .or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
        self.merged = merge(&self.file, &self.lines, &self.overrides)?;
        Ok(())
    }

    fn lay(&mut self, new: Override) -> Result<(), ConfigError> {
        let mut overrides = self.overrides.clone();
        overrides.push(new);
        self.merged = merge(&self.file, &self.lines, &overrides)?;
        self.overrides = overrides;
        Ok(())
    }

    /// Takes a section out of the file. What is returned holds it alone, still under its key, and
    /// knows its lines. None if it is not there. To be called before any override.
    pub fn take(&mut self, section: &str) -> Result<Option<Self>, ConfigError> {
        let Value::Table(table) = &mut self.file else {
            return Ok(None);
        };
        let Some(value) = table.remove(section) else {
            return Ok(None);
        };
        let is_of_it = |path: &Path| path.first().is_some_and(|first| first == section);
        let (own, rest) = std::mem::take(&mut self.lines)
            .into_iter()
            .partition(|(path, _)| is_of_it(path));
        self.lines = rest;
        self.merged = merge(&self.file, &self.lines, &self.overrides)?;
        let file = Value::Table(toml::Table::from_iter([(section.to_owned(), value)]));
        Ok(Some(Layers {
            name: self.name.clone(),
            merged: merge(&file, &own, &[])?,
            file,
            lines: own,
            overrides: Vec::new(),
        }))
    }

    /// What was given, file and overrides: no defaults.
    pub fn values(&self) -> &Value {
        &self.merged.values
    }

    /// The typed config, or the first thing in the way of it.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let values = &self.merged.values;
        T::deserialize(values.clone()).map_err(|error| {
            // Tried many times over by the search, always on a changed copy of the values.
            let rejection = |values: &Value| {
                T::deserialize(values.clone())
                    .err()
                    .map(|e| e.message().to_owned())
            };
            let culprit = culprit::find(values, error.message(), &rejection);
            explain::explain(self, error.message(), culprit.as_ref())
        })
    }

    /// Where a key was given: "configs/mine.toml:12" or "--set model.dropout=2", or the file's name
    /// alone for a key that nobody gave. An element of a list is `blocks[1]` or `blocks.1`.
    pub fn origin(&self, dotted_key: &str) -> String {
        self.origin_of(&overrides::split_key(dotted_key))
    }

    /// The same for the parts of a key, which may have dots in them.
    pub fn origin_of(&self, path: &[String]) -> String {
        if get(&self.merged.values, path).is_none() {
            return self.name.clone();
        }
        // A value inside an override such as `model={kind="mlp"}` has the origin of the whole.
        let nearest = (1..=path.len())
            .rev()
            .find_map(|n| self.merged.origins.get(&path[..n]));
        match nearest {
            Some(Origin::Line(line)) => format!("{}:{line}", self.name),
            Some(Origin::Override(index)) => self.overrides[*index].origin.clone(),
            None => self.name.clone(),
        }
    }
}

/// A key with nothing but dots between its parts: `blocks[1].filters` and `blocks . 1 . filters` are
/// `blocks.1.filters`.
pub fn plain_key(key: &str) -> String {
    overrides::split_key(key).join(".")
}

fn merge(
    file: &Value,
    lines: &BTreeMap<Path, usize>,
    overrides: &[Override],
) -> Result<Merged, ConfigError> {
    let origins = lines
        .iter()
        .map(|(path, &line)| (path.clone(), Origin::Line(line)))
        .collect();
    let mut merged = Merged {
        values: file.clone(),
        origins,
    };
    overrides::forget_other_kinds(&mut merged, overrides);
    for (index, each) in overrides.iter().enumerate() {
        each.place(&mut merged, index)?;
    }
    Ok(merged)
}

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Table(table) => table.get(key),
        Value::Array(elements) => elements.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn child_mut<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(elements) => elements.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn get<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |value, key| child(value, key))
}

fn get_mut<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(root, |value, key| child_mut(value, key))
}
