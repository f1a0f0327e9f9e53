//! The protocol of docs/recipes.md, as checks: what is wrong with a run, and how it is put right.

use super::RecipeRun;

/// Runs with different seeds that a row needs; one of fewer says so.
pub const MIN_SEEDS: usize = 3;

/// Fashion-MNIST's test images.
const N_TEST: u64 = 10_000;

/// Keys that may change while a run is trained and later: no number of the table depends on them.
const FREE: [&str; 3] = ["report.", "checkpoint.", "train.evaluation_batch_size"];

/// What keeps a run out of the table: "RUN: what; fix", one for each fault.
pub fn faults(run: &RecipeRun) -> Vec<String> {
    let of_training = of_training(run);
    // The test split is not to be read before the end.
    let of_result = match of_training.is_empty() {
        true => of_result(run),
        false => Vec::new(),
    };
    let all = [
        of_data(run),
        of_config(run),
        of_training,
        of_history(run),
        of_result,
    ];
    let all = all.into_iter().flatten();
    all.map(|(what, fix)| format!("{}: {what}; {fix}", run.root))
        .collect()
}

type Faults = Vec<(String, String)>;

fn of_data(run: &RecipeRun) -> Faults {
    let data = &run.environment.data;
    if data["kind"] == "fashion_mnist" {
        return Vec::new();
    }
    let what = match data["kind"].as_str() {
        Some("sample") => "the embedded sample",
        _ => "another set",
    };
    vec![(
        format!("it was trained on {what}, not on the full Fashion-MNIST"),
        "train it with --set data.source=fashion-mnist".to_owned(),
    )]
}

fn of_config(run: &RecipeRun) -> Faults {
    let mut faults = Vec::new();
    let fraction = run.config.data.validation_fraction;
    if fraction != 0.0 {
        faults.push((
            format!(
                "data.validation_fraction is {fraction}, so it was not trained on all 60,000 images"
            ),
            "train it with --set data.validation_fraction=0.0".to_owned(),
        ));
    }
    let patience = run.config.early_stopping.patience;
    if patience != 0 {
        faults.push((
            format!(
                "early_stopping.patience is {patience}, so its epochs were not fixed beforehand"
            ),
            "train it with --set early_stopping.patience=0".to_owned(),
        ));
    }
    faults
}

fn of_training(run: &RecipeRun) -> Faults {
    let (done, planned) = (run.rows.len() as u64, run.config.train.epochs);
    let finished = run.state.as_ref().is_some_and(|state| state.finished);
    if done == planned && finished {
        return Vec::new();
    }
    let what = match done == planned {
        true => "no checkpoint says that it is finished".to_owned(),
        false => format!("{done} of {planned} epochs are done"),
    };
    vec![(what, format!("`weft resume {}` ends it", run.root))]
}

/// The settings have to be the same from the first step to the last.
fn of_history(run: &RecipeRun) -> Faults {
    let Some(state) = &run.state else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let anew = "train it anew with the last value".to_owned();
    let is_free = |key: &str| FREE.iter().any(|free| key.starts_with(free));
    let changes = state.starts.iter().flat_map(|start| &start.changes);
    for change in changes.filter(|change| !is_free(&change.key)) {
        let what = format!("{change} was changed while it was trained");
        faults.push((what, anew.clone()));
    }
    for change in run.changes.iter().filter(|change| !is_free(&change.key)) {
        let what = format!("{change} was changed in config.toml since it was trained");
        faults.push((what, format!("undo that, or {anew}")));
    }
    let went_on = state.starts.iter().map(|start| &start.git_commit);
    let mut commits: Vec<&String> = [&run.environment.git_commit]
        .into_iter()
        .chain(went_on)
        .flatten()
        .collect();
    commits.dedup();
    if let [first, second, ..] = commits[..] {
        faults.push((
            format!("it was begun at commit {first} and went on at {second}"),
            "train it anew at one commit".to_owned(),
        ));
    }
    if !state.rollbacks.is_empty() {
        let n = state.rollbacks.len();
        faults.push((
            format!("it diverged and went on with a smaller learning rate, {n} times"),
            "train it anew with a smaller optimizer.learning_rate".to_owned(),
        ));
    }
    faults
}

fn of_result(run: &RecipeRun) -> Faults {
    let evaluates = format!("`weft evaluate {}` writes it anew", run.root);
    let Some(evaluation) = &run.evaluation else {
        let what = "the test split was not evaluated".to_owned();
        return vec![(what, format!("`weft evaluate {}` does that", run.root))];
    };
    let mut faults = Vec::new();
    let (split, n) = (&evaluation.split, evaluation.n_images);
    if split != "test" || n != N_TEST {
        let what = format!(
            "its result is of {n} images of the {split} split, not of the {N_TEST} test images"
        );
        faults.push((what, evaluates.clone()));
    }
    let (epoch, planned) = (evaluation.checkpoint_epoch, run.config.train.epochs);
    if epoch != planned {
        let what = format!("its result is of epoch {epoch}, not of the last one, {planned}");
        faults.push((what, evaluates.clone()));
    }
    let (mode, asked) = (evaluation.mode(), run.config.evaluation.tta);
    if mode != asked {
        let what = format!(
            "its result has the views {}, and its config asks for evaluation.tta = \"{}\"",
            mode.name(),
            asked.name()
        );
        faults.push((what, evaluates));
    }
    faults
}

/// What keeps runs from being one row.
pub(super) fn faults_of_group(runs: &[&RecipeRun]) -> Vec<String> {
    let mut faults = Vec::new();
    let pairs = runs.iter().zip(runs.iter().skip(1));
    for (before, run) in pairs.filter(|(a, b)| a.config.seed == b.config.seed) {
        faults.push(format!(
            "{}: it has the seed of {}, {}; give the run that was trained first alone",
            run.root, before.root, run.config.seed
        ));
    }
    let commit = |run: &RecipeRun| run.environment.git_commit.clone();
    let told = |run: &RecipeRun| commit(run).unwrap_or_else(|| "an unknown commit".to_owned());
    for run in runs.iter().filter(|run| commit(run) != commit(runs[0])) {
        faults.push(format!(
            "{}: it was trained at {}, and {} at {}; train all seeds of a recipe at one commit",
            run.root,
            told(run),
            runs[0].root,
            told(runs[0])
        ));
    }
    faults
}
