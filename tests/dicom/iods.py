"""What PS3.3 asks of an object, from the tables that highdicom carries: mandatory modules, types 1 and 2."""

from __future__ import annotations

from collections import defaultdict

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.dataset import Dataset

_IN_CONTENT = "sr-document-content"
"""Its items nest without end; their rules are those of value types, which highdicom holds by itself."""


def violations(dataset: Dataset) -> set[str]:
    """Attributes of type 1 that are missing or empty, and of type 2 that are missing: `Sequence/Attribute`."""
    found = set()
    modules = get_iod_module_map()[get_sop_class_iod_map()[dataset.SOPClassUID]]
    for module in modules:
        if module["usage"] != "M" or module["key"] == _IN_CONTENT:
            continue
        by_path = defaultdict(list)
        for attribute in get_module_attribute_map()[module["key"]]:
            by_path[tuple(attribute["path"])].append(attribute)
        for path, attributes in by_path.items():
            for item in _items(dataset, path):
                for attribute in attributes:
                    missing = attribute["keyword"] not in item
                    empty = not missing and item[attribute["keyword"]].is_empty
                    if (missing and attribute["type"] in ("1", "2")) or (empty and attribute["type"] == "1"):
                        found.add("/".join((*path, attribute["keyword"])))
    return found


def _items(dataset: Dataset, path: tuple[str, ...]) -> list[Dataset]:
    items = [dataset]
    for keyword in path:
        items = [inner for item in items for inner in item.get(keyword) or []]
    return items
