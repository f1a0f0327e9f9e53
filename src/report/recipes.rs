//! The table of recipes: what finished runs reached, several seeds of a recipe in one row. Each number comes
//! from a run's records; a run that does not follow the protocol of docs/recipes.md is refused.

mod protocol;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::RunRecords;
use super::html::saved::Saved;
use crate::config::recipes::RECIPES;
use crate::config::{ExperimentConfig, changed};
use crate::model::InputShape;
use crate::run::RunFolder;
use crate::run::checkpoints::Store;
use crate::run::input::ModelInput;
use crate::run::records::{Change, Environment, EpochRow, Evaluation, TrainState};
use crate::text::{printable, thousands};
use crate::train::checkpoint::CONFIG_FILE;
pub use protocol::{MIN_SEEDS, faults};

/// What stands before and behind the table in its file.
pub const MARKERS: [&str; 2] = [
    "<!-- recipes: begin. `weft recipes --table` writes what follows -->",
    "<!-- recipes: end -->",
];

const HEAD: &str = "\
| recipe | parameters | epochs | test accuracy | of the image alone | seeds | seconds | device | commit | command |
|---|---|---|---|---|---|---|---|---|---|
";

/// What the table needs of a run.
#[derive(Clone, Debug)]
pub struct RecipeRun {
    /// The folder, for people.
    pub root: String,
    /// That it was trained with.
    pub config: ExperimentConfig,
    /// What config.toml has by now that it was not trained with.
    pub changes: Vec<Change>,
    pub environment: Environment,
    pub rows: Vec<EpochRow>,
    pub evaluation: Option<Evaluation>,
    /// Of the newest checkpoint.
    pub state: Option<TrainState>,
    pub n_parameters: u64,
}

impl RecipeRun {
    /// Reads the records of a run folder.
    pub fn read(run: &RunFolder) -> Result<Self> {
        let records = RunRecords::read(run)?;
        let of_file = config_of(&records.config_toml, &run.config())?;
        let state = Saved::read(run, &of_file, None).state;
        let (config, changes) = match &state {
            Some(state) => {
                let config = saved_config(run, state.step)?;
                let (fixed, free) = config.changes(&of_file)?;
                (config, [fixed, free].concat())
            }
            None => (of_file, Vec::new()),
        };
        let about = ModelInput::read(&run.input())?;
        let input = InputShape {
            channels: about.channels,
            height: about.height,
            width: about.width,
            n_classes: about.class_names.len(),
        };
        let layers = config.model.layer_summaries(input);
        let parameters = layers.iter().map(|layer| layer.parameters);
        Ok(Self {
            root: printable(&run.root.display().to_string()),
            n_parameters: parameters.fold(0, u64::saturating_add),
            state,
            config,
            changes,
            environment: records.environment,
            rows: records.rows,
            evaluation: records.evaluated.map(|it| it.evaluation),
        })
    }

    fn seconds(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }

    /// Of all processes that trained it.
    fn device(&self) -> String {
        let starts = self.state.iter().flat_map(|state| &state.starts);
        let mut devices: Vec<&str> = starts.map(|start| &start.device[..]).collect();
        devices.dedup();
        match devices.is_empty() {
            true => self.environment.device.clone(),
            false => devices.join(", then "),
        }
    }
}

fn config_of(text: &str, path: &Path) -> Result<ExperimentConfig> {
    ExperimentConfig::from_checkpoint(text).with_context(|| {
        format!(
            "{} is of another weft\nhint: use the weft that wrote it",
            path.display()
        )
    })
}

/// The config of a checkpoint.
fn saved_config(run: &RunFolder, step: u64) -> Result<ExperimentConfig> {
    let store = Store::new(&run.root);
    let (_, bytes) = store.load_file(step, CONFIG_FILE)?;
    let path = store.step_folder(step).join(CONFIG_FILE);
    config_of(&String::from_utf8_lossy(&bytes), &path)
}

type Values = BTreeMap<String, String>;

/// What makes runs one row: the config but for its name, the seed, the device and what changes no number of
/// the table.
fn essence(config: &ExperimentConfig) -> Result<Values> {
    let mut config = config.clone();
    let defaults = ExperimentConfig::default();
    config.name = defaults.name;
    config.seed = defaults.seed;
    config.data.source = defaults.data.source;
    config.train.device = defaults.train.device;
    config.train.evaluation_batch_size = defaults.train.evaluation_batch_size;
    config.checkpoint = defaults.checkpoint;
    config.report = defaults.report;
    config.values()
}

/// Runs of one recipe that differ in their seeds.
struct Group<'a> {
    essence: Values,
    /// By seed.
    runs: Vec<&'a RecipeRun>,
}

/// The runs in groups: those of the built-in recipes first, in their order, then the others by name.
fn groups(runs: &[RecipeRun]) -> Result<Vec<Group<'_>>> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let essence = essence(&run.config)?;
        match groups.iter_mut().find(|group| group.essence == essence) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group {
                essence,
                runs: vec![run],
            }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by_key(|run| run.config.seed);
    }
    let built_in = built_in()?;
    let position = |group: &Group| built_in.iter().position(|(_, it)| *it == group.essence);
    groups.sort_by_cached_key(|group| {
        let name = group.runs[0].config.name.clone();
        (position(group).unwrap_or(usize::MAX), name)
    });
    Ok(groups)
}

fn built_in() -> Result<Vec<(&'static str, Values)>> {
    let of = |recipe: &'static crate::config::recipes::Recipe| {
        Ok((recipe.name, essence(&recipe.config()?)?))
    };
    RECIPES.iter().map(of).collect()
}

/// The table, or what is wrong with which run, a text for each.
pub fn table(runs: &[RecipeRun]) -> Result<Result<String, Vec<String>>> {
    let groups = groups(runs)?;
    let mut wrong: Vec<String> = runs.iter().flat_map(faults).collect();
    for group in &groups {
        wrong.extend(protocol::faults_of_group(&group.runs));
    }
    if !wrong.is_empty() {
        return Ok(Err(wrong));
    }
    let built_in = built_in()?;
    let mut table = HEAD.to_owned();
    for group in &groups {
        table.push_str(&row(group, &built_in));
    }
    Ok(Ok(table))
}

fn row(group: &Group, built_in: &[(&'static str, Values)]) -> String {
    let first = group.runs[0];
    let of_runs = |value: fn(&Evaluation) -> f64| -> Vec<f64> {
        let evaluations = group.runs.iter().filter_map(|run| run.evaluation.as_ref());
        evaluations.map(value).collect()
    };
    let accuracy = spread(&of_runs(|it| it.accuracy));
    let mode = first.config.evaluation.tta;
    let plain = match mode.told() {
        Some(_) => spread(&of_runs(|it| {
            it.tta.map_or(it.accuracy, |tta| tta.plain_accuracy)
        })),
        None => "the same".to_owned(),
    };
    let (recipe, command) = named(group, built_in);
    let commit = first.environment.git_commit.as_deref();
    let cells = [
        recipe,
        thousands(first.n_parameters),
        first.config.train.epochs.to_string(),
        format!("{accuracy}{}", mode.note(None)),
        plain,
        seeds(&group.runs),
        seconds(&group.runs),
        devices(&group.runs).join("; "),
        commit.map_or("not known".to_owned(), |commit| {
            format!("`{}`", cell(commit).chars().take(10).collect::<String>())
        }),
        format!("`{command}`"),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// The recipe's name, and the command that trains it.
fn named(group: &Group, built_in: &[(&'static str, Values)]) -> (String, String) {
    let first = group.runs[0];
    if let Some((name, _)) = built_in.iter().find(|(_, it)| *it == group.essence) {
        return (
            format!("`{name}`"),
            format!("weft train {name} --set seed=SEED"),
        );
    }
    let name = cell(&first.config.name);
    let what = match built_in.iter().find(|(it, _)| *it == first.config.name) {
        None => "no built-in recipe".to_owned(),
        Some((_, essence)) => {
            let changes = changed(essence, &group.essence);
            let keys = changes
                .iter()
                .map(|change| format!("`{}`", cell(&change.key)));
            format!(
                "not as it is built in: {}",
                keys.collect::<Vec<_>>().join(", ")
            )
        }
    };
    let arguments = first.environment.command_line.iter().skip(1);
    let command: String = arguments.fold("weft".to_owned(), |command, argument| {
        command + " " + &cell(argument)
    });
    (format!("`{name}` ({what})"), command)
}

/// A text from outside in a cell of a Markdown table.
fn cell(text: &str) -> String {
    printable(text).replace('`', "'").replace('|', "\\|")
}

/// "0.9412 ± 0.0011": mean and sample standard deviation, which one value does not have.
fn spread(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return format!("{mean:.4}");
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    format!("{mean:.4} ± {:.4}", (squares / (n - 1.0)).sqrt())
}

fn seeds(runs: &[&RecipeRun]) -> String {
    let seeds: Vec<String> = runs.iter().map(|run| run.config.seed.to_string()).collect();
    let text = seeds.join(", ");
    match seeds.len() {
        n if n < MIN_SEEDS => format!("{text} (**fewer than {MIN_SEEDS}**)"),
        _ => text,
    }
}

/// Each once, in the order of the seeds.
fn devices(runs: &[&RecipeRun]) -> Vec<String> {
    let mut devices = Vec::new();
    for device in runs.iter().map(|run| cell(&run.device())) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    devices
}

/// Mean training time: of each device where there are several.
fn seconds(runs: &[&RecipeRun]) -> String {
    let devices = devices(runs);
    let mut text = String::new();
    for (index, device) in devices.iter().enumerate() {
        let on_it = runs.iter().filter(|run| cell(&run.device()) == *device);
        let seconds: Vec<f64> = on_it.map(|run| run.seconds()).collect();
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let digits = if mean < 100.0 { 1 } else { 0 };
        let between = if index == 0 { "" } else { "; " };
        let _ = write!(text, "{between}{mean:.digits$}");
    }
    text
}

/// The first cells of the rows that a text has between its markers and a table has not.
pub fn lost(text: &str, table: &str) -> Vec<String> {
    let [begin, end] = MARKERS;
    let old = text.split_once(begin).map_or("", |(_, rest)| rest);
    let old = old.split_once(end).map_or(old, |(old, _)| old);
    let name = |line: &str| {
        let line = line
            .strip_prefix("| ")
            .filter(|line| line.starts_with('`'))?;
        Some(line.split_once(" | ")?.0.to_owned())
    };
    let mut new: Vec<String> = table.lines().filter_map(name).collect();
    let mut lost: Vec<String> = old.lines().filter_map(name).collect();
    // Two rows may have the same name: each of the new ones stands for one.
    lost.retain(|name| {
        let found = new.iter().position(|it| it == name);
        found.map(|at| new.swap_remove(at)).is_none()
    });
    lost
}

/// The text of a file with a table between its markers, or what is wrong with the markers.
pub fn replaced(text: &str, table: &str) -> Result<String, String> {
    let [begin, end] = MARKERS;
    for marker in MARKERS {
        let n = text.matches(marker).count();
        if n != 1 {
            return Err(format!("the line {marker} is there {n} times, not once"));
        }
    }
    let (before, rest) = text.split_once(begin).unwrap_or((text, ""));
    let Some((_, after)) = rest.split_once(end) else {
        return Err(format!("{end} stands before {begin}"));
    };
    Ok(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}
