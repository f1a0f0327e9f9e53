//! What the layers make of a file and its overrides, with a made-up config in the shape of weft's own.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

mod errors;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    epochs: usize,
    batch_size: u8,
    resume: bool,
    data: Data,
    model: Model,
    optimizer: Optimizer,
    range: (f64, f64),
    limit: Option<usize>,
    colour: Colour,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Data {
    source: String,
    validation_fraction: f64,
    class_names: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Model {
    SoftmaxRegression(SoftmaxRegression),
    Mlp(Mlp),
    Cnn(Cnn),
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SoftmaxRegression {}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mlp {
    dropout: f64,
    hidden: Vec<usize>,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cnn {
    dropout: f64,
    blocks: Vec<Block>,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Block {
    filters: usize,
    kernel: usize,
    filter: Option<Filter>,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Filter {
    size: usize,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Optimizer {
    Adam(Adam),
    Sgd(Sgd),
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Adam {
    learning_rate: f64,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sgd {
    learning_rate: f64,
    momentum: f64,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
struct Colour(String);

impl TryFrom<String> for Colour {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "mauve" {
            Err("mauve is out of stock".to_owned())
        } else {
            Ok(Colour(text))
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "untitled".to_owned(),
            epochs: 10,
            batch_size: 128,
            resume: false,
            data: Data::default(),
            model: Model::Mlp(Mlp::default()),
            optimizer: Optimizer::Adam(Adam::default()),
            range: (0.0, 1.0),
            limit: None,
            colour: Colour::default(),
        }
    }
}

const RECIPE: &str = r#"# A comment, so that lines and keys do not agree.
name = "mine"
epochs = 20

[data]
source = "/some/dir"
class_names = [
    "shirt",
    "shoe",
]

[model]
kind = "cnn"
dropout = 0.5

[[model.blocks]]
filters = 8

[[model.blocks]]
filters = 16
kernel = 3

[optimizer]
kind = "sgd"
momentum = 0.9
"#;

/// The config of the recipe with these overrides.
fn recipe(overrides: &[&str]) -> Result<Config, ConfigError> {
    layers(RECIPE, overrides)?.deserialize()
}

fn layers(text: &str, overrides: &[&str]) -> Result<Layers, ConfigError> {
    let mut layers = Layers::parse("mine.toml", text)?;
    overrides
        .iter()
        .try_for_each(|assignment| layers.set(assignment))?;
    Ok(layers)
}

#[track_caller]
fn assert_error(text: &str, overrides: &[&str], expected: &str) {
    let error = layers(text, overrides)
        .and_then(|layers| layers.deserialize::<Config>())
        .expect_err("the config should be refused");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_file_and_the_defaults_make_a_config() {
    let config = recipe(&[]).unwrap();
    assert_eq!(config.epochs, 20);
    assert_eq!(config.batch_size, 128);
    let Model::Cnn(cnn) = config.model else {
        panic!("{:?}", config.model)
    };
    assert_eq!((cnn.dropout, cnn.blocks[1].filters), (0.5, 16));
    assert_eq!(
        layers("", &[]).unwrap().deserialize::<Config>(),
        Ok(Config::default())
    );
}

#[test]
fn later_overrides_win_and_make_missing_sections() {
    let config = recipe(&[
        "name=first",
        "name=second",
        "data.source=/other/dir",
        "model.blocks.0.filters=32",
        "model.blocks[1].filters=64",
        "limit = 5",
        "range=[0.25, 0.75]",
    ])
    .unwrap();
    assert_eq!(
        (config.name.as_str(), config.data.source.as_str()),
        ("second", "/other/dir")
    );
    let Model::Cnn(cnn) = config.model else {
        panic!("{:?}", config.model)
    };
    assert_eq!((cnn.blocks[0].filters, cnn.blocks[1].filters), (32, 64));
    assert_eq!((config.limit, config.range), (Some(5), (0.25, 0.75)));

    let config: Config = layers("", &["data.source=a=b"])
        .unwrap()
        .deserialize()
        .unwrap();
    assert_eq!(config.data.source, "a=b");
}

#[test]
fn another_kind_drops_the_keys_of_the_file_but_not_of_overrides() {
    let config = recipe(&["model.dropout=0.1", "model.kind=mlp", "model.hidden=[64]"]).unwrap();
    assert_eq!(
        config.model,
        Model::Mlp(Mlp {
            dropout: 0.1,
            hidden: vec![64]
        })
    );
    assert_eq!(
        config.optimizer,
        Optimizer::Sgd(Sgd {
            learning_rate: 0.0,
            momentum: 0.9
        })
    );

    let config = recipe(&["model.kind=mlp"]).unwrap();
    assert_eq!(config.model, Model::Mlp(Mlp::default()));
    // The same kind is no change, and a change taken back brings the file's keys back.
    assert_eq!(recipe(&["model.kind=cnn"]), recipe(&[]));
    assert_eq!(recipe(&["model.kind=mlp", "model.kind=cnn"]), recipe(&[]));
}

#[test]
fn a_refused_override_changes_nothing() {
    let mut layers = layers(RECIPE, &["epochs=3"]).unwrap();
    layers.set("epochs.x=4").unwrap_err();
    assert_eq!(layers.deserialize::<Config>().unwrap().epochs, 3);
}

#[test]
fn an_origin_is_a_line_an_override_or_the_file() {
    let layers = layers(RECIPE, &["model.dropout=2", "optimizer={kind=\"adam\"}"]).unwrap();
    for (key, origin) in [
        ("epochs", "mine.toml:3"),
        ("data.class_names", "mine.toml:7"),
        ("data.class_names[1]", "mine.toml:9"),
        ("model", "mine.toml:12"),
        ("model.blocks[1].kernel", "mine.toml:21"),
        ("model.blocks.1", "mine.toml:19"),
        ("model.dropout", "--set model.dropout=2"),
        ("optimizer.kind", "--set optimizer={kind=\"adam\"}"),
        ("optimizer.momentum", "mine.toml"),
        ("batch_size", "mine.toml"),
        ("", "mine.toml"),
    ] {
        assert_eq!(layers.origin(key), origin, "{key}");
    }
}

#[test]
fn an_invalid_value_reads_as_a_sentence() {
    let error = ConfigError::invalid(
        "mine.toml:12",
        "data.validation_fraction",
        1.5,
        "must be at least 0 and below 1",
        "0.2 keeps a fifth of the images for validation",
    );
    let expected = "mine.toml:12: `data.validation_fraction` is 1.5, but must be at least 0 and below 1\n\
                    hint: 0.2 keeps a fifth of the images for validation";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn words_are_near_by_their_letters() {
    assert_eq!(words::n_edits("drop_out", "dropout"), 1);
    assert_eq!(words::n_edits("suorce", "source"), 1);
    assert_eq!(words::n_edits("", "abc"), 3);
    assert_eq!(words::n_edits("kitten", "sitting"), 3);
}

/// Scraps of TOML, which get further into the reader than arbitrary text.
fn toml_like() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "name",
        "epochs",
        "data",
        "model",
        "kind",
        "blocks",
        "filter",
        "filters",
        "range",
        "colour",
        " = ",
        "=",
        ".",
        "\n",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "3",
        "-1",
        "0.5",
        "\"cnn\"",
        "'mlp'",
        "true",
        "1979-05-27",
        "#",
        "\n[model]\nkind = 'cnn'\n",
        "\n[[model.blocks]]\n",
        "ü",
        "\u{0}",
        "\r\n",
        "\"two\\nlines\"",
    ]);
    prop::collection::vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
}

fn try_everything(text: &str, assignment: &str) {
    let lines_of_error = |error: ConfigError| {
        let shown = error.to_string();
        assert_eq!(shown.lines().count(), 2, "{shown}");
    };
    match Layers::parse("x.toml", text) {
        Err(error) => lines_of_error(error),
        Ok(mut layers) => {
            layers
                .deserialize::<Config>()
                .map_or_else(lines_of_error, drop);
            layers.set(assignment).map_or_else(lines_of_error, drop);
            layers
                .deserialize::<Config>()
                .map_or_else(lines_of_error, drop);
            layers.origin(assignment);
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), assignment in any::<String>()) {
        try_everything(&text, &assignment);
        try_everything(RECIPE, &assignment);
    }

    #[test]
    fn no_scraps_of_toml_panic(text in toml_like(), assignment in toml_like()) {
        try_everything(&text, &assignment);
        try_everything(RECIPE, &assignment);
    }

    #[test]
    fn no_assignment_panics(key in "(model|data|[a-z]{1,3}|[0-9]|kind|blocks|\\[|\\]|\\.){1,6}", value in any::<String>()) {
        try_everything(RECIPE, &format!("{key}={value}"));
    }
}
