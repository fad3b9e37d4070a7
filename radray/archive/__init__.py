"""Objects in storage: listing, ranged reads, fetching. Nothing here writes."""

from radray.archive.listing import list_objects
from radray.archive.reading import MAX_OBJECT_BYTES, fetch, fetch_range

__all__ = ["MAX_OBJECT_BYTES", "fetch", "fetch_range", "list_objects"]
