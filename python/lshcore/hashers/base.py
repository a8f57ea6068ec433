"""What every hasher is: an estimator from features to bits, by way of real-valued margins."""

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core, _device, _saving
from lshcore._validation import as_integer, as_labels, as_matrix, check_fitted, resolve_jobs
from lshcore.codes import BinaryCodes

from ._blocks import row_blocks


class Hasher(_saving.Saved, ABC):
    """Features (n, d) to codes of `n_bits` bits: bit j of a row is 1 where its margin j is at least 0.

    A subclass stores its arguments in the constructor, among them `n_bits`, and gives `_fit` and `_project`; an
    asymmetric one also gives `_project_query`. Those hooks get checked float32 matrices. A supervised one sets
    `_needs_labels`, or `_takes_labels` where it can do without, and its `_fit` gets checked labels: int64 (n,) or
    bool (n, C).

    Attributes
    ----------
    n_features_in_ : int
        Columns of the data it was fitted on.
    n_bits_ : int
        Bits of its codes: `n_bits` as it was when `fit` was called.
    """

    _stem = "hasher"
    n_bits: int
    n_bits_: int
    _needs_labels: ClassVar[bool] = False
    _takes_labels: ClassVar[bool] = False

    @abstractmethod
    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        """Learn from x (n, d); set fitted attributes only once nothing can fail any more."""

    def _count_bits(self, dim: int, where: str) -> int:
        """Bits of the codes of rows with `dim` columns, from the arguments of the constructor."""
        return as_integer(self.n_bits, where, "n_bits", low=1, high=_core.MAX_BITS)

    @abstractmethod
    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        """Margins (n, n_bits) of gallery rows."""

    def _project_query(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        """Margins (m, n_bits) of queries."""
        return self._project(x, n_jobs)

    def _encode(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.uint64]:
        """Packed signs of the margins of gallery rows."""
        parts = [_core.pack_signs(self._project(x[part], n_jobs)) for part in row_blocks(len(x), self.n_bits_)]
        return np.concatenate(parts) if parts else _core.pack_signs(np.empty((0, self.n_bits_), np.float32))

    def _encode_query(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.uint64]:
        """Packed signs of the margins of queries."""
        if type(self)._project_query is Hasher._project_query:
            return self._encode(x, n_jobs)
        return _core.pack_signs(self._project_query(x, n_jobs))

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn from X (n, d) and, in supervised hashers, labels y: integers (n,) or bools (n, C). Others ignore y.

        Raises
        ------
        TypeError, ValueError
            If X is not a finite matrix with enough rows, labels are needed and are not given one for each row, or an
            argument of the constructor is out of range or too much for X; the hasher stays as it was.
        """
        x, y, n_bits = self._check_fit(X, y)
        self._fit(x, y, n_bits)
        self.n_features_in_ = x.shape[1]
        self.n_bits_ = n_bits
        return self

    def _check_fit(self, X: ArrayLike, y: Any) -> tuple[NDArray[np.float32], Any, int]:
        """What `fit` was given, checked: rows, labels where the hasher learns from them, and bits of its codes."""
        where = f"{type(self).__name__}.fit"
        x = as_matrix(X, where, min_rows=1, n_jobs=resolve_jobs(None))
        n_bits = self._count_bits(x.shape[1], where)
        if self._needs_labels and y is None:
            raise ValueError(f"{where}: it learns from labels and requires y to be passed, but the target y is None")
        if y is not None and (self._needs_labels or self._takes_labels):
            y = as_labels(y, where, len(x), name="y")
        return x, y, n_bits

    def _checked(self, X: ArrayLike, method: str, n_jobs: int, allow_1d: bool = False) -> NDArray[np.float32]:
        where = f"{type(self).__name__}.{method}"
        check_fitted(self, "n_features_in_", where)
        return as_matrix(X, where, dim=self.n_features_in_, allow_1d=allow_1d, n_jobs=n_jobs)

    def _gpu_weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Directions (n_bits, d) and bias (n_bits,), where those are all that the margins are made with."""
        return None

    def _on_gpu(
        self, X: ArrayLike, method: str, device: str | None, jobs: int
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]] | None:
        """Checked rows, directions and bias for the GPU, or None where the CPU is to compute."""
        where = f"{type(self).__name__}.{method}"
        check_fitted(self, "n_features_in_", where)
        weights = self._gpu_weights()
        if not _device.runs_on_gpu(device, where, X if weights else None):
            return None
        if weights is None:
            raise ValueError(f"{where}: device 'cuda' is for hashers that are one matrix product, and this is none")
        return (_device.rows_for_gpu(X, where, self.n_features_in_, jobs), *weights)

    def project(self, X: ArrayLike, n_jobs: int | None = None, device: str | None = None) -> NDArray[np.float32]:
        """Margins of X (n, d), float32 (n, n_bits); the same for any batch, layout, device and number of threads.

        Parameters
        ----------
        X : array_like or torch.Tensor, (n, d)
            Rows.
        n_jobs : int, optional
            Threads; None is every CPU this process may use.
        device : {"cpu", "cuda"}, optional
            Where to compute; None is the GPU where X is a tensor there and the hasher is linear, otherwise the CPU.

        Returns
        -------
        ndarray of float32, (n, n_bits)
            A torch tensor on the GPU where that computed it and X is one.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If X is not a finite matrix of `n_features_in_` columns, there is no such device, or the hasher is not
            linear and the device "cuda".
        """
        jobs = resolve_jobs(n_jobs)
        on_gpu = self._on_gpu(X, "project", device, jobs)
        if on_gpu is not None:
            margins: NDArray[np.float32] = _device.empty((len(on_gpu[0]), self.n_bits_), "float32", on_gpu[0])
            _core.cuda_project(*map(_device.lend, (*on_gpu, margins)))
            return margins
        return self._project(self._checked(X, "project", jobs), jobs)

    def transform(self, X: ArrayLike, n_jobs: int | None = None) -> NDArray[np.bool_]:
        """Bits of X (n, d), bool (n, n_bits). Raises what `project` raises."""
        jobs = resolve_jobs(n_jobs)
        return _core.unpack_bools(self._encode(self._checked(X, "transform", jobs), jobs), self.n_bits_)

    def encode(self, X: ArrayLike, n_jobs: int | None = None, device: str | None = None) -> BinaryCodes:
        """Codes of X (n, d); DeviceCodes where the GPU computed them and X is a tensor there.

        Takes and raises what `project` does.
        """
        jobs = resolve_jobs(n_jobs)
        on_gpu = self._on_gpu(X, "encode", device, jobs)
        if on_gpu is not None:
            words = _device.empty((len(on_gpu[0]), -(-self.n_bits_ // 64)), "uint64", on_gpu[0])
            _core.cuda_encode(*map(_device.lend, (*on_gpu, words)))
            codes: BinaryCodes = _device.encoded(words, self.n_bits_)
            return codes
        return BinaryCodes._trusted(self._encode(self._checked(X, "encode", jobs), jobs), self.n_bits_)

    def project_query(self, X: ArrayLike, n_jobs: int | None = None) -> NDArray[np.float32]:
        """Margins of queries (m, d); one query may be 1-d. The same as `project` unless the hasher is asymmetric."""
        jobs = resolve_jobs(n_jobs)
        return self._project_query(self._checked(X, "project_query", jobs, allow_1d=True), jobs)

    def encode_query(self, X: ArrayLike, n_jobs: int | None = None) -> BinaryCodes:
        """Codes of queries (m, d); one query may be 1-d. The same as `encode` unless the hasher is asymmetric."""
        jobs = resolve_jobs(n_jobs)
        words = self._encode_query(self._checked(X, "encode_query", jobs, allow_1d=True), jobs)
        return BinaryCodes._trusted(words, self.n_bits_)

    def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[np.bool_]:
        """``fit(X, y).transform(X)``."""
        return self.fit(X, y).transform(X)

    def _check_state(self) -> None:
        super()._check_state()
        as_integer(self.n_bits_, type(self).__name__, "n_bits_", low=1, high=_core.MAX_BITS)
        sizes = {size for array in self._state_arrays().values() for size in array.shape}
        if self.n_features_in_ not in sizes:
            raise ValueError(f"n_features_in_ must be a size of one of its arrays, got {self.n_features_in_}")

    def _probe(self) -> None:
        rows = np.zeros((3, self.n_features_in_), np.float32)  # one row alone would be broadcast
        with np.errstate(all="ignore"):
            for words in (self._encode(rows, 1), self._encode_query(rows, 1)):
                BinaryCodes(words, self.n_bits_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._needs_labels
        return tags


class LinearHasher(Hasher):
    """Hasher whose margins are ``X @ weights_.T + bias_``; a subclass only says where those come from.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
        One direction a bit.
    bias_ : ndarray of float32, (n_bits,)
        Added to the projection on it.
    """

    weights_: NDArray[np.float32]
    bias_: NDArray[np.float32]

    def _check_state(self) -> None:
        super()._check_state()
        _saving.check_shape(self.weights_, (self.n_bits_, self.n_features_in_), "weights_")
        _saving.check_shape(self.bias_, (self.n_bits_,), "bias_")

    @abstractmethod
    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Directions (n_bits, d) and bias (n_bits,) for training data x (n, d)."""

    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        weights, bias = self._make_weights(x, y, n_bits)
        self.weights_ = np.ascontiguousarray(weights, dtype=np.float32)
        self.bias_ = np.ascontiguousarray(bias, dtype=np.float32)

    def _gpu_weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.weights_, self.bias_

    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        return _core.project(x, self.weights_, self.bias_, n_jobs)

    def _encode(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.uint64]:
        return _core.encode(x, self.weights_, self.bias_, n_jobs)  # never holds the margins of all rows


def load(path: str | os.PathLike[str]) -> Hasher:
    """The hasher saved in a directory, of whatever class of `lshcore.registry` it is.

    Its codes are those of the hasher that was saved, bit for bit.

    Parameters
    ----------
    path : str or path-like
        What `Hasher.save` was given.

    Raises
    ------
    FileNotFoundError
        If no hasher is there.
    ValueError
        If a file is damaged, of a version that this lshcore does not read, or not one that it can make a hasher from.
    ImportError
        If the class needs a package that is not installed.
    """
    hasher: Hasher = _saving.load(path, Hasher._stem)
    return hasher
