"""Writes tests/goldens/eval/classification.json: what scikit-learn says of some predictions (pip install scikit-learn).

    python3 tests/parity/make_classification_goldens.py [--out tests/goldens/eval]
"""

import argparse
import json
import pathlib
import random

from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef, precision_recall_fscore_support


def cases():
    random.seed(1)
    for classes, examples, skill in [(2, 40, 0.8), (3, 60, 0.5), (5, 80, 0.7), (4, 12, 0.0), (6, 9, 0.9)]:
        truth = [random.randrange(classes) for _ in range(examples)]
        yield classes, truth, [t if random.random() < skill else random.randrange(classes) for t in truth]
    yield 3, [0, 1, 0, 1, 1], [0, 1, 1, 1, 0]  # a class that never occurs
    yield 3, [0, 1, 2, 2], [1, 1, 1, 1]  # all the same prediction
    yield 2, [1, 1, 1], [1, 1, 1]
    yield 2, [0, 1, 0, 1], [1, 0, 1, 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "eval")
    rows = []
    for classes, truth, predicted in cases():
        labels = list(range(classes))
        precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
        rows.append({
            "classes": classes, "truth": truth, "predicted": predicted,
            "accuracy": accuracy_score(truth, predicted),
            "macro_f1": f1_score(truth, predicted, average="macro", zero_division=0),
            "matthews": matthews_corrcoef(truth, predicted),
            "confusion": confusion_matrix(truth, predicted, labels=labels).tolist(),
            "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist(),
        })
    out = parser.parse_args().out
    (out / "classification.json").write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
