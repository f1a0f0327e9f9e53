//! Counts of (actual, predicted) pairs and what follows from them: accuracy, precision, recall, F1.
//! No tensors. A quotient with nothing below the line is 0.0, as scikit-learn's `zero_division=0`.

use serde::{Deserialize, Serialize};

/// `counts[actual * n_classes + predicted]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Confusion {
    n_classes: usize,
    counts: Vec<u64>,
}

/// A `Confusion` as read from a file: not yet known to be square.
#[derive(Deserialize)]
struct Stored {
    n_classes: usize,
    counts: Vec<u64>,
}

impl TryFrom<Stored> for Confusion {
    type Error = String;

    fn try_from(Stored { n_classes, counts }: Stored) -> Result<Self, String> {
        if n_classes.checked_mul(n_classes) != Some(counts.len()) {
            let found = counts.len();
            return Err(format!(
                "{n_classes} classes need n x n counts, but there are {found}"
            ));
        }
        Ok(Self { n_classes, counts })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// The number of images whose actual class this is.
    pub support: u64,
}

impl Confusion {
    #[must_use]
    pub fn new(n_classes: usize) -> Self {
        Self {
            n_classes,
            counts: vec![0; n_classes * n_classes],
        }
    }

    pub fn from_pairs(n_classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self::new(n_classes);
        for (actual, predicted) in pairs {
            confusion.add(actual, predicted);
        }
        confusion
    }

    /// # Panics
    /// When either class is not below `n_classes`: it would be counted under another class.
    pub fn add(&mut self, actual: usize, predicted: usize) {
        let cell = self.cell(actual, predicted);
        self.counts[cell] += 1;
    }

    #[must_use]
    pub fn count(&self, actual: usize, predicted: usize) -> u64 {
        self.counts[self.cell(actual, predicted)]
    }

    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    #[must_use]
    pub fn n_images(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[must_use]
    pub fn correct(&self) -> u64 {
        (0..self.n_classes)
            .map(|class| self.count(class, class))
            .sum()
    }

    #[must_use]
    pub fn accuracy(&self) -> f64 {
        quotient(self.correct() as f64, self.n_images() as f64)
    }

    #[must_use]
    pub fn class_scores(&self, class: usize) -> ClassScores {
        let support: u64 = (0..self.n_classes)
            .map(|other| self.count(class, other))
            .sum();
        let predicted: u64 = (0..self.n_classes)
            .map(|other| self.count(other, class))
            .sum();
        let correct = self.count(class, class) as f64;
        ClassScores {
            precision: quotient(correct, predicted as f64),
            recall: quotient(correct, support as f64),
            f1: quotient(2.0 * correct, (predicted + support) as f64),
            support,
        }
    }

    /// Each class counts the same.
    #[must_use]
    pub fn macro_mean(&self) -> ClassScores {
        self.mean(|_| 1.0)
    }

    /// Each image counts the same.
    #[must_use]
    pub fn weighted_mean(&self) -> ClassScores {
        self.mean(|scores| scores.support as f64)
    }

    fn mean(&self, weight: impl Fn(&ClassScores) -> f64) -> ClassScores {
        let classes: Vec<_> = (0..self.n_classes)
            .map(|class| self.class_scores(class))
            .collect();
        let total: f64 = classes.iter().map(&weight).sum();
        let mean = |score: fn(&ClassScores) -> f64| {
            quotient(classes.iter().map(|c| weight(c) * score(c)).sum(), total)
        };
        ClassScores {
            precision: mean(|c| c.precision),
            recall: mean(|c| c.recall),
            f1: mean(|c| c.f1),
            support: self.n_images(),
        }
    }

    /// For each predicted class, the per cent of the images of `actual` that went there.
    #[must_use]
    pub fn row_percent(&self, actual: usize) -> Vec<f64> {
        let support = self.class_scores(actual).support as f64;
        (0..self.n_classes)
            .map(|predicted| quotient(100.0 * self.count(actual, predicted) as f64, support))
            .collect()
    }

    /// The table that scikit-learn's `classification_report(digits=4)` prints.
    #[must_use]
    pub fn classification_report(&self, class_names: &[impl AsRef<str>]) -> String {
        let names = self.names(class_names);
        let width = widest(&names).max("weighted avg".len());
        let row = |name: &str, scores: ClassScores| {
            let ClassScores {
                precision,
                recall,
                f1,
                support,
            } = scores;
            format!("{name:>width$}  {precision:>9.4} {recall:>9.4} {f1:>9.4} {support:>9}\n")
        };

        let mut text = format!(
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "support"
        );
        for (class, name) in names.iter().enumerate() {
            text += &row(name, self.class_scores(class));
        }
        let (accuracy, n_images) = (self.accuracy(), self.n_images());
        text += &format!(
            "\n{:>width$}  {:>9} {:>9} {accuracy:>9.4} {n_images:>9}\n",
            "accuracy", "", ""
        );
        text += &row("macro avg", self.macro_mean());
        text += &row("weighted avg", self.weighted_mean());
        text
    }

    /// One line per actual class, in per cent of that class. The columns carry the class names if
    /// all of them are short, and otherwise numbers, which the lines then carry too.
    #[must_use]
    pub fn matrix_text(&self, class_names: &[impl AsRef<str>]) -> String {
        const COLUMN: usize = 8; // ten columns and a name stay under 100 characters
        let names = self.names(class_names);
        let abbreviated = widest(&names) >= COLUMN;
        let heads: Vec<String> = if abbreviated {
            numbers(self.n_classes)
        } else {
            names.clone()
        };
        let labels: Vec<String> = if abbreviated {
            let digits = widest(&heads);
            heads
                .iter()
                .zip(&names)
                .map(|(n, name)| format!("{n:>digits$} {name}"))
                .collect()
        } else {
            names
        };
        let width = widest(&labels);

        let mut text = String::from("per cent of each actual class (line) predicted as (column)");
        text += if abbreviated {
            "; columns are numbered as the lines are\n"
        } else {
            "\n"
        };
        text += &" ".repeat(width);
        text.extend(heads.iter().map(|head| format!("{head:>COLUMN$}")));
        for (actual, label) in labels.iter().enumerate() {
            text += &format!("\n{label:<width$}");
            text.extend(
                self.row_percent(actual)
                    .iter()
                    .map(|value| format!("{value:>COLUMN$.1}")),
            );
        }
        text.push('\n');
        text
    }

    fn cell(&self, actual: usize, predicted: usize) -> usize {
        let n_classes = self.n_classes;
        assert!(
            actual < n_classes && predicted < n_classes,
            "actual class {actual}, predicted class {predicted}: there are {n_classes} classes"
        );
        actual * n_classes + predicted
    }

    /// A class that has no name goes by its number.
    fn names(&self, class_names: &[impl AsRef<str>]) -> Vec<String> {
        let mut names = numbers(self.n_classes);
        for (name, given) in names.iter_mut().zip(class_names) {
            given.as_ref().clone_into(name);
        }
        names
    }
}

fn quotient(above: f64, below: f64) -> f64 {
    if below == 0.0 { 0.0 } else { above / below }
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|number| number.to_string()).collect()
}

fn widest(texts: &[String]) -> usize {
    texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["T-shirt/top", "Trouser", "Bag", "Dress"];

    /// Rows: 3 1 1 0 / 1 3 0 0 / 0 1 2 0 / 1 1 0 0. Nothing is predicted as the last class.
    fn example() -> Confusion {
        let actual = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3];
        let predicted = [0, 0, 0, 1, 2, 1, 1, 1, 0, 2, 2, 1, 0, 1];
        Confusion::from_pairs(4, actual.into_iter().zip(predicted))
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    /// The numbers are those of scikit-learn 1.x on the same pairs.
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let confusion = example();
        close(confusion.accuracy(), 0.571_428_571_428_571_4);
        close(confusion.class_scores(1).precision, 0.5);
        close(confusion.class_scores(1).recall, 0.75);
        close(confusion.class_scores(1).f1, 0.6);
        let macro_mean = confusion.macro_mean();
        close(macro_mean.precision, 0.441_666_666_666_666_65);
        close(macro_mean.recall, 0.504_166_666_666_666_7);
        close(macro_mean.f1, 0.466_666_666_666_666_6);
        let weighted = confusion.weighted_mean();
        close(weighted.precision, 0.5);
        close(weighted.recall, confusion.accuracy());
        close(weighted.f1, 0.528_571_428_571_428_6);
        assert_eq!(weighted.support, 14);
        let never_predicted = ClassScores {
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
            support: 2,
        };
        assert_eq!(confusion.class_scores(3), never_predicted);
    }

    #[test]
    fn the_report_is_scikit_learns_to_the_byte() {
        let expected = "              precision    recall  f1-score   support

 T-shirt/top     0.6000    0.6000    0.6000         5
     Trouser     0.5000    0.7500    0.6000         4
         Bag     0.6667    0.6667    0.6667         3
       Dress     0.0000    0.0000    0.0000         2

    accuracy                         0.5714        14
   macro avg     0.4417    0.5042    0.4667        14
weighted avg     0.5000    0.5714    0.5286        14
";
        assert_eq!(example().classification_report(&NAMES), expected);
    }

    #[test]
    fn long_names_become_numbered_columns() {
        let expected = "\
per cent of each actual class (line) predicted as (column); columns are numbered as the lines are
                    0       1       2       3
0 T-shirt/top    60.0    20.0    20.0     0.0
1 Trouser        25.0    75.0     0.0     0.0
2 Bag             0.0    33.3    66.7     0.0
3 Dress          50.0    50.0     0.0     0.0
";
        assert_eq!(example().matrix_text(&NAMES), expected);
    }

    #[test]
    fn short_names_head_the_columns() {
        let text = Confusion::from_pairs(2, [(0, 0), (1, 0)]).matrix_text(&["cat", "dog"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "        cat     dog",
                "cat   100.0     0.0",
                "dog   100.0     0.0"
            ]
        );
    }

    #[test]
    fn ten_classes_fit_in_100_columns() {
        let mut names = vec!["Pullover"; 9];
        names.push("Ankle boot/high");
        let text = Confusion::from_pairs(10, [(9, 9)]).matrix_text(&names);
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        assert!(text.contains("9 Ankle boot/high"));
    }

    #[test]
    fn no_images_give_zeros_and_missing_names_give_numbers() {
        let confusion = Confusion::new(2);
        close(confusion.accuracy(), 0.0);
        close(confusion.weighted_mean().f1, 0.0);
        assert_eq!(confusion.row_percent(1), [0.0, 0.0]);
        assert!(
            confusion
                .classification_report(&["cat"])
                .contains("\n           1  ")
        );
        assert!(
            !Confusion::new(0)
                .classification_report(&NAMES)
                .contains("NaN")
        );
    }

    #[test]
    fn json_round_trips_and_refuses_what_is_not_square() {
        let json = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<Confusion>(&json).unwrap(), example());
        let error = serde_json::from_str::<Confusion>(r#"{"n_classes":2,"counts":[1,2,3]}"#);
        assert!(error.unwrap_err().to_string().contains("there are 3"));
    }

    #[test]
    #[should_panic(expected = "there are 4 classes")]
    fn a_class_out_of_range_is_not_counted_elsewhere() {
        example().add(0, 4);
    }
}
