//! How many images each split has of each class.

use super::palette::{self, Colour};
use super::scene::{Anchor, MARGIN, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};
use crate::text::thousands;

const NAMES: f64 = 200.0;
const BARS: f64 = 420.0;

pub(super) fn draw(figure: &Figure) -> Drawn {
    let splits = figure.splits()?;
    let train = splits.class_counts(&splits.split.train);
    let validation = splits.class_counts(&splits.split.validation);
    let all = [
        ("train", palette::TRAIN, train),
        ("validation", palette::VALIDATION, validation),
        ("test", palette::TEST, splits.test_class_counts()),
    ];
    let splits: Vec<(&str, Colour, Vec<usize>)> = all
        .into_iter()
        .filter(|(_, _, counts)| counts.iter().any(|&n| n > 0))
        .collect();
    let labels = figure.labels()?;
    let most = splits.iter().flat_map(|(_, _, counts)| counts).max();
    let most = most.copied().unwrap_or(1).max(1) as f64;
    let (thickness, size) = match labels.len() {
        0..=12 => (10.0, 12.0),
        13..=30 => (7.0, 10.5),
        _ => (3.0, 9.0),
    };
    let names: Vec<_> = labels
        .iter()
        .map(|label| text::wrap(label, size, NAMES))
        .collect();
    let left = MARGIN + text::widest(names.iter().flatten(), size) + 8.0;
    let note = |class: usize| -> String {
        let of_splits = splits
            .iter()
            .map(|(_, _, counts)| thousands(counts[class] as u64));
        of_splits.collect::<Vec<_>>().join(" / ")
    };
    let notes: Vec<String> = (0..labels.len()).map(note).collect();
    let width = left + BARS + 8.0 + text::widest(&notes, SMALL.min(size)) + MARGIN;
    let totals = splits.iter().map(|(name, _, counts)| {
        format!("{} {name}", thousands(counts.iter().sum::<usize>() as u64))
    });
    let subtitle = totals.collect::<Vec<_>>().join(", ");
    let (mut scene, top) = Scene::new(width, &figure.titled("Images of each class"), &subtitle);
    let entries: Vec<(&str, Colour)> = splits.iter().map(|(name, c, _)| (*name, *c)).collect();
    scene.legend(&entries, (left, top + 2.0));
    let mut y = top + 22.0;
    let ground = y;
    for (class, lines) in names.iter().enumerate() {
        let of_bars = thickness * splits.len() as f64;
        let height = of_bars.max(lines.len() as f64 * size * text::LINE);
        let middle = y + height / 2.0;
        scene.middle(
            lines,
            (left - 8.0, middle),
            size,
            palette::TEXT,
            Anchor::End,
        );
        for (index, (_, colour, counts)) in splits.iter().enumerate() {
            let length = BARS * counts[class] as f64 / most;
            let at = (left, middle - of_bars / 2.0 + thickness * index as f64);
            scene.rectangle(at, (length, thickness - 0.75), *colour);
        }
        let longest = splits.iter().map(|(_, _, counts)| counts[class]).max();
        let end = left + BARS * longest.unwrap_or(0) as f64 / most + 8.0;
        let note = [notes[class].clone()];
        scene.middle(
            &note,
            (end, middle),
            SMALL.min(size),
            palette::MUTED,
            Anchor::Start,
        );
        y += height + (thickness * 0.8).max(3.0);
    }
    scene.line(vec![(left, ground - 2.0), (left, y)], 1.0, palette::AXIS);
    Ok(scene.finish(y))
}
