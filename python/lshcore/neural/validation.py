"""How good the codes are while they are learnt: `map` on rows that are held out of the training part."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import metrics
from ..codes import BinaryCodes
from ..index import FlatIndex
from .learners import Learner

# Where there are no labels, these many nearest rows of the gallery by cosine are what a query should find.
NEIGHBOURS = 50


class Validation:
    """Held-out queries, and training rows that they search.

    Parameters
    ----------
    source : Source
        Of the training.
    queries, gallery : int64 (m,), (n,)
    labels : int64 (rows,) or bool (rows, C), or None
        Without them relevant means near by cosine.
    learner : Learner
        Untrained: its body gives those cosines.
    """

    def __init__(
        self,
        source: Any,
        queries: NDArray[np.int64],
        gallery: NDArray[np.int64],
        labels: NDArray[Any] | None,
        learner: Learner,
    ) -> None:
        self._source = source
        self._queries, self._gallery = torch.from_numpy(queries), torch.from_numpy(gallery)
        self._labels = self._neighbours(learner) if labels is None else (labels[queries], labels[gallery])

    def __call__(self, learner: Learner, by_codes: bool = True) -> tuple[float, NDArray[np.float32]]:
        """`map` of the queries, by Hamming distance or by cosine of the margins, and the margins of gallery rows."""
        queries = outputs(self._source, self._queries, learner, learner.margins_query)
        gallery = outputs(self._source, self._gallery, learner, learner.margins)
        if by_codes:
            codes, gallery_codes = BinaryCodes.from_bools(queries >= 0), BinaryCodes.from_bools(gallery >= 0)
            score = metrics.hamming_ranking(codes, gallery_codes, *self._labels)["map"]
        else:
            index = FlatIndex(vectors="float32").add(gallery)
            score = metrics.evaluate(index, queries, *self._labels, rank="cosine")["map"]
        return float(score), gallery

    def _neighbours(self, learner: Learner) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """A label for each query, which its nearest rows of the gallery have."""
        queries, gallery = (outputs(self._source, rows, learner) for rows in (self._queries, self._gallery))
        k = min(NEIGHBOURS, len(gallery))
        found = FlatIndex(vectors="float32").add(gallery).search(queries, k=k, rank="cosine").ids
        near = np.zeros((len(gallery), len(queries)), np.bool_)
        near[found, np.arange(len(queries))[:, None]] = True
        return np.eye(len(queries), dtype=np.bool_), near


def outputs(source: Any, rows: torch.Tensor, learner: Learner, head: Any = None) -> NDArray[np.float32]:
    """Features of a learner's body, or what `head` makes of them: float32 (len(rows), ...), as in evaluation."""
    training, first = learner.training, 0
    matrix = np.empty((len(rows), 0), np.float32)
    learner.eval()
    with torch.inference_mode():
        for block in source.blocks(rows):
            x = learner.body(block)
            y = (x if head is None else head(x)).float().cpu().numpy()
            if first == 0:
                matrix = np.empty((len(rows), *y.shape[1:]), np.float32)
            matrix[first : first + len(y)] = y
            first += len(y)
    learner.train(training)
    return matrix
