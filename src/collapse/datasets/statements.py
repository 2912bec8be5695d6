"""The true law of arithmetic statements, ``7+2*9=25``, and their characters.

A left-hand side has three operands of one digit and two operators; all five are independent, digits and operators with
probability ~ rank^-exponent. The result follows from the left-hand side. Everything about such a law is exact: the
probability and the truth of a text, entropies, the tail, and what a finite sample of it holds in expectation.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import exp, lgamma, log

import numpy as np

from collapse.datasets.expressions import evaluate
from collapse.datasets.words import entropy
from collapse.errors import DataError
from collapse.items import Ragged

ALPHABET = "0123456789+-*="
"""Characters; character i is token i + 1."""

LEFT = 6
"""Characters of a left-hand side, its ``=`` included."""

RARE = 0.1
"""Mass of the law that its rarest left-hand sides hold, at most."""


def _deviation(n: int, p: float) -> float:
    """Return E|X / n - p| for X binomial(n, p).

    2 k C(n, k) p^k (1 - p)^(n - k + 1) / n with k = floor(n p) + 1 (De Moivre 1730; Diaconis and Zabell 1991).
    """
    k = int(n * p) + 1
    if p >= 1 or k > n:
        return 0.0
    choices = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return 2 * k * exp(choices + k * log(p) + (n - k + 1) * log(1 - p)) / n


def _zipf(count: int, exponent: float) -> np.ndarray:
    weights = np.arange(1.0, count + 1) ** -exponent
    return weights / weights.sum()


@dataclass(frozen=True, eq=False)
class Law:
    """The true law over the L = digits^3 operators^2 left-hand sides, and all that can be computed of it exactly."""

    digits: str
    operators: str
    exponent: float = 1.0
    operator_exponent: float = 1.0

    @property
    def digit_law(self) -> np.ndarray:
        """Probability of each digit, the same for the three operands, (D,)."""
        return _zipf(len(self.digits), self.exponent)

    @property
    def operator_law(self) -> np.ndarray:
        """Probability of each operator, the same for both, (O,)."""
        return _zipf(len(self.operators), self.operator_exponent)

    @cached_property
    def left(self) -> tuple[str, ...]:
        """The L left-hand sides, ``=`` included."""
        d, o = self.digits, self.operators
        return tuple(f"{a}{p}{b}{q}{c}=" for a, p, b, q, c in product(d, o, d, o, d))

    @cached_property
    def p(self) -> np.ndarray:
        """Probability of each left-hand side, and so of each statement, (L,)."""
        d, o = self.digit_law, self.operator_law
        return np.einsum("a,p,b,q,c->apbqc", d, o, d, o, d).reshape(-1)

    @cached_property
    def results(self) -> tuple[str, ...]:
        """The right result of each left-hand side."""
        return tuple(str(evaluate(left[:-1])) for left in self.left)

    @cached_property
    def place(self) -> dict[str, int]:
        """Left-hand side -> its number."""
        return {left: i for i, left in enumerate(self.left)}

    @cached_property
    def entropy(self) -> float:
        """Entropy of a statement in nats."""
        return entropy(self.p)

    @cached_property
    def result_entropy(self) -> float:
        """Entropy of the result of a statement in nats; given its left-hand side it is 0."""
        _, which = np.unique(self.results, return_inverse=True)
        return entropy(np.bincount(which, self.p))

    @cached_property
    def rare(self) -> np.ndarray:
        """Which left-hand sides are rare, (L,) bool: the rarest ones that together hold at most a tenth of the mass.

        Of two that are equally rare, the one of the smaller number counts as the rarer. The rarest one always is rare.
        """
        order = np.argsort(np.log(self.p).round(9), kind="stable")  # products in another order differ in the last bit
        out = np.zeros(len(self.p), bool)
        out[order[np.cumsum(self.p[order]) <= RARE]] = True
        out[order[0]] = True
        return out

    def expected_distinct(self, count: int) -> np.ndarray:
        """Probability of each left-hand side to be among ``count`` real ones, 1 - (1 - p)^count: (L,).

        Its sum is the expected number of different ones.
        """
        with np.errstate(divide="ignore"):  # a law of one left-hand side alone
            return -np.expm1(count * np.log1p(-self.p)) if count else np.zeros_like(self.p)

    def expected_variation(self, count: int) -> float:
        """Expected `variation` of ``count`` > 0 real left-hand sides, by the mean deviation of the binomial law."""
        laws = ((self.digit_law, 3), (self.operator_law, 2))
        return sum(n / 5 * sum(_deviation(n * count, float(p)) for p in law) / 2 for law, n in laws)

    def variation(self, left: list[str]) -> float:
        """Total variation distance between a character of left-hand sides, ``=`` apart, and one of the law.

        The character is drawn at random from the five of a left-hand side drawn at random, so that the distance is 3/5
        of that of operands and 2/5 of that of operators; 0 equal, 1 disjoint.
        """
        text, out = "".join(left), 0.0
        for characters, law, n in ((self.digits, self.digit_law, 3), (self.operators, self.operator_law, 2)):
            found = np.array([text.count(c) for c in characters]) / (n * len(left))
            out += n / 5 * np.abs(found - law).sum() / 2
        return float(out)

    def text(self, i: int) -> str:
        """The true statement of left-hand side ``i``."""
        return self.left[i] + self.results[i]

    def draw(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw true statements, independently."""
        return [self.text(i) for i in rng.choice(len(self.p), count, p=self.p)]

    def log_probability(self, text: str) -> float:
        """Log-probability of a statement in nats; -inf where it is false, or not of the law's form."""
        i = self.place.get(text[:LEFT])
        return float(np.log(self.p[i])) if i is not None and text[LEFT:] == self.results[i] else -np.inf


def encode(texts: list[str]) -> Ragged:
    """Return the tokens of each text, uint16, without an end token. Raises DataError on another character."""
    if other := set("".join(texts)) - set(ALPHABET):
        raise DataError(f"arithmetic is written with {ALPHABET}, not with {sorted(other)[0]!r}")
    token = {character: i + 1 for i, character in enumerate(ALPHABET)}
    return Ragged.of([token[c] for c in text] for text in texts)
