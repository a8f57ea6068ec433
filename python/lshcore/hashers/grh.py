"""Graph regularised hashing: pull codes together along labels, then learn planes that give those codes."""

import warnings
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import registry
from lshcore._validation import as_integer, check_choice, resolve_jobs, resolve_seed

from ._blocks import check_positive, sample_rows, signs
from .anchors import AnchorHasher, draw_anchors, gaussian_similarities
from .base import Hasher
from .svm import separate

VARIANTS = ("paper", "tutorial")
KERNELS = ("linear", "rbf")

# Mean squared distance to the anchors, times gamma.
_GAMMA_SCALE = 1.0


class GRH(AnchorHasher):
    """Codes of another hasher, averaged along shared labels and learned again by one SVM a bit. [1]_

    Each iteration sets the code of a training row to the sign of `alpha` times the mean code of the rows that share a
    label with it, plus ``1 - alpha`` times its initial code; learns a linear SVM with squared hinge loss for each bit,
    the rarer sign weighted by the ceiling of how much rarer it is; and takes the SVMs' signs as codes. A bit that has
    become the same for all rows gets a random plane through their mean.

    Time: the SVMs of a round are learned together, in a hundred or so passes of ``4 * n * d * n_bits`` operations: a
    second or two a round at 5,000 rows of length 1 with 784 columns and 64 bits on two cores, longer by far (up to a
    minute) where rows are not scaled and nearly separable. Memory beside X: about ``24 * n * (d + 3 * n_bits)`` bytes.
    Here n is at most `max_samples`.

    Parameters
    ----------
    n_bits : int
        Bits of a code.
    initial : str or Hasher
        Where initial codes come from: a registered name; an unfitted hasher, a copy of which is fitted with `n_bits`
        bits on the rows learned from; or a fitted one of `n_bits_` equal to `n_bits`, used as it is.
    n_iterations : int
        Rounds.
    alpha : float, optional
        Weight of the mean code, from 0 to 1; 1 by default (0.25 in the tutorial). Below 0.5 it can change no bit, and
        labels are never used: `fit` warns.
    C : float
        Inverse of the regularisation of an SVM.
    kernel : {"linear", "rbf"}
        SVMs on the rows themselves, or on similarities ``exp(-gamma * |x - a|^2)`` to anchors, weighted so that with
        all rows as anchors they are kernel SVMs (the Nyström method).
    n_anchors : int
        Training rows that others are compared with, for "rbf".
    gamma : float, optional
        For "rbf"; by default one over the mean squared distance to the anchors.
    variant : {"paper", "tutorial"}
        "tutorial" is what the code of Moran's 2020 tutorial computes: mean codes are cut to signs before they are
        mixed with the *last* codes, SVMs have hinge loss and no class weights, and their intercepts are dropped. With
        its `alpha` it uses no labels: planes turn towards the directions of most variance, and buckets grow. For its
        figures, pass rows of length 1, 16 bits and random hyperplanes.
    max_samples : int or None
        Training rows learned from: as many drawn at random, or all.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where samples, the initial hasher, anchors and random planes come from.

    Attributes
    ----------
    mean_ : ndarray of float32, (d,)
        Mean of the rows learned from.
    anchors_ : ndarray of float32, (m, d), or None
        Anchors less the mean; None for "linear".
    gamma_ : float
    weights_ : ndarray of float32, (n_bits, d) or (n_bits, m)
    bias_ : ndarray of float32, (n_bits,)
    flipped_ : ndarray of float64, (n_iterations,)
        Share of bits that each round's averaging changed: of the initial codes, or in the tutorial of the last ones.

    References
    ----------
    .. [1] S. Moran, V. Lavrenko, "Graph regularised hashing", ECIR 2015.
    """

    flipped_: NDArray[np.float64]
    _needs_labels = True

    def __init__(
        self,
        n_bits: int = 64,
        initial: Any = "random-hyperplanes",
        n_iterations: int = 2,
        alpha: float | None = None,
        C: float = 1.0,
        kernel: str = "linear",
        n_anchors: int = 300,
        gamma: float | None = None,
        variant: str = "paper",
        max_samples: int | None = 5000,
        random_state: Any = 0,
    ) -> None:
        self.n_bits = n_bits
        self.initial = initial
        self.n_iterations = n_iterations
        self.alpha = alpha
        self.C = C
        self.kernel = kernel
        self.n_anchors = n_anchors
        self.gamma = gamma
        self.variant = variant
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit(self, x: NDArray[np.float32], y: NDArray[Any], n_bits: int) -> None:
        where = f"{type(self).__name__}.fit"
        alpha = self._check(where)
        tutorial = self.variant == "tutorial"
        seed = resolve_seed(self.random_state, where)
        rows = sample_rows(len(x), self.max_samples, seed)
        x, y = x[rows], y[rows]
        if len(x) < 2:
            raise ValueError(f"{where}: X must have at least 2 rows to separate, got n_samples = {len(x)}")
        initial = signs(self._fitted_initial(x, y, n_bits, seed, where).project(x))
        mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        anchors, gamma, back = None, 1.0, None
        features = x - mean
        if self.kernel == "rbf":
            anchors, gamma = draw_anchors(features, self.n_anchors, self.gamma, _GAMMA_SCALE, seed)
            back = nystroem(anchors, gamma)
            features = gaussian_similarities(features, anchors, gamma, resolve_jobs(None)) @ back
        points = features.astype(np.float64)
        generator = np.random.default_rng(seed)
        codes, flipped = initial, []
        for _ in range(self.n_iterations):
            kept = codes if tutorial else initial
            codes = regularise(codes, kept, y, alpha, cut=tutorial)
            flipped.append(float((codes != kept).mean()))
            weights, bias = learn_planes(points, codes, self.C, tutorial, generator)
            codes = signs(points @ weights.T + bias)
        self.flipped_ = np.array(flipped)
        self._set_margins(mean, anchors, gamma, weights if back is None else weights @ back.T, bias)

    def _check(self, where: str) -> float:
        """Check what is not checked elsewhere; alpha, whose default depends on the variant."""
        check_choice(self.variant, where, "variant", VARIANTS)
        check_choice(self.kernel, where, "kernel", KERNELS)
        as_integer(self.n_iterations, where, "n_iterations", low=1)
        as_integer(self.n_anchors, where, "n_anchors", low=1)
        if self.max_samples is not None:
            as_integer(self.max_samples, where, "max_samples", low=2)
        check_positive(self.C, where, "C")
        if self.gamma is not None:
            check_positive(self.gamma, where, "gamma")
        alpha = {"paper": 1.0, "tutorial": 0.25}[self.variant] if self.alpha is None else self.alpha
        if isinstance(alpha, bool) or not isinstance(alpha, Real):
            raise TypeError(f"{where}: alpha must be a number, got {alpha!r}")
        if not 0 <= float(alpha) <= 1:
            raise ValueError(f"{where}: alpha must be between 0 and 1, got {alpha!r}")
        if alpha < 0.5:
            warnings.warn(f"{where}: alpha below 0.5 changes no bit, so that labels are not used", stacklevel=4)
        return float(alpha)

    def _fitted_initial(self, x: NDArray[np.float32], y: Any, n_bits: int, seed: int, where: str) -> Hasher:
        hasher = registry.load(self.initial, registry.HASHERS)() if isinstance(self.initial, str) else self.initial
        if not isinstance(hasher, Hasher):
            raise TypeError(f"{where}: initial must be a Hasher or the name of one, got {type(hasher).__name__}")
        if hasattr(hasher, "n_bits_"):
            if hasher.n_bits_ != n_bits:
                raise ValueError(f"{where}: initial must have {n_bits} bits, got {hasher.n_bits_}")
            return hasher
        parameters = {**hasher.get_params(), "n_bits": n_bits}
        if isinstance(self.initial, str) and "random_state" in parameters:
            parameters["random_state"] = seed
        return type(hasher)(**parameters).fit(x, y)


def regularise(
    codes: NDArray[np.float64], kept: NDArray[np.float64], y: NDArray[Any], alpha: float, cut: bool = False
) -> NDArray[np.float64]:
    """``sign(alpha * A codes + (1 - alpha) * kept)``, codes (n, k) of +1 and -1.

    A (n, n) averages over the rows that share a label with a row, itself included; `cut` takes the signs of its
    averages first. Rows of the same labels have the same average, so that A is never made.
    """
    from scipy.sparse import csr_matrix

    groups, column = np.unique(y, axis=0, return_inverse=True)
    members = csr_matrix((np.ones(len(y)), column.ravel(), np.arange(len(y) + 1)), shape=(len(y), len(groups)))
    sums, counts = members.T @ codes, np.asarray(members.sum(axis=0)).ravel()
    if y.ndim == 2:
        sharing = groups.astype(np.float32) @ groups.T.astype(np.float32) > 0
        sums, counts = sharing @ sums, sharing @ counts
    alone = counts[column.ravel()] == 0  # rows without any label
    averages = (sums / np.maximum(counts, 1)[:, np.newaxis])[column.ravel()]
    averages[alone] = codes[alone]
    return signs(alpha * (signs(averages) if cut else averages) + (1 - alpha) * kept)


def learn_planes(
    x: NDArray[np.float64], codes: NDArray[np.float64], C: float, tutorial: bool, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normals (k, d) and biases (k,) of the planes that SVMs put between rows x (n, d) by codes (n, k) of +1 and -1."""
    n_ones = (codes > 0).sum(axis=0)
    rarer = np.minimum(n_ones, len(codes) - n_ones)
    mixed = rarer > 0
    weights, bias = np.empty((codes.shape[1], x.shape[1])), np.zeros(codes.shape[1])
    weights[~mixed] = generator.normal(size=(int((~mixed).sum()), x.shape[1]))
    if tutorial:
        from sklearn.svm import SVC

        for bit in np.flatnonzero(mixed):
            weights[bit] = SVC(C=C, kernel="linear").fit(x, codes[:, bit]).coef_[0]
    elif mixed.any():
        heavy = np.where(2 * n_ones <= len(codes), 1.0, -1.0)
        times = np.ceil((len(codes) - rarer) / np.maximum(rarer, 1))
        costs = C * np.where(codes == heavy, times, 1.0)
        weights[mixed], bias[mixed] = separate(x, codes[:, mixed], costs[:, mixed])
    return weights, bias


def nystroem(anchors: NDArray[np.float32], gamma: float) -> NDArray[np.float64]:
    """Matrix (m, p) that turns similarities to m anchors into p features whose products approximate the kernel."""
    kernel = gaussian_similarities(anchors, anchors, gamma, resolve_jobs(None)).astype(np.float64)
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    kept = values > 1e-6 * values[-1]  # less than that is what float32 similarities leave undecided
    whitening: NDArray[np.float64] = vectors[:, kept] / np.sqrt(values[kept])
    return whitening
