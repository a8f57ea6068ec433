"""Data sets: a catalogue of names, readers that check what they read, and files of one's own."""

from .catalogue import CATALOGUE, check_name, load, locate
from .dataset import Dataset, DatasetNotFound, Source

__all__ = ["CATALOGUE", "Dataset", "DatasetNotFound", "Source", "check_name", "load", "locate"]
