"""Arithmetic as text: an exact parser and evaluator, and the verdict on a statement. The formal checker of the project.

    statement  = sum "=" result
    result     = "0" | ["-"] digits
    sum        = product {("+" | "-") product}
    product    = factor {"*" factor}
    factor     = "-" factor | "(" sum ")" | "0" | digits
    digits     = a digit from 1 to 9, then any

Integers of any size, operators of one rank from the left, no spaces, no leading zeros. Nothing is executed: the text is
read character by character into two stacks (Dijkstra's shunting yard), so that no depth of brackets is too deep.
"""

import re
from operator import add, mul, sub

LONGEST = 1000
"""Digits of a number at most: longer texts are no numbers that anybody meant, and Python refuses them from 4,300 on."""

_TOKEN = re.compile(r"0|[1-9][0-9]*|[-+*()]")
_RESULT = re.compile(r"0|-?[1-9][0-9]*")
_NEGATION = "~"
_RANK = {"+": 1, "-": 1, "*": 2, _NEGATION: 3}
_BINARY = {"+": add, "-": sub, "*": mul}


class UnparsableError(ValueError):
    """A text is no expression, or no statement; the message says where it stops being one."""


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnparsableError(f"{text[at]!r} at {at} belongs to no expression")
        found.append(match[0])
        at = match.end()
    return found


def _number(token: str) -> int:
    if len(token) > LONGEST + token.startswith("-"):
        raise UnparsableError(f"a number of {len(token)} characters: {LONGEST} digits are the most")
    return int(token)


def _apply(operator: str, values: list[int]) -> None:
    """Replace the last values by what an operator makes of them."""
    right = values.pop()
    values.append(-right if operator == _NEGATION else _BINARY[operator](values.pop(), right))


def evaluate(text: str) -> int:
    """Return the value of an expression (``sum`` of the grammar above).

    Raises:
        UnparsableError: the text is no expression.
    """
    values: list[int] = []
    waiting: list[str] = []  # operators and open brackets whose right side is still being read
    operand = True  # whether one must come next
    for token in _tokens(text):
        if operand:
            if token[0].isdigit():
                values.append(_number(token))
                operand = False
            elif token in "-(":
                waiting.append(_NEGATION if token == "-" else token)
            else:
                raise UnparsableError(f"{token!r} stands where a number must")
        elif token in _BINARY:
            while waiting and waiting[-1] != "(" and _RANK[waiting[-1]] >= _RANK[token]:
                _apply(waiting.pop(), values)
            waiting.append(token)
            operand = True
        elif token == ")":
            while waiting and waiting[-1] != "(":
                _apply(waiting.pop(), values)
            if not waiting:
                raise UnparsableError("a bracket is closed that was not opened")
            waiting.pop()
        else:
            raise UnparsableError(f"{token!r} stands where an operator must")
    if operand:
        raise UnparsableError("the expression has no end")
    while waiting:
        if waiting[-1] == "(":
            raise UnparsableError("a bracket is not closed")
        _apply(waiting.pop(), values)
    return values[0]


def statement(text: str) -> tuple[int, int]:
    """Return the value of the left-hand side of a statement, and the result that it names.

    Raises:
        UnparsableError: the text is no statement.
    """
    left, equals, right = text.partition("=")
    if not equals or not _RESULT.fullmatch(right):
        raise UnparsableError("a statement is an expression, '=' and an integer")
    return evaluate(left), _number(right)


def verdict(text: str) -> bool | None:
    """Return whether a statement is true; None where the text is no statement."""
    try:
        left, right = statement(text)
    except UnparsableError:
        return None
    return left == right
