"""What a configuration takes beside the others, in distances computed; it only paces the progress bar.

The list of every query is ranked twice, once with a clock and once for the metrics.
"""

from .configurations import K_MEANS_FIXED, Parameters


def exhaustive_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """Every query against every item."""
    return 2.0 * n_queries * n_gallery


def k_means_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """Training, and the share of the gallery that is looked into."""
    clusters = parameters["clusters"]
    training = float(K_MEANS_FIXED["max_iter"] * clusters * n_gallery)
    return training + exhaustive_cost(parameters, n_queries, n_gallery) * float(parameters["probes"] / clusters)


def residual_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """Training, and the queries that it is tuned on."""
    return 1000.0 * n_gallery + 0.05 * exhaustive_cost(parameters, n_queries, n_gallery)


def codes_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """Real data fills buckets unevenly: a query meets some ten times what even ones would give it."""
    share = min(1.0, 10 * parameters["probes"] / 2 ** parameters["key_bits"]) if "tables" in parameters else 0.05
    return (0.01 + share) * exhaustive_cost(parameters, n_queries, n_gallery)


def network_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """As for codes, and training: some thirty passes, an item in each as dear as a few thousand distances."""
    return 1e5 * n_gallery + codes_cost(parameters, n_queries, n_gallery)


def lattice_cost(parameters: Parameters, n_queries: int, n_gallery: int) -> float:
    """As for codes; a hash parts rows like some two bits."""
    share = min(1.0, 10 * float(parameters["probes"]) / 4.0 ** int(parameters["hashes"]))
    return (0.01 + share) * exhaustive_cost(parameters, n_queries, n_gallery)
