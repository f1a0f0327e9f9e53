//! The sections about the training and its records: curves, model, config, environment, history,
//! checksums.

use super::run::Run;
use super::saved::Status;
use super::table::{Table, facts, html, number, words};
use super::text::{Text, count, duration, fixed, name, rate};
use super::{chart, data};
use crate::run::records::EpochRow;
use crate::text::thousands;

/// The most epochs of a table and a curve; of longer runs every nth, the best and the last.
const MOST_EPOCHS: usize = 1_000;

/// The columns of the table of epochs that are of the validation split.
const VALIDATION: std::ops::RangeInclusive<usize> = 3..=4;

/// Every epoch, or what stands for them.
pub(super) fn shown_rows(rows: &[EpochRow]) -> Vec<&EpochRow> {
    let every = rows.len().div_ceil(MOST_EPOCHS).max(1);
    let best = rows.iter().rposition(|row| row.best);
    let is_shown = |index: &usize| {
        index.is_multiple_of(every) || Some(*index) == best || index + 1 == rows.len()
    };
    (0..rows.len())
        .filter(is_shown)
        .map(|index| &rows[index])
        .collect()
}

/// The charts, and the values as a table.
pub(super) fn curves(run: &Run) -> String {
    let rows = &run.records.rows;
    if rows.is_empty() {
        return "<p>No epoch is done yet.</p>\n".to_owned();
    }
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    let lowest = extreme(rows, |row| row.valid_loss, f64::lt);
    let highest = extreme(rows, |row| row.valid_accuracy, f64::gt);
    let loss = format!(
        "Training loss goes from {} to {}{}.",
        fixed(first.train_loss, 4),
        fixed(last.train_loss, 4),
        lowest.map_or(String::new(), |(epoch, value)| format!(
            "; validation loss is lowest in epoch {epoch}, {}",
            fixed(value, 4)
        ))
    );
    let accuracy = format!(
        "Training accuracy goes from {} to {}{}.",
        fixed(first.train_accuracy, 4),
        fixed(last.train_accuracy, 4),
        highest.map_or(String::new(), |(epoch, value)| format!(
            "; validation accuracy is highest in epoch {epoch}, {}",
            fixed(value, 4)
        ))
    );
    let peak = extreme(rows, |row| Some(row.learning_rate), f64::gt);
    let learning_rate = match rows
        .iter()
        .all(|row| row.learning_rate == first.learning_rate)
    {
        true => format!("{} after every epoch.", rate(first.learning_rate)),
        false => format!(
            "At the ends of the epochs: {} after the first, {}{} after the last.",
            rate(first.learning_rate),
            peak.map_or(String::new(), |(epoch, value)| format!(
                "at most {} after epoch {epoch}, ",
                rate(value)
            )),
            rate(last.learning_rate)
        ),
    };
    let mean = run.seconds() / rows.len() as f64;
    let seconds = format!(
        "{} in all, {} an epoch.",
        duration(run.seconds()),
        duration(mean)
    );
    let charts = [
        chart("loss", "Loss", &loss),
        chart("accuracy", "Accuracy", &accuracy),
        chart("learning_rate", "Learning rate", &learning_rate),
        chart("seconds", "Seconds per epoch", &seconds),
    ];
    let note = match (run.config.train.averages(), validates(rows)) {
        (true, true) => {
            "<p class=\"note\">Validation is of the average of the weights; training is of the weights \
             of each step.</p>\n"
        }
        (true, false) => {
            "<p class=\"note\">Training is of the weights of each step; the result is of their average. \
             There is no validation split.</p>\n"
        }
        (false, true) => "",
        (false, false) => "<p class=\"note\">There is no validation split.</p>\n",
    };
    format!(
        "<div class=\"charts\">\n{}</div>\n{note}{}",
        charts.concat(),
        epochs(run)
    )
}

/// The first of the lowest or highest values, with its epoch.
fn extreme(
    rows: &[EpochRow],
    value: impl Fn(&EpochRow) -> Option<f64>,
    is_better: fn(&f64, &f64) -> bool,
) -> Option<(u64, f64)> {
    let values = rows.iter().filter_map(|row| Some((row.epoch, value(row)?)));
    values
        .filter(|(_, value)| value.is_finite())
        .reduce(|best, next| {
            if is_better(&next.1, &best.1) {
                next
            } else {
                best
            }
        })
}

/// Whether there is a validation split: else its columns would be empty.
fn validates(rows: &[EpochRow]) -> bool {
    rows.iter().any(|row| row.valid_loss.is_some())
}

fn epochs(run: &Run) -> String {
    let rows = &run.records.rows;
    let with_validation = validates(rows);
    let is_shown = |column: usize| with_validation || !VALIDATION.contains(&column);
    let head = [
        "epoch",
        "#train loss",
        "#accuracy",
        "#valid loss",
        "#accuracy",
        "#learning rate",
        "#seconds",
        "",
    ];
    let head = head.into_iter().enumerate();
    let head: Vec<&str> = head
        .filter(|(column, _)| is_shown(*column))
        .map(|(_, title)| title)
        .collect();
    let mut table = Table::new("Values of the epochs", "epochs", false, &head);
    let best = run.records.best_epoch();
    let shown = shown_rows(rows);
    let four = |value: f64| number(fixed(value, 4), value);
    for row in &shown {
        let is_best = Some(row.epoch) == best;
        let valid = |value: Option<f64>| value.map_or(words("–"), four);
        let cells = [
            words(&row.epoch.to_string()),
            four(row.train_loss),
            four(row.train_accuracy),
            valid(row.valid_loss),
            valid(row.valid_accuracy),
            number(rate(row.learning_rate), row.learning_rate),
            number(fixed(row.seconds, 1), row.seconds),
            words(if is_best { "best" } else { "" }),
        ];
        let cells = cells.into_iter().enumerate();
        let cells: Vec<_> = cells
            .filter(|(column, _)| is_shown(*column))
            .map(|(_, cell)| cell)
            .collect();
        table.row(if is_best { "ours" } else { "" }, &cells);
    }
    let part = match shown.len() == rows.len() {
        true => String::new(),
        false => format!(" ({} of {})", shown.len(), thousands(rows.len() as u64)),
    };
    format!(
        "<details><summary>The values of the epochs as a table{part}</summary>\n{}</details>\n",
        table.end()
    )
}

/// The layers with their shapes and parameters.
pub(super) fn model(run: &Run) -> String {
    let what = run.config.model.summary();
    let Some(input) = run.input_shape() else {
        return format!(
            "<p>{}. The shapes of its layers depend on the data, which was not found.</p>\n",
            Text(&what)
        );
    };
    let layers = run.config.model.layer_summaries(input);
    let sum = layers
        .iter()
        .fold(0u64, |sum, layer| sum.saturating_add(layer.parameters));
    let head = ["layer", "output", "#parameters"];
    let mut table = Table::new("Layers of the model", "layers", false, &head);
    for layer in &layers {
        let shape: Vec<String> = layer.output.iter().map(usize::to_string).collect();
        let parameters = match layer.parameters {
            0 => words(""),
            n => number(thousands(n), n as f64),
        };
        table.row(
            "",
            &[words(&layer.name), words(&shape.join(" x ")), parameters],
        );
    }
    table.row(
        "mean",
        &[words("all"), words(""), number(thousands(sum), sum as f64)],
    );
    format!(
        "<p>{}, {}. Shapes are of one image: channels x height x width.</p>\n{}",
        Text(&what),
        count(sum, "parameter"),
        table.end()
    )
}

/// config.toml, to be copied.
pub(super) fn config(run: &Run) -> String {
    format!(
        "<p><code>weft train {}</code> trains it again.</p>\n\
         <div class=\"copy\"><pre class=\"scroll\" role=\"region\" tabindex=\"0\" \
         aria-label=\"config.toml\"><code>{}</code></pre></div>\n",
        Text(&run.records.run.config().display().to_string()),
        Text(run.records.config_toml.trim_end())
    )
}

/// Versions, device, command line.
pub(super) fn environment(run: &Run) -> String {
    let environment = &run.records.environment;
    let mut rows = vec![
        ("Run folder", name(&run.root)),
        ("Started", Text(&environment.started).to_string()),
        ("Device", name(&environment.device)),
    ];
    if let Some(adapter) = &environment.adapter {
        let text = format!(
            "{}, {}, driver {}",
            adapter.name, adapter.api, adapter.driver
        );
        rows.push(("Adapter", name(&text)));
    }
    let threads = count(environment.cpu_threads as u64, "thread");
    rows.push((
        "System",
        name(&format!(
            "{} {}, {threads}",
            environment.os, environment.arch
        )),
    ));
    let versions = format!("weft {}, burn {}", environment.weft, environment.burn);
    rows.push(("Versions", name(&versions)));
    if let Some(commit) = &environment.git_commit {
        rows.push(("Commit of the working folder", name(commit)));
    }
    rows.push((
        "Command",
        format!("<code>{}</code>", name(&environment.command_line.join(" "))),
    ));
    if let Some(evaluated) = &run.records.evaluated {
        let evaluation = &evaluated.evaluation;
        let speed = thousands(evaluation.images_per_second.max(0.0) as u64);
        let text = format!(
            "{} on {}, {speed} images per second{}",
            evaluation.time,
            evaluation.device,
            evaluation.mode().note(None)
        );
        rows.push(("Evaluated", name(&text)));
    }
    facts(&rows)
}

/// The starts and the rollbacks, in the order in which they came.
pub(super) fn history(run: &Run) -> String {
    let Some(state) = &run.saved.state else {
        return "<p>No checkpoint has a history that could be read.</p>\n".to_owned();
    };
    let mut html = String::from("<ol class=\"history\">\n");
    for (index, start) in state.starts.iter().enumerate() {
        for rollback in rollbacks_between(&state.starts, &state.rollbacks, index) {
            html += &rollback_text(rollback);
        }
        let verb = if index == 0 { "began" } else { "went on" };
        html += &format!(
            "<li>{}: {verb} at step {} on {}, weft {}",
            Text(&start.time),
            thousands(start.step),
            name(&start.device),
            Text(&start.weft)
        );
        for change in &start.changes {
            html += &format!("; <code>{}</code>", name(&change.to_string()));
        }
        if start.overruled_patience {
            html += "; patience began anew";
        }
        html += "</li>\n";
    }
    for rollback in rollbacks_between(&state.starts, &state.rollbacks, state.starts.len()) {
        html += &rollback_text(rollback);
    }
    let done = state.epoch - 1;
    let end = match run.saved.status {
        Status::Finished if done < run.config.train.epochs => {
            format!(
                "stopped early: {done} of {} epochs",
                run.config.train.epochs
            )
        }
        Status::Finished => format!("finished: {}", count(done, "epoch")),
        Status::Training(epoch) => format!("now in epoch {epoch} of {}", run.config.train.epochs),
        Status::Stopped(epoch) => {
            format!("stopped in epoch {epoch} of {}", run.config.train.epochs)
        }
    };
    html += &format!("<li>{end}, {}</li>\n</ol>\n", count(state.step, "step"));
    html + &format!(
        "<p class=\"note\">{} went into checkpoints.</p>\n",
        duration(state.checkpoint_seconds)
    )
}

/// Those between the start before `index` and that one.
fn rollbacks_between<'a>(
    starts: &[crate::run::records::Start],
    rollbacks: &'a [crate::run::records::Rollback],
    index: usize,
) -> &'a [crate::run::records::Rollback] {
    let at = |index: usize| {
        starts
            .get(index)
            .map_or(rollbacks.len(), |start| start.n_rollbacks)
    };
    let from = if index == 0 { 0 } else { at(index - 1) };
    let to = at(index).min(rollbacks.len());
    &rollbacks[from.min(to)..to]
}

fn rollback_text(rollback: &crate::run::records::Rollback) -> String {
    format!(
        "<li class=\"bad\">diverged at step {} ({}): back to step {} with a smaller learning rate</li>\n",
        thousands(rollback.step),
        Text(&rollback.what),
        thousands(rollback.to_step)
    )
}

/// SHA-256 of the data and of the checkpoint that is the result.
pub(super) fn checksums(run: &Run) -> String {
    let mut table = Table::new("Checksums", "checksums", false, &["file", "SHA-256"]);
    let sum = |text: &str| html(format!("<code>{}</code>", Text(text)));
    for (file, sha256) in data::checksums(&run.records.environment.data) {
        table.row("", &[html(name(&file)), sum(&sha256)]);
    }
    if let Some(manifest) = &run.saved.result {
        for (file, entry) in &manifest.files {
            let path = format!("checkpoints/step-{}/{file}", manifest.step);
            table.row("", &[html(name(&path)), sum(&entry.sha256)]);
        }
        table.row(
            "",
            &[
                words("config, without what may change"),
                sum(&manifest.config_sha256),
            ],
        );
    }
    table.end()
        + "<p class=\"note\">Of the decompressed content of the data. <code>weft verify</code> checks the \
           checkpoints against theirs.</p>\n"
}
