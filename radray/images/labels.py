"""Labels as class indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


def class_indices(labels: Iterable[str | None], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The position of each label in `names`; −1 where there is no label or it is none of the classes.

    Example:
        >>> class_indices(["knee", None, "hand"], ["hand", "knee"]).tolist()
        [1, -1, 0]
    """
    position = {name: index for index, name in enumerate(names)}
    return np.array([position.get(label, -1) if label is not None else -1 for label in labels], np.int64)
