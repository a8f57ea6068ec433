"""Supervised discrete hashing: bits from which a linear classifier reads the labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore._validation import as_integer, resolve_jobs, resolve_seed

from ._blocks import check_positive, gram, indicators, row_blocks, sample_rows, signs
from .anchors import AnchorHasher, draw_anchors, gaussian_similarities

# Passes over the bits in one iteration, unless nothing changes any more; the authors' number.
_SWEEPS = 10

# Mean squared distance to the anchors, times gamma; the authors' settings come to about 2 to 4.
_GAMMA_SCALE = 3.0


class SDH(AnchorHasher):
    """Codes B of the training rows from which labels Y are read linearly, learned bit by bit without relaxation.

    Minimises ``|Y - B W|^2 + penalty |W|^2 + fit_weight |B - F|^2`` over W, codes B of +1 and -1, and F, which is
    linear in Gaussian similarities to anchors; new rows get the signs of F. [1]_

    Memory beside X: about ``4 * (n_anchors + d) + 32 * n_bits`` bytes a training row. Time, for n rows:
    ``n * n_anchors * (n_anchors + d)`` once, and ``n * n_anchors * n_bits`` an iteration; n is at most `max_samples`.

    Parameters
    ----------
    n_bits : int
        Bits of a code.
    n_anchors : int
        Training rows that others are compared with (all of them, where there are fewer).
    gamma : float, optional
        Similarity to an anchor a is ``exp(-gamma * |x - a|^2)``; by default 3 over the mean squared distance to the
        anchors.
    n_iterations : int
        Rounds at most; fewer where codes stop changing.
    penalty : float
        Weight of ``|W|^2``, the paper's lambda.
    fit_weight : float
        Weight of ``|B - F|^2``, the paper's nu: how far codes bend to what a new row's code can be.
    max_samples : int or None
        Training rows learned from: as many drawn at random, or all. At the default, anchors take 400 MB.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where samples, anchors and the first codes come from.

    Attributes
    ----------
    mean_ : ndarray of float32, (d,)
        Mean of the rows learned from.
    anchors_ : ndarray of float32, (m, d)
        Anchors less the mean.
    gamma_ : float
    weights_ : ndarray of float32, (n_bits, m)
    bias_ : ndarray of float32, (n_bits,)
    objective_ : ndarray of float64, (iterations,)
        What is minimised, after each round; it never rises.

    References
    ----------
    .. [1] F. Shen, C. Shen, W. Liu, H. T. Shen, "Supervised discrete hashing", CVPR 2015.
    """

    objective_: NDArray[np.float64]
    _needs_labels = True

    def __init__(
        self,
        n_bits: int = 64,
        n_anchors: int = 1000,
        gamma: float | None = None,
        n_iterations: int = 5,
        penalty: float = 1.0,
        fit_weight: float = 1e-5,
        max_samples: int | None = 100_000,
        random_state: Any = 0,
    ) -> None:
        self.n_bits = n_bits
        self.n_anchors = n_anchors
        self.gamma = gamma
        self.n_iterations = n_iterations
        self.penalty = penalty
        self.fit_weight = fit_weight
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit(self, x: NDArray[np.float32], y: NDArray[Any], n_bits: int) -> None:
        where = f"{type(self).__name__}.fit"
        n_anchors = as_integer(self.n_anchors, where, "n_anchors", low=1)
        n_iterations = as_integer(self.n_iterations, where, "n_iterations", low=1)
        if self.max_samples is not None:
            as_integer(self.max_samples, where, "max_samples", low=1)
        for name in ("gamma", "penalty", "fit_weight"):
            if name != "gamma" or self.gamma is not None:
                check_positive(getattr(self, name), where, name)
        seed = resolve_seed(self.random_state, where)
        rows = sample_rows(len(x), self.max_samples, seed)
        x, y = x[rows], y[rows]
        mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = x - mean
        anchors, gamma = draw_anchors(centred, n_anchors, self.gamma, _GAMMA_SCALE, seed)
        features = gaussian_similarities(centred, anchors, gamma, resolve_jobs(None))
        first = signs(np.random.default_rng(seed).normal(size=(len(x), n_bits)))
        weights, bias, self.objective_ = learn_codes(
            features, indicators(y), first, n_iterations, self.penalty, self.fit_weight
        )
        self._set_margins(mean, anchors, gamma, weights, bias)


def learn_codes(
    features: NDArray[np.float32],
    targets: Any,
    codes: NDArray[np.float64],
    n_iterations: int,
    penalty: float,
    fit_weight: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """SDH of features (n, m) and sparse targets (n, C) from first codes (n, k), which are changed in place.

    Returns weights (k, m) and bias (k,) of F, and the objective after each iteration.
    """
    regress = Regression(features)
    n_squares = float(targets.multiply(targets).sum())
    weights, bias, fitted = regress(codes)
    objective = []
    for _ in range(n_iterations):
        classifier = np.linalg.solve(codes.T @ codes + penalty * np.eye(codes.shape[1]), (targets.T @ codes).T)
        changed = descend(codes, targets @ classifier.T + fit_weight * fitted, classifier)
        error = n_squares - 2 * np.vdot(targets.T @ codes, classifier.T)
        error += np.vdot(codes.T @ codes, classifier @ classifier.T) + penalty * np.vdot(classifier, classifier)
        objective.append(error + fit_weight * float(np.square(codes - fitted).sum()))
        if not changed:
            break
        weights, bias, fitted = regress(codes)
    return weights, bias, np.array(objective)


def descend(codes: NDArray[np.float64], linear: NDArray[np.float64], classifier: NDArray[np.float64]) -> bool:
    """Lower ``|B W|^2 - 2 <B, Q>`` over codes B (n, k), in place, one bit at a time; whether any changed."""
    products = classifier @ classifier.T
    np.fill_diagonal(products, 0)
    changed = False
    for _ in range(_SWEEPS):
        moved = False
        for bit in range(codes.shape[1]):
            best = signs(linear[:, bit] - codes @ products[bit])
            moved |= bool((best != codes[:, bit]).any())
            codes[:, bit] = best
        changed |= moved
        if not moved:
            break
    return changed


class Regression:
    """Least squares of many targets on the same features and a constant, by way of their Gram matrix."""

    def __init__(self, features: NDArray[np.float32]) -> None:
        self._features = features
        self._blocks = list(row_blocks(len(features), features.shape[1] + 1))
        values, vectors = np.linalg.eigh(gram((self._read(part) for part in self._blocks), features.shape[1] + 1))
        # Directions that the features hardly have would get coefficients that float32 cannot hold.
        kept = values > 1e-7 * values[-1]
        self._inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T

    def _read(self, part: slice) -> NDArray[np.float64]:
        block = self._features[part]
        return np.concatenate([block, np.ones((len(block), 1))], axis=1, dtype=np.float64)

    def __call__(
        self, targets: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Weights (k, m), bias (k,) and fitted values (n, k) for targets (n, k)."""
        products = np.zeros((len(self._inverse), targets.shape[1]))
        for part in self._blocks:
            products += self._read(part).T @ targets[part]
        solution = self._inverse @ products
        fitted = np.concatenate([self._read(part) @ solution for part in self._blocks])
        return solution[:-1].T, solution[-1], fitted
