"""`Collection`: an index in a directory, together with what makes vectors of images.

The directory holds what `Index.save` writes, and beside it ``preprocess.json``, ``recipe.json`` and, where no name
stands for it, the network. Those come before the index, and never change.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import items, recipe, registry
from ._files import make_folder
from ._progress import Progress, Stages, part
from ._validation import as_matrix, check_choice, check_half, resolve_jobs
from .data.arrays import SUFFIXES
from .data.catalogue import CATALOGUE, FOLDER, is_file_name
from .hashers import Hasher, RandomHyperplanes
from .index import Index, SearchResult, open_index
from .index.storage import STEM
from .items import Items, Wanted
from .preprocess import Preprocess
from .recipe import Recipe

if TYPE_CHECKING:
    from .features import Backbone

_PREPROCESS = f"{Preprocess._stem}.json"

# Bytes of rows from which on they are prepared in a file.
_LARGE = 1 << 28

# What a hasher is passed as, by kind of index.
_HASHER_ARGUMENT = {"lsh": "hasher", "flat": "hasher", "kmeans": "codes"}


@dataclass(frozen=True)
class Added:
    """What `Collection.add` did.

    Parameters
    ----------
    added, updated : int
        Rows that came, and those among the sources that took the place of rows of the same ids.
    left : int
        Those whose ids were there already.
    skipped : int
        Images that could not be decoded.
    """

    added: int
    updated: int
    left: int
    skipped: int


@dataclass(eq=False)
class Collection:
    """An index and what belongs to it; `build` and `open` make one.

    Parameters
    ----------
    path : Path
    index : Index
    preprocess : Preprocess or None
        What is done to features before they are indexed or searched for.
    recipe : Recipe or None
        What makes features of images.
    seconds : dict of str to float
        What the stages of `build` took.
    skipped : int
        Images that could not be decoded, in `build`.
    """

    path: Path
    index: Index
    preprocess: Preprocess | None = None
    recipe: Recipe | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, id: object) -> bool:
        return id in self.index

    @classmethod
    def build(
        cls,
        source: str,
        out: str | os.PathLike[str],
        *,
        index: str = "lsh",
        hasher: Hasher | None = None,
        preprocess: Preprocess | None = None,
        vectors: str | None = "float16",
        backbone: "str | Backbone | None" = None,
        weights: str | None = None,
        image_size: int | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        device: str | None = None,
        offline: bool = False,
        n_jobs: int | None = None,
        progress: Progress | None = None,
        **arguments: Any,
    ) -> Self:
        """Index a data set, features, or a folder of images, and save that.

        Parameters
        ----------
        source : str
            A name of `lshcore.data`, a file of features, or ``folder:DIR``, whose ids are names of files; else ids are
            numbers of rows.
        out : path
            A directory without an index.
        index : {"lsh", "kmeans", "flat"}
        hasher : Hasher, optional
            Fitted on the source unless it is fitted. An `LSHIndex` has random hyperplanes, a bit for each of its keys',
            if not given.
        preprocess : Preprocess, optional
            Fitted on the source unless it is fitted; centring and scaling to length 1 by default.
        vectors : {"float16", "float32", None}
        backbone : str or Backbone, optional
            What makes features of images; the data set's own choice by default.
        weights, image_size, device, offline
            As `lshcore.features.cached` takes them.
        data_dir, labels
            As `lshcore.data.find` takes them.
        n_jobs : int, optional
        progress : callable, optional
        **arguments
            Of the index: `n_tables` and `key_bits`, or `n_clusters`.

        Raises
        ------
        DatasetNotFound
            If the source is not there.
        TypeError, ValueError
            If `out` holds an index, or arguments are out of range or do not fit the source.
        OSError
            If it cannot be written.
        """
        check_choice(index, "Collection.build", "index", tuple(_HASHER_ARGUMENT))
        jobs, folder = resolve_jobs(n_jobs), Path(out)
        if (folder / f"{STEM}.json").exists():
            raise ValueError(f"{folder} holds an index already: name another directory, or add to that one")
        learns = hasher is not None and not hasattr(hasher, "n_features_in_")
        wanted = Wanted(
            source,
            None if data_dir is None else Path(data_dir),
            None if labels is None else Path(labels),
            backbone,
            weights,
            image_size,
            device,
            offline,
        )
        clock = Stages()
        needs = learns and hasher is not None and hasher._needs_labels
        found = items.read(wanted, needs, progress=part(progress, 0.0, 0.6))
        clock.stage("features")
        tell = part(progress, 0.6, 1.0)
        tell(0.0, "preprocessing")
        step = Preprocess() if preprocess is None else preprocess
        if not hasattr(step, "n_features_in_"):
            step.fit(found.vectors)
        x = step.transform(found.vectors, jobs, out=_room(len(found), step.n_features_out_, folder))
        clock.stage("preprocess")
        tell(0.2, "fitting")
        if hasher is None and index == "lsh":
            bits = arguments.get("n_tables", 8) * arguments.get("key_bits", 12)
            hasher, learns = RandomHyperplanes(bits), True
        if learns and hasher is not None:
            hasher.fit(x, found.labels)
        clock.stage("hasher")
        tell(0.5, f"indexing {len(x):,} items")
        made = make(index, hasher, vectors, arguments)
        made.add(x, found.ids if len(found) else None, jobs)
        clock.stage("index", getattr(made, "build_seconds_", {}))
        tell(0.9, "saving")
        step.save(folder)
        if backbone is not None and not isinstance(backbone, str):
            from .features import save_backbone

            save_backbone(backbone, folder)
        found.recipe.save(folder)
        made.save(folder, jobs)
        clock.stage("save")
        return cls(folder, made, step, found.recipe, clock.seconds, found.skipped)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, weights: str | None = None, mmap: bool = True) -> Self:
        """Open what `build` saved, or an index that `Index.save` saved.

        Parameters
        ----------
        path : path
        weights : str, optional
            Where the file of the network's weights is now.
        mmap : bool
            As `lshcore.open_index` takes it.

        Raises
        ------
        FileNotFoundError
            If there is no index.
        ValueError
            If a file is damaged.
        """
        folder = Path(path)
        index = open_index(folder, mmap=mmap)
        step = Preprocess.load(folder) if (folder / _PREPROCESS).exists() else None
        found = Recipe.load(folder)
        if step is not None and index.dim is not None and step.n_features_out_ != index.dim:
            raise ValueError(
                f"{folder / _PREPROCESS} must give the {index.dim} columns that the index takes, "
                f"got {step.n_features_out_}"
            )
        return cls(folder, index, step, None if found is None else found.with_weights(weights))

    def add(
        self,
        source: Any,
        ids: ArrayLike | None = None,
        *,
        update: bool = False,
        device: str | None = None,
        offline: bool = False,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Add rows, in memory; `save` keeps them. Ids that the index holds already are left as they are.

        Parameters
        ----------
        source : str, or array_like (n, d), or list of images
            ``folder:DIR`` or a file of features, as for `build`; features before preprocessing; or paths of images and
            opened ones.
        ids : array_like, optional
            As `Index.add` takes them. By default names of files where the index has texts for ids, and else numbers.
        update : bool
            Put them in the place of rows of the same ids.
        device, offline, n_jobs, progress
            As for `build`.

        Returns
        -------
        Added

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there are no such images, features have other columns, or ids are not as described; nothing changes.
        """
        where = "Collection.add"
        texts = self.index._names is not None
        left = skipped = 0
        if _is_source(source):
            found, left = self._read(str(source), update or ids is not None, device, offline, progress)
            x, skipped = self._prepared(found.vectors, n_jobs), found.skipped
            if ids is None and (texts or update) and len(found):
                ids = _own_ids(found, texts, str(source))
        else:
            given: Any = [source] if recipe.is_image(source) else source
            x = self._vectors(given, device, offline, n_jobs)
            if ids is None and texts and _are_images(given) and all(map(recipe.is_path, given)):
                ids = [os.fspath(one) for one in given]
        if ids is None:
            self.index.add(x, n_jobs=n_jobs)
            return Added(len(x), 0, left, skipped)
        every: list[Any] = [ids] if isinstance(ids, str) else np.asarray(ids, object).tolist()
        if len(every) != len(x) or len(set(every)) != len(every):
            raise ValueError(f"{where}: ids must be one for each of {len(x)} rows, none twice, got {len(every)}")
        if self.index.vectors == "float16":  # before the first change
            check_half(x, where)
        known = np.fromiter((one in self.index for one in every), np.bool_, len(every))
        new, old = np.flatnonzero(~known), np.flatnonzero(known)
        self.index.add(x[new], [every[i] for i in new], n_jobs)
        if update and len(old):
            self.index.update(x[old], [every[i] for i in old], n_jobs)
            return Added(len(new), len(old), left, skipped)
        return Added(len(new), 0, left + len(old), skipped)

    def _read(
        self, source: str, whole: bool, device: str | None, offline: bool, progress: Progress | None
    ) -> tuple[Items, int]:
        """Items of a source as the recipe makes them, of a folder only the new ones unless the whole is wanted, and how
        many were left out."""
        left = 0

        def new(name: str) -> bool:
            nonlocal left
            held = name in self.index
            left += held
            return not held

        made = self.recipe
        wanted = Wanted(source, device=device, offline=offline)
        if not is_file_name(source):
            if made is None:
                raise ValueError(f"{self.path} does not say what makes features of images; add features")
            network: Any = made.network(self.path, offline) if made.own or made.backbone is None else made.backbone
            weights = None if made.own else made.weights
            wanted = replace(wanted, backbone=network, weights=weights, image_size=made.image_size)
        found = items.read(wanted, keep=None if whole else new, progress=progress)
        if made is not None and len(found) and found.recipe.checksum not in (None, made.checksum):
            raise ValueError(
                f"features of {source} must be made by the weights of the index, of checksum {made.checksum}, "
                f"got {found.recipe.checksum}"
            )
        return found, left

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        device: str | None = None,
        offline: bool = False,
        n_jobs: int | None = None,
        **options: Any,
    ) -> SearchResult:
        """The nearest items of images or features.

        Parameters
        ----------
        queries : path, PIL image, list of those, or array_like (m, d)
            Features are those before preprocessing.
        k : int
        device, offline, n_jobs
            As for `build`.
        **options
            As `Index.search` takes them: `probes`, `rank`, `filter`, ...

        Raises
        ------
        FileNotFoundError, ImportError, TypeError, ValueError
            If images are not there or cannot be made into features, and as `Index.search` does.
        """
        given = [queries] if recipe.is_image(queries) else queries
        return self.index.search(self._vectors(given, device, offline, n_jobs), k, n_jobs=n_jobs, **options)

    def save(self, n_jobs: int | None = None) -> Path:
        """Commit what changed, as `Index.save`."""
        return self.index.save(self.path, n_jobs)

    def _vectors(self, given: Any, device: str | None, offline: bool, n_jobs: int | None) -> NDArray[np.float32]:
        if _are_images(given):
            if self.recipe is None:
                raise ValueError(f"{self.path} does not say what makes features of images; search and add features")
            given = self.recipe.vectors(given, self.path, device, offline)
        return self._prepared(given, n_jobs)

    def _prepared(self, features: ArrayLike, n_jobs: int | None) -> NDArray[np.float32]:
        if self.preprocess is None:
            return as_matrix(features, "Collection", self.index.dim, allow_1d=True)
        rows = np.atleast_2d(np.asarray(features))
        if len(rows) == 0:  # of any width: nobody has opened an image
            return np.empty((0, self.preprocess.n_features_out_), np.float32)
        return self.preprocess.transform(rows, n_jobs)


def _room(rows: int, columns: int, folder: Path) -> NDArray[np.float32] | None:
    """Where prepared rows go that memory is not to hold beside the index: a file without a name."""
    if 4 * rows * columns < _LARGE:
        return None
    make_folder(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=(rows, columns)).view(np.ndarray)


def make(kind: str, hasher: Hasher | None, vectors: str | None, arguments: Mapping[str, Any]) -> Index:
    """An empty index by the name of its kind."""
    made: Index = registry.load(kind, registry.INDEXES)(
        **{_HASHER_ARGUMENT[kind]: hasher}, vectors=vectors, **arguments
    )
    return made


def _own_ids(found: Items, texts: bool, source: str) -> Any:
    """What a source calls its items, if that is of the kind that the index has."""
    if texts != isinstance(found.ids, list):
        have, came = ("texts", "row numbers") if texts else ("numbers", "names of files")
        raise ValueError(f"the index has {have} for ids, and {source} has {came}: give the ids of its rows")
    return found.ids


def _is_source(value: Any) -> bool:
    """Whether a value is a folder of images or a file of features, rather than one image or features."""
    if not isinstance(value, str):
        return False
    return value.startswith(FOLDER) or value in CATALOGUE or value.lower().endswith(SUFFIXES) or os.path.isdir(value)


def _are_images(given: Any) -> bool:
    return isinstance(given, Sequence) and len(given) > 0 and recipe.is_image(given[0])
