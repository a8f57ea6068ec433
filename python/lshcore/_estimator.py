"""Scikit-learn's estimator conventions, kept without importing scikit-learn."""

import inspect
from typing import Any, Self


class Estimator:
    """Object whose constructor only stores its arguments, under their own names.

    `get_params` and `set_params` follow from the constructor's signature, so that ``sklearn.base.clone`` works. What
    `fit` learns ends in ``_``.
    """

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name (`deep` changes nothing: no argument is itself an estimator)."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments by name; takes effect at the next `fit`.

        Raises
        ------
        ValueError
            If a name is unknown; nothing is set then.
        """
        known = self._parameter_names()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__}.set_params: name must be one of {', '.join(known)}, got {name!r}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of the steps of a pipeline; only ever called by scikit-learn."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(),
        )

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({arguments})"
