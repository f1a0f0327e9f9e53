//! Several runs beside each other: a table, curves over one another, the keys of the config that differ.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::run::{Run, warnings_html};
use super::table::{Table, html, number, words};
use super::text::{Text, count, duration, fixed, name, percent};
use super::{chart, data};
use crate::text::thousands;

/// The sections that stand before the runs' own: key, title, HTML.
pub(super) fn sections(runs: &[Run]) -> Result<Vec<(&'static str, &'static str, String)>> {
    Ok(vec![
        (
            "runs",
            "Runs",
            warnings_html(&warnings(runs)) + &table(runs),
        ),
        ("overlay", "Curves", overlay(runs)),
        (
            "differences",
            "Differences of the configs",
            differences(runs)?,
        ),
    ])
}

/// What keeps the numbers of the runs from being compared.
fn warnings(runs: &[Run]) -> Vec<String> {
    let mut warnings = Vec::new();
    if differ(runs, |run| data::checksums(&run.records.environment.data)) {
        warnings.push(
            "These runs were trained on different data: their losses and accuracies do not compare."
                .to_owned(),
        );
        return warnings;
    }
    let tests_differ = differ(runs, test_draw);
    if tests_differ {
        warnings.push(
            "The test images differ (seed or data.test_fraction; the folder has no test/): test losses and \
             accuracies do not compare image by image, and some runs were trained on test images of others."
                .to_owned(),
        );
    }
    if differ(runs, validation_draw) {
        let same = match tests_differ {
            true => "",
            false => " The test images are the same.",
        };
        warnings.push(format!(
            "The validation splits differ (seed or data.validation_fraction): validation losses and \
             accuracies do not compare image by image.{same}"
        ));
    }
    warnings
}

/// A fraction of the images that was drawn, and the seed.
type Draw = (u64, u64);

/// How the test images were drawn. None where the data itself says which they are. The checksums of a folder
/// of images are of all its parts together, so that they do not tell.
fn test_draw(run: &Run) -> Option<Draw> {
    let parts = folder_parts(run)?;
    let fraction = run.config.data.test_fraction;
    (!parts.contains(&"test")).then_some((fraction.to_bits(), run.config.seed))
}

/// How the validation images were drawn, and of what. None where the data says which they are, or there are
/// none.
fn validation_draw(run: &Run) -> Option<(Draw, Option<Draw>)> {
    let fraction = run.config.data.validation_fraction;
    let given = folder_parts(run).is_some_and(|parts| parts.contains(&"validation"));
    let drawn = !given && fraction > 0.0;
    drawn.then(|| ((fraction.to_bits(), run.config.seed), test_draw(run)))
}

/// The parts that have a folder of their own, of a run on a folder of images.
fn folder_parts<'a>(run: &'a Run) -> Option<Vec<&'a str>> {
    let data = &run.records.environment.data;
    let parts = data["images"]["parts"].as_array()?;
    (data["kind"] == "image_folder").then(|| parts.iter().filter_map(|it| it.as_str()).collect())
}

fn differ<T: PartialEq>(runs: &[Run], of: impl Fn(&Run) -> T) -> bool {
    let mut values = runs.iter().map(of);
    let first = values.next();
    values.any(|value| Some(value) != first)
}

fn table(runs: &[Run]) -> String {
    let head = [
        "run",
        "#test accuracy",
        "#test loss",
        "#epochs",
        "#best valid accuracy",
        "#parameters",
        "#training time",
        "device",
        "data",
    ];
    let mut table = Table::new("Runs", "runs", true, &head);
    for run in runs {
        let evaluation = run.records.evaluated.as_ref().map(|it| &it.evaluation);
        let title = format!(
            "<a href=\"#{0}\">{1}</a> <span class=\"note\">{2}</span>",
            run.id,
            name(&run.name),
            name(&run.root)
        );
        let none = || number("–", f64::NAN);
        let accuracies = run.records.rows.iter().filter_map(|row| row.valid_accuracy);
        let best = accuracies.fold(f64::NAN, f64::max);
        let device = &run.records.environment.device;
        let seconds = run.seconds();
        let cells = [
            html(title),
            evaluation.map_or_else(none, |it| {
                let without = it.tta.map(|tta| percent(tta.plain_accuracy, 2));
                let text = percent(it.accuracy, 2) + &it.mode().note(without);
                number(text, it.accuracy)
            }),
            evaluation.map_or_else(none, |it| {
                let without = it.tta.map(|tta| fixed(tta.plain_loss, 4));
                let text = fixed(it.loss, 4) + &it.mode().note(without);
                number(text, it.loss)
            }),
            number(
                format!("{} of {}", run.records.rows.len(), run.config.train.epochs),
                run.records.rows.len() as f64,
            ),
            if best.is_nan() {
                none()
            } else {
                number(percent(best, 2), best)
            },
            run.n_parameters()
                .map_or_else(none, |n| number(thousands(n), n as f64)),
            number(duration(seconds), seconds),
            // Its parts in parentheses are in the run's own section.
            html(name(device.split(" (").next().unwrap_or(device))),
            words(&data::title(&run.records.environment.data)),
        ];
        table.row("", &cells);
    }
    table.end()
}

fn overlay(runs: &[Run]) -> String {
    let text = |what: &str, value: fn(&Run) -> Option<f64>| {
        let mut text = format!("{what} at the end:");
        for (index, run) in runs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let value = value(run).map_or("none".to_owned(), |value| fixed(value, 4));
            let _ = write!(text, "{comma} {} {value}", run.name);
        }
        text + "."
    };
    let last_loss = |run: &Run| {
        let last = run.records.rows.last()?;
        Some(last.valid_loss.unwrap_or(last.train_loss))
    };
    let last_accuracy = |run: &Run| {
        let last = run.records.rows.last()?;
        Some(last.valid_accuracy.unwrap_or(last.train_accuracy))
    };
    format!(
        "<div class=\"overlay\" data-view=\"overlay\"><div class=\"tools\" id=\"overlay-tools\"></div>\n\
         <div class=\"charts\">\n{}{}</div></div>\n",
        chart("overlay_loss", "Loss", &text("Loss", last_loss)),
        chart(
            "overlay_accuracy",
            "Accuracy",
            &text("Accuracy", last_accuracy)
        )
    )
}

/// The keys whose values are not the same in all runs.
fn differences(runs: &[Run]) -> Result<String> {
    let values: Vec<_> = runs
        .iter()
        .map(|run| run.config.values())
        .collect::<Result<_>>()?;
    let keys: BTreeSet<&String> = values.iter().flat_map(|of_run| of_run.keys()).collect();
    // The name is the run's own, and the source is a path: the table says which data it is.
    let differing = keys.into_iter().filter(|key| {
        let of_runs: BTreeSet<_> = values.iter().map(|of_run| of_run.get(*key)).collect();
        of_runs.len() > 1 && !["name", "data.source"].contains(&key.as_str())
    });
    // Another kind of model has other keys: these come second.
    let in_all = |key: &&String| values.iter().all(|of_run| of_run.contains_key(*key));
    let (shared, others): (Vec<&String>, Vec<&String>) = differing.partition(in_all);
    let table = |keys: &[&String], label: &str| {
        let names = runs.iter().map(|run| run.name.trim_start_matches('#'));
        let head: Vec<&str> = std::iter::once("key").chain(names).collect();
        let mut table = Table::new(label, "differences", false, &head);
        for &key in keys {
            let cells = values.iter().map(|of_run| match of_run.get(key) {
                Some(value) => html(format!("<code>{}</code>", Text(value))),
                None => words("–"),
            });
            let key = html(format!("<code>{}</code>", Text(key)));
            table.row("", &std::iter::once(key).chain(cells).collect::<Vec<_>>());
        }
        table.end()
    };
    let mut html = match &shared[..] {
        [] => "<p>The keys that all of them have are the same but for the name.</p>\n".to_owned(),
        shared => table(shared, "Keys that differ"),
    };
    if !others.is_empty() {
        let _ = write!(
            html,
            "<details><summary>{} that not all of them have</summary>\n{}</details>\n",
            count(others.len() as u64, "key"),
            table(&others, "Keys that not all of them have")
        );
    }
    Ok(html)
}
