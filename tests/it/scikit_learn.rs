//! The scores of an evaluation are scikit-learn's: its numbers for a committed table of predictions
//! (with ties, a class without images, one that is never predicted) are in tests/sklearn/expected.json,
//! beside the script that made them.

use serde_json::Value;
use weft::evaluate::confusion::{ClassScores, Confusion};
use weft::evaluate::predictions::Predictions;

const TABLE: &str = include_str!("../sklearn/predictions.csv");
const EXPECTED: &str = include_str!("../sklearn/expected.json");

fn table() -> (Predictions, Confusion, Value) {
    let predictions = Predictions::from_csv(TABLE.as_bytes()).unwrap();
    let pairs = (0..predictions.n_images())
        .map(|image| (predictions.label(image), predictions.predicted(image)));
    let confusion = Confusion::from_pairs(predictions.n_classes(), pairs);
    (
        predictions,
        confusion,
        serde_json::from_str(EXPECTED).unwrap(),
    )
}

#[track_caller]
fn close(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() < 1e-12,
        "{found} is not {expected}"
    );
}

#[track_caller]
fn same_scores(found: ClassScores, expected: &Value) {
    close(found.precision, &expected["precision"]);
    close(found.recall, &expected["recall"]);
    close(found.f1, &expected["f1-score"]);
    close(found.support as f64, &expected["support"]);
}

#[test]
fn the_report_and_the_matrix_are_scikit_learns() {
    let (predictions, confusion, expected) = table();
    assert_eq!(predictions.n_images() as u64, expected["n_images"]);
    close(confusion.accuracy(), &expected["accuracy"]);
    let report = &expected["classification_report"];
    for class in 0..predictions.n_classes() {
        same_scores(confusion.class_scores(class), &report[class.to_string()]);
    }
    same_scores(confusion.macro_mean(), &report["macro avg"]);
    same_scores(confusion.weighted_mean(), &report["weighted avg"]);
    for (actual, row) in expected["confusion_matrix"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        for (predicted, count) in row.as_array().unwrap().iter().enumerate() {
            assert_eq!(
                confusion.count(actual, predicted),
                *count,
                "{actual}, {predicted}"
            );
        }
    }
}

#[test]
fn the_loss_and_top_k_are_scikit_learns() {
    let (predictions, _, expected) = table();
    close(predictions.negative_log_likelihood(), &expected["log_loss"]);
    for k in 1..=5 {
        let top_k = &expected["top_k_accuracy"][k.to_string()];
        close(predictions.top_k_accuracy(k), top_k);
    }
}

#[test]
fn the_bins_of_the_calibration_are_scikit_learns() {
    let (predictions, _, expected) = table();
    for n_bins in [10, 15] {
        let expected = &expected["calibration"][n_bins.to_string()];
        let calibration = predictions.calibration(n_bins);
        close(calibration.expected_error, &expected["expected_error"]);
        close(calibration.maximum_error, &expected["maximum_error"]);
        let counts = expected["counts"].as_array().unwrap();
        assert_eq!(counts.len(), n_bins);
        for (bin, count) in calibration.bins.iter().zip(counts) {
            assert_eq!(bin.n_images, *count, "{n_bins} bins: {bin:?}");
        }
        let filled: Vec<_> = calibration
            .bins
            .iter()
            .filter(|bin| bin.n_images > 0)
            .collect();
        assert_eq!(filled.len(), expected["filled"].as_array().unwrap().len());
        for (index, bin) in filled.into_iter().enumerate() {
            close(bin.accuracy, &expected["accuracy"][index]);
            close(bin.confidence, &expected["confidence"][index]);
        }
    }
}
