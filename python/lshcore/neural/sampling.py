"""What belongs together, and which rows a batch is compared with; all of it seeded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEGATIVES = ("all", "uniform", "hard")

# Rows whose cosines give the threshold of `BySimilarity`, and rows that negatives are drawn among.
_SAMPLE = 2048
_POOL = 1024

_TRIES = 100


def generator(*seeds: int) -> torch.Generator:
    """A generator that depends on all the numbers, as a run, an epoch and a step."""
    words = np.random.SeedSequence([seed & 0xFFFFFFFF for seed in seeds] + [seeds[0] >> 32]).generate_state(2)
    return torch.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))


class ByLabel:
    """Rows belong together that have the same label, or, with several labels each, one in common.

    Parameters
    ----------
    labels : int64 (n,) or bool (n, C)
    """

    def __init__(self, labels: NDArray[Any], device: str) -> None:
        if labels.ndim == 1:
            self.n_classes = int(labels.max()) + 1
            self._labels = torch.from_numpy(labels).to(device)
        else:
            self.n_classes = labels.shape[1]
            self._labels = torch.from_numpy(labels).to(device, torch.float32)

    @property
    def several(self) -> bool:
        """Whether a row can have several labels."""
        return bool(self._labels.ndim == 2)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether they belong together: bool (len(a), len(b)) for rows a and b."""
        first, second = self._labels[a], self._labels[b]
        return first @ second.T > 0 if self.several else first[:, None] == second

    def similarity(self, a: Tensor) -> Tensor:
        """Labels in common over labels of either (Jaccard), float (len(a), len(a)); 1 or 0 with one label each."""
        labels = self._labels[a]
        if not self.several:
            return (labels[:, None] == labels).float()
        common, counts = labels @ labels.T, labels.sum(dim=1)
        return common / (counts[:, None] + counts - common).clamp(min=1)

    def targets(self, a: Tensor) -> Tensor:
        """Labels as 0 and 1, float (len(a), C)."""
        labels = self._labels[a]
        return labels if self.several else torch.nn.functional.one_hot(labels, self.n_classes).float()


class BySimilarity:
    """Rows belong together whose cosine is among the top `share` of all pairs; what there is without labels."""

    def __init__(self, features: Callable[[Tensor], Tensor], rows: Tensor, share: float, seed: int) -> None:
        self._features = features
        rows = rows[torch.randperm(len(rows), generator=generator(seed))[:_SAMPLE]]
        unit = torch.nn.functional.normalize(features(rows))
        cosines = (unit @ unit.T)[~torch.eye(len(rows), dtype=torch.bool, device=unit.device)].sort().values
        self._threshold = float(cosines[int((1 - share) * (len(cosines) - 1))]) if len(cosines) else 0.0

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether they belong together: bool (len(a), len(b)) for rows a and b."""
        first, second = (torch.nn.functional.normalize(self._features(rows)) for rows in (a, b))
        return first @ second.T >= self._threshold


Relevance = ByLabel | BySimilarity


def draw_negatives(
    kind: str,
    n_negatives: int,
    rows: Tensor,
    among: Tensor,
    relevant: Relevance,
    cosines: Callable[[Tensor], Tensor],
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Rows that a batch is held apart from.

    Parameters
    ----------
    kind : {"all", "uniform", "hard"}
        Every row of the batch that does not belong together with the first, `n_negatives` drawn among all rows, or the
        `n_negatives` most similar ones of a thousand drawn.
    rows : int64 (b,)
        The batch.
    among : int64 (n,)
        Rows to draw from.
    cosines : callable
        Cosines (b, len(others)) between the features of the batch and those of other rows.

    Returns
    -------
    others : int64 (p,)
    negative : bool (b, p)
    """
    if kind == "all":
        return rows, (~relevant(rows, rows)).fill_diagonal_(False)  # a row without labels belongs together with itself
    others = draw_rows(among, max(_POOL, 2 * n_negatives), draw)
    negative = ~relevant(rows, others)
    negative &= (rows[:, None] != others).to(negative.device)
    score = cosines(others) if kind == "hard" else torch.rand(negative.shape, generator=draw).to(negative.device)
    score = score.masked_fill(~negative, -torch.inf)
    chosen = score.topk(min(n_negatives, len(others)), dim=1).indices
    return others, torch.zeros_like(negative).scatter_(1, chosen, True) & negative


def draw_rows(among: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """Rows drawn with replacement, int64 (n,)."""
    return among[torch.randint(len(among), (n,), generator=draw)]


def codebook(n_classes: int, n_bits: int, draw: torch.Generator) -> Tensor:
    """A code of +1 and -1 for each class, far apart: float (n_classes, n_bits).

    Rows of a Hadamard matrix and then of its negative, all of them n_bits / 2 or more apart, where n_bits is a power of
    two and there are enough; else each code is the one of a hundred drawn that is farthest from those before. [1]_

    References
    ----------
    .. [1] L. Yuan, T. Wang, X. Zhang, et al., "Central similarity quantization for efficient image and video
       retrieval", CVPR 2020.
    """
    if n_bits & (n_bits - 1) == 0 and n_classes <= 2 * n_bits:
        hadamard = torch.ones(1, 1)
        while len(hadamard) < n_bits:
            hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
        for _ in range(_TRIES):  # signs, because the first column is all ones; again, where a bit is the same in all
            rows = hadamard[torch.randperm(n_bits, generator=draw)]
            rows = rows * (torch.randint(2, (n_bits, 1), generator=draw) * 2 - 1)
            codes = torch.cat([rows, -rows])[:n_classes]
            if not (codes == codes[0]).all(dim=0).any():
                break
        return codes
    codes = torch.empty(n_classes, n_bits)
    for i in range(n_classes):
        drawn = torch.randint(2, (100, n_bits), generator=draw).float() * 2 - 1
        nearest = (drawn @ codes[:i].T).max(dim=1).values if i else torch.zeros(100)
        codes[i] = drawn[nearest.argmin()]
    return codes
