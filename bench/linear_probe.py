"""Accuracy of a linear probe: what a linear classifier reads from the features that hashers learn from.

    python bench/linear_probe.py [--dataset fashion-mnist]

Logistic regression by scikit-learn on the train part of the data set's own split, preprocessed as `lshcore eval` does,
and its accuracy on the queries. Retrieval by learned codes, p@10, is read beside it.
"""

import argparse

from sklearn.linear_model import LogisticRegression

from lshcore import Preprocess, data, evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--data-dir", default=None)
    arguments = parser.parse_args()
    found = data.load(arguments.dataset, arguments.data_dir)
    split = evaluation.draw(found, seed=0)
    step = Preprocess().fit(found.features, rows=split.train)
    train, queries = (step.transform(found.features, rows=rows) for rows in (split.train, split.queries))
    for strength in (1, 100):
        probe = LogisticRegression(C=strength, max_iter=1000).fit(train, found.labels[split.train])
        accuracy = probe.score(queries, found.labels[split.queries])
        print(f"{arguments.dataset}, split {split.digest}: accuracy {accuracy:.4f} (C = {strength})")


if __name__ == "__main__":
    main()
