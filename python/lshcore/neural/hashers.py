"""Learned hashers. This module imports no torch: `fit` does, and what it learns encodes without."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._progress import Progress
from .._validation import as_integer, check_choice
from ..hashers.base import Hasher
from .layers import Layer, check_layers, forward

# What the arguments may be, by name: least counts, limits, and choices.
_COUNTS: Mapping[str, int] = {
    "epochs": 1,
    "batch_size": 2,
    "n_negatives": 1,
    "embedding": 1,
    "key_bits": 1,
    "n_corpus": 1,
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "learning_rate": (1e-12, 1e3),
    "weight_decay": (0, 1e3),
    "validation": (0, 0.5),
    "alpha": (0, 1),
    "beta": (0, 1),
    "attraction": (0, 1e6),
    "quantile": (0, 1),
    "fence": (0, 1),
    "collision": (0, 1),
    "margin": (0, 1e6),
    "penalty": (0, 1e6),
    "scale": (1e-6, 1e6),
    "continuation": (0, 1e6),
    "gamma": (0, 1e6),
    "temperature": (1e-3, 1e3),
    "dropout": (0, 0.99),
}
_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "device": ("cpu", "cuda", None),
    "balance": ("item", "bit"),
    "negatives": ("all", "uniform", "hard"),
    "positives": ("label", "similarity"),
    "cos_to_prob": ("shift", "clamp"),
}


class TrainedHasher(Hasher):
    """Hasher that encodes with the layers of a trained head.

    Attributes
    ----------
    layers_ : list of Layer
        From features to margins.
    query_layers_ : list of Layer or None
        The same for queries, where they have layers of their own.
    history_ : list of dict
        "stage", "epoch", "terms" (means of the weighted terms of the loss by name) and "map" of each epoch.
    constant_bits_ : list of int
        Bits that are the same in all of (at most 20,000 of) the training rows: they tell nothing apart.
    """

    layers_: list[Layer]
    query_layers_: list[Layer] | None
    history_: list[dict[str, Any]]
    constant_bits_: list[int]

    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        return forward(self.layers_, x, n_jobs)

    def _project_query(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        return forward(self.query_layers_ or self.layers_, x, n_jobs)

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        for name in ("layers_", "query_layers_"):
            state[name] = state[name] and [vars(layer) for layer in state[name]]
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        for name in ("layers_", "query_layers_"):
            state[name] = state[name] and [Layer(**layer) for layer in state[name]]
        super()._restore(state)

    def _check_state(self) -> None:
        super()._check_state()
        for layers in (self.layers_, self.query_layers_):
            if layers is not None:
                check_layers(layers, self.n_features_in_, self.n_bits_)


@dataclass(eq=False, repr=False)
class NeuralHasher(TrainedHasher):
    """Hasher whose margins come from a head trained in PyTorch on features as they are.

    A share of the training rows is held out; after each epoch its `map` among the others says which weights to keep
    and when to stop. Nothing else is ever looked at. On a CPU the same seed gives the same weights to the last bit
    (same machine, same versions, same number of threads), whether or not training was killed and taken up again.

    Parameters
    ----------
    n_bits : int
        Bits of a code.
    hidden : sequence of int
        Widths of hidden layers before the last one; ``()`` is a linear head.
    epochs : int
        Passes over the training rows, at most.
    batch_size : int or None
        Rows at a time; by default a hundredth of them, but from 64 to 512.
    learning_rate : float
        Of Adam, at the beginning; it falls to 0 along half a cosine.
    weight_decay : float
    validation : float
        Share of the training rows held out, at most 2,000 of them; 0 holds none out, trains to the end, and does not
        notice a collapse.
    patience : int or None
        Epochs without a better `map` after which training stops; None goes on to the end.
    device : {"cpu", "cuda"}, optional
        Where to train; a GPU if there is one. Features are copied there whole.
    bf16 : bool
        Train in bfloat16 where autocast does.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
    """

    n_bits: int = 64
    hidden: Sequence[int] = (256,)
    epochs: int = 30
    batch_size: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    validation: float = 0.1
    patience: int | None = 10
    device: str | None = None
    bf16: bool = False
    random_state: Any = 0

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from X (n, d) and labels y: integers (n,) or bools (n, C); methods without labels ignore y.

        Parameters
        ----------
        X : array_like, (n, d)
        y : array_like, optional
        checkpoint : path, optional
            A folder for the state of the training, written every ten seconds and at the end; where it holds the state
            of the same training, that goes on.
        progress : callable, optional
            ``progress(share, text)``.

        Raises
        ------
        ImportError
            If torch is missing.
        TypeError, ValueError
            As `Hasher.fit`; for a checkpoint of another training, saying what differs; and `Collapse`, if what is
            learnt is worth nothing, saying which term of the loss did it and what helps.
        """
        x, labels, n_bits = self._check_fit(X, y)
        if not (self._needs_labels or self._takes_labels):
            labels = None
        self._check_arguments(f"{type(self).__name__}.fit", len(x))
        from .fitting import fit_features

        fit_features(self, x, labels, n_bits, None if checkpoint is None else Path(checkpoint), progress)
        self.n_features_in_ = x.shape[1]
        self.n_bits_ = n_bits
        return self

    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        raise NotImplementedError  # `fit` does it

    def _check_arguments(self, where: str, n_rows: int) -> None:
        if n_rows < 2:
            raise ValueError(f"{where}: X must have at least 2 rows (n_samples), got {n_rows} sample")
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise TypeError(f"{where}: hidden must be a sequence of widths, got {self.hidden!r}")
        for width in self.hidden:
            as_integer(width, where, "each of hidden", low=1)
        if self.patience is not None:
            as_integer(self.patience, where, "patience", low=1)
        for name, value in self.get_params().items():
            if value is None and getattr(type(self), name) is None:
                continue  # chosen for the data
            if name in _COUNTS:
                as_integer(value, where, name, low=_COUNTS[name])
            elif name in _CHOICES:
                check_choice(value, where, name, _CHOICES[name])
            elif name in _RANGES:
                low, high = _RANGES[name]
                if not isinstance(value, Real) or isinstance(value, bool):
                    raise TypeError(f"{where}: {name} must be a number, got {value!r}")
                if not low <= float(value) <= high:
                    raise ValueError(f"{where}: {name} must be from {low:g} to {high:g}, got {value!r}")


@dataclass(eq=False, repr=False)
class NeuralLSH(NeuralHasher):
    """One layer to H bits: codes balanced, sure of their bits, and far apart for what does not belong together.

    Minimises ``alpha * balance + beta * fence + (1 - alpha - beta) * repulsion`` of soft codes b = tanh(margins) [1]_:
    balance is the mean of ``|sum of b|``, fence that of ``||b| - 1|``, repulsion that of ``|<b, b'>|`` over pairs that
    do not belong together, each over H, so that it lies between 0 and 1. With tables of J sampled bits
    (``LSHIndex(..., keys="sample")``) it is the hashing of the paper. Without labels, pairs belong together whose
    cosine is above a quantile.

    Parameters
    ----------
    alpha, beta : float
        Weights of balance and of fence; what is left of 1 is that of repulsion. With too little of fence (the 0.01 of
        the authors' code for graphs), soft codes near zero meet everything; with too little of repulsion, one code for
        everything does.
    balance : {"item", "bit"}
        As published, the bits of each item are balanced; or each bit over the items.
    negatives : {"all", "uniform", "hard"}
        Pairs that do not belong together: all of the batch; or for each row `n_negatives` others drawn from the
        training rows; or the `n_negatives` of a thousand drawn that are most similar to it.
    n_negatives : int
    attraction : float
        Weight of a term that is not in the paper: the mean of ``(1 - <b, b'> / H) / 2`` over pairs that belong
        together.
    quantile : float
        Without labels: the share of pairs, least similar first, that do not belong together.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] I. Roy, A. De, S. Chakrabarti, "Adversarial permutation guided node representations for link prediction",
       AAAI 2021, sections 4.1 and 4.2.
    """

    hidden: Sequence[int] = ()
    alpha: float = 0.3
    beta: float = 0.3
    balance: str = "item"
    negatives: str = "all"
    n_negatives: int = 16
    attraction: float = 0.0
    quantile: float = 0.9

    _takes_labels = True

    def _check_arguments(self, where: str, n_rows: int) -> None:
        super()._check_arguments(where, n_rows)
        if self.alpha + self.beta > 1:
            raise ValueError(f"{where}: alpha + beta must be at most 1, got {self.alpha} + {self.beta}")


@dataclass(eq=False, repr=False)
class RelevanceLSH(NeuralHasher):
    """Heads of their own for queries and for the gallery, and one layer of bits for both.

    First the heads learn, by cross entropy, that the cosine of what they give says whether a gallery row is relevant to
    a query. Then they stay as they are, and a layer learns soft codes by ``fence`` (||b| - 1|), balance of each bit,
    and ``collision``: relevant rows share `margin` more bits with the query than others. [1]_ (Without the Fourier map,
    which is for queries and corpora that are sets.)

    Parameters
    ----------
    embedding : int
        What the heads give: vectors of so many entries and length 1.
    fence, collision : float
        Weights in the second stage; what is left of 1 is that of balance.
    margin : float
        In units of the inner product of soft codes: 2 is one bit.
    positives : {"label", "similarity"}
        What is relevant: the same label (or one in common), or the top ``2 ** -key_bits`` of all pairs by cosine, which
        is also what there is without labels.
    key_bits : int
        Bits of a key of the tables it is learnt for.
    n_corpus : int
        Gallery rows drawn for each batch of queries.
    cos_to_prob : {"shift", "clamp"}
        The probability that a row is relevant: (1 + cosine) / 2, or the cosine where it is positive.
    (and those of `NeuralHasher`; `epochs` and `patience` are for each stage)

    References
    ----------
    .. [1] I. Roy, R. Agarwal, S. Chakrabarti, A. Dasgupta, A. De, "Locality sensitive hashing in Fourier frequency
       domain for soft set containment search", NeurIPS 2023.
    """

    epochs: int = 15
    embedding: int = 128
    fence: float = 0.1
    collision: float = 0.5
    margin: float = 1.0
    positives: str = "label"
    key_bits: int = 8
    n_corpus: int = 512
    cos_to_prob: str = "shift"

    _takes_labels = True

    def _check_arguments(self, where: str, n_rows: int) -> None:
        super()._check_arguments(where, n_rows)
        if self.fence + self.collision > 1:
            raise ValueError(f"{where}: fence + collision must be at most 1, got {self.fence} + {self.collision}")


@dataclass(eq=False, repr=False)
class DSH(NeuralHasher):
    """Deep supervised hashing: margins of similar rows near, of others at least 2 H apart, all near +1 and -1. [1]_

    Parameters
    ----------
    penalty : float
        Weight of the distance to +1 and -1.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] H. Liu, R. Wang, S. Shan, X. Chen, "Deep supervised hashing for fast image retrieval", CVPR 2016.
    """

    penalty: float = 0.01

    _needs_labels = True


@dataclass(eq=False, repr=False)
class HashNet(NeuralHasher):
    """Likelihood of pairs, weighted against their imbalance, for tanh(beta * margins) with a growing beta. [1]_

    Parameters
    ----------
    scale : float or None
        Of inner products, before the logistic function; 10 / n_bits by default.
    continuation : float
        beta is ``sqrt(1 + continuation * steps)``, looked at every 200 steps.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] Z. Cao, M. Long, J. Wang, P. S. Yu, "HashNet: deep learning to hash by continuation", ICCV 2017.
    """

    scale: float | None = None
    continuation: float = 0.005

    _needs_labels = True


@dataclass(eq=False, repr=False)
class BiHalf(NeuralHasher):
    """Without labels: every bit is +1 in half of a batch, and codes have the cosines of the features. [1]_

    Parameters
    ----------
    gamma : float
        How strongly margins are drawn to their codes.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] Y. Li, J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.
    """

    hidden: Sequence[int] = ()
    gamma: float = 6.0


@dataclass(eq=False, repr=False)
class OrthoHash(NeuralHasher):
    """One loss: the cosine to the code of the right class, less a margin, against those of all others. [1]_

    Parameters
    ----------
    scale : float
        Of cosines, before the softmax.
    margin : float
        Taken off the cosine of the right class.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] J. T. Hoe, K. W. Ng, T. Zhang, C. S. Chan, Y.-Z. Song, T. Xiang, "One loss for all: deep hashing with a
       single cosine similarity based learning objective", NeurIPS 2021.
    """

    scale: float = 8.0
    margin: float = 0.2

    _needs_labels = True


@dataclass(eq=False, repr=False)
class CSQ(NeuralHasher):
    """Central similarity quantisation: every class has a code, far from the others, and its rows learn its bits. [1]_

    Parameters
    ----------
    penalty : float
        Weight of the distance of tanh(margins) to +1 and -1.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] L. Yuan, T. Wang, X. Zhang, et al., "Central similarity quantization for efficient image and video
       retrieval", CVPR 2020.
    """

    penalty: float = 1e-4

    _needs_labels = True


@dataclass(eq=False, repr=False)
class GreedyHash(NeuralHasher):
    """Signs, with gradients that pass through them, from which a linear classifier reads the labels. [1]_

    Parameters
    ----------
    penalty : float
        Weight of the cubed distance of margins to +1 and -1.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] S. Su, C. Zhang, K. Han, Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
       NeurIPS 2018.
    """

    penalty: float = 0.1

    _needs_labels = True


@dataclass(eq=False, repr=False)
class CIBHash(NeuralHasher):
    """Without labels: the codes of two views of a row find each other among the batch, and say little else. [1]_

    Views of features are made by leaving out a random share of them; those of images are two augmentations.

    Parameters
    ----------
    temperature : float
        Of the cosines of codes, before the softmax.
    penalty : float
        Weight of the divergence between the bits' probabilities in both views.
    dropout : float
        Share of the features that a view lacks.
    (and those of `NeuralHasher`)

    References
    ----------
    .. [1] Z. Qiu, Q. Su, Z. Ou, J. Yu, C. Chen, "Unsupervised hashing with contrastive information bottleneck",
       IJCAI 2021.
    """

    temperature: float = 0.3
    penalty: float = 1e-3
    dropout: float = 0.3
