//! The recipes: known by name wherever a config is, printed as they are, and their table is made of finished
//! runs that follow the protocol and of no others. And what the protocol asks for works from end to end:
//! training without a validation split, whose result is the last epoch.

use std::fs;
use std::path::{Path, PathBuf};

use weft::config::ExperimentConfig;
use weft::config::recipes::RECIPES;
use weft::report::recipes::MARKERS;
use weft::run::records;

use crate::cli::{stderr, stdout, weft};
use crate::quickstart::data_is_here;

fn run(at: &Path, args: &[&str]) -> String {
    let output = weft().current_dir(at).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    stdout(&output)
}

fn fail(at: &Path, args: &[&str]) -> String {
    let output = weft().current_dir(at).args(args).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    stderr(&output)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn recipes_are_listed_and_printed_as_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let list = run(folder.path(), &["recipes"]);
    for recipe in RECIPES {
        let line = format!("{}  ", recipe.name);
        assert!(list.lines().any(|it| it.starts_with(&line)), "{list}");
        let first = recipe.about().split_whitespace().next().unwrap().to_owned();
        assert!(list.contains(&first), "{list}");
        let printed = run(folder.path(), &["recipes", recipe.name]);
        let file = repository().join(format!("configs/recipes/{}.toml", recipe.name));
        assert_eq!(printed, fs::read_to_string(file).unwrap());
    }
    let error = fail(folder.path(), &["recipes", "mpl"]);
    let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    let expected = format!(
        "error: there is no recipe mpl\nhint: use one of {}",
        names.join(", ")
    );
    assert_eq!(error, expected);
}

#[test]
fn a_recipe_s_name_stands_for_its_config_unless_a_file_has_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = RECIPES[0].name;
    let config = |args: &[&str]| -> ExperimentConfig {
        let all = [&["train"], args, &["--print-config"]].concat();
        toml::from_str(&run(at, &all)).unwrap()
    };
    assert_eq!(config(&[name]), RECIPES[0].config().unwrap());
    let seeded = config(&[name, "--set", "seed=7"]);
    assert_eq!((seeded.seed, &seeded.name[..]), (7, name));
    // A folder of that name is no config.
    fs::create_dir(at.join(name)).unwrap();
    assert_eq!(config(&[name]).name, name);
    fs::remove_dir(at.join(name)).unwrap();
    fs::write(at.join(name), "name = \"own\"").unwrap();
    assert_eq!(config(&[name]).name, "own");

    let error = fail(at, &["train", "no-recipe"]);
    assert!(
        error.starts_with("error: no-recipe cannot be read: ") && error.contains(name),
        "{error}"
    );
    let error = fail(at, &["train", "none.toml"]);
    assert!(!error.contains("recipes"), "{error}");
}

/// What a recipe says of itself is what docs/recipes.md has of it.
#[test]
fn a_recipe_s_head_has_the_accuracies_of_the_table() {
    let document = fs::read_to_string(repository().join("docs/recipes.md")).unwrap();
    for recipe in RECIPES {
        let row = format!("| `{}` | ", recipe.name);
        let about = recipe.about();
        let Some(row) = document.lines().find(|line| line.starts_with(&row)) else {
            assert!(
                about.contains("Not trained yet"),
                "{}: {about}",
                recipe.name
            );
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(
            !about.contains("Not trained yet"),
            "{}: {about}",
            recipe.name
        );
        for cell in &cells[3..5] {
            let mean = cell.split(' ').next().unwrap();
            assert!(mean == "the" || about.contains(mean), "{mean}: {about}");
        }
        assert!(about.contains(&format!("{} epochs", cells[2])), "{about}");
    }
}

/// A file with an empty table in it.
fn with_markers(at: &Path) -> PathBuf {
    let file = at.join("table.md");
    let [begin, end] = MARKERS;
    fs::write(&file, format!("before\n{begin}\n{end}\nafter\n")).unwrap();
    file
}

/// What the protocol asks of every config.
const PROTOCOL: [&str; 2] = ["data.validation_fraction=0.0", "early_stopping.patience=0"];

fn train(at: &Path, name: &str, more: &[&str]) -> String {
    let mut command = weft();
    command
        .current_dir(at)
        .args(["train", "--device", "cpu", "--name", name]);
    for key in PROTOCOL.iter().chain(more) {
        command.args(["--set", key]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[test]
fn the_table_is_made_of_finished_runs_on_the_full_data() {
    if !data_is_here("the_table_is_made_of_finished_runs_on_the_full_data") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = with_markers(at);
    let common = [
        "data.source=fashion-mnist",
        "model.kind=softmax_regression",
        "train.epochs=1",
        "evaluation.tta=flip",
        "report.plots=false",
        "report.at_end=false",
    ];
    let evaluations: Vec<records::Evaluation> = (1..=3)
        .map(|seed| {
            let seed_key = format!("seed={seed}");
            let name = format!("s{seed}");
            train(at, &name, &[&common[..], &[&seed_key]].concat());
            records::read_evaluation(&at.join(format!("runs/s{seed}/evaluation.json"))).unwrap()
        })
        .collect();
    run(at, &["recipes", "--table", "table.md", "runs/s1"]);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("| 1 (**fewer than 3**) |")
    );
    // A parent folder, and one of its runs again.
    let said = run(at, &["recipes", "--table", "table.md", "runs", "runs/s2"]);
    assert!(said.contains("wrote   table.md: 1 row of 3 runs"), "{said}");
    let text = fs::read_to_string(&file).unwrap();
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / 3.0;
    let accuracy = mean(evaluations.iter().map(|it| it.accuracy).collect());
    let plain = mean(
        evaluations
            .iter()
            .map(|it| it.tta.unwrap().plain_accuracy)
            .collect(),
    );
    assert_ne!(accuracy, plain);
    for part in [
        "before\n<!-- recipes: begin",
        "recipes: end -->\nafter\n",
        "| 7,850 | 1 |",
        &format!("| {accuracy:.4} ± "),
        " (mean of 2 views: flip) |",
        &format!("| {plain:.4} ± "),
        "| 1, 2, 3 |",
        "`weft train --device cpu --name s1 ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // A file that is not there yet is made; one that has other rows keeps them.
    run(at, &["recipes", "--table", "new.md", "runs"]);
    let new = fs::read_to_string(at.join("new.md")).unwrap();
    assert!(text.contains(new.trim_end()), "{new}");
    let others = text.replace("| `s1` (", "| `other` (");
    fs::write(&file, &others).unwrap();
    let error = fail(at, &["recipes", "--table", "table.md", "runs"]);
    assert!(
        error.contains("rows that no given run is of: `other` ("),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), others);
    // The config that counts is the one that was trained with.
    let config = at.join("runs/s2/config.toml");
    let as_trained = fs::read_to_string(&config).unwrap();
    fs::write(&config, as_trained.replace("seed = 2", "seed = 4")).unwrap();
    let error = fail(at, &["recipes", "--table", "new.md", "runs"]);
    assert!(
        error.contains("runs/s2: seed: 2 -> 4 was changed in config.toml since it was trained"),
        "{error}"
    );
    fs::write(&config, as_trained).unwrap();
    run(at, &["resume", "runs/s2", "--set", "evaluation.tta=none"]);
    let error = fail(at, &["recipes", "--table", "new.md", "runs"]);
    assert!(error.contains("runs/s2: evaluation.tta: "), "{error}");
    assert_eq!(fs::read_to_string(at.join("new.md")).unwrap(), new);
}

#[test]
fn runs_that_break_the_protocol_are_refused_and_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = with_markers(at);
    let before = fs::read_to_string(&file).unwrap();
    let small = [
        "data.source=sample",
        "model.kind=softmax_regression",
        "train.epochs=1",
    ];
    train(at, "a", &small);
    let error = fail(at, &["recipes", "--table", "table.md", "runs"]);
    for part in [
        "error: table.md is left as it is",
        "runs/a: it was trained on the embedded sample",
        "data.source=fashion-mnist",
        "runs/a: its result is of 1000 images",
        "\nhint: ",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let error = fail(at, &["recipes", "--table", "none.md", "runs"]);
    assert!(error.contains("none.md is left as it is"), "{error}");
    assert!(!at.join("none.md").exists());
    let error = fail(at, &["recipes", "--table", "runs", "runs"]);
    assert!(error.contains("runs cannot be read"), "{error}");
    let error = fail(at, &["recipes", "--table", "table.md", "nowhere"]);
    assert!(error.contains("nowhere"), "{error}");
    let error = fail(at, &["recipes", "--table", "table.md"]);
    assert!(error.contains("--table needs runs"), "{error}");
}

#[test]
fn the_document_has_the_markers_of_the_table() {
    let text = fs::read_to_string(repository().join("docs/recipes.md")).unwrap();
    for marker in MARKERS {
        assert_eq!(text.matches(marker).count(), 1, "{marker}");
    }
}

#[test]
fn without_a_validation_split_the_last_epoch_is_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let keys = [
        "data.source=sample",
        "model.kind=mlp",
        "model.hidden=[16]",
        "train.epochs=2",
        "train.ema_decay=0.9",
        "optimizer.learning_rate=0.01",
    ];
    let said = train(at, "x", &keys);
    for part in [
        "whose result is the average of the weights",
        "epoch   train loss  accuracy   learning rate   seconds\n",
        "\nlast epoch 2, average of the weights\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let root = at.join("runs/x");
    let record = records::read_evaluation(&root.join("evaluation.json")).unwrap();
    assert_eq!((record.checkpoint_epoch, record.averaged), (2, true));
    let resumed = run(at, &["resume", "runs/x", "--epochs", "3"]);
    assert!(resumed.contains("\nlast epoch 3, average"), "{resumed}");
    let record = records::read_evaluation(&root.join("evaluation.json")).unwrap();
    assert_eq!(record.checkpoint_epoch, 3);
    let page = fs::read_to_string(root.join("report.html")).unwrap();
    let body = page.split("<script").next().unwrap();
    assert!(body.contains("There is no validation split."));
    for absent in ["NaN", "valid loss", "Validation is of", "best epoch"] {
        assert!(!body.contains(absent) && !said.contains(absent), "{absent}");
    }
    let exact = run(at, &["verify", "runs/x", "--exact"]);
    assert!(exact.contains("is the same, byte for byte"), "{exact}");
}
