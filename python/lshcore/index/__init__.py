"""Indexes: containers of rows that answer nearest-neighbour queries."""

from .container import Index as Index
from .flat import FlatIndex as FlatIndex
from .kmeans import KMeansIndex as KMeansIndex
from .lsh import LSHIndex as LSHIndex
from .results import Candidates as Candidates
from .results import RangeSearchResult as RangeSearchResult
from .results import SearchResult as SearchResult
from .storage import open_index as open_index

__all__ = [
    "Candidates",
    "FlatIndex",
    "Index",
    "KMeansIndex",
    "LSHIndex",
    "RangeSearchResult",
    "SearchResult",
    "open_index",
]
