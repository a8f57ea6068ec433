"""Plain Python and NumPy versions of what the library computes, written from the definitions: the tests' oracles."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Metrics = dict[str, float]


# -- ranking metrics ---------------------------------------------------------------------------------------------------


def strict_metrics(relevance: Sequence[bool], n_relevant: int, ks: Iterable[int], ranks: Iterable[int] = ()) -> Metrics:
    """Every metric of one list in its final order, by the definitions."""
    n = len(relevance)
    precision_sum = [0.0]  # of P(t) rel_t over the first t
    hits = [0]
    for t, relevant in enumerate(relevance, start=1):
        hits.append(hits[-1] + bool(relevant))
        precision_sum.append(precision_sum[-1] + (hits[-1] / t if relevant else 0.0))

    def ratio(numerator: float, denominator: float) -> float:
        return numerator / denominator if denominator else 0.0

    metrics = {
        "map": ratio(precision_sum[n], n_relevant),
        "map_retrieved": ratio(precision_sum[n], hits[n]),
        "recall": ratio(hits[n], n_relevant),
        "coverage": float(n > 0),
    }
    for k in ks:
        top = min(k, n)
        metrics[f"map@{k}"] = ratio(precision_sum[top], min(k, n_relevant))
        metrics[f"map_retrieved@{k}"] = ratio(precision_sum[top], hits[top])
        metrics[f"p@{k}"] = hits[top] / k
        metrics[f"p@{k}_returned"] = ratio(hits[top], top)
    for rank in ranks:
        metrics[f"curve_precision@{rank}"] = hits[min(rank, n)] / rank
        metrics[f"curve_recall@{rank}"] = ratio(hits[min(rank, n)], n_relevant)
    return metrics


def tie_groups(distances: Sequence[float]) -> list[list[int]]:
    """Places of the items at each distance, nearest first."""
    places = defaultdict(list)
    for place, distance in enumerate(distances):
        places[distance].append(place)
    return [places[distance] for distance in sorted(places)]


def orders(distances: Sequence[float]) -> Iterator[list[int]]:
    """Every order that the distances allow."""
    for parts in itertools.product(*(itertools.permutations(group) for group in tie_groups(distances))):
        yield [place for part in parts for place in part]


def mean_metrics(all_metrics: Iterable[Metrics]) -> Metrics:
    """Mean of each metric."""
    rows = list(all_metrics)
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def permuted_metrics(
    relevance: Sequence[bool],
    distances: Sequence[float],
    n_relevant: int,
    ks: Sequence[int],
    ranks: Sequence[int] = (),
) -> Metrics:
    """Expectation over random orders of tied items, by going through every order."""
    return mean_metrics(
        strict_metrics([relevance[place] for place in order], n_relevant, ks, ranks) for order in orders(distances)
    )


def expected_metrics(
    relevance: Sequence[bool],
    distances: Sequence[float],
    n_relevant: int,
    ks: Sequence[int],
    ranks: Sequence[int] = (),
) -> Metrics:
    """The same by formula, for lists of any length."""
    groups = [(len(group), sum(bool(relevance[p]) for p in group)) for group in tie_groups(distances)]
    n = len(relevance)

    def cut(k: int) -> tuple[float, float, float]:
        """Expected hits, sum of P(t) rel_t, and ratio of that sum to the hits, over the first k."""
        items, hits, precisions = 0, 0.0, 0.0
        for size, relevant in groups:
            taken = min(size, k - items)
            if taken < size:
                # j of the taken ones are relevant, hypergeometrically; the rest follows given j.
                partial_hits = partial_sum = ratio = 0.0
                for j in range(max(0, taken - (size - relevant)), min(taken, relevant) + 1):
                    weight = math.comb(relevant, j) * math.comb(size - relevant, taken - j) / math.comb(size, taken)
                    inner = _sum_in_group(items, hits, taken, j)
                    partial_hits += weight * j
                    partial_sum += weight * inner
                    ratio += weight * ((precisions + inner) / (hits + j) if hits + j else 0.0)
                return hits + partial_hits, precisions + partial_sum, ratio
            precisions += _sum_in_group(items, hits, size, relevant)
            items += size
            hits += relevant
            if items == k:
                break
        return hits, precisions, precisions / hits if hits else 0.0

    hits, precisions, ratio = cut(n)
    metrics = {
        "map": precisions / n_relevant if n_relevant else 0.0,
        "map_retrieved": ratio,
        "recall": hits / n_relevant if n_relevant else 0.0,
        "coverage": float(n > 0),
    }
    for k in ks:
        hits, precisions, ratio = cut(min(k, n))
        metrics[f"map@{k}"] = precisions / min(k, n_relevant) if n_relevant else 0.0
        metrics[f"map_retrieved@{k}"] = ratio
        metrics[f"p@{k}"] = hits / k
        metrics[f"p@{k}_returned"] = hits / min(k, n) if n else 0.0
    for rank in ranks:
        hits = cut(min(rank, n))[0]
        metrics[f"curve_precision@{rank}"] = hits / rank
        metrics[f"curve_recall@{rank}"] = hits / n_relevant if n_relevant else 0.0
    return metrics


def _sum_in_group(before: int, hits_before: float, size: int, relevant: int) -> float:
    """Expected sum of P(t) rel_t over a whole group: place t is relevant with m/n, and so are the others before it."""
    total = 0.0
    for t in range(1, size + 1):
        others = (t - 1) * (relevant - 1) / (size - 1) if size > 1 else 0.0
        total += relevant / size * (hits_before + 1 + others) / (before + t)
    return total


def radius_metrics(relevance: Sequence[bool], distances: Sequence[int], n_relevant: int, n_bits: int) -> Metrics:
    """Precision and recall of the ball of each Hamming radius, and the three figures of radius 2."""
    metrics: Metrics = {}
    for radius in range(n_bits + 1):
        ball = [bool(r) for r, d in zip(relevance, distances, strict=True) if d <= radius]
        metrics[f"radius_precision@{radius}"] = sum(ball) / len(ball) if ball else 0.0
        metrics[f"radius_recall@{radius}"] = sum(ball) / n_relevant if n_relevant else 0.0
    ball = [bool(r) for r, d in zip(relevance, distances, strict=True) if d <= 2]
    metrics["p@r<=2"] = sum(ball) / len(ball) if ball else 0.0
    metrics["empty@r<=2"] = float(not ball)
    metrics["size@r<=2"] = float(len(ball))
    return metrics


def flatten(report: dict[str, object]) -> Metrics:
    """A report of the library under the names used here, curves included."""
    flat: Metrics = {}
    for name, value in report.items():
        if name == "pr_curve":
            for rank, precision, recall in zip(*(value[key] for key in ("rank", "precision", "recall")), strict=True):
                flat[f"curve_precision@{rank}"] = precision
                flat[f"curve_recall@{rank}"] = recall
        elif name == "radius_curve":
            for radius, precision, recall in zip(
                *(value[key] for key in ("radius", "precision", "recall")), strict=True
            ):
                flat[f"radius_precision@{radius}"] = precision
                flat[f"radius_recall@{radius}"] = recall
        else:
            flat[name] = value
    return flat


def relevance_matrix(q_labels: NDArray, labels: NDArray) -> NDArray[np.bool_]:
    """Which gallery item is relevant to which query: the same label, or at least one in common."""
    if q_labels.ndim == 1:
        return q_labels[:, None] == labels[None, :]
    return (q_labels[:, None, :].astype(bool) & labels[None, :, :].astype(bool)).any(axis=2)


# -- codes and search --------------------------------------------------------------------------------------------------


def pack(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Bit j into word j // 64 at position j % 64."""
    words = np.zeros((len(bits), -(-bits.shape[1] // 64)), dtype=np.uint64)
    for row in range(len(bits)):
        for j in range(bits.shape[1]):
            if bits[row, j]:
                words[row, j // 64] |= np.uint64(1 << (j % 64))
    return words


def hamming_matrix(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of differing bits of every pair."""
    return (a[:, None, :] != b[None, :, :]).sum(axis=2)


def nearest(
    distances: NDArray, ids: NDArray[np.int64], k: int, no_distance: float
) -> tuple[NDArray, NDArray[np.int64]]:
    """The k best of a row of distances in the order (distance, id), padded."""
    order = np.lexsort((ids, distances))[:k]
    missing = k - len(order)
    return (
        np.concatenate([distances[order], np.full(missing, no_distance, dtype=distances.dtype)]),
        np.concatenate([ids[order], np.full(missing, -1)]),
    )


def vector_distances(queries: NDArray, rows: NDArray, rank: str) -> NDArray[np.float64]:
    """1 - cos (1 where either is zero), the squared distance, or the negated inner product, in double."""
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    if rank == "ip":
        return -(q @ x.T)
    if rank == "l2":
        return ((q[:, None, :] - x[None, :, :]) ** 2).sum(axis=2)
    norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)[None, :]
    dots = q @ x.T
    return 1 - np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)


def lsh_candidates(
    q_bits: NDArray[np.bool_], bits: NDArray[np.bool_], positions: NDArray[np.int32], ids: Sequence[int]
) -> list[list[int]]:
    """Ids that share a bucket with each query in at least one table: a dict of lists a table."""
    found: list[set[int]] = [set() for _ in q_bits]
    for key_positions in positions:
        table: dict[bytes, list[int]] = defaultdict(list)
        for row, identity in zip(bits, ids, strict=True):
            table[row[key_positions].tobytes()].append(int(identity))
        for query, mine in zip(q_bits, found, strict=True):
            mine.update(table.get(query[key_positions].tobytes(), []))
    return [sorted(mine) for mine in found]


def probe_order(margins: NDArray, positions: NDArray[np.int32], cheapest: int = 20) -> tuple[list[float], list[tuple]]:
    """Costs and keys (table, bits) a query looks into: its own of every table, then by the squares of what is flipped.

    All sets of the `cheapest` bits of a table are gone through, so that the list is whole only where keys have no more;
    else it ends before the first cost that a bit left out could have.
    """
    own = [(0.0, table, margins[mine] >= 0) for table, mine in enumerate(positions)]
    others, limit = [], math.inf
    for table, mine in enumerate(positions):
        costs = margins[mine].astype(np.float64) ** 2
        order = np.argsort(costs, kind="stable")
        limit = min([limit, *costs[order[cheapest:]]])
        taken = order[:cheapest]
        for flips in itertools.islice(itertools.product((False, True), repeat=len(taken)), 1, None):
            bits = own[table][2].copy()
            bits[taken] ^= np.array(flips)
            others.append((float(costs[taken] @ flips), table, bits))
    others.sort(key=lambda probe: probe[0])
    probes = own + [probe for probe in others if probe[0] < limit]
    return [cost for cost, _, _ in probes], [(table, bits.tobytes()) for _, table, bits in probes]


def rows_by_key(bits: NDArray[np.bool_], positions: NDArray[np.int32], ids: Sequence[int]) -> dict[tuple, set[int]]:
    """Ids by (table, bits of the key)."""
    buckets: dict[tuple, set[int]] = defaultdict(set)
    for table, mine in enumerate(positions):
        for row, identity in zip(bits, ids, strict=True):
            buckets[table, row[mine].tobytes()].add(int(identity))
    return buckets


def radius_candidates(
    q_bits: NDArray[np.bool_], bits: NDArray[np.bool_], positions: NDArray[np.int32], radius: int, ids: NDArray
) -> list[list[int]]:
    """Ids whose key differs from that of the query in at most `radius` bits, in at least one table."""
    near = [(hamming_matrix(q_bits[:, mine], bits[:, mine]) <= radius) for mine in positions]
    return [sorted(ids[row].tolist()) for row in np.any(near, axis=0)]


def cluster_candidates(
    queries: NDArray, rows: NDArray, centroids: NDArray, probes: int, ids: Sequence[int]
) -> list[list[int]]:
    """Ids whose nearest centroid is among the `probes` nearest of each query."""
    home = vector_distances(rows, centroids, "l2").argmin(axis=1)
    order = vector_distances(queries, centroids, "l2").argsort(axis=1, kind="stable")[:, :probes]
    return [sorted(int(i) for i, cluster in zip(ids, home, strict=True) if cluster in set(looked)) for looked in order]


# -- random numbers ----------------------------------------------------------------------------------------------------


def reluctance(index: Any) -> NDArray[np.float64]:
    """Of each cluster of an index with residual codes, what is added to its squared distance: wide and large wait."""
    spreads, sizes = (np.asarray(a, np.float64) for a in (index._trained.spreads, index._trained.sizes))
    return 0.2 * spreads + 0.05 * np.average(spreads, weights=sizes) * np.log(np.maximum(1, sizes))


def gaussians(seed: int, n: int) -> list[float]:
    """Marsaglia's polar method over xoshiro256++ (Blackman & Vigna, 2021), its state filled by splitmix64."""
    mask = 2**64 - 1
    state = []
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        state.append(z ^ (z >> 31))

    def rotate(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & mask

    def uniform() -> float:
        s = state
        word = (rotate((s[0] + s[3]) & mask, 23) + s[0]) & mask
        shifted = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = rotate(s[3], 45)
        return (word >> 11) / 2**53

    values: list[float] = []
    while len(values) < n:
        u, v = 2 * uniform() - 1, 2 * uniform() - 1
        s = u * u + v * v
        if 0 < s < 1:
            factor = math.sqrt(-2 * math.log(s) / s)
            values += [u * factor, v * factor]
    return values[:n]
