"""radray labels the anatomical region of every radiograph in a PACS export."""

from radray.version import __version__

__all__ = ["__version__"]
