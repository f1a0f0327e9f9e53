//! Makes a shader's text out of its template and the numbers that are fixed for a launch.
//!
//! Loops over registers are written out here rather than left to the drivers: an array that is not
//! indexed by constants does not stay in registers. A template is WGSL with
//!
//! * `@unroll NAME EXPRESSION` … `@end`: the lines between, once for each value of NAME from 0;
//! * `@if EXPRESSION` … `@else` … `@end`: one of the two;
//! * `${EXPRESSION}` and `$NAME`, in any line: the number.
//!
//! An expression is made of names, whole numbers, `+ - * / %`, comparisons and `&&`, with parentheses;
//! true is 1.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The numbers by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, i64>);

impl Numbers {
    pub(super) fn set(&mut self, name: &str, value: impl TryInto<i64>) {
        let value = value.try_into().unwrap_or(i64::MAX);
        self.0.insert(name.to_owned(), value);
    }

    pub(super) fn set_all(&mut self, values: &[(&str, usize)]) {
        for &(name, value) in values {
            self.set(name, value);
        }
    }

    /// All of them as `const NAME: u32`.
    fn constants(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let _ = writeln!(text, "const {name}: u32 = {value}u;");
        }
        text
    }
}

/// The text of a shader, with the numbers as constants in front.
///
/// # Panics
///
/// If the template is wrong.
pub(super) fn expand(template: &str, numbers: &Numbers) -> String {
    let lines: Vec<&str> = template.lines().collect();
    let mut text = numbers.constants();
    let end = block(&lines, 0, &mut numbers.clone(), &mut text);
    assert!(end == lines.len(), "a shader's line {end} has no beginning");
    text
}

/// Writes lines from `at` on, to the `@else` or `@end` that closes the block: its index.
fn block(lines: &[&str], mut at: usize, numbers: &mut Numbers, text: &mut String) -> usize {
    while at < lines.len() {
        let line = lines[at].trim_start();
        let Some(command) = line.strip_prefix('@') else {
            fill(lines[at], numbers, text);
            at += 1;
            continue;
        };
        at = if let Some(rest) = command.strip_prefix("unroll ") {
            let (name, limit) = rest.split_once(' ').unwrap_or((rest, "0"));
            unroll(lines, at + 1, name, value(limit, numbers), numbers, text)
        } else if let Some(condition) = command.strip_prefix("if ") {
            either(lines, at + 1, value(condition, numbers) != 0, numbers, text)
        } else if matches!(command, "else" | "end") {
            return at;
        } else {
            // WGSL's own attributes.
            fill(lines[at], numbers, text);
            at + 1
        };
    }
    at
}

fn unroll(
    lines: &[&str],
    start: usize,
    name: &str,
    limit: i64,
    numbers: &mut Numbers,
    text: &mut String,
) -> usize {
    let mut end = block(
        lines,
        start,
        &mut with(numbers, name, 0),
        &mut String::new(),
    );
    for value in 0..limit {
        end = block(lines, start, &mut with(numbers, name, value), text);
    }
    end + 1
}

fn with(numbers: &Numbers, name: &str, value: i64) -> Numbers {
    let mut numbers = numbers.clone();
    numbers.set(name, value);
    numbers
}

fn either(
    lines: &[&str],
    start: usize,
    first: bool,
    numbers: &mut Numbers,
    text: &mut String,
) -> usize {
    let mut unused = String::new();
    let (yes, no) = match first {
        true => (text, &mut unused),
        false => (&mut unused, text),
    };
    let end = block(lines, start, numbers, yes);
    match lines.get(end).map(|line| line.trim()) {
        Some("@else") => block(lines, end + 1, numbers, no) + 1,
        _ => end + 1,
    }
}

/// Writes a line with its numbers in their places.
fn fill(line: &str, numbers: &Numbers, text: &mut String) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (expression, after) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').unwrap_or((inner, "")),
            None => after.split_at(
                after
                    .find(|c: char| !c.is_ascii_lowercase())
                    .unwrap_or(after.len()),
            ),
        };
        let _ = write!(text, "{}", value(expression, numbers));
        rest = after;
    }
    text.push_str(rest);
    text.push('\n');
}

fn value(expression: &str, numbers: &Numbers) -> i64 {
    let mut parser = Parser {
        rest: expression,
        numbers,
    };
    let value = parser.binary(0);
    assert!(
        parser.rest.trim().is_empty(),
        "a shader's expression `{expression}` ends early"
    );
    value
}

struct Parser<'a> {
    rest: &'a str,
    numbers: &'a Numbers,
}

/// Operators, those that bind least first.
const OPERATORS: [&[&str]; 4] = [
    &["&&"],
    &["<=", ">=", "==", "!=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn binary(&mut self, level: usize) -> i64 {
        let Some(operators) = OPERATORS.get(level) else {
            return self.operand();
        };
        let mut left = self.binary(level + 1);
        while let Some(operator) = operators.iter().find(|operator| self.take(operator)) {
            let right = self.binary(level + 1);
            left = match *operator {
                "&&" => i64::from(left != 0 && right != 0),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<" => i64::from(left < right),
                ">" => i64::from(left > right),
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                _ => left % right,
            };
        }
        left
    }

    fn operand(&mut self) -> i64 {
        if self.take("(") {
            let value = self.binary(0);
            assert!(self.take(")"), "a shader's expression lacks a bracket");
            return value;
        }
        let rest = self.rest.trim_start();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (word, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        self.rest = rest;
        word.parse().unwrap_or_else(|_| {
            let known = self.numbers.0.get(word);
            *known.unwrap_or_else(|| panic!("a shader's number `{word}` is not known"))
        })
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        rest.inspect(|rest| self.rest = rest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str) -> String {
        let mut numbers = Numbers::default();
        numbers.set("N", 2);
        numbers.set("ON", 0);
        let text = expand(template, &numbers);
        let (constants, body) = text.split_at(text.find("u;\nX").map_or(0, |at| at + 3));
        assert!(constants.contains("const N: u32 = 2u;"), "{text}");
        body.to_owned()
    }

    #[test]
    fn blocks_and_numbers() {
        let template =
            "X\n@unroll i N\n  @unroll j i + 1\n  a$i_$j = ${i * (j + 3) - 1 };\n  @end\n@end\nz";
        assert_eq!(
            text(template),
            "X\n  a0_0 = -1;\n  a1_0 = 2;\n  a1_1 = 3;\nz\n"
        );
        let template = "X\n@if N - 1 <= 1 && 7 % 4 == 3\nyes\n@if ON\nno\n@end\n@else\nno\n@end\n@unroll i ON\nno $i\n@end\n@compute fn";
        assert_eq!(text(template), "X\nyes\n@compute fn\n");
    }
}
