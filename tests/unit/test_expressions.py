"""Expressions: the parser is Python's own grammar of + - * and brackets, without Python."""

import ast
import re
import warnings
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse.datasets.expressions import LONGEST, UnparsableError, evaluate, statement, verdict

NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Add, ast.Sub, ast.Mult, ast.USub)
RANK = {"+": 1, "-": 1, "*": 2}


def by_python(text):
    """Return what Python makes of a text, or None where it is no expression of ours: ours have no decimal points."""
    if "." in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 1(0) is a call in Python, and it says so
            tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return None
    if re.search(r"(?<!\d)0\d", text) or not all(isinstance(node, NODES) for node in ast.walk(tree)):
        return None
    return eval(compile(tree, "", "eval"))


@st.composite
def trees(draw, depth=4):
    """A text and its value by Python's arithmetic; brackets where they are needed, and now and then where they are not.

    Returns (text, value, rank of the outermost operator).
    """
    kind = draw(st.sampled_from(["number", "number", "unary", "+", "-", "*"])) if depth else "number"
    if kind == "number":
        value = draw(st.integers(0, 10 ** draw(st.integers(0, 30))))
        return str(value), value, 4
    left, a, rank = draw(trees(depth=depth - 1))
    if kind == "unary":
        return (f"-({left})", -a, 3) if rank < 3 else (f"-{left}", -a, 3)
    right, b, other = draw(trees(depth=depth - 1))
    left = f"({left})" if rank < RANK[kind] or draw(st.booleans()) else left
    right = f"({right})" if other <= RANK[kind] or draw(st.booleans()) else right
    return left + kind + right, {"+": a + b, "-": a - b, "*": a * b}[kind], RANK[kind]


@given(trees())
@settings(max_examples=300, deadline=None)
def test_values_are_those_of_pythons_arithmetic(tree):
    text, value, _ = tree
    assert evaluate(text) == value == by_python(text)
    assert statement(f"{text}={value}") == (value, value)
    assert verdict(f"{text}={value}") is True
    assert verdict(f"{text}={value + 1}") is False
    assert verdict(f"{text}=({value})") is None  # the right side is an integer, not an expression
    for broken in (f"{text}+", f"*{text}", f"({text}", f"{text})", f"{text}({text})", f"{text} ", f"+{text}"):
        with pytest.raises(UnparsableError):
            evaluate(broken)


def test_every_short_text_is_an_expression_where_it_is_one_of_pythons():
    seen = {True: 0, False: 0}
    for length in range(1, 7):
        for characters in product("01+-*()", repeat=length):
            text = "".join(characters)
            expected = by_python(text)
            try:
                assert evaluate(text) == expected, text
            except UnparsableError:
                assert expected is None, text
            seen[expected is not None] += 1
    assert min(seen.values()) > 500


@given(st.text(alphabet="0123456789+-*()=x. ", max_size=14))
def test_any_text_gets_a_verdict(text):
    found = verdict(text)
    left, equals, right = text.partition("=")
    if found is None:
        assert not (equals and by_python(left) is not None and re.fullmatch(r"0|-?[1-9]\d*", right))
    else:
        assert found is (by_python(left) == int(right))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7+2*9=25", True), ("7+2*9=81", False), ("2-3-4=-5", True), ("2-3-4=3", False), ("0*9-1=-1", True),
        ("12+3=15", True), ("(1+2)*3=9", True), ("--3=3", True), ("1+1+1=03", None), ("1-1-0=-0", None),
        ("1+1=1+1", None), ("1+1", None), ("=2", None), ("1+1=", None), ("1+1=2=2", None), ("", None), ("1=1", True),
        ("1+1=+2", None), ("01+1=2", None), ("1**2=1", None), ("1+1=٢", None), ("١+1=2", None),
    ],
)  # fmt: skip
def test_verdicts(text, expected):
    assert verdict(text) is expected


def test_deep_brackets_and_long_numbers_neither_crash_nor_hang():
    depth = 20_000
    assert evaluate("(" * depth + "1" + ")" * depth) == 1
    assert evaluate("-" * depth + "1") == 1
    assert evaluate("1" * LONGEST) == int("1" * LONGEST)
    assert verdict("1=-" + "1" * LONGEST) is False
    for text in ("1" * (LONGEST + 1), "1+" + "1" * 5000):
        with pytest.raises(UnparsableError, match="digits are the most"):
            evaluate(text)
    assert verdict("1=" + "1" * 5000) is None


def test_nothing_is_executed(monkeypatch):
    monkeypatch.setattr("builtins.eval", None)
    monkeypatch.setattr("builtins.exec", None)
    assert evaluate("2*(3-4)") == -2
    for text in ("__import__('os')", "a", "1;2", "1j", "1e3", "0x1"):
        with pytest.raises(UnparsableError, match="belongs to no expression"):
            evaluate(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1+", "no end"), ("", "no end"), ("(1", "not closed"), ("1)", "not opened"), ("1(2)", "operator must"),
        ("*1", "number must"), ("00", "operator must"), ("1+()", "number must"), ("1?", "at 1"),
    ],
)  # fmt: skip
def test_errors_say_where_a_text_stops(text, says):
    with pytest.raises(UnparsableError, match=says):
        evaluate(text)
