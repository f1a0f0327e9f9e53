use serde_json::json;

use super::*;
use crate::evaluate::confusion::Confusion;
use crate::evaluate::predictions::Predictions;
use crate::evaluate::tta::Tta;
use crate::run::records::{Change, EVALUATION_SCHEMA, Rollback, Start, TestTimeAugmentation};

/// A run of `softmax_regression` that follows the protocol.
fn run(seed: u64, accuracy: f64) -> RecipeRun {
    let mut config = ExperimentConfig {
        name: "mine".to_owned(),
        seed,
        ..ExperimentConfig::default()
    };
    config.data.validation_fraction = 0.0;
    config.early_stopping.patience = 0;
    config.train.epochs = 2;
    let row = |epoch| EpochRow {
        epoch,
        step: epoch * 10,
        seconds: 1.5,
        learning_rate: 0.1,
        train_loss: 0.5,
        train_accuracy: 0.8,
        valid_loss: None,
        valid_accuracy: None,
        best: false,
    };
    RecipeRun {
        root: format!("runs/mine-{seed}"),
        config,
        changes: Vec::new(),
        environment: environment(),
        rows: vec![row(1), row(2)],
        evaluation: Some(evaluation(accuracy)),
        state: Some(TrainState {
            finished: true,
            starts: vec![start("CPU", Vec::new())],
            ..TrainState::new()
        }),
        n_parameters: 7_850,
    }
}

fn environment() -> Environment {
    let command = [
        "target/release/weft",
        "train",
        "mine.toml",
        "--set",
        "a=\"b|c\"",
    ];
    Environment {
        weft: "0.1.0".to_owned(),
        burn: String::new(),
        device: "CPU".to_owned(),
        adapter: None,
        os: String::new(),
        arch: String::new(),
        cpu_threads: 2,
        data: json!({ "kind": "fashion_mnist" }),
        git_commit: Some("0123456789abcdef".to_owned()),
        command_line: command.map(str::to_owned).to_vec(),
        started: String::new(),
    }
}

fn evaluation(accuracy: f64) -> Evaluation {
    let confusion = Confusion::new(2);
    let predictions = Predictions::from_logits(2, Vec::new(), &[]);
    Evaluation {
        schema: EVALUATION_SCHEMA,
        split: "test".to_owned(),
        checkpoint_step: 20,
        checkpoint_epoch: 2,
        within_epoch: false,
        averaged: false,
        tta: None,
        n_images: 10_000,
        loss: 0.5,
        negative_log_likelihood: 0.5,
        accuracy,
        top_2_accuracy: 1.0,
        class_names: Vec::new(),
        classes: Vec::new(),
        macro_mean: confusion.macro_mean(),
        weighted_mean: confusion.weighted_mean(),
        confusion,
        calibration: predictions.calibration(1),
        images_per_second: 1.0,
        device: "CPU".to_owned(),
        time: String::new(),
    }
}

fn start(device: &str, changes: Vec<Change>) -> Start {
    Start {
        step: 0,
        n_rollbacks: 0,
        time: String::new(),
        weft: String::new(),
        git_commit: Some("0123456789abcdef".to_owned()),
        backend: "cpu".to_owned(),
        device: device.to_owned(),
        cpu_threads: 2,
        changes,
        overruled_patience: false,
    }
}

fn change(key: &str, from: &str, to: &str) -> Change {
    Change {
        key: key.to_owned(),
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
    }
}

fn three() -> Vec<RecipeRun> {
    vec![run(3, 0.90), run(1, 0.91), run(2, 0.95)]
}

fn refused(runs: &[RecipeRun]) -> Vec<String> {
    table(runs).unwrap().unwrap_err()
}

fn lines(runs: &[RecipeRun]) -> Vec<String> {
    let table = table(runs).unwrap().unwrap();
    table.lines().skip(2).map(str::to_owned).collect()
}

#[test]
fn seeds_of_one_config_are_a_row_with_mean_and_sample_deviation() {
    let rows = lines(&three());
    // The mean of 0.90, 0.91, 0.95 is 0.92; squares of 0.02, 0.01, 0.03 over 2 are 0.0007.
    assert_eq!(
        rows,
        [
            "| `mine` (no built-in recipe) | 7,850 | 2 | 0.9200 ± 0.0265 | the same | 1, 2, 3 | 3.0 | CPU | \
             `0123456789` | `weft train mine.toml --set a=\"b\\|c\"` |"
        ]
    );
    let n_columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert_eq!(n_columns(&rows[0]), n_columns(HEAD.lines().next().unwrap()));
}

#[test]
fn what_changes_no_number_makes_no_row_of_its_own_and_what_does_makes_one() {
    let mut runs = three();
    runs[0].config.name = "else".to_owned();
    runs[1].config.report.plots = false;
    runs[2].config.data.source = "/somewhere".to_owned();
    runs[2].config.train.device = "gpu".to_owned();
    assert_eq!(lines(&runs).len(), 1);
    let mut other = run(1, 0.5);
    other.config.train.batch_size = 64;
    runs.push(other);
    let rows = lines(&runs);
    assert_eq!(rows.len(), 2);
    let one = rows.iter().find(|row| row.contains("0.5000")).unwrap();
    assert!(
        one.contains("| 0.5000 | the same | 1 (**fewer than 3**) |"),
        "{one}"
    );
}

#[test]
fn a_mean_of_views_says_so_beside_the_image_alone() {
    let mut runs = three();
    for (run, plain) in runs.iter_mut().zip([0.80, 0.81, 0.85]) {
        run.config.evaluation.tta = Tta::Flip;
        run.evaluation.as_mut().unwrap().tta = Some(TestTimeAugmentation {
            mode: Tta::Flip,
            n_views: 2,
            plain_loss: 0.5,
            plain_accuracy: plain,
        });
    }
    let rows = lines(&runs);
    let expected = "| 0.9200 ± 0.0265 (mean of 2 views: flip) | 0.8200 ± 0.0265 |";
    assert!(rows[0].contains(expected), "{rows:?}");
}

#[test]
fn times_of_several_devices_are_told_apart() {
    let mut runs = three();
    runs[0].state.as_mut().unwrap().starts[0].device = "GPU".to_owned();
    runs[0].rows[0].seconds = 150.0;
    let rows = lines(&runs);
    assert!(rows[0].contains("| 3.0; 152 | CPU; GPU |"), "{rows:?}");
}

#[test]
fn a_built_in_recipe_has_its_name_and_a_changed_one_says_what_was_changed() {
    let recipe = &RECIPES[0];
    let seeds = [1, 2, 3].map(|seed| {
        let mut run = run(seed, 0.9);
        run.config = ExperimentConfig {
            seed,
            ..recipe.config().unwrap()
        };
        let epochs = run.config.train.epochs;
        let row = run.rows[0];
        run.rows = (1..=epochs)
            .map(|epoch| EpochRow { epoch, ..row })
            .collect();
        let evaluation = run.evaluation.as_mut().unwrap();
        evaluation.checkpoint_epoch = epochs;
        let mode = run.config.evaluation.tta;
        evaluation.tta = (mode != Tta::None).then_some(TestTimeAugmentation {
            mode,
            n_views: 2,
            plain_loss: 0.5,
            plain_accuracy: 0.9,
        });
        run
    });
    let row = &lines(&seeds)[0];
    let name = recipe.name;
    assert!(row.starts_with(&format!("| `{name}` | ")), "{row}");
    assert!(
        row.contains(&format!("`weft train {name} --set seed=SEED`")),
        "{row}"
    );
    let changed = seeds.map(|mut run| {
        run.config.train.clip_norm = 7.0;
        run
    });
    let row = &lines(&changed)[0];
    let expected = format!("| `{name}` (not as it is built in: `train.clip_norm`) |");
    assert!(row.starts_with(&expected), "{row}");
}

#[test]
fn each_breach_of_the_protocol_is_told_with_the_run_and_the_fix() {
    type Breach = fn(&mut RecipeRun);
    let breaches: [(Breach, &str, &str); 17] = [
        (
            |run| run.environment.data = json!({ "kind": "sample" }),
            "the embedded sample",
            "data.source=fashion-mnist",
        ),
        (
            |run| run.environment.data = json!({}),
            "another set",
            "data.source=fashion-mnist",
        ),
        (
            |run| run.config.data.validation_fraction = 0.2,
            "data.validation_fraction is 0.2",
            "data.validation_fraction=0.0",
        ),
        (
            |run| run.config.early_stopping.patience = 5,
            "early_stopping.patience is 5",
            "early_stopping.patience=0",
        ),
        (
            |run| run.rows.truncate(1),
            "1 of 2 epochs are done",
            "weft resume runs/mine-2",
        ),
        (|run| run.state = None, "no checkpoint says", "weft resume"),
        (
            |run| run.state.as_mut().unwrap().finished = false,
            "no checkpoint says",
            "weft resume",
        ),
        (
            |run| run.evaluation = None,
            "was not evaluated",
            "weft evaluate runs/mine-2",
        ),
        (
            |run| run.evaluation.as_mut().unwrap().split = "validation".to_owned(),
            "of the validation split",
            "weft evaluate runs/mine-2",
        ),
        (
            |run| run.evaluation.as_mut().unwrap().n_images = 1_000,
            "of 1000 images",
            "weft evaluate runs/mine-2",
        ),
        (
            |run| run.evaluation.as_mut().unwrap().checkpoint_epoch = 1,
            "of epoch 1, not of the last one, 2",
            "weft evaluate runs/mine-2",
        ),
        (
            |run| run.config.evaluation.tta = Tta::Flip,
            "has the views none",
            "weft evaluate runs/mine-2",
        ),
        (
            |run| {
                let change = change("train.epochs", "1", "2");
                run.state
                    .as_mut()
                    .unwrap()
                    .starts
                    .push(start("CPU", vec![change]));
            },
            "train.epochs: 1 -> 2 was changed",
            "train it anew",
        ),
        (
            |run| run.changes = vec![change("seed", "1", "2")],
            "seed: 1 -> 2 was changed in config.toml",
            "undo that, or train it anew",
        ),
        (
            |run| run.changes = vec![change("evaluation.tta", "none", "flip")],
            "evaluation.tta: none -> flip was changed",
            "train it anew",
        ),
        (
            |run| {
                let mut later = start("CPU", Vec::new());
                later.git_commit = Some("fedcba".to_owned());
                run.state.as_mut().unwrap().starts.push(later);
            },
            "begun at commit 0123456789abcdef and went on at fedcba",
            "at one commit",
        ),
        (
            |run| {
                run.state.as_mut().unwrap().rollbacks.push(Rollback {
                    step: 5,
                    what: String::new(),
                    to_step: 0,
                });
            },
            "it diverged",
            "smaller optimizer.learning_rate",
        ),
    ];
    assert_eq!(faults(&run(2, 0.9)), [] as [String; 0]);
    // The test split is not to be read before the end.
    let mut unfinished = run(2, 0.9);
    unfinished.rows.truncate(1);
    unfinished.evaluation = None;
    assert_eq!(faults(&unfinished).len(), 1);
    let mut plotted = run(2, 0.9);
    plotted.changes = vec![change("report.plots", "true", "false")];
    assert_eq!(faults(&plotted), [] as [String; 0]);
    for (breach, what, fix) in breaches {
        let mut runs = three();
        breach(&mut runs[2]);
        let wrong = refused(&runs);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        let all = ["runs/mine-2: ", what, fix];
        assert!(
            all.iter().all(|part| wrong[0].contains(part)),
            "{wrong:?} {all:?}"
        );
    }
}

#[test]
fn a_seed_that_is_there_twice_and_two_commits_are_no_row() {
    let mut runs = three();
    runs[0] = run(2, 0.9);
    runs[0].root = "runs/again".to_owned();
    let wrong = refused(&runs);
    assert!(wrong[0].contains("it has the seed of runs/"), "{wrong:?}");
    let mut runs = three();
    runs[0].environment.git_commit = None;
    let wrong = refused(&runs);
    let expected =
        "runs/mine-3: it was trained at an unknown commit, and runs/mine-1 at 0123456789abcdef";
    assert!(
        wrong.len() == 1 && wrong[0].starts_with(expected),
        "{wrong:?}"
    );
}

#[test]
fn the_table_stands_between_its_markers_and_all_else_stays() {
    let [begin, end] = MARKERS;
    let text = format!("before\n{begin}\nold\n{end}\nafter\n");
    let once = replaced(&text, "| new |\n").unwrap();
    assert_eq!(
        once,
        format!("before\n{begin}\n\n| new |\n\n{end}\nafter\n")
    );
    assert_eq!(replaced(&once, "| new |\n").unwrap(), once);
    for bad in [
        "",
        begin,
        &format!("{end}\n{begin}"),
        &format!("{text}{begin}"),
    ] {
        assert!(replaced(bad, "").is_err(), "{bad}");
    }
}

#[test]
fn rows_that_a_new_table_has_not_are_told() {
    let [begin, end] = MARKERS;
    let old = "| recipe |\n|---|\n| `a` | 1 |\n| `b` (no built-in recipe) | 2 |\n";
    let text = format!("| `c` |\n{begin}\n\n{old}\n{end}\n| `d` |\n");
    assert_eq!(lost(&text, "| `b` (no built-in recipe) | 3 |\n"), ["`a`"]);
    assert_eq!(
        lost(&text, "| `a` | 1 |\n| `b` | 3 |\n"),
        ["`b` (no built-in recipe)"]
    );
    let twice = format!("{begin}\n| `a` | 1 |\n| `a` | 2 |\n{end}");
    assert_eq!(lost(&twice, "| `a` | 1 |\n"), ["`a`"]);
    assert_eq!(lost(&text, old), [] as [String; 0]);
    assert_eq!(lost("", old), [] as [String; 0]);
}
