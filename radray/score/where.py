"""`--where`: a condition on facts of the index, as a pyarrow expression.

    modality in ('DX', 'CR') and study_year >= 2015
    station == 'XR-1' and label is None
    not (burned_in_annotation or rows < 512) and modified >= '2026-01-31'

Comparisons (==, !=, <, <=, >, >=, in, not in, is None, is not None) of a fact with a constant, joined by and, or, not
and parentheses. As in SQL, a fact that a header does not state meets no comparison; `is None` asks for those.
The text is parsed with Python's `ast` and never evaluated.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray.errors import ConfigError

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_LONGEST = 10_000
_ALLOWED = "use fact == constant, !=, <, <=, >, >=, in (…), is None, joined by and, or, not"


def parse_where(text: str, schema: pa.Schema, *, missing: str = "there is no such fact") -> pc.Expression:
    """The expression that `text` stands for.

    Args:
        text: See above.
        schema: Of the table to choose from.
        missing: What to say of a name that is no column of it.

    Raises:
        ConfigError: One line that names the place (counted from 1), the column and what is allowed.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"--where has {len(text):,} characters; {_LONGEST:,} are allowed")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = getattr(error, "offset", None) or 1
        raise ConfigError(f"--where, position {place}: cannot be read in {text.strip()!r}; {_ALLOWED}") from None
    try:
        return _Reader(schema, missing, text.strip()).condition(tree.body)
    except RecursionError:
        raise ConfigError("--where is nested too deeply; write it with fewer parentheses") from None


class _Reader:
    def __init__(self, schema: pa.Schema, missing: str, text: str) -> None:
        self._schema, self._missing, self._text = schema, missing, text

    def condition(self, node: ast.expr) -> pc.Expression:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.condition(value) for value in values]
                joined = parts[0]
                for part in parts[1:]:
                    joined = joined & part if isinstance(op, ast.And) else joined | part
                return joined
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.condition(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                joined = self._comparison(sides[0], ops[0], sides[1])
                for place in range(1, len(ops)):
                    joined = joined & self._comparison(sides[place], ops[place], sides[place + 1])
                return joined
            case ast.Name():
                kind = self._type(node)
                if not pa.types.is_boolean(kind):
                    raise self._wrong(node, f"{node.id} is no condition by itself; compare it with a constant")
                return pc.field(node.id)
        raise self._wrong(node, f"this is no condition; {_ALLOWED}")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        if not isinstance(left, ast.Name):
            if not isinstance(right, ast.Name) or isinstance(op, (ast.In, ast.NotIn, ast.Is, ast.IsNot)):
                raise self._wrong(left, "one side of a comparison must be a fact, the left one of in and is")
            left, right, op = right, left, _MIRRORED.get(type(op), type(op))()
        column, kind = pc.field(left.id), self._type(left)
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._wrong(right, "is and is not go with None only; use == or !=")
            return column.is_null() if isinstance(op, ast.Is) else column.is_valid()
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(right, (ast.Tuple, ast.List)) or not right.elts:
                raise self._wrong(right, "in goes with a list of constants, such as ('DX', 'CR')")
            values = pa.array([self._constant(item, left.id, kind) for item in right.elts], kind)
            # Null where the fact is not stated, as with every other comparison: its contrary is not met either.
            found = pc.if_else(column.is_valid(), column.isin(values), pa.scalar(None, pa.bool_()))
            return found if isinstance(op, ast.In) else ~found
        if pa.types.is_boolean(kind) and not isinstance(op, (ast.Eq, ast.NotEq)):
            raise self._wrong(right, f"{left.id} is true or false; use == or !=")
        compared: pc.Expression = _COMPARISONS[type(op)](column, pa.scalar(*self._scalar(right, left.id, kind)))
        return compared

    def _scalar(self, node: ast.expr, name: str, kind: pa.DataType) -> tuple[Any, pa.DataType]:
        """Value and type: a fraction is compared as such, also with a fact of whole numbers."""
        value = self._constant(node, name, kind, fractions=True)
        if pa.types.is_integer(kind):
            return value, pa.float64() if isinstance(value, float) else pa.int64()
        return value, kind

    def _constant(self, node: ast.expr, name: str, kind: pa.DataType, *, fractions: bool = False) -> Any:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            raise self._wrong(node, f"{name} can be compared with a constant only") from None
        if value is None:
            raise self._wrong(node, f"nothing equals None; use {name} is None")
        if pa.types.is_boolean(kind):
            fits, wanted = isinstance(value, bool), "True or False"
        elif pa.types.is_integer(kind):
            bits = 64 if fractions else kind.bit_width
            whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2 ** (bits - 1)
            fits, wanted = whole or (fractions and isinstance(value, float)), "a number, without quotes"
        elif pa.types.is_timestamp(kind):
            fits, wanted = isinstance(value, str), "a time such as '2026-01-31' or '2026-01-31T20:00'"
            try:
                value = _utc(value) if fits else value
            except ValueError:
                fits = False
        else:
            fits, wanted = isinstance(value, str), "text in quotes"
        if not fits:
            raise self._wrong(node, f"{name} is compared with {wanted}")
        return value

    def _type(self, node: ast.Name) -> pa.DataType:
        if node.id not in self._schema.names:
            near = difflib.get_close_matches(node.id, self._schema.names, n=1)
            advice = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(self._schema.names)}"
            raise self._wrong(node, f"{node.id}: {self._missing}{advice}")
        return self._schema.field(node.id).type

    def _wrong(self, node: ast.expr, what: str) -> ConfigError:
        line = self._text.splitlines()[node.lineno - 1].encode()[: node.col_offset].decode()
        place = sum(len(other) + 1 for other in self._text.splitlines()[: node.lineno - 1]) + len(line) + 1
        return ConfigError(f"--where, position {place}: {what}")


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
