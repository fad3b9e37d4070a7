"""Names of the views of an image whose features can be averaged (imports no torch)."""

from __future__ import annotations

from radray.errors import ConfigError

VIEWS = ("identity", "flip")
"""As it is, mirrored left to right."""


def check_views(views: tuple[str, ...]) -> None:
    """Refuse view names that are not in `VIEWS`.

    Raises:
        ConfigError: None given, or an unknown one.
    """
    if not views or any(view not in VIEWS for view in views):
        raise ConfigError(f"--views is {list(views)}; set one or more of {', '.join(VIEWS)}")
