"""Parameters of a configuration as short texts, which tell apart the rows of a table."""

from .configurations import CODE_RANKS, Parameters


def exhaustive_label(parameters: Parameters) -> str:
    """Short text for a table."""
    return str(parameters["rank"])


def k_means_label(parameters: Parameters) -> str:
    """Short text for a table."""
    label = f"{parameters['clusters']} clusters"
    if parameters["algorithm"] != "lloyd":
        label += f" by {parameters['algorithm']}"
    if parameters["probes"] != 1:
        label += f", {parameters['probes']} probes"
    return _ranked(label, parameters)


def residual_label(parameters: Parameters) -> str:
    """Short text for a table."""
    return _ranked(f"recall {parameters['recall']:g} of {parameters['nearest']}", parameters)


def codes_label(parameters: Parameters) -> str:
    """Short text for a table."""
    if "radius" in parameters:
        return _ranked(f"{parameters['bits']} bits, radius {parameters['radius']}", parameters)
    if "tables" not in parameters:
        label = f"{parameters['bits']}-bit codes"
        return label if parameters["rank"] == "hamming" else _ranked(label, parameters)
    label = f"{parameters['tables']} x {parameters['key_bits']} bits"
    if parameters["keys"] == "sample":
        label += f" of {parameters['bits']}"
    if parameters.get("probes", parameters["tables"]) != parameters["tables"]:
        label += f", {parameters['probes']} probes"
    return _ranked(label, parameters)


def lattice_label(parameters: Parameters) -> str:
    """Short text for a table."""
    label = f"{parameters['tables']} x {parameters['hashes']} {'hash' if parameters['hashes'] == 1 else 'hashes'}"
    if parameters["probes"] != parameters["tables"]:
        label += f", {parameters['probes']} probes"
    return _ranked(label, parameters)


def _ranked(label: str, parameters: Parameters) -> str:
    """The label, with the ranking where it is not the usual one; with the code length where clusters need codes."""
    rank = parameters["rank"]
    by_clusters = "clusters" in parameters
    if rank in CODE_RANKS and by_clusters:
        label += f", {rank} of {parameters['bits']} bits"
    elif rank != "cosine":
        label += f", {rank}"
    if "shortlist" in parameters:
        label += f", shortlist {parameters['shortlist']}"
        label += f" by {parameters['bits']} bits" if by_clusters else ""
    return label
