"""The bundle: several backbones with their heads in one folder; load, verify, predict. No Ray in here.

The classes are imported when they are asked for: configurations lie in this package too, and must not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radray.ensemble.bundle import Bundle, Member, Predictions

__all__ = ["Bundle", "Member", "Predictions"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from radray.ensemble import bundle

    return getattr(bundle, name)
