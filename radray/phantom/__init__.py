"""A synthetic PACS export with known truth: the embedded default and the test bench."""

from radray.phantom.config import PhantomConfig

__all__ = ["PhantomConfig"]
