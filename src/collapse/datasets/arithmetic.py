"""Arithmetic statements as characters, ``7+2*9=25``: true, drawn from a known law (`collapse.datasets.statements`).

A left-hand side has six characters with its ``=``, so that prompts are rectangular. The law has few statements, and a
statement may be drawn many times: splits are independent draws of one law, and cannot be disjoint.

A token is a character; the end token has number 0, which a language model adds.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from collapse import seeding
from collapse.datasets.shards import Shards
from collapse.datasets.statements import ALPHABET, LEFT, Law, encode
from collapse.errors import ConfigError, DataError, TrainingError, unknown
from collapse.items import Items, Ragged
from collapse.seeding import Streams

CORRECTIONS = ("repair", "replace")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which law, and how many statements.

    Attributes:
        train: N, statements of generation 1.
        shards: sets of N statements, independent draws; the first is D_1, the others are fresh real data.
        validation: statements for validation.
        test: statements for the test.
        digits: that operands have, from the most frequent to the rarest, each once.
        operators: the same, out of ``+-*``.
        exponent: of the digits' law, p ~ rank^-exponent; 0 is uniform.
        operator_exponent: of the operators'.
        correction: what the oracle does with a statement it looks at (`Arithmetic.correct`): ``repair`` its result, or
            ``replace`` it by a new real statement.
    """

    train: int
    shards: int = 1
    validation: int
    test: int
    digits: str = "1234567890"
    operators: str = "+-*"
    exponent: float = 1.0
    operator_exponent: float = 1.0
    correction: str = "repair"

    def __post_init__(self):
        for name in ("train", "shards", "validation", "test"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"arithmetic: {name} is a whole number above 0, got {value!r}")
        for name, valid, least in (("digits", ALPHABET[:10], 2), ("operators", "+-*", 1)):
            value = getattr(self, name)
            good = isinstance(value, str) and len(value) == len(set(value)) >= least and set(value) <= set(valid)
            if not good:
                what = f"quoted text of {least} or more different characters of {valid}"
                raise ConfigError(f"arithmetic: {name} is {what}, got {value!r}")
        for name in ("exponent", "operator_exponent"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise ConfigError(f"arithmetic: {name} is a number of 0 or more, got {value!r}")
        if not _law(self).p.min() > 0:
            raise ConfigError("arithmetic: some statements have probability 0: lower `exponent` or `operator_exponent`")
        if self.correction not in CORRECTIONS:
            raise unknown("correction of arithmetic", str(self.correction), CORRECTIONS)


def _law(config: Config) -> Law:
    return Law(config.digits, config.operators, config.exponent, config.operator_exponent)


def prepare(config: Config, name: str = "arithmetic", progress=None) -> tuple[dict, dict]:
    """Draw the splits. Pure: nothing is written.

    Args:
        config: what to prepare.
        name: of the data set; it names the streams of the draws. More shards leave the first ones as they are.
        progress: not used, it takes no time.

    Returns:
        Arrays (``shard1`` .., ``validation``, ``test`` as ``.values`` and ``.offsets``), and facts: source, counts,
        lengths, entropies in nats.
    """
    law = _law(config)
    sizes = {f"shard{i + 1}": config.train for i in range(config.shards)}
    sizes |= {"validation": config.validation, "test": config.test}
    drawn = {split: law.draw(count, seeding.stream("arithmetic", name, split)) for split, count in sizes.items()}
    tokens = {split: encode(texts) for split, texts in drawn.items()}
    predicted = sum(map(len, drawn["test"])) + config.test
    facts = {
        "source": f"arithmetic statements of a known law, operands {config.digits} ~ rank^-{config.exponent:g}, "
        f"operators {config.operators} ~ rank^-{config.operator_exponent:g}",
        "vocabulary": len(ALPHABET) + 1,
        "statements": sizes,
        "distinct": {split: len(set(texts)) for split, texts in drawn.items()},
        "left_hand_sides": len(law.left),
        "mean_length": {split: float(t.lengths.mean()) for split, t in tokens.items()},
        "statement_entropy": law.entropy,
        "result_entropy": law.result_entropy,
        "source_entropy": -sum(map(law.log_probability, drawn["test"])) / predicted,
        "law_entropy_per_token": law.entropy / float(law.p @ [LEFT + len(r) + 1 for r in law.results]),
    }
    return {f"{k}.{a}": getattr(t, a) for k, t in tokens.items() for a in ("values", "offsets")}, facts


@dataclass(frozen=True, eq=False)
class Arithmetic(Shards):
    """A prepared data set of statements, as `load` gives it; one chain."""

    MADE = "drawn"  # one draw of the law may repeat statements of another

    config: Config
    arrays: dict[str, np.ndarray]
    facts: dict
    name: str = "arithmetic"

    end = 0

    @property
    def size(self) -> int:
        """N, the statements of generation 1."""
        return self.config.train

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data."""
        return {"vocabulary": self.facts["vocabulary"], "end": self.end}

    @property
    def floor(self) -> float:
        """Cross-entropy of the true law on the test set, in nats per token.

        -sum log p(statement) / predicted tokens, end tokens included: no model's is lower, in expectation. The law's
        own mean is ``law_entropy_per_token`` of the facts; the test set's is nearer to what a model can reach on it.
        """
        return self.facts["source_entropy"]

    @cached_property
    def law(self) -> Law:
        """The true law."""
        return _law(self.config)

    def _split(self, name: str, start: int = 0) -> Items:
        tokens = Ragged(self.arrays[f"{name}.values"], self.arrays[f"{name}.offsets"])
        return Items.make(tokens, generation=0, start=start)

    def decode(self, items: Items) -> list[str]:
        """Return the text of each item. Raises DataError on a token that is no character."""
        tokens = items.output
        if tokens.values.size and not 0 < tokens.values.min() <= tokens.values.max() <= len(ALPHABET):
            raise DataError(f"tokens of arithmetic are 1 to {len(ALPHABET)}: the items are of another data set")
        text = "".join(np.array(list(ALPHABET))[tokens.values.astype(np.int64) - 1])
        return [text[a:b] for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]

    def contexts(self, count: int, rng: Streams) -> np.ndarray:
        """Return real left-hand sides: those of D_1 in order, from its start again where ``count`` exceeds N.

        A sampler that starts from the end token needs their number only. Shape (count, 6), int64.
        """
        starts = np.resize(self.arrays["shard1.offsets"][:-1], count)
        return self.arrays["shard1.values"][starts[:, None] + np.arange(LEFT)].astype(np.int64)

    def prompts(self, items: Items) -> np.ndarray:
        """Return left-hand sides drawn with replacement from those of synthetic items, as many as there are items.

        Drawn, and not one after the other: an item begins with its own prompt, so prompts that are taken over in order
        would stay those of D_1 for ever. A model that made no mistake would hand on the law of its prompts, give or
        take the sampling error. Items whose first six characters are no left-hand side of the law are left out. The
        stream of the draw is named by what the items are. Shape (n, 6), int64.

        Raises:
            TrainingError: no item has a left-hand side.
        """
        left = [text[:LEFT] for text in self.decode(items) if text[:LEFT] in self.law.place]
        if not left:
            raise TrainingError(f"not one of {len(items)} items begins with a left-hand side: nothing to prompt with")
        drawn = seeding.stream("prompts", self.name, items.sha256()).choice(len(left), len(items))
        return encode(left).values.reshape(-1, LEFT)[drawn].astype(np.int64)

    def correct(self, items: Items, share: float, rng: Streams) -> Items:
        """Let an oracle correct round(share N) items, drawn uniformly without replacement.

        It knows the law. ``correction: repair``: it writes the right result where the first six characters are a
        left-hand side of the law, and a new real statement in the place of the item where they are not. ``replace``: a
        new real statement in any case, which is fresh real data at the same share. A new statement is labelled real
        (generation 0) with index -1, being of no stored split; a repaired one stays synthetic.
        """
        looked_at = rng.alone.choice(len(items), round(share * len(items)), replace=False)
        new = self.law.draw(len(looked_at), rng.alone)
        texts, generation, index = self.decode(items), items.generation.copy(), items.index.copy()
        for i, statement in zip(looked_at, new, strict=True):
            place = self.law.place.get(texts[i][:LEFT])
            if place is not None and self.config.correction == "repair":
                texts[i] = self.law.text(place)
            else:
                texts[i], generation[0, i], index[0, i] = statement, 0, -1
        return replace(items, output=encode(texts), generation=generation, index=index, logprob=None)

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace each character with probability ``rate`` by a draw from the characters of D_1."""
        if rate == 0:
            return items
        values = items.output.values.copy()
        hit = rng.alone.random(len(values)) < rate
        values[hit] = rng.alone.choice(self.arrays["shard1.values"], int(hit.sum()))
        return replace(items, output=Ragged(values, items.output.offsets), logprob=None)

    def truth(self, items: Items) -> np.ndarray:
        """Log-probability of each item under the true law in nats, -inf where it is invalid: (1, N).

        Invalid is what does not parse, is false, or is true but not of the law's form (``12+3=15``).
        """
        return np.array([[self.law.log_probability(text) for text in self.decode(items)]])

    def reduce(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Leave out the sums for each token type: a character alone means little here."""
        return {name: value for name, value in metrics.items() if name not in ("token_loss", "token_count")}


def load(config: Config, arrays: dict, facts: dict, seeds=(0,), name: str = "arithmetic") -> Arithmetic:
    """Return the data set from what `prepare` gave. Raises ConfigError where several chains are to run side by side."""
    if len(seeds) != 1:
        raise ConfigError(f"arithmetic runs one chain at a time, not {len(seeds)}: make it a block of `cells`")
    return Arithmetic(config, arrays, facts, name)
