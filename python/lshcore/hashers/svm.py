"""Linear support vector machines with squared hinge loss, many on the same rows at once."""

import numpy as np
from numpy.typing import NDArray

# A plane is done once a step promises to lower its objective by half of this share; it takes that step.
_TOLERANCE = 1e-3
_STEPS = 30
_INNER_STEPS = 100
_HALVINGS = 30
_TINY = 1e-300


def separate(
    x: NDArray[np.float64], signs: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normals (k, d) and biases (k,) of the planes between rows x (n, d) of sign +1 and -1, signs and costs (n, k).

    Each minimises ``(|w|^2 + b^2) / 2 + sum(cost * max(0, 1 - sign * (x @ w + b))^2)``, as LIBLINEAR does: by Newton
    steps, each from conjugate gradients. All planes take them together, so that a pass over x serves every one of them.
    Stops short of the minimum by less than about a thousandth of the objective, or after 30 steps.
    """
    points = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    # Turned to its principal axes, along which gradients can be scaled; what is minimised does not see a rotation.
    basis = np.eye(points.shape[1])
    if points.shape[1] > len(points):
        basis, triangle = np.linalg.qr(points.T)
        points = triangle.T
    axes = np.linalg.eigh(points.T @ points)[1]
    basis, points = basis @ axes, points @ axes
    planes = np.zeros((points.shape[1], signs.shape[1]))
    scores = np.zeros(signs.shape)
    left = np.arange(signs.shape[1])
    for _ in range(_STEPS):
        y, cost, w = signs[:, left], costs[:, left], planes[:, left]
        slack = np.maximum(1 - y * scores[:, left], 0)
        gradient = w - points.T @ (2 * cost * y * slack)
        step = _solve(points, 2 * cost * (slack > 0), -gradient)
        slope = (gradient * step).sum(axis=0)
        move = points @ step
        length, objective = _line_search(w, step, y * scores[:, left], y * move, cost, slope)
        planes[:, left] += length * step
        scores[:, left] += length * move
        left = left[-slope > _TOLERANCE * objective]
        if left.size == 0:
            break
    planes = basis @ planes
    return planes[:-1].T, planes[-1]


def _solve(x: NDArray[np.float64], weights: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(I + X^T diag(weights) X) step = target`` for each column, roughly, by preconditioned conjugate gradients."""
    diagonal = 1 + np.square(x).T @ weights
    step, rest = np.zeros_like(target), target.copy()
    limit = 0.1 * np.linalg.norm(target, axis=0)
    scaled = rest / diagonal
    along, product = scaled.copy(), (rest * scaled).sum(axis=0)
    for _ in range(_INNER_STEPS):
        curved = along + x.T @ (weights * (x @ along))
        share = product / np.maximum((along * curved).sum(axis=0), _TINY)
        step += share * along
        rest -= share * curved
        if (np.linalg.norm(rest, axis=0) <= limit).all():
            break
        scaled = rest / diagonal
        before, product = product, (rest * scaled).sum(axis=0)
        along = scaled + product / np.maximum(before, _TINY) * along
    return step


def _line_search(
    w: NDArray[np.float64],
    step: NDArray[np.float64],
    scores: NDArray[np.float64],
    move: NDArray[np.float64],
    cost: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length of each step, and the objective before it.

    The length is the largest of 1, 1/2, 1/4, ... that lowers the objective by a fair share of what its slope promises.
    """

    def objective(length: NDArray[np.float64]) -> NDArray[np.float64]:
        slack = np.maximum(1 - scores - length * move, 0)
        total: NDArray[np.float64] = np.square(w + length * step).sum(axis=0) / 2 + (cost * slack**2).sum(axis=0)
        return total

    length = np.ones(w.shape[1])
    start = objective(np.zeros(w.shape[1]))
    for _ in range(_HALVINGS):
        good = objective(length) <= start + 1e-4 * length * slope
        if good.all():
            break
        length[~good] /= 2
    return length, start
