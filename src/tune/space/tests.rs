use toml::{Table, Value};

use super::*;
use crate::config::layers::{ConfigError, Layers};

fn read_text(text: &str) -> Result<Vec<Dimension>, ConfigError> {
    let layers = Layers::parse("study.toml", text).unwrap();
    let space = lookup(layers.values(), "search.space").unwrap();
    read(&layers, space.as_table().unwrap())
}

fn one(dimension: &str) -> Values {
    let text = format!("[search.space]\nx = {dimension}");
    read_text(&text).unwrap().remove(0).values
}

fn refused(dimension: &str) -> String {
    let text = format!("[search.space]\nx = {dimension}");
    read_text(&text).unwrap_err().to_string()
}

#[test]
fn every_value_comes_back_from_its_coordinate() {
    for (dimension, n) in [
        ("{ choice = [\"relu\", \"tanh\", \"selu\"] }", Some(3)),
        ("{ choice = [true, [1, 2], 3] }", Some(3)),
        ("{ min = 32, max = 512, step = 32 }", Some(16)),
        ("{ min = 1, max = 7 }", Some(7)),
        ("{ min = 0.0, max = 0.5, step = 0.1 }", Some(6)),
        ("{ min = 0, max = 0.6, step = 0.2 }", Some(4)),
        ("{ min = 1, max = 300, scale = \"log\" }", Some(300)),
    ] {
        let values = one(dimension);
        assert_eq!(values.count(), n, "{dimension}");
        let all = values.samples(1000);
        assert_eq!(all.len() as u64, n.unwrap(), "{dimension}");
        for value in all {
            let coordinate = values.coordinate(&value).unwrap();
            assert!((0.0..1.0).contains(&coordinate), "{dimension} {value}");
            assert_eq!(values.at(coordinate), value, "{dimension}");
        }
    }
}

#[test]
fn steps_have_no_rounding_noise() {
    let values = one("{ min = 0.0, max = 0.5, step = 0.1 }");
    let texts: Vec<String> = values.samples(9).iter().map(Value::to_string).collect();
    assert_eq!(texts, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
}

#[test]
fn a_logarithmic_scale_gives_each_decade_the_same() {
    let values = one("{ min = 1e-4, max = 1e-2, scale = \"log\" }");
    assert_eq!(values.count(), None);
    assert_eq!(values.at(0.0), Value::Float(1e-4));
    assert_eq!(values.at(0.5), Value::Float(1e-3));
    let last = values.at(1.0 - f64::EPSILON).as_float().unwrap();
    assert!((last - 1e-2).abs() < 1e-7, "{last}");
    let back = values.coordinate(&Value::Float(1e-3)).unwrap();
    assert!((back - 0.5).abs() < 1e-9, "{back}");
    assert_eq!(values.coordinate(&Value::Float(0.1)), None);
}

#[test]
fn what_is_no_dimension_is_refused_with_its_line() {
    for (dimension, what) in [
        ("3", "that is no dimension"),
        ("{}", "that is no dimension"),
        ("{ choice = [] }", "the choice is empty"),
        ("{ choice = [1, 2, 1] }", "it names 1 twice"),
        ("{ choice = [1], min = 2 }", "both a choice and a range"),
        (
            "{ choice = [1], step = 2 }",
            "step and scale belong to a range",
        ),
        ("{ min = 3 }", "neither a choice nor min and max"),
        ("{ min = 3, max = 2 }", "the range is empty"),
        ("{ min = 3, max = 3 }", "one value only"),
        ("{ min = 0, max = 1, scale = \"log\" }", "begins above 0"),
        (
            "{ min = 1, max = 9, step = 2, scale = \"log\" }",
            "has no step",
        ),
        ("{ min = 0, max = 9, step = 0 }", "the step must be above 0"),
        (
            "{ min = 0, max = 9, step = 2 }",
            "the steps do not end at max",
        ),
        ("{ min = \"a\", max = 9 }", "must be finite numbers"),
        ("{ min = 0.0, max = inf }", "must be finite numbers"),
        ("{ min = 0, max = 9, stepp = 2 }", "unknown field `stepp`"),
        (
            "{ min = 0, max = 9, scale = \"cubic\" }",
            "unknown variant `cubic`",
        ),
        ("{ choice = [1], keys = [] }", "keys is empty"),
        (
            "{ min = 0, max = 1e300, step = 1e-3 }",
            "thousand million steps",
        ),
    ] {
        let message = refused(dimension);
        assert!(
            message.starts_with("study.toml:2: `search.space.x` is "),
            "{message}"
        );
        assert!(message.contains(what), "{dimension}: {message}");
        assert!(message.contains("\nhint: "), "{message}");
    }
    let hint = refused("{ min = 0, max = 9, step = 2 }");
    assert!(hint.ends_with("use max = 8"), "{hint}");
}

const CONDITIONAL: &str = "
[search.space]
\"model.dropout\" = { min = 0.0, max = 0.5, step = 0.1, when = { \"model.kind\" = \"mlp\" } }
model.kind = { choice = [\"mlp\", \"cnn\"] }
filters = { choice = [8, 16], keys = [\"model.blocks.0.filters\"], when = { model.kind = [\"cnn\"] } }
rate = { choice = [1, 2], keys = [\"optimizer.learning_rate\"], when = { \"optimizer.kind\" = \"adam\" } }
late = { choice = [1, 2], keys = [\"model.late\"], when = { filters = 16 } }
";

#[test]
fn a_dimension_is_active_where_its_conditions_hold() {
    let dimensions = read_text(CONDITIONAL).unwrap();
    let base: Value = "optimizer = { kind = \"adam\" }\nmodel = { kind = \"mlp\" }"
        .parse::<Table>()
        .map(Value::Table)
        .unwrap();
    let names: Vec<&str> = dimensions.iter().map(|each| each.name.as_str()).collect();
    let place = |name: &str| names.iter().position(|each| *each == name).unwrap();
    assert!(place("model.kind") < place("model.dropout"));
    assert!(place("filters") < place("late"));
    let active = |set: &[(&str, f64)]| -> Vec<String> {
        let mut coordinates = vec![0.0; names.len()];
        for (name, coordinate) in set {
            coordinates[place(name)] = *coordinate;
        }
        point_at(&dimensions, &base, &coordinates)
            .into_keys()
            .collect()
    };
    assert_eq!(active(&[]), ["model.dropout", "model.kind", "rate"]);
    assert_eq!(
        active(&[("model.kind", 0.9)]),
        ["filters", "model.kind", "rate"]
    );
    assert_eq!(
        active(&[("model.kind", 0.9), ("filters", 0.9)]),
        ["filters", "late", "model.kind", "rate"]
    );
    let point = point_at(&dimensions, &base, &vec![0.0; names.len()]);
    let coordinates = coordinates_of(&dimensions, &point);
    assert_eq!(coordinates.iter().flatten().count(), 3);
}

#[test]
fn conditions_in_a_circle_are_refused() {
    let text = "
[search.space]
a = { choice = [1, 2], when = { b = 1 } }
b = { choice = [1, 2], when = { a = 1 } }
";
    let message = read_text(text).unwrap_err().to_string();
    assert!(message.contains("lead back to itself"), "{message}");
    assert!(message.starts_with("study.toml:3"), "{message}");
}
