"""How likely two rows are to meet in a bucket: the formulas behind a plan, each checked by simulation in the tests."""

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Queries whose margins stand for those of all: the mean over so many is good to about one per cent.
_DRAWS = 64


def same_key(angles: ArrayLike, key_bits: int) -> Floats:
    """Probability that a key of sign bits is the same, ``(1 - angle / pi) ** key_bits``; angles in radians."""
    return (1 - np.asarray(angles, np.float64) / np.pi) ** key_bits


def same_sampled_key(distances: ArrayLike, n_bits: int, key_bits: int) -> Floats:
    """Probability that J of H code bits, drawn without replacement, are the same at a Hamming distance h.

    ``C(H - h, J) / C(H, J)``: no bit that differs may be drawn.
    """
    from scipy.special import gammaln

    h = np.asarray(distances, np.float64)
    left = n_bits - h
    inside = left >= key_bits
    left = np.where(inside, left, key_bits)
    log = gammaln(left + 1) - gammaln(left - key_bits + 1) - gammaln(n_bits + 1) + gammaln(n_bits - key_bits + 1)
    return np.where(inside, np.exp(log), 0.0)


def any_table(one_table: ArrayLike, n_tables: int) -> Floats:
    """Probability of meeting in at least one of `n_tables` independent tables."""
    return 1 - (1 - np.asarray(one_table, np.float64)) ** n_tables


def probed_keys(angles: ArrayLike, n_tables: int, key_bits: int, probes: int, seed: int = 0) -> Floats:
    """Probability that a row at an angle lies under one of the first 1, 2, ..., `probes` keys looked into.

    The keys are query-directed, over all tables together: first the query's own of each, then those that differ from
    it in the bits with the least sum of squared margins. Given a margin m of a query of length 1, the bit of a row at
    angle t differs with probability ``Phi(-|m| / tan t)``; the mean is over margins drawn as those of random
    hyperplanes are.

    Returns
    -------
    ndarray of float64, (probes, len(angles))
        Row p is for p + 1 probes.
    """
    from scipy.special import ndtr

    t = np.clip(np.atleast_1d(np.asarray(angles, np.float64)), 1e-9, np.pi)
    random = np.random.default_rng(seed)
    draws = max(16, _DRAWS // n_tables)
    found = np.zeros((probes, len(t)))
    cotangent = np.clip(1 / np.tan(t), -1e9, 1e9)
    for _ in range(draws):
        margins = np.sort(np.abs(random.standard_normal((n_tables, key_bits))), axis=1)
        flips = ndtr(-margins[:, :, None] * cotangent)
        stays = np.log1p(-np.minimum(flips, 1 - 1e-15))
        odds = np.log(np.maximum(flips, 1e-300)) - stays
        own = stays.sum(axis=1)
        met = np.zeros((n_tables, len(t)))  # the chance so far, in each table
        missed = np.ones(len(t))  # in all of them
        for number, (table, bits) in enumerate(cheapest_sets(margins**2, probes)):
            more = np.exp(own[table] + odds[table, list(bits)].sum(axis=0))
            before = 1 - met[table]
            met[table] = np.minimum(met[table] + more, 1 - 1e-12)
            missed = missed * ((1 - met[table]) / before)
            found[number] += 1 - missed
        found[number + 1 :] += 1 - missed  # fewer keys than probes
    return np.minimum(found / draws, 1.0)


def cheapest_sets(costs: NDArray[np.float64], n: int) -> list[tuple[int, tuple[int, ...]]]:
    """The first n of all sets of items of any table, by their sum of costs; the empty one of each table comes first.

    Parameters
    ----------
    costs : ndarray, (tables, items)
        Ascending in each table.

    Returns
    -------
    list of (table, items)
    """
    n_tables, n_items = costs.shape
    sets: list[tuple[int, tuple[int, ...]]] = [(table, ()) for table in range(n_tables)]
    heap: list[tuple[float, int, tuple[int, ...]]] = [(float(costs[t, 0]), t, (0,)) for t in range(n_tables)]
    heapq.heapify(heap)
    while heap and len(sets) < n:
        cost, table, items = heapq.heappop(heap)
        sets.append((table, items))
        after = items[-1] + 1
        if after < n_items:
            more = float(costs[table, after])
            heapq.heappush(heap, (cost - float(costs[table, after - 1]) + more, table, (*items[:-1], after)))
            heapq.heappush(heap, (cost + more, table, (*items, after)))
    return sets[:n]
