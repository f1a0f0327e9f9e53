"""What scikit-learn says of a table of predictions: tests/it/scikit_learn.rs compares weft with it.

    pip install -r tests/sklearn/requirements.txt
    python tests/sklearn/expected.py --check          # the committed numbers are these
    python tests/sklearn/expected.py                  # writes them anew
    python tests/sklearn/expected.py --table RUN/predictions.csv    # and the table first

The table is 300 rows of a run of weft on its embedded sample (`weft train --set data.source=sample
--set train.epochs=2 --device cpu`), changed so that it has what is rare: class 9 has no image, class 4 is
never predicted, rows with two and with four equal largest probabilities, a confidence on the line between
two bins (0.5), an image whose class is the least probable one.

Two things are weft's own. Where probabilities are equal, the predicted class comes first and then the lower
class; scikit-learn's top_k_accuracy_score puts the higher class first, so it is given ranks in weft's order
here (and compared with the plain probabilities on the rows that have no equal ones). scikit-learn has no
expected calibration error: it is computed with NumPy, and its bins are compared with calibration_curve.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    classification_report,
    confusion_matrix,
    log_loss,
    top_k_accuracy_score,
)

HERE = Path(__file__).parent
TABLE = HERE / "predictions.csv"
EXPECTED = HERE / "expected.json"
N_CLASSES = 10
CLASSES = list(range(N_CLASSES))


def make_table(source):
    """300 rows of a run, with the rare cases."""
    rows = [r for r in read(source)[0] if r[1] != 9][:300]
    made = []
    for index, (_, label, predicted, p) in enumerate(rows):
        p = list(p)
        if predicted == 4:  # never predicted: its probability goes to the next
            order = sorted((c for c in CLASSES if c != 4), key=lambda c: (-p[c], c))
            predicted = order[0]
            p[predicted], p[4] = p[4], p[predicted]
        made.append((index, label, predicted, p))

    def change(index, p):
        _, label, _, _ = made[index]
        made[index] = (index, label, largest(p), p)
        assert made[index][2] != 4

    def equal(classes):
        each = (1 - 0.01 * (N_CLASSES - len(classes))) / len(classes)
        return [np.float32(each if c in classes else 0.01) for c in CLASSES]

    # Two that are equal, the actual class and another (but not class 4); four that are.
    for index in range(0, 40, 4):
        label = made[index][1]
        change(index, equal([5, 8] if label == 4 else [label, (label + 4) % 9 or 8]))
    for index in range(1, 40, 4):
        change(index, equal([0, 2, 6, 8]))
    # On the line between two of ten bins, and equal ones too.
    for index in range(2, 40, 8):
        p = [np.float32(0.03125)] * N_CLASSES
        p[1], p[7] = np.float32(0.5), np.float32(0.25)
        change(index, p)
    # The actual class is the least probable one.
    index = next(i for i, y, _, p in made if i >= 50 and y != 4 and min(CLASSES, key=p.__getitem__) != 4)
    _, label, _, p = made[index]
    least = min(CLASSES, key=p.__getitem__)
    p[least], p[label] = p[label], p[least]
    change(index, p)

    with open(TABLE, "w", newline="") as file:
        head = ["index", "label", "predicted", *(f"probability_{c}" for c in CLASSES)]
        file.write(",".join(head) + "\n")
        for index, label, predicted, p in made:
            cells = [index, label, predicted, *(np.format_float_positional(np.float32(x)) for x in p)]
            file.write(",".join(map(str, cells)) + "\n")


def largest(p):
    """The first of the largest."""
    return max(CLASSES, key=lambda c: (np.float32(p[c]), -c))


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    parsed = [
        (int(r[0]), int(r[1]), int(r[2]), [np.float32(cell) for cell in r[3:]]) for r in rows
    ]
    labels = np.array([r[1] for r in parsed])
    predicted = np.array([r[2] for r in parsed])
    # The nearest f32, as weft reads it, and from there in f64.
    probabilities = np.array([r[3] for r in parsed], dtype=np.float32).astype(np.float64)
    return parsed, labels, predicted, probabilities


def expected():
    _, labels, predicted, p = read(TABLE)
    assert 9 not in labels and 4 not in predicted, "the rare classes"
    n = len(labels)

    ranked = np.empty_like(p)
    for row in range(n):
        order = sorted(CLASSES, key=lambda c: (c != predicted[row], -p[row, c], c))
        for rank, c in enumerate(order):
            ranked[row, c] = -rank
    has_tie = np.array([len(set(row)) < N_CLASSES for row in p])
    assert has_tie.sum() >= 20, "the ties"
    top_k = {}
    for k in range(1, 6):
        top_k[str(k)] = top_k_accuracy_score(labels, ranked, k=k, labels=CLASSES)
        plain = [
            top_k_accuracy_score(labels[~has_tie], score[~has_tie], k=k, labels=CLASSES)
            for score in (ranked, p)
        ]
        assert plain[0] == plain[1], "without ties the order does not matter"

    confidence = p[np.arange(n), predicted]
    right = (labels == predicted).astype(np.float64)
    assert (confidence == 0.5).any(), "a confidence on a line"
    calibration = {str(bins): calibrated(confidence, right, bins) for bins in (10, 15)}

    report = classification_report(
        labels, predicted, labels=CLASSES, zero_division=0, output_dict=True
    )
    # With all labels given, "micro avg" stands for "accuracy": they are equal here.
    report.pop("micro avg", None)
    return {
        "n_images": n,
        "accuracy": float((labels == predicted).mean()),
        "classification_report": report,
        "confusion_matrix": confusion_matrix(labels, predicted, labels=CLASSES).tolist(),
        "log_loss": log_loss(labels, p, labels=CLASSES),
        "top_k_accuracy": top_k,
        "calibration": calibration,
    }


def calibrated(confidence, right, n_bins):
    # Upper ends belong to a bin: (lower, upper].
    bins = np.linspace(0.0, 1.0, n_bins + 1)
    of = np.searchsorted(bins[1:-1], confidence, side="left")
    counts = [int((of == b).sum()) for b in range(n_bins)]
    gaps = [
        abs(right[of == b].mean() - confidence[of == b].mean()) if counts[b] else 0.0
        for b in range(n_bins)
    ]
    accuracy, mean_confidence = calibration_curve(
        right, confidence, n_bins=n_bins, strategy="uniform"
    )
    filled = [b for b in range(n_bins) if counts[b]]
    assert np.allclose(mean_confidence, [confidence[of == b].mean() for b in filled], atol=1e-15)
    return {
        "counts": counts,
        "filled": filled,
        "accuracy": accuracy.tolist(),
        "confidence": mean_confidence.tolist(),
        "expected_error": float(np.dot(counts, gaps) / len(confidence)),
        "maximum_error": float(max(gaps)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="make the table from a run's predictions.csv")
    parser.add_argument("--check", action="store_true", help="compare with the committed numbers")
    args = parser.parse_args()
    if args.table:
        make_table(args.table)
    found = json.loads(json.dumps(expected()))
    if args.check:
        committed = json.loads(EXPECTED.read_text())
        assert same(committed, found), "expected.json is not what this scikit-learn says"
        print(f"{EXPECTED.name} is what scikit-learn says of {found['n_images']} predictions")
    else:
        EXPECTED.write_text(json.dumps(found, indent=1) + "\n")


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or abs(a - b) < 1e-12


if __name__ == "__main__":
    main()
