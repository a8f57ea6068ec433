"""Data sets: a catalogue of names, readers that check what they read, and files of one's own."""

from .arrays import load_features
from .catalogue import CATALOGUE, check_name, fetch, find, load, load_images, locate
from .dataset import Dataset, DatasetNotFound, Extraction, Source
from .images import ImageSet

__all__ = [
    "CATALOGUE",
    "Dataset",
    "DatasetNotFound",
    "Extraction",
    "ImageSet",
    "Source",
    "check_name",
    "fetch",
    "find",
    "load",
    "load_features",
    "load_images",
    "locate",
]
