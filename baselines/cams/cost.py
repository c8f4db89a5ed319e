"""The declared cost of a map: a formula in forwards and backwards, for people to read and for tables to evaluate.

A cost is a sum of counts and units, ``1 + N forwards + 1 head backward``, and may end in a remark after a semicolon.
Counts are arithmetic of whole numbers and of N, P and Q: channels, rows and columns of the target feature map. A head
pass runs everything after that map; it is a small part of a forward and is counted apart. The image's own forward is
included: a method that shares it with others of the same run costs less there. Of a network whose head reads more than
the map (``Backbone.through_network``) each head pass is a network pass: a forward, or a forward and a backward.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

UNITS = ("forward", "backward", "head forward", "head backward", "network forward", "network backward")
BACKWARD_IN_FORWARDS = 2
"""A backward computes two products for each one of a forward."""
_UNIT = re.compile(r"(?P<count>[^;]*?)\s*(?P<unit>(?:head |network )?(?:forward|backward))s?\b\s*\+?\s*")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}


class CostError(ValueError):
    """A declared cost that is no formula; the message says what was expected."""


@dataclass(frozen=True)
class Cost:
    """Counts by unit, as arithmetic expressions of N, P and Q; units that do not occur are absent."""

    text: str
    counts: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Cost:
        """The cost that ``text`` declares; CostError where it is not of the form above."""
        formula = text.partition(";")[0].strip()
        counts: dict[str, str] = {}
        position = 0
        for match in _UNIT.finditer(formula):
            count, unit = match["count"].strip(), match["unit"]
            if match.start() != position or not count or unit in counts:
                break
            counts[unit] = count.replace("·", "*").replace("×", "*")
            position = match.end()
        cost = cls(text, counts)
        if not counts or position != len(formula):
            raise CostError(f"cost {text!r}: expected a sum such as '1 + N forwards + 1 head backward'")
        cost.evaluate(1, 1, 1)
        return cost

    def evaluate(self, channels: int, rows: int, columns: int) -> dict[str, int]:
        """Counts by unit on a target feature map of N = ``channels``, P = ``rows``, Q = ``columns``."""
        names = {"N": channels, "P": rows, "Q": columns}
        return {unit: _value(count, names, self.text) for unit, count in self.counts.items()}

    def forwards(self, channels: int, rows: int, columns: int) -> int:
        """Cost in plain forwards, a backward as two of them; head passes are left out, those of the network are not."""
        counts = self.evaluate(channels, rows, columns)
        forwards = sum(counts.get(unit, 0) for unit in ("forward", "network forward", "network backward"))
        return forwards + BACKWARD_IN_FORWARDS * (counts.get("backward", 0) + counts.get("network backward", 0))


def _value(expression: str, names: Mapping[str, int], text: str) -> int:
    try:
        return _evaluate(ast.parse(expression, mode="eval").body, names)
    except (SyntaxError, KeyError, TypeError, ArithmeticError):
        raise CostError(f"cost {text!r}: {expression!r} is no arithmetic of whole numbers, N, P and Q") from None


def _evaluate(node: ast.expr, names: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=op, right=right):
            value: int = _OPERATORS[type(op)](_evaluate(left, names), _evaluate(right, names))
            return value
    raise TypeError(type(node).__name__)
