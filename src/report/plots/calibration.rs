//! The reliability diagram: how often the model is right, against how sure it is. After Guo et al.,
//! "On Calibration of Modern Neural Networks" (2017).

use crate::run::records::Evaluation;
use crate::text::thousands;

use super::axis::{Axis, labels};
use super::palette;
use super::scene::{Anchor, BODY, MARGIN, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};

const SIDE: f64 = 360.0;
const HISTOGRAM: f64 = 90.0;
const LEFT: f64 = 62.0;

pub(super) fn draw(figure: &Figure) -> Drawn {
    let evaluation = &figure.evaluated()?.evaluation;
    if evaluation.n_images == 0 {
        return Err("no image was evaluated".to_owned());
    }
    let calibration = &evaluation.calibration;
    let title = figure.titled(&format!(
        "Calibration, expected error {:.4}",
        calibration.expected_error
    ));
    let subtitle = format!(
        "{}; {} bins of the confidence, the probability of the predicted class; largest error of a \
         bin {:.4}",
        figure.evaluated_on(evaluation),
        calibration.bins.len(),
        calibration.maximum_error
    );
    let (mut scene, top) = Scene::new(LEFT + SIDE + 2.0 * MARGIN + 60.0, &title, &subtitle);
    let entries = [
        ("accuracy of a bin", palette::VALIDATION),
        ("mean confidence", palette::TRAIN),
    ];
    scene.legend(&entries, (MARGIN + LEFT, top));
    let top = top + 20.0;
    reliability(&mut scene, evaluation, top);
    let below = top + SIDE + 22.0;
    histogram(&mut scene, evaluation, below);
    let bottom = below + HISTOGRAM;
    for tenth in 0..=5 {
        let part = f64::from(tenth) / 5.0;
        let at = (x_of(part), bottom + 16.0);
        scene.text(
            &format!("{part:.1}"),
            at,
            SMALL,
            palette::MUTED,
            Anchor::Middle,
        );
    }
    let at = (x_of(0.5), bottom + 33.0);
    scene.text("confidence", at, BODY, palette::TEXT, Anchor::Middle);
    Ok(scene.finish(bottom + 34.0))
}

fn x_of(part: f64) -> f64 {
    MARGIN + LEFT + SIDE * part
}

fn reliability(scene: &mut Scene, evaluation: &Evaluation, top: f64) {
    let y_of = |part: f64| top + SIDE * (1.0 - part);
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        scene.line(
            vec![(x_of(0.0), y_of(part)), (x_of(1.0), y_of(part))],
            1.0,
            palette::GRID,
        );
        let label = [format!("{part:.1}")];
        let at = (x_of(0.0) - 8.0, y_of(part));
        scene.middle(&label, at, SMALL, palette::MUTED, Anchor::End);
    }
    let at = (MARGIN + 8.0, y_of(0.5));
    scene.upwards(
        &["accuracy".to_owned()],
        at,
        BODY,
        palette::TEXT,
        Anchor::Middle,
    );
    let bins = evaluation.calibration.bins.iter();
    for bin in bins.clone().filter(|bin| bin.n_images > 0) {
        let (left, right) = (x_of(bin.lower) + 0.75, x_of(bin.upper) - 0.75);
        let y = y_of(bin.accuracy);
        scene.rectangle(
            (left, y),
            (right - left, y_of(0.0) - y),
            palette::VALIDATION,
        );
    }
    scene.dashes(
        (x_of(0.0), y_of(0.0)),
        (x_of(1.0), y_of(1.0)),
        1.5,
        palette::AXIS,
    );
    for bin in bins.filter(|bin| bin.n_images > 0) {
        let (left, right) = (x_of(bin.lower) + 0.75, x_of(bin.upper) - 0.75);
        let y = y_of(bin.confidence);
        scene.line(vec![(left, y), (right, y)], 3.0, palette::TRAIN);
    }
    scene.line(
        vec![(x_of(0.0), y_of(0.0)), (x_of(1.0), y_of(0.0))],
        1.0,
        palette::AXIS,
    );
}

fn histogram(scene: &mut Scene, evaluation: &Evaluation, top: f64) {
    let n = evaluation.n_images as f64;
    let parts = evaluation
        .calibration
        .bins
        .iter()
        .map(|bin| bin.n_images as f64 / n);
    let most = parts.fold(0.0, f64::max).max(0.01);
    let axis = Axis::linear(0.0, most * 1.05);
    let y_of = |part: f64| top + HISTOGRAM * (1.0 - axis.place(part));
    let marks = axis.marks(3);
    let percent: Vec<f64> = marks.iter().map(|mark| mark * 100.0).collect();
    for (mark, label) in marks.iter().zip(labels(&percent)) {
        let y = y_of(*mark);
        scene.line(vec![(x_of(0.0), y), (x_of(1.0), y)], 1.0, palette::GRID);
        let label = [format!("{label} %")];
        scene.middle(
            &label,
            (x_of(0.0) - 8.0, y),
            SMALL,
            palette::MUTED,
            Anchor::End,
        );
    }
    let at = (MARGIN + 8.0, top + HISTOGRAM / 2.0);
    scene.upwards(
        &["images".to_owned()],
        at,
        BODY,
        palette::TEXT,
        Anchor::Middle,
    );
    for bin in evaluation
        .calibration
        .bins
        .iter()
        .filter(|bin| bin.n_images > 0)
    {
        let (left, right) = (x_of(bin.lower) + 0.75, x_of(bin.upper) - 0.75);
        let y = y_of(bin.n_images as f64 / n);
        scene.rectangle(
            (left, y),
            (right - left, top + HISTOGRAM - y),
            palette::OTHER,
        );
        let count = thousands(bin.n_images);
        let (middle, above) = ((left + right) / 2.0, y - 2.5);
        if text::width(&count, 8.0) < right - left {
            scene.text(&count, (middle, above), 8.0, palette::MUTED, Anchor::Middle);
        } else if bin.upper >= 1.0 {
            scene.text(&count, (right, above), 8.0, palette::MUTED, Anchor::End);
        }
    }
    let bottom = top + HISTOGRAM;
    scene.line(
        vec![(x_of(0.0), bottom), (x_of(1.0), bottom)],
        1.0,
        palette::AXIS,
    );
}
