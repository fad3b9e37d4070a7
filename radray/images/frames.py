"""Every frame of a multi-frame object as a row of its own: the radiographs of an index, expanded for the clean pass."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.errors import Status
from radray.tables import row_id, with_column

FRAME = pa.field("frame", pa.int32())
"""Position of the frame in its object, 0 for the first."""
MOST_FRAMES = 1000
"""Frames taken of one object, from the first on; a damaged header may name any number."""


def write_frame_rows(index: str, folder: str, columns: list[str]) -> str:
    """Write the radiographs of an index with a row for each frame; return `folder`.

    The first frame keeps the object's key and row id, so that other tables find it; frame n is known as `KEY#frame=n`,
    counted from 1.

    Args:
        index: URL of the index.
        folder: URL of the folder that gets the table, replaced if it is there.
        columns: Columns of the index to keep, with key, etag, row_id and frames among them.
    """
    storage.remove(folder)
    for number, file in enumerate(storage.list_files(index, ".parquet")):
        table = storage.read_table(file, columns=columns, filter=pc.field("status") == Status.OK.value)
        frames = np.clip(table["frames"].fill_null(1).to_numpy(), 1, MOST_FRAMES)
        places = np.repeat(np.arange(table.num_rows), frames)
        frame = np.arange(len(places)) - np.repeat(np.cumsum(frames) - frames, frames)
        table = table.take(pa.array(places)).append_column(FRAME, pa.array(frame, FRAME.type))
        keys, ids, etags = (table[name].to_pylist() for name in ("key", "row_id", "etag"))
        for place in np.flatnonzero(frame):
            keys[place] = f"{keys[place]}#frame={frame[place] + 1}"
            ids[place] = row_id(keys[place], etags[place])
        table = with_column(table, "key", pa.array(keys, pa.string()))
        table = with_column(table, "row_id", pa.array(ids, pa.int64()))
        storage.write_table(storage.join(folder, f"part-{number:05d}.parquet"), table)
    return folder
