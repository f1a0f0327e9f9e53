//! Puts a rejected value into words: what, where, and what to write instead.

use toml::Value;

use super::culprit::{Culprit, Rejection};
use super::words::{describe, dotted, join, list, nearest, one_line, quoted_if_odd};
use super::{ConfigError, Layers, get};

const LISTS_EVERY_KEY: &str = "`weft train --print-config` lists every key";

/// More names than this are a wall of text, and no help.
const MOST_NAMES_SHOWN: usize = 12;

pub(super) fn explain(layers: &Layers, message: &str, culprit: Option<&Culprit>) -> ConfigError {
    let Some(culprit) = culprit else {
        return ConfigError::new(
            format!("{}: {}", layers.name, one_line(message)),
            LISTS_EVERY_KEY,
        );
    };
    let place = Place::new(layers, &culprit.path);
    match Rejection::read(message) {
        Rejection::UnknownKey { key, valid } => unknown_key(&place, &key, &valid),
        Rejection::UnknownVariant { variant, valid } => unknown_variant(&place, &variant, &valid),
        Rejection::MissingKey { key } => missing_key(&place, &key, culprit.next_message.as_deref()),
        Rejection::Mismatch { expected, .. } => {
            // Text is refused in another way than a number is where one of several names is wanted.
            match culprit.next_message.as_deref().map(Rejection::read) {
                Some(Rejection::UnknownVariant { valid, .. }) if names_one(&expected) => {
                    unknown_variant(&place, &describe(place.value), &valid)
                }
                // "fewer elements" does not say how many; the next message does.
                Some(Rejection::Mismatch {
                    expected: precisely,
                    ..
                }) if expected.starts_with("fewer elements") => mismatch(&place, &precisely),
                _ => mismatch(&place, &expected),
            }
        }
        Rejection::Other => ConfigError::new(
            format!("{}: `{}`: {}", place.origin, place.key, one_line(message)),
            LISTS_EVERY_KEY,
        ),
    }
}

/// The rejected value and where it stands.
struct Place<'a> {
    origin: String,
    is_override: bool,
    /// `model.blocks[1].filter`
    key: String,
    /// `model.blocks[1]`; empty at the top level.
    section: String,
    /// `model of the kind "cnn"`, where the section has a kind: it decides which keys there are.
    section_and_kind: String,
    last: &'a str,
    value: &'a Value,
}

impl<'a> Place<'a> {
    fn new(layers: &'a Layers, path: &'a [String]) -> Self {
        let values = &layers.merged.values;
        let origin = layers.origin_of(path);
        let parent = &path[..path.len().saturating_sub(1)];
        let section = dotted(values, parent);
        let kind = get(values, parent).and_then(|table| table.get("kind")?.as_str());
        Place {
            is_override: origin.starts_with("--set "),
            origin,
            key: dotted(values, path),
            section_and_kind: match kind {
                Some(kind) => format!("`{section}` of the kind \"{}\"", one_line(kind)),
                None => format!("`{section}`"),
            },
            section,
            last: path.last().map_or("", String::as_str),
            value: get(values, path).unwrap_or(values),
        }
    }

    fn sibling(&self, key: &str) -> String {
        join(&self.section, key)
    }

    /// `epochs = 10`, or `10` alone for an element of a list.
    fn assignment(&self, value: &str) -> String {
        if self.key.ends_with(']') {
            format!("`{value}`")
        } else if self.is_override {
            format!("`--set '{}={value}'`", self.key)
        } else {
            format!("`{} = {value}`", quoted_if_odd(self.last))
        }
    }
}

fn unknown_key(place: &Place<'_>, key: &str, valid: &[String]) -> ConfigError {
    let section = &place.section_and_kind;
    let advice = match (nearest(key, valid), valid) {
        (Some(near), _) => format!("did you mean `{}`?  {LISTS_EVERY_KEY}", place.sibling(near)),
        (None, []) => format!("{section} takes no other keys; leave it out"),
        (None, [only]) => format!("the only key of {section} is `{only}`"),
        (None, _) if valid.len() > MOST_NAMES_SHOWN => LISTS_EVERY_KEY.to_owned(),
        (None, _) if place.section.is_empty() => {
            format!("the keys at the top level are {}", list(valid, '`', "and"))
        }
        (None, _) => format!("the keys of {section} are {}", list(valid, '`', "and")),
    };
    ConfigError::new(
        format!("{}: unknown key `{}`", place.origin, place.key),
        advice,
    )
}

fn unknown_variant(place: &Place<'_>, variant: &str, valid: &[String]) -> ConfigError {
    let advice = match nearest(variant, valid) {
        Some(near) => format!(
            "did you mean \"{near}\"?  it can be {}",
            list(valid, '"', "or")
        ),
        None => format!("it can be {}", list(valid, '"', "or")),
    };
    let value = describe(place.value);
    ConfigError::invalid(
        &place.origin,
        &place.key,
        value,
        "that is not one of its values",
        &advice,
    )
}

fn missing_key(place: &Place<'_>, key: &str, next_message: Option<&str>) -> ConfigError {
    let own_keys: Vec<String> = place
        .value
        .as_table()
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default();
    let variants = match next_message.map(Rejection::read) {
        Some(Rejection::UnknownVariant { valid, .. }) => valid,
        _ => Vec::new(),
    };
    let whole_key = join(&place.key, key);
    let advice = match (nearest(key, &own_keys), variants.first()) {
        (Some(near), _) => {
            format!(
                "did you mean `{whole_key}` where it says `{}`?",
                join(&place.key, near)
            )
        }
        (None, Some(first)) => {
            let example = match place.is_override {
                true => format!("--set {whole_key}={first}"),
                false => format!("{key} = \"{first}\""),
            };
            format!("add `{example}`; it can be {}", list(&variants, '"', "or"))
        }
        (None, None) => format!("add `{key} = …`;  {LISTS_EVERY_KEY}"),
    };
    let message = format!("{}: the key `{whole_key}` is missing", place.origin);
    ConfigError::new(message, advice)
}

fn mismatch(place: &Place<'_>, expected: &str) -> ConfigError {
    let (wanted, example) = wanted(expected);
    let why = format!("must be {wanted}");
    let advice = conversion(place, expected, &wanted).unwrap_or_else(|| match example {
        "" => LISTS_EVERY_KEY.to_owned(),
        "[section]" => format!("keys stand below it, as in `{}.key = value`", place.key),
        _ => format!("for example {}", place.assignment(example)),
    });
    ConfigError::invalid(
        &place.origin,
        &place.key,
        describe(place.value),
        &why,
        &advice,
    )
}

/// How the value that was typed would have to be written, where it is clear what was meant.
fn conversion(place: &Place<'_>, expected: &str, wanted: &str) -> Option<String> {
    Some(match place.value {
        Value::String(kind) if expected.contains("tagged enum") && place.is_override => {
            format!(
                "did you mean `--set {}.kind={}`?",
                place.key,
                one_line(kind)
            )
        }
        Value::String(_) if expected.contains("tagged enum") => {
            format!(
                "did you mean `{}.kind = {}`?",
                place.key,
                describe(place.value)
            )
        }
        Value::String(text) if is_plain_scalar(text, expected) => {
            format!("leave out the quotes: {}", place.assignment(text))
        }
        Value::Float(number) if wanted.starts_with("a whole") && number.fract() == 0.0 => {
            format!(
                "leave out the decimal point: {}",
                place.assignment(&number.to_string())
            )
        }
        Value::Table(_) if wanted == "a list" => {
            format!(
                "begin each element with `[[{0}]]` rather than `[{0}]`",
                place.key
            )
        }
        Value::Table(_) | Value::Array(_) => return None,
        value if wanted == "a list" => {
            format!(
                "put it in brackets: {}",
                place.assignment(&format!("[{}]", describe(value)))
            )
        }
        value if wanted == "text" => {
            format!(
                "put it in quotes: {}",
                place.assignment(&format!("{:?}", value.to_string()))
            )
        }
        _ => return None,
    })
}

/// Whether a quoted number or truth value would do without its quotes.
fn is_plain_scalar(text: &str, expected: &str) -> bool {
    match expected {
        "f32" | "f64" => text.parse::<f64>().is_ok_and(f64::is_finite),
        "a boolean" => text.parse::<bool>().is_ok(),
        _ if expected.starts_with('u') => text.parse::<u32>().is_ok(),
        _ if expected.starts_with('i') => text.parse::<i32>().is_ok(),
        _ => false,
    }
}

/// Whether serde wanted the name of a variant.
fn names_one(expected: &str) -> bool {
    [
        "string only",
        "variant identifier",
        "string or map",
        "string or table",
    ]
    .contains(&expected)
}

/// serde's name of a type in plain words, and an example in TOML (empty: none to give).
fn wanted(expected: &str) -> (String, &'static str) {
    let (words, example) = match expected {
        "u8" => ("a whole number from 0 to 255", "10"),
        "u16" => ("a whole number from 0 to 65535", "10"),
        "u32" => ("a whole number from 0 to 4294967295", "10"),
        "u64" | "u128" | "usize" => ("a whole number, 0 or more", "10"),
        "i8" => ("a whole number from -128 to 127", "10"),
        "i16" => ("a whole number from -32768 to 32767", "10"),
        "i32" => ("a whole number from -2147483648 to 2147483647", "10"),
        "i64" | "i128" | "isize" => ("a whole number", "10"),
        "f32" | "f64" => ("a number", "0.1"),
        "a boolean" => ("`true` or `false`", "true"),
        "a string" | "path string" | "string only" | "variant identifier" => ("text", "\"text\""),
        "a sequence" => ("a list", ""),
        "a map" => ("a section", "[section]"),
        _ if expected.starts_with("a nonzero ") => ("a whole number, 1 or more", "10"),
        _ if expected.starts_with("struct ") => ("a section", "[section]"),
        _ if expected.contains("tagged enum ") => ("a section with a `kind`", "[section]"),
        _ => match expected
            .strip_prefix("a tuple of size ")
            .or(expected.strip_prefix("an array of length "))
        {
            Some(n) => return (format!("a list of {n} values"), ""),
            None => return (one_line(expected), ""),
        },
    };
    (words.to_owned(), example)
}
