//! Loss, accuracy and learning rate against the epochs.

use crate::run::records::EpochRow;
use crate::text::thousands;

use super::axis::{Axis, labels, scientific};
use super::palette::{self, Colour};
use super::scene::{Anchor, BODY, MARGIN, Point, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};

const WIDTH: f64 = 820.0;
/// Room for the marks of the y axes, and for the names of the lines.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 92.0;
/// Up to so many epochs each has a dot.
const MOST_DOTS: usize = 40;

struct Panel<'a> {
    title: String,
    axis: Axis,
    lines: Vec<Line>,
    top: f64,
    height: f64,
    rows: &'a [EpochRow],
}

struct Line {
    name: &'static str,
    colour: Colour,
    /// One per epoch.
    values: Vec<Option<f64>>,
    is_main: bool,
}

pub(super) fn draw(figure: &Figure) -> Drawn {
    let rows = &figure.records.rows[..];
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err("no epoch is done yet".to_owned());
    };
    let best = figure.records.best_epoch();
    let best = rows.iter().find(|row| Some(row.epoch) == best);
    let smoothing = match figure.records.label_smoothing() {
        0.0 => String::new(),
        part => format!(", the loss with label smoothing {}", short(part)),
    };
    let subtitle = format!(
        "{}; the training lines are means over each epoch's batches, while the weights change{smoothing}{}",
        epochs(first, last),
        best.map_or(String::new(), |row| format!("; {}", told_best(row)))
    );
    let (mut scene, top) = Scene::new(WIDTH, &figure.titled("Training"), &subtitle);
    let mut panels = panels(rows);
    let mut y = top;
    for panel in &mut panels {
        panel.top = y + 24.0;
        y = panel.top + panel.height + 26.0;
    }
    for panel in &panels {
        panel.draw(&mut scene, best);
    }
    let bottom = y - 26.0;
    epoch_marks(&mut scene, rows, bottom);
    Ok(scene.finish(bottom + 34.0))
}

fn epochs(first: &EpochRow, last: &EpochRow) -> String {
    match first.epoch == last.epoch {
        true => format!("epoch {}", first.epoch),
        false => format!("epochs {} to {}", first.epoch, last.epoch),
    }
}

fn told_best(row: &EpochRow) -> String {
    let text = format!("best epoch {}", row.epoch);
    match (row.valid_loss, row.valid_accuracy) {
        (Some(loss), Some(accuracy)) => format!(
            "{text} with validation loss {}, accuracy {accuracy:.4}",
            number(loss)
        ),
        _ => text,
    }
}

fn number(value: f64) -> String {
    match value.is_finite() && (value >= 1e5 || (value > 0.0 && value < 1e-4)) {
        true => scientific(value),
        false => format!("{value:.4}"),
    }
}

/// 0.6, 0.72, 0.985
fn short(part: f64) -> String {
    let text = format!("{part:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn panels(rows: &[EpochRow]) -> Vec<Panel<'_>> {
    let has_validation = rows.iter().any(|row| row.valid_loss.is_some());
    let pair = |train: fn(&EpochRow) -> f64, valid: fn(&EpochRow) -> Option<f64>| {
        let mut lines = vec![Line {
            name: "train",
            colour: palette::TRAIN,
            values: rows.iter().map(|row| finite(train(row))).collect(),
            is_main: !has_validation,
        }];
        if has_validation {
            lines.push(Line {
                name: "validation",
                colour: palette::VALIDATION,
                values: rows.iter().map(|row| valid(row).and_then(finite)).collect(),
                is_main: true,
            });
        }
        lines
    };
    let rate = vec![Line {
        name: "",
        colour: palette::RATE,
        values: rows.iter().map(|row| finite(row.learning_rate)).collect(),
        is_main: false,
    }];
    let loss = pair(|row| row.train_loss, |row| row.valid_loss);
    let accuracy = pair(|row| row.train_accuracy, |row| row.valid_accuracy);
    let loss_axis = Axis::for_sizes(values(&loss));
    let accuracy_axis = Axis::for_parts(values(&accuracy));
    let rate_axis = Axis::for_sizes(values(&rate));
    let scale = |axis: &Axis| match axis.is_log {
        true => ", logarithmic",
        false => "",
    };
    let panel = |title, axis, lines, height| Panel {
        title,
        axis,
        lines,
        top: 0.0,
        height,
        rows,
    };
    vec![
        panel(
            format!("Loss (cross-entropy in nats{})", scale(&loss_axis)),
            loss_axis,
            loss,
            190.0,
        ),
        panel(
            format!(
                "Accuracy (axis from {} to {})",
                short(accuracy_axis.low),
                short(accuracy_axis.high)
            ),
            accuracy_axis,
            accuracy,
            190.0,
        ),
        panel(
            format!("Learning rate at the end of the epoch{}", scale(&rate_axis)),
            rate_axis,
            rate,
            80.0,
        ),
    ]
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines
        .iter()
        .flat_map(|line| line.values.iter().flatten().copied())
}

/// Where an epoch is, from the left of the page.
fn x_of(rows: &[EpochRow], epoch: u64) -> f64 {
    let (first, last) = (rows[0].epoch, rows[rows.len() - 1].epoch);
    let (left, right) = (MARGIN + LEFT + 8.0, WIDTH - MARGIN - RIGHT);
    match last > first {
        true => left + (right - left) * (epoch - first) as f64 / (last - first) as f64,
        false => (left + right) / 2.0,
    }
}

fn epoch_marks(scene: &mut Scene, rows: &[EpochRow], bottom: f64) {
    for epoch in Axis::whole_marks(rows[0].epoch, rows[rows.len() - 1].epoch, 12) {
        let x = x_of(rows, epoch);
        let text = thousands(epoch);
        scene.text(
            &text,
            (x, bottom + 16.0),
            SMALL,
            palette::MUTED,
            Anchor::Middle,
        );
    }
    let middle = (MARGIN + LEFT + WIDTH - MARGIN - RIGHT) / 2.0;
    scene.text(
        "epoch",
        (middle, bottom + 33.0),
        BODY,
        palette::TEXT,
        Anchor::Middle,
    );
}

impl Panel<'_> {
    fn y_of(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.axis.place(value))
    }

    fn draw(&self, scene: &mut Scene, best: Option<&EpochRow>) {
        let (left, right) = (MARGIN + LEFT, WIDTH - MARGIN - RIGHT + 8.0);
        scene.text(
            &self.title,
            (left, self.top - 9.0),
            BODY,
            palette::TEXT,
            Anchor::Start,
        );
        let marks = self.axis.marks((self.height / 22.0) as usize);
        for (mark, label) in marks.iter().zip(labels(&marks)) {
            let y = self.y_of(*mark);
            scene.line(vec![(left, y), (right, y)], 1.0, palette::GRID);
            let at = (left - 8.0, y);
            scene.middle(&[label], at, SMALL, palette::MUTED, Anchor::End);
        }
        let bottom = self.top + self.height;
        scene.line(vec![(left, bottom), (right, bottom)], 1.0, palette::AXIS);
        if let Some(best) = best {
            let x = x_of(self.rows, best.epoch);
            scene.dashes((x, self.top), (x, bottom), 1.25, palette::AXIS);
        }
        for line in &self.lines {
            self.draw_line(scene, line, best);
        }
        self.name_lines(scene, right + 6.0);
    }

    fn draw_line(&self, scene: &mut Scene, line: &Line, best: Option<&EpochRow>) {
        let point = |(row, value): (&EpochRow, &Option<f64>)| -> Option<Point> {
            value.map(|value| (x_of(self.rows, row.epoch), self.y_of(value)))
        };
        let points: Vec<Option<Point>> = self.rows.iter().zip(&line.values).map(point).collect();
        // A value that is missing leaves a gap.
        for part in points.split(Option::is_none) {
            let part: Vec<Point> = part.iter().copied().flatten().collect();
            if part.len() > 1 {
                scene.line(part, 2.0, line.colour);
            }
        }
        if points.len() <= MOST_DOTS {
            for &point in points.iter().flatten() {
                scene.disc(point, 2.75, line.colour);
            }
        }
        let of_best = self.rows.iter().position(|row| best == Some(row));
        if let Some(Some(at)) = of_best.map(|index| points[index])
            && line.is_main
        {
            scene.disc(at, 6.0, line.colour);
            scene.disc(at, 3.75, palette::PAGE);
        }
    }

    /// Each beside its line's end, and apart from the other.
    fn name_lines(&self, scene: &mut Scene, x: f64) {
        let end = |line: &Line| line.values.iter().rev().flatten().next().copied();
        let mut names: Vec<(f64, &Line)> = self
            .lines
            .iter()
            .filter_map(|line| Some((self.y_of(end(line)?), line)))
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least = f64::MIN;
        let apart = BODY * text::LINE;
        if let [(a, _), (b, _)] = names[..]
            && b - a < apart
        {
            least = ((a + b - apart) / 2.0).max(self.top);
            names[0].0 = least;
        }
        for (y, line) in names {
            let y = y.max(least);
            least = y + apart;
            let name = [line.name.to_owned()];
            scene.middle(&name, (x, y), BODY, line.colour, Anchor::Start);
        }
    }
}
