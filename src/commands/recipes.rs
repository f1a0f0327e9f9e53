//! `weft recipes`

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::{say, warn};
use crate::cli::RecipesArgs;
use crate::config::recipes::{self, RECIPES, Recipe};
use crate::model::InputShape;
use crate::report::recipes::{MARKERS, RecipeRun, lost, replaced, table};
use crate::run::{RunFolder, records};
use crate::text::{printable, thousands};

/// Fashion-MNIST's.
const INPUT: InputShape = InputShape {
    channels: 1,
    height: 28,
    width: 28,
    n_classes: 10,
};
const WIDTH: usize = 78;

pub(super) fn run(args: &RecipesArgs) -> Result<ExitCode> {
    match (&args.table, &args.names[..]) {
        (Some(file), paths) => write_table(file, paths)?,
        (None, []) => list()?,
        (None, [name]) => say(find(name)?.text.trim_end()),
        (None, [_, ..]) => {
            bail!("one recipe is printed at a time\nhint: `weft recipes` lists them")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &Path) -> Result<&'static Recipe> {
    let name = name.to_string_lossy();
    recipes::find(&name).with_context(|| {
        format!(
            "there is no recipe {}\nhint: use one of {}",
            printable(&name),
            recipes::names()
        )
    })
}

fn list() -> Result<()> {
    for recipe in RECIPES {
        let config = recipe.config()?;
        let layers = config.model.layer_summaries(INPUT);
        let parameters = layers.iter().map(|layer| layer.parameters);
        say(&format!(
            "{}  {} parameters, {} epochs",
            recipe.name,
            thousands(parameters.sum()),
            config.train.epochs
        ));
        for line in wrapped(&recipe.about(), WIDTH - 4) {
            say(&format!("    {line}"));
        }
    }
    say(
        "\n`weft train NAME` trains one, `weft recipes NAME > FILE` is a config to start from;\n\
         docs/recipes.md has what they reached, over several seeds",
    );
    Ok(())
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn write_table(file: &Path, paths: &[PathBuf]) -> Result<()> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => MARKERS.join("\n") + "\n",
        text => text.with_context(|| {
            format!("{shown} cannot be read\nhint: give a text file with the table's markers, or a new name")
        })?,
    };
    let folders = run_folders(paths)?;
    let runs: Vec<RecipeRun> = folders.iter().map(RecipeRun::read).collect::<Result<_>>()?;
    let table = match table(&runs)? {
        Ok(table) => table,
        Err(wrong) => bail!(
            "{shown} is left as it is: the runs do not follow the protocol of docs/recipes.md\n  {}\n\
             hint: put them right; leave out none but those that were never meant for it",
            wrong.join("\n  ")
        ),
    };
    let lost = lost(&text, &table);
    if !lost.is_empty() {
        bail!(
            "{shown} is left as it is: it has rows that no given run is of: {}\n\
             hint: give the runs of all rows, or another file",
            lost.join(", ")
        );
    }
    let text = replaced(&text, &table).map_err(|what| {
        anyhow::anyhow!(
            "{shown} is left as it is: {what}\nhint: the table is written between two such lines, once"
        )
    })?;
    records::write_text(file, &text)?;
    let n_rows = table.lines().count().saturating_sub(2);
    let few = table.lines().filter(|line| line.contains("**fewer than"));
    match few.count() {
        0 => {}
        n => warn(&format!(
            "warning: {n} of {n_rows} rows have fewer than 3 seeds, and say so"
        )),
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    say(&format!(
        "wrote   {shown}: {n_rows} row{} of {} run{}",
        plural(n_rows),
        runs.len(),
        plural(runs.len())
    ));
    Ok(())
}

/// Each path is a run, or a folder of runs.
fn run_folders(paths: &[PathBuf]) -> Result<Vec<RunFolder>> {
    if paths.is_empty() {
        bail!("--table needs runs\nhint: give run folders, or a folder that has some");
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for path in paths {
        let within = match RunFolder::open(path) {
            Ok(_) => vec![path.clone()],
            Err(error) => {
                let found = runs_in(path);
                if found.is_empty() {
                    return Err(error.into());
                }
                found
            }
        };
        folders.extend(within);
    }
    // A folder that is given twice is one run.
    let mut seen = Vec::new();
    folders.retain(|folder| {
        let place = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let is_new = !seen.contains(&place);
        seen.push(place);
        is_new
    });
    let opened = folders.iter().map(|folder| Ok(RunFolder::open(folder)?));
    opened.collect()
}

fn runs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| RunFolder::open(path).is_ok())
        .collect();
    runs.sort();
    runs
}
