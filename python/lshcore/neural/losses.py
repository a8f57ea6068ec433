"""Losses that codes are learned with: pure functions from tensors to a scalar tensor.

n or m is a number of items, H or K of bits, C of classes; b_i is row i of codes, <b_i, b_j> an inner product.
Where nothing counts (no such pair, no labelled row), a loss is 0, with gradients of 0; so is a cosine with zeros.

References
----------
.. [1] I. Roy et al., "Adversarial permutation guided node representations for link prediction", AAAI 2021 (PermGNN).
.. [2] I. Roy et al., "Locality sensitive hashing in Fourier frequency domain for soft set containment search",
   NeurIPS 2023 (FourierHashNet).
.. [3] H. Liu et al., "Deep supervised hashing for fast image retrieval", CVPR 2016 (DSH).
.. [4] Z. Cao et al., "HashNet: deep learning to hash by continuation", ICCV 2017.
.. [5] Y. Li, J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021 (Bi-half).
.. [6] J. T. Hoe et al., "One loss for all: deep hashing with a single cosine similarity based learning objective",
   NeurIPS 2021 (OrthoHash).
.. [7] L. Yuan et al., "Central similarity quantization for efficient image and video retrieval", CVPR 2020 (CSQ).
.. [8] S. Su et al., "Greedy hash: towards fast optimization for accurate hash coding in CNN", NeurIPS 2018.
.. [9] T. Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020 (SimCLR).
.. [10] Z. Qiu et al., "Unsupervised hashing with contrastive information bottleneck", IJCAI 2021 (CIBHash).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Probabilities stay this far from 0 and 1.
_EPS = 1e-6


def balance_of_items(soft: Tensor) -> Tensor:
    """``mean_i |sum_h b_ih| / H``, in [0, 1], of codes (n, H) in (-1, 1): within a code, +1 and -1 balance. [1]_"""
    return soft.mean(dim=1).abs().mean()


def balance_of_bits(soft: Tensor) -> Tensor:
    """``mean_h |mean_i b_ih|``, in [0, 1], of codes (n, H) in (-1, 1): over the items, each bit balances. [2]_"""
    return soft.mean(dim=0).abs().mean()


def fence(soft: Tensor) -> Tensor:
    """``mean_ih ||b_ih| - 1|`` of codes (n, H): nobody sits on the fence between -1 and +1. [1]_"""
    return (soft.abs() - 1).abs().mean()


def repulsion(soft: Tensor, others: Tensor, negative: Tensor) -> Tensor:
    """``|<b_u, b_v>| / H``, in [0, 1], meant over negative pairs, which it makes orthogonal, not opposite. [1]_

    Parameters
    ----------
    soft, others : Tensor, (n, H) and (m, H)
        Codes in (-1, 1).
    negative : Tensor of bool, (n, m)
    """
    return _mean((soft @ others.T).abs() / soft.shape[1], negative)


def attraction(soft: Tensor, others: Tensor, positive: Tensor) -> Tensor:
    """``(1 - <b_u, b_v> / H) / 2``, in [0, 1], meant over positive pairs; what PermGNN [1]_ lacks, and not from it.

    Parameters
    ----------
    soft, others : Tensor, (n, H) and (m, H)
        Codes in (-1, 1).
    positive : Tensor of bool, (n, m)
    """
    return _mean((1 - soft @ others.T / soft.shape[1]) / 2, positive)


def relevance_cross_entropy(query: Tensor, corpus: Tensor, relevant: Tensor, cos_to_prob: str = "shift") -> Tensor:
    """Binary cross entropy of relevance, positive and negative pairs weighing a half each. [2]_

    Parameters
    ----------
    query, corpus : Tensor, (m, d) and (n, d)
        Rows of length 1.
    relevant : Tensor of bool, (m, n)
    cos_to_prob : {"shift", "clamp"}
        Probability that a pair of cosine s is relevant: ``(1 + s) / 2``, or s itself, within [1e-6, 1 - 1e-6].
    """
    cosines = query @ corpus.T
    p = ((1 + cosines) / 2 if cos_to_prob == "shift" else cosines).clamp(_EPS, 1 - _EPS)
    return (_mean(-p.log(), relevant) + _mean(-(1 - p).log(), ~relevant)) / 2


def collision_hinge(query: Tensor, corpus: Tensor, relevant: Tensor, margin: float) -> Tensor:
    """``max(0, margin + <c_q, c_x-> - <c_q, c_x+>)`` meant over a query's pairs (x+, x-), then over queries. [2]_

    Queries that lack relevant or irrelevant items do not count. Time is ``n log n`` a query, whatever the pairs.

    Parameters
    ----------
    query, corpus : Tensor, (m, H) and (n, H)
        Codes in (-1, 1).
    relevant : Tensor of bool, (m, n)
    margin : float
        In units of the inner product: 1 is half a bit.
    """
    # Doubles: below, a sum of many is taken from another.
    similarity = (query @ corpus.T).double()
    raised = torch.where(relevant, similarity, similarity + margin)
    order = raised.detach().argsort(dim=1)
    raised, positive = raised.gather(1, order), relevant.gather(1, order)
    # A negative has a loss with the positives sorted before it, and with no others.
    excess = positive.cumsum(1) * raised - (positive * raised).cumsum(1)
    n_positive = positive.sum(1)
    n_pairs = n_positive * (~positive).sum(1)
    losses = torch.where(positive, 0.0, excess).sum(1) / n_pairs.clamp(min=1)
    return _mean(losses, n_pairs > 0).to(query.dtype)


def contrastive(u: Tensor, similar: Tensor, margin: float) -> Tensor:
    """``|u_i - u_j|^2 / 2`` where similar, else ``max(margin - |u_i - u_j|^2, 0) / 2``, meant over pairs i != j. [3]_

    Parameters
    ----------
    u : Tensor, (n, K)
    similar : Tensor of bool, (n, n)
    margin : float
        Squared distance from which dissimilar items are far enough apart.
    """
    # Distances stay as they are, and lose fewer digits.
    centred = u - u.detach().mean(dim=0)
    norms = centred.square().sum(dim=1)
    distances = norms[:, None] + norms - 2 * centred @ centred.T
    return _mean(torch.where(similar, distances, (margin - distances).clamp(min=0)) / 2, _off_diagonal(u))


def weighted_likelihood(h: Tensor, similarity: Tensor, scale: float) -> Tensor:
    """``sum w_ij (log(1 + exp(a_ij)) - s_ij a_ij) / sum w_ij``, ``a_ij = scale <h_i, h_j>``, over pairs i != j. [4]_

    Weights w_ij are c_ij over the number of similar pairs, or 1 over the number of dissimilar ones.

    Parameters
    ----------
    h : Tensor, (n, K)
    similarity : Tensor of float, (n, n)
        c_ij: 0 where dissimilar (s_ij = 0), else (s_ij = 1) in (0, 1]: 1, or labels in common over labels in all.
    scale : float
    """
    pairs, similar = _off_diagonal(h), similarity > 0
    n_similar, n_dissimilar = (pairs & similar).sum(), (pairs & ~similar).sum()
    alike = torch.where(similar, n_similar, n_dissimilar).clamp(min=1)
    weights = torch.where(similar, similarity, 1.0) / alike * pairs
    logits = scale * (h @ h.T)
    total = F.binary_cross_entropy_with_logits(logits, similar.to(logits.dtype), weights, reduction="sum")
    return total / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def cosine_matching(codes: Tensor, features: Tensor) -> Tensor:
    """``(cos(b_i, b_j) - cos(x_i, x_j))^2`` meant over pairs of one half of the batch and the other. [5]_

    Parameters
    ----------
    codes, features : Tensor, (n, K) and (n, d)
        Rows i and ``i + n // 2`` are a pair; the last of an odd number has none.
    """
    half = len(codes) // 2
    units = _unit(codes), _unit(features)
    of_codes, of_features = ((x[:half] * x[half : 2 * half]).sum(dim=1) for x in units)
    return (of_codes - of_features).square().sum() / max(half, 1)


def cosine_cross_entropy(v: Tensor, codebook: Tensor, targets: Tensor, scale: float, margin: float) -> Tensor:
    """Cross entropy of logits ``scale * (cos(v, C_c) - margin)``, without the margin for classes not aimed at. [6]_

    Parameters
    ----------
    v : Tensor, (n, K)
    codebook : Tensor, (C, K)
        A code of +1 and -1 for each class.
    targets : Tensor of float, (n, C)
        Rows that sum to 1, or to 0: those do not count.
    scale, margin : float
    """
    cosines = _unit(v) @ _unit(codebook).T
    return _soft_cross_entropy(scale * torch.where(targets > 0, cosines - margin, cosines), targets)


def central_similarity(u: Tensor, centres: Tensor) -> Tensor:
    """Mean binary cross entropy of ``(tanh(u) + 1) / 2`` against ``(c + 1) / 2``. [7]_

    Parameters
    ----------
    u : Tensor, (n, K)
    centres : Tensor, (n, K)
        Each row's centre, of +1 and -1.
    """
    # sigmoid(2u) is (tanh(u) + 1) / 2, and does not saturate as a logit.
    return F.binary_cross_entropy_with_logits(2 * u, (centres + 1) / 2)


def squared_quantisation(u: Tensor) -> Tensor:
    """``mean (|tanh u| - 1)^2`` of u (n, K). [7]_"""
    return (u.tanh().abs() - 1).square().mean()


def cubic_quantisation(u: Tensor) -> Tensor:
    """``mean ||u| - 1|^3`` of u (n, K). [8]_"""
    return (u.abs() - 1).abs().pow(3).mean()


def classification(logits: Tensor, targets: Tensor, several: bool) -> Tensor:
    """Cross entropy of classes, as in [8]_, or the mean binary one where a row may have several.

    Parameters
    ----------
    logits : Tensor, (n, C)
    targets : Tensor of float, (n, C)
        Of 0 and 1. Unless several, rows without a class do not count.
    several : bool
    """
    return F.binary_cross_entropy_with_logits(logits, targets) if several else _soft_cross_entropy(logits, targets)


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding a row's other view among the 2n - 1 other rows, by cosine over temperature. [9]_

    Parameters
    ----------
    a, b : Tensor, (n, K)
        Two views of each item.
    temperature : float
    """
    views = _unit(torch.cat([a, b]))
    logits = (views @ views.T / temperature).masked_fill(~_off_diagonal(views), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(views), device=a.device).roll(len(a)))


def bernoulli_divergence(p: Tensor, q: Tensor) -> Tensor:
    """``(KL(p|q) + KL(q|p)) / 2`` of Bernoulli bits, summed over bits, meant over rows. [10]_

    Parameters
    ----------
    p, q : Tensor, (n, K)
        Probabilities; taken to be within [1e-6, 1 - 1e-6].
    """
    p, q = p.clamp(_EPS, 1 - _EPS), q.clamp(_EPS, 1 - _EPS)
    return ((p - q) * (p.logit() - q.logit())).sum(dim=1).mean() / 2


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the values that count; 0, and still a part of the graph, where none does."""
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)


def _unit(rows: Tensor) -> Tensor:
    """Rows divided by their length; a row of zeros stays so, and its gradient is 0 rather than huge."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(lengths > 0, lengths, torch.inf)


def _off_diagonal(rows: Tensor) -> Tensor:
    return ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of ``-sum_c y_c log p_c`` over the rows whose targets are not all 0."""
    return _mean(-(targets * F.log_softmax(logits, dim=1)).sum(dim=1), targets.sum(dim=1) > 0)
