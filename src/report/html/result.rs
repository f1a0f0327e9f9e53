//! The sections about the test result: headline numbers, the 2022 report beside them, the confusion
//! matrix, mistakes, classes, calibration.

use std::fmt::Write as _;

use super::run::Run;
use super::saved::Status;
use super::seed;
use super::table::{Table, bar, html, number, with_bar, words};
use super::text::{Text, count, duration, fixed, name, percent};
use crate::evaluate::confusion::Confusion;
use crate::report::Evaluated;
use crate::run::records::{Evaluation, TestTimeAugmentation};
use crate::text::thousands;

/// The matrix shows at most so many classes, those with the most mistakes.
const MOST_MATRIX_CLASSES: usize = 40;
/// Lines of the table of pairs.
const MOST_PAIRS: usize = 20;
/// Where the matrix's shades begin, in per cent of the actual class.
pub(super) const SHADES: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 95.0];

/// The numbers on top.
pub(super) fn headline(run: &Run) -> String {
    let mut cards = Vec::new();
    if let Some(Evaluated { evaluation, .. }) = &run.records.evaluated {
        let seed = run
            .is_fashion_mnist()
            .then(|| seed::nearest(&run.config.model));
        let beside = |text: fn(&seed::SeedModel) -> String| {
            seed.map_or(String::new(), |model| {
                format!("2022 report, {}: {}", model.name, text(model))
            })
        };
        let accuracy = percent(evaluation.accuracy, 2);
        let mut notes = vec![format!("after {}", evaluation.epochs())];
        if evaluation.averaged {
            notes.push("average of the weights".to_owned());
        }
        notes.extend(views(evaluation, |tta| percent(tta.plain_accuracy, 2)));
        notes.extend(seed.map(|_| beside(|model| percent(model.accuracy, 2))));
        cards.push(card("Test accuracy", &accuracy, &notes.join("; "), "first"));
        let mut notes: Vec<String> = views(evaluation, |tta| fixed(tta.plain_loss, 4))
            .into_iter()
            .collect();
        notes.extend(seed.map(|_| beside(|model| fixed(model.loss, 4))));
        let loss = fixed(evaluation.loss, 4);
        cards.push(card("Test loss", &loss, &notes.join("; "), ""));
        let with_views = |what: &str| match evaluation.views() {
            Some(views) => format!("{what}; {views}"),
            None => what.to_owned(),
        };
        let top_2 = percent(evaluation.top_2_accuracy, 2);
        let below = with_views("the actual class is among the first two");
        cards.push(card("Top-2 accuracy", &top_2, &below, ""));
        let error = percent(evaluation.calibration.expected_error, 2);
        let below = with_views("expected, 0 is best");
        cards.push(card("Calibration error", &error, &below, ""));
    } else {
        cards.push(card("Test accuracy", "–", run.why_no_result(), "first"));
    }
    if let Some(best) = run.records.best_epoch() {
        let row = run.records.rows.iter().find(|row| row.epoch == best);
        let loss = row.and_then(|row| row.valid_loss);
        let below = loss.map_or(String::new(), |loss| {
            format!("validation loss {}", fixed(loss, 4))
        });
        cards.push(card(
            "Best epoch",
            &format!("{best} of {}", run.records.rows.len()),
            &below,
            "",
        ));
    }
    if let Some(n) = run.n_parameters() {
        cards.push(card(
            "Parameters",
            &thousands(n),
            &run.config.model.summary(),
            "",
        ));
    }
    let seconds = duration(run.seconds());
    cards.push(card(
        "Training time",
        &seconds,
        &run.records.environment.device,
        "",
    ));
    format!("<dl class=\"cards\">\n{}</dl>\n", cards.concat())
}

/// "mean of 2 views: flip; 93.98 % without", where it is one.
fn views(
    evaluation: &Evaluation,
    without: impl Fn(&TestTimeAugmentation) -> String,
) -> Option<String> {
    let tta = evaluation.tta?;
    Some(format!("{}; {} without", tta.mode.told()?, without(&tta)))
}

/// The same as a paragraph, for sections whose numbers have no place for it.
fn views_html(evaluation: &Evaluation) -> String {
    evaluation.views().map_or(String::new(), |views| {
        format!("<p class=\"note\">Of the {}.</p>\n", Text(&views))
    })
}

fn card(title: &str, value: &str, below: &str, class: &str) -> String {
    let below = match below {
        "" => String::new(),
        below => format!("<dd class=\"below\">{}</dd>", Text(below)),
    };
    format!(
        "<div class=\"card {class}\"><dt>{}</dt><dd class=\"value\">{}</dd>{below}</div>\n",
        Text(title),
        Text(value)
    )
}

/// The five models of the 2022 report with this run among them. Nothing for other data.
pub(super) fn beside_seed(run: &Run) -> String {
    let Some(Evaluated { evaluation, .. }) = &run.records.evaluated else {
        return String::new();
    };
    if !run.is_fashion_mnist() {
        return String::new();
    }
    let head = ["model", "#parameters", "#test loss", "#test accuracy"];
    let mut table = Table::new("This run and the 2022 report", "seed", true, &head);
    let mut lines: Vec<(f64, bool, [String; 2], u64, f64)> = seed::MODELS
        .iter()
        .map(|model| {
            let names = [model.name.to_owned(), model.what.to_owned()];
            (model.accuracy, false, names, model.n_parameters, model.loss)
        })
        .collect();
    let what = match evaluation.views() {
        Some(views) => format!("{}; {views}", run.config.model.summary()),
        None => run.config.model.summary(),
    };
    let names = ["this run".to_owned(), what];
    let n_parameters = run.n_parameters().unwrap_or(0);
    lines.push((
        evaluation.accuracy,
        true,
        names,
        n_parameters,
        evaluation.loss,
    ));
    lines.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (accuracy, is_ours, [title, what], n_parameters, loss) in lines {
        let title = format!(
            "{} <span class=\"note\">{}</span>",
            Text(&title),
            Text(&what)
        );
        // The bars begin at 80 %, where the models differ; the note says so.
        let length = bar(
            (accuracy - 0.8) / 0.2,
            if is_ours { "test" } else { "plain" },
        );
        let cells = [
            html(title),
            number(thousands(n_parameters), n_parameters as f64),
            number(fixed(loss, 4), loss),
            with_bar(&percent(accuracy, 2), accuracy, &length),
        ];
        table.row(if is_ours { "ours" } else { "" }, &cells);
    }
    table.end()
        + "<p class=\"note\">The five models are those of the 2022 report that weft started from \
           (Keras, single runs, the same 10,000 test images); weft&#39;s repository has their configs \
           under configs/seed. Bars begin at 80&nbsp;%.</p>\n"
}

/// The matrix as a table, and the most frequent mistakes.
pub(super) fn confusion(run: &Run, evaluation: &Evaluation) -> String {
    let confusion = &evaluation.confusion;
    let n_wrong = confusion.n_images() - confusion.correct();
    let mut html = format!(
        "<p>{} of {} were taken for another class. A row is an actual class, a column what the model \
         said; a cell is the part of its row.</p>\n",
        count(n_wrong, "image"),
        thousands(confusion.n_images())
    );
    html += &views_html(evaluation);
    let shown = matrix_classes(confusion);
    if shown.len() < confusion.n_classes() {
        let _ = writeln!(
            html,
            "<p class=\"note\">The {} of {} classes with the most mistakes are shown.</p>",
            shown.len(),
            confusion.n_classes()
        );
    }
    let id = &run.id;
    let _ = writeln!(
        html,
        "<div class=\"split\"><div class=\"matrix-part\"><div class=\"tools\" id=\"{id}-matrix-tools\"></div>"
    );
    html.push_str(&matrix(evaluation, &shown, id));
    html.push_str(&shades());
    let _ = writeln!(
        html,
        "</div><div class=\"cell-part\" id=\"{id}-cell\" data-view=\"cell\"></div></div>"
    );
    html + &pairs(evaluation, id)
}

/// All classes, or those with the most mistakes, in their order.
pub(super) fn matrix_classes(confusion: &Confusion) -> Vec<usize> {
    let n_classes = confusion.n_classes();
    let mut classes: Vec<usize> = (0..n_classes).collect();
    if n_classes > MOST_MATRIX_CLASSES {
        let mistakes = |class: usize| -> u64 {
            let others = (0..n_classes).filter(|&other| other != class);
            others
                .map(|other| confusion.count(class, other) + confusion.count(other, class))
                .sum()
        };
        classes.sort_by_key(|&class| (std::cmp::Reverse(mistakes(class)), class));
        classes.truncate(MOST_MATRIX_CLASSES);
        classes.sort_unstable();
    }
    classes
}

fn matrix(evaluation: &Evaluation, shown: &[usize], id: &str) -> String {
    let names = &evaluation.class_names;
    let mut html = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Confusion matrix\">\
         <table class=\"matrix\" id=\"{id}-matrix\" data-view=\"matrix\"><thead><tr><td></td>"
    );
    for &class in shown {
        let _ = write!(
            html,
            "<th scope=\"col\"><span>{}</span></th>",
            name(&names[class])
        );
    }
    html.push_str("</tr></thead><tbody>\n");
    for &actual in shown {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", name(&names[actual]));
        let row = evaluation.confusion.row_percent(actual);
        for &predicted in shown {
            let n = evaluation.confusion.count(actual, predicted);
            let percent = row[predicted];
            let text = if n == 0 {
                String::new()
            } else {
                fixed(percent, 1)
            };
            let shade = match n {
                0 => 0,
                _ => {
                    1 + SHADES
                        .iter()
                        .rposition(|&from| percent >= from)
                        .unwrap_or(0)
                }
            };
            let diagonal = if actual == predicted { " d" } else { "" };
            let _ = write!(html, "<td class=\"q{shade}{diagonal}\">{text}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The legend: a shade and where it begins.
fn shades() -> String {
    let mut html = String::from(
        "<p class=\"shades\" aria-hidden=\"true\">% of the actual class<span class=\"q0\">none</span>",
    );
    for (shade, from) in SHADES.iter().enumerate() {
        let from = if shade == 0 {
            "&gt;0".to_owned()
        } else {
            format!("{from}")
        };
        let _ = write!(html, "<span class=\"q{}\">{from}</span>", shade + 1);
    }
    html + "</p>\n"
}

fn pairs(evaluation: &Evaluation, id: &str) -> String {
    let (confusion, names) = (&evaluation.confusion, &evaluation.class_names);
    let n_classes = confusion.n_classes();
    let cells = (0..n_classes * n_classes).map(|cell| (cell / n_classes, cell % n_classes));
    let wrong = cells.filter(|(actual, predicted)| actual != predicted);
    let mut wrong: Vec<(u64, usize, usize)> = wrong
        .map(|(actual, predicted)| (confusion.count(actual, predicted), actual, predicted))
        .filter(|(n, ..)| *n > 0)
        .collect();
    wrong.sort_by_key(|&(n, actual, predicted)| (std::cmp::Reverse(n), actual, predicted));
    if wrong.is_empty() {
        return String::new();
    }
    let head = ["actual class", "taken for", "#images", "#of the class"];
    let mut table = Table::new("Most frequent mistakes", "pairs", true, &head);
    for &(n, actual, predicted) in wrong.iter().take(MOST_PAIRS) {
        let part = n as f64 / evaluation.classes[actual].support.max(1) as f64;
        let cells = [
            html(name(&names[actual])),
            html(name(&names[predicted])),
            number(thousands(n), n as f64),
            number(percent(part, 1), part),
        ];
        table.row("", &cells);
    }
    format!(
        "<details id=\"{id}-pairs\"><summary>The most frequent mistakes as a list</summary>\n{}</details>\n",
        table.end()
    )
}

/// The images with the highest loss; filled by the page's script.
pub(super) fn mistakes(run: &Run, evaluation: &Evaluation) -> String {
    let id = &run.id;
    views_html(evaluation)
        + &format!(
            "<p>The mistakes that the model is most sure of. Some of them will be wrong labels: look at these \
         first. The number is the image&#39;s index in the test split.</p>\n\
         <div id=\"{id}-worst\" class=\"photos\" data-view=\"worst\"><p class=\"note\">{}</p></div>\n",
            match run.images_missing() {
                Some(why) => Text(why).to_string(),
                None =>
                    "The images are drawn by this page&#39;s script, which did not run.".to_owned(),
            }
        )
}

/// Precision, recall and F1 of each class.
pub(super) fn classes(evaluation: &Evaluation) -> String {
    let note = views_html(evaluation);
    let head = ["class", "#precision", "#recall", "#F1", "#images"];
    let mut table = Table::new("Scores of each class", "classes", true, &head);
    let score = |value: f64| with_bar(&fixed(value, 4), value, &bar(value, "plain"));
    for (class_name, scores) in evaluation.class_names.iter().zip(&evaluation.classes) {
        let cells = [
            html(name(class_name)),
            score(scores.precision),
            score(scores.recall),
            score(scores.f1),
            number(thousands(scores.support), scores.support as f64),
        ];
        table.row("", &cells);
    }
    let means = [
        ("macro mean", &evaluation.macro_mean),
        ("weighted mean", &evaluation.weighted_mean),
    ];
    for (title, scores) in means {
        let cells = [
            words(title),
            score(scores.precision),
            score(scores.recall),
            score(scores.f1),
            number(thousands(scores.support), scores.support as f64),
        ];
        table.row("mean", &cells);
    }
    note + &table.end()
}

/// The reliability diagram, and its bins as a table.
pub(super) fn calibration(evaluation: &Evaluation) -> String {
    let calibration = &evaluation.calibration;
    let n = evaluation.n_images.max(1) as f64;
    let mean = |value: fn(&crate::evaluate::predictions::CalibrationBin) -> f64| -> f64 {
        let bins = calibration.bins.iter();
        bins.map(|bin| value(bin) * bin.n_images as f64)
            .sum::<f64>()
            / n
    };
    let (confidence, accuracy) = (mean(|bin| bin.confidence), mean(|bin| bin.accuracy));
    let verdict = match confidence - accuracy {
        gap if gap > 0.005 => "surer than it is right",
        gap if gap < -0.005 => "more often right than it is sure",
        _ => "as sure as it is right",
    };
    let summary = format!(
        "The model is on the whole {verdict}: mean confidence {}, accuracy {}. Expected calibration \
         error {} over {} bins, the largest gap of a bin {}.",
        percent(confidence, 1),
        percent(accuracy, 1),
        percent(calibration.expected_error, 2),
        calibration.bins.len(),
        percent(calibration.maximum_error, 1)
    );
    let head = [
        "confidence",
        "#images",
        "#mean confidence",
        "#accuracy",
        "#gap",
    ];
    let mut table = Table::new("Calibration bins", "bins", false, &head);
    for bin in calibration.bins.iter().filter(|bin| bin.n_images > 0) {
        let range = format!("{} to {}", fixed(bin.lower, 3), fixed(bin.upper, 3));
        let gap = bin.accuracy - bin.confidence;
        let cells = [
            words(&range),
            number(thousands(bin.n_images), bin.n_images as f64),
            number(percent(bin.confidence, 1), bin.confidence),
            number(percent(bin.accuracy, 1), bin.accuracy),
            number(percent(gap, 1), gap),
        ];
        table.row("", &cells);
    }
    views_html(evaluation)
        + &super::chart("calibration", "Accuracy against confidence", &summary)
        + &format!(
            "<details><summary>The bins as a table</summary>\n{}</details>\n",
            table.end()
        )
}

/// What stands where a run has no test result.
pub(super) fn none_yet(run: &Run) -> String {
    let root = Text(&run.root).to_string();
    let what = match run.saved.status {
        Status::Training(_) => {
            "The test split is read once, when the training has ended.".to_owned()
        }
        Status::Stopped(_) => format!(
            "The run is not finished: <code>weft resume {root}</code> goes on with it. \
             <code>weft evaluate {root}</code> measures what there is."
        ),
        Status::Finished => format!("<code>weft evaluate {root}</code> measures it."),
    };
    format!("<p>There is no test result. {what}</p>\n")
}
