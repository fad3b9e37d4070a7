"""Tables that a site brings along (labels, splits, truth): CSV or Parquet, one row an object."""

from __future__ import annotations

import io

import pyarrow as pa

from radray import storage
from radray.errors import ConfigError


def read_site_table(url: str, option: str, base: str | None = None) -> pa.Table:
    """Read a table and give every row the `uri` of its object.

    Args:
        url: A .csv or .parquet file with a column `uri`, or `path` below `base`.
        option: What the user gave it as, for messages: `--truth`.
        base: Folder that `path` starts from; None for the table's own folder.

    Returns:
        The table with `uri` as its first column; empty cells are null.

    Raises:
        ConfigError: It cannot be read, or has neither column.
    """
    import pyarrow.csv as arrow_csv

    try:
        if url.endswith(".csv"):
            body = io.BytesIO(storage.read_bytes(url))
            blank = arrow_csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
            table = arrow_csv.read_csv(body, convert_options=blank)
        else:
            table = storage.read_table(url)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{option} {url}: cannot be read as CSV or Parquet ({type(error).__name__})") from error
    key = next((name for name in ("uri", "path") if name in table.column_names), None)
    if key is None:
        raise ConfigError(f"{option} {url}: its columns are {table.column_names}; uri or path is needed")
    folder = storage.normalise_url(base or storage.parent(url))
    names = [str(name or "") for name in table[key].to_pylist()]
    uris = [name if "://" in name or name.startswith("/") else storage.join(folder, name) for name in names]
    return table.drop_columns([key]).add_column(0, "uri", pa.array(uris, pa.string()))
