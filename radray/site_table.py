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
    key = key_column(table.column_names, url, option)
    folder = storage.normalise_url(base or storage.parent(url))
    uris = [object_uri(str(name or ""), folder) for name in table[key].to_pylist()]
    return table.drop_columns([key]).add_column(0, "uri", pa.array(uris, pa.string()))


def key_column(names: list[str], url: str, option: str) -> str:
    """The column that names the objects, uri or path.

    Raises:
        ConfigError: Neither is there.
    """
    key = next((name for name in ("uri", "path") if name in names), None)
    if key is None:
        raise ConfigError(f"{option} {url}: its columns are {names}; uri or path is needed")
    return key


def object_uri(name: str, folder: str) -> str:
    """The URL of an object that a table names by its URL, its absolute path, or its path below `folder`."""
    return name if "://" in name or name.startswith("/") else storage.join(folder, name)
