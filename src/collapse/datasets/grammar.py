"""Short children's stories from an unambiguous probabilistic grammar: real data whose log-probability is known exactly.

A grammar is a dict of rules. A rule is a tuple of alternatives ``(weight, template)`` or ``(weight, template, label)``;
the label, by default the template itself, says which alternative was taken. Inside a template

    {:rule}         expands a rule
    {x:rule}        expands a rule and remembers the label as x
    {x:rule!y}      the same, but never with the label that y has (the other probabilities are renormalised)
    {x}             repeats x
    {x.form}        a form of x from a table, e.g. the pronoun; {x.Form} the same with a capital

A variable is bound at most once in a story, always before it is used: names, pronouns, objects and places recur. The
grammar is compiled to a directed acyclic graph of two kinds of nodes, text and choice. `Grammar.sample`,
`log_probability` and `enumerate` are one walk through it; only what chooses differs: a random generator, the text, a
counter. `entropy`, `collision` and `marginals` let probability mass flow through the same graph.

Unambiguous by construction: for each choice the compiler finds the number k of characters that tell its alternatives
apart, whatever follows (strong LL(k)), and refuses the grammar where there is none. So the next k characters of a text
leave one alternative, and a text has at most one derivation.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, repeat
from math import expm1, inf, log

import numpy as np

from collapse.errors import DataError

Rules = dict[str, tuple[tuple, ...]]
Forms = dict[str, dict[str, str]]

_FIELD = re.compile(r"\{(\w*)(?::(\w+)(?:!(\w+))?|\.(\w+))?\}")
_WORD = re.compile(r"\w+|[^\w\s]")
_LOOKAHEAD, _HEADS = 32, 20_000  # most characters that a choice may need, and most strings of as many characters


def zipf(options: str, exponent: float = 1.0) -> tuple[tuple[float, str], ...]:
    """Return the alternatives of a comma-separated list; the r-th has a weight of r ** -exponent."""
    return tuple((r**-exponent, option.strip()) for r, option in enumerate(options.split(","), 1))


class _Law:
    """The probabilities of a rule's alternatives, one of which may be banned, as sampling and scoring need them."""

    def __init__(self, weights: Sequence[float], banned: int | None):
        allowed = [0.0 if i == banned else w for i, w in enumerate(weights)]
        total = sum(allowed)
        self.probabilities = [w / total for w in allowed]
        self.logs = [log(p) if p else -inf for p in self.probabilities]
        last = max(i for i, p in enumerate(self.probabilities) if p)
        # from the last possible alternative on, infinity: rounding can then never draw one of probability zero
        self.cumulative = [c if i < last else inf for i, c in enumerate(accumulate(self.probabilities))]


class Text:
    """Emits a literal (``variable`` is None) or ``table[value of variable]``, then goes to ``next`` (None: the end)."""

    __slots__ = ("live", "next", "table", "text", "variable")

    def __init__(self, text: str, variable: str | None, table: dict[str, str], following: "Node"):
        self.text, self.variable, self.table, self.next = text, variable, table, following


class Choice:
    """Chooses an alternative, binds its label to ``variable`` and goes to its node in ``arms``."""

    __slots__ = ("_laws", "_weights", "arms", "exclude", "index", "labels", "live", "lookahead", "table", "variable")

    def __init__(self, variable: str, exclude: str | None, alternatives, arms: list["Node"]):
        self.variable, self.exclude, self.arms = variable, exclude, arms
        self.labels = [label for _, _, label in alternatives]
        self.index = {label: i for i, label in enumerate(self.labels)}
        self._weights, self._laws = [weight for weight, _, _ in alternatives], {}

    def law(self, facts) -> _Law:
        """Return the probabilities, given what was bound before."""
        banned = self.index.get(facts[self.exclude]) if self.exclude else None
        if banned not in self._laws:
            self._laws[banned] = _Law(self._weights, banned)
        return self._laws[banned]


Node = Text | Choice | None
_Chooser = Callable[[Choice, _Law, int], int | None]


class Grammar:
    """A distribution over texts, compiled from ``rules``; see the module's description.

    Args:
        rules: rule name -> alternatives. Weights need not sum to 1. No recursion.
        forms: form name -> {label: text}.
        start: the rule that makes a whole text.

    Attributes:
        nodes: of the graph; a node comes after all that it leads to.
        start: the node that a text begins with.

    Raises:
        ValueError: a rule, form or variable is missing, bound twice or used unbound; a rule is recursive, or has a
            label twice or a weight that is not positive; two alternatives cannot be told apart.
    """

    def __init__(self, rules: Rules, forms: Forms, start: str = "story"):
        self._rules = {name: tuple((w, t, *(x or (t,))) for w, t, *x in rule) for name, rule in rules.items()}
        for name, rule in self._rules.items():
            if len({label for *_, label in rule}) < len(rule) or not all(0 < weight < inf for weight, *_ in rule):
                raise ValueError(f"rule {name!r} has a label twice, or a weight that is not positive")
        self._forms = forms
        self._values: dict[str, set[str]] = {}
        for rule in self._rules.values():
            for variable, name, *_ in (field for _, template, _ in rule for field in _FIELD.findall(template)):
                if name:
                    self._values.setdefault(variable, set()).update(label for *_, label in self._alternatives(name))
        self.nodes: list[Text | Choice] = []
        self._needs: dict[Node, frozenset[str]] = {None: frozenset()}
        self._binds: dict[Node, frozenset[str]] = {None: frozenset()}
        self.start = self._compile(f"{{:{start}}}", None, ())
        if self._needs[self.start]:
            raise ValueError(f"used before they are bound: {', '.join(sorted(self._needs[self.start]))}")
        self._set_lookahead()

    # Compilation

    def _alternatives(self, name: str):
        if name not in self._rules:
            raise ValueError(f"there is no rule {name!r}")
        return self._rules[name]

    def _compile(self, template: str, following: Node, path: tuple[str, ...]) -> Node:
        """Return the node of a template that goes on to ``following``; ``path`` holds the rules around it."""
        parts, position = [], 0
        for match in _FIELD.finditer(template):
            parts += [template[position : match.start()], match.groups()]
            position = match.end()
        for part in reversed([*parts, template[position:]]):
            if isinstance(part, tuple):
                following = self._field(*part, following, path)
            elif "{" in part or "}" in part:
                raise ValueError(f"not a field: {part!r} in {template!r}")
            elif part:
                following = self._add(Text(part, None, {}, following), {following}, frozenset())
        return following

    def _field(self, variable, name, exclude, form, following, path):
        if name is None:
            table = self._table(variable, form)
            return self._add(Text("", variable, table, following), {following}, frozenset({variable}))
        if name in path:
            raise ValueError(f"rule {name!r} is recursive")
        alternatives = self._alternatives(name)
        if exclude and len(alternatives) < 2:
            raise ValueError(f"rule {name!r} has nothing left without the label of {exclude!r}")
        arms = [self._compile(template, following, (*path, name)) for _, template, _ in alternatives]
        node = Choice(variable, exclude, alternatives, arms)
        return self._add(node, set(arms), frozenset({exclude} - {None}))

    def _table(self, variable: str, form: str | None) -> dict[str, str]:
        values = sorted(self._values.get(variable, ()))
        if form is None:
            return {value: value for value in values}
        table = self._forms.get(form[0].lower() + form[1:])
        if table is None or not set(values) <= table.keys():
            raise ValueError(f"form {form!r} is missing, or lacks some of: {', '.join(values)}")
        first = str.upper if form[0].isupper() else str
        return {value: first(table[value][:1]) + table[value][1:] for value in values}

    def _add(self, node, after: set[Node], uses: frozenset[str]):
        """Register a node: which variables must be bound before it, which are bound from it on."""
        needs = frozenset().union(*(self._needs[n] for n in after))
        binds = frozenset().union(*(self._binds[n] for n in after))
        live = frozenset().union(*(n.live for n in after if n is not None))
        new = {node.variable} - {""} if isinstance(node, Choice) else set()
        if new & binds:
            raise ValueError(f"bound twice: {', '.join(new & binds)}")
        self._needs[node], self._binds[node] = needs - new | uses, binds | new
        # the variables on which probabilities depend from here on; all others are forgotten when mass flows
        node.live = live - new | (uses if isinstance(node, Choice) else frozenset())
        self.nodes.append(node)
        return node

    def _set_lookahead(self) -> None:
        """Find, for each choice, how many characters tell its alternatives apart, and the table that does it."""
        known: dict[tuple[Node, int], frozenset[str]] = {}

        def heads(node: Node, k: int) -> frozenset[str]:
            """The first k characters (fewer where the text ends) of all that can follow from here, or a superset."""
            if node is None or k == 0:
                return frozenset({""})
            if (node, k) not in known:
                if isinstance(node, Choice):
                    found = frozenset().union(*(heads(arm, k) for arm in node.arms))
                else:
                    texts = {t[:k] for t in node.table.values()} if node.variable else {node.text[:k]}
                    found = frozenset(t + rest for t in texts for rest in heads(node.next, k - len(t)))
                known[node, k] = found
            return known[node, k]

        for node in self.nodes:
            if isinstance(node, Choice):
                for k in range(_LOOKAHEAD + 1):
                    sets = [heads(arm, k) for arm in node.arms]
                    node.lookahead, node.table = k, {head: i for i, arm in enumerate(sets) for head in arm}
                    if apart := len(node.table) == sum(map(len, sets)):
                        break
                    if len(node.table) > _HEADS:  # more characters would take minutes
                        break
                if not apart:
                    raise ValueError(f"{k} characters do not tell these apart: {'; '.join(node.labels)}")

    # One story

    def _walk(self, choose: _Chooser) -> tuple[str, dict[str, str], float] | None:
        """Follow one derivation. ``choose(choice, law, position)`` returns an alternative, or None to give up.

        Returns:
            The text, the bound variables and the log-probability in nats, or None.
        """
        node, facts, out, position, logprob = self.start, {}, [], 0, 0.0
        while node is not None:
            if isinstance(node, Text):
                text = node.table[facts[node.variable]] if node.variable else node.text
                out.append(text)
                position += len(text)
                node = node.next
            else:
                law = node.law(facts)
                arm = choose(node, law, position)
                if arm is None:
                    return None
                logprob += law.logs[arm]
                if node.variable:
                    facts[node.variable] = node.labels[arm]
                node = node.arms[arm]
        return "".join(out), facts, logprob

    def _draw(self, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield independent walks for ever; the numbers come from ``rng`` in blocks."""
        uniform = (u for _ in repeat(None) for u in rng.random(1024).tolist())

        def choose(node: Choice, law: _Law, position: int) -> int:
            return bisect_right(law.cumulative, next(uniform))

        while True:
            yield self._walk(choose)

    def _parse(self, text: str) -> tuple[str, dict[str, str], float] | None:
        """Return the only walk that makes ``text``, or None: the text chooses, then the result is compared with it."""

        def choose(node: Choice, law: _Law, position: int) -> int | None:
            return node.table.get(text[position : position + node.lookahead])

        walk = self._walk(choose)
        return walk if walk is not None and walk[0] == text and walk[2] > -inf else None

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        """Return ``count`` independent texts; from the same generator state, fewer texts are the first of many."""
        return [text for _, (text, _, _) in zip(range(count), self._draw(rng), strict=False)]

    def sample_distinct(self, count: int, rng: np.random.Generator, avoid=frozenset()) -> list[str]:
        """Return ``count`` different texts, none of them in ``avoid``: independent draws, without the repeated ones.

        Raises:
            DataError: so many were not found in 10 ``count`` + 1000 draws.
        """
        found: dict[str, None] = {}
        limit = 10 * count + 1000
        for _, (text, _, _) in zip(range(limit), self._draw(rng), strict=False):
            if len(found) == count:
                break
            if text not in avoid:
                found[text] = None
        if len(found) < count:
            raise DataError(f"{limit} draws gave only {len(found)} different texts: ask for fewer than {count}")
        return list(found)

    def log_probability(self, text: str) -> float:
        """Return the exact log-probability of a text in nats; ``-inf`` where the grammar cannot make it."""
        walk = self._parse(text)
        return -inf if walk is None else walk[2]

    def well_formed(self, text: str) -> bool:
        """Say whether the grammar can make the text."""
        return self._parse(text) is not None

    def facts(self, text: str) -> dict[str, str]:
        """Return the variables that a text binds, with their labels.

        Raises:
            DataError: the grammar cannot make the text.
        """
        walk = self._parse(text)
        if walk is None:
            raise DataError(f"not well-formed: {text!r}")
        return walk[1]

    def enumerate(self) -> Iterator[tuple[str, float]]:
        """Yield every derivation's text and log-probability in nats. For small grammars."""
        path: list[list[int]] = []  # for each choice of a walk: what is still to be taken there, what is taken now last
        depth = 0

        def choose(node: Choice, law: _Law, position: int) -> int:
            nonlocal depth
            if depth == len(path):
                path.append([i for i, p in enumerate(law.probabilities) if p])
            depth += 1
            return path[depth - 1][-1]

        while True:
            depth = 0
            text, _, logprob = self._walk(choose)
            yield text, logprob
            while path and len(path[-1]) == 1:
                path.pop()
            if not path:
                return
            path[-1].pop()

    # All stories

    def _flow(self, power: int = 1) -> Iterator[tuple[Choice | None, list[float], float]]:
        """Let a mass of 1 flow from the start; an alternative of probability p takes p ** power of it.

        Yields ``(choice, probabilities, mass)`` wherever mass passes, ``(None, [], mass)`` where it ends.
        """
        masses: dict[Node, dict[tuple, float]] = {self.start: {(): 1.0}}
        for node in reversed(self.nodes):
            for bound, mass in masses.pop(node, {}).items():
                facts = dict(bound)
                if isinstance(node, Text):
                    steps = [(node.next, facts, mass)]
                else:
                    law = node.law(facts)
                    yield node, law.probabilities, mass
                    steps = [
                        (arm, {**facts, node.variable: label}, mass * p**power)
                        for arm, label, p in zip(node.arms, node.labels, law.probabilities, strict=True)
                        if p
                    ]
                for to, after, part in steps:
                    key = () if to is None else tuple((v, after[v]) for v in sorted(to.live))
                    here = masses.setdefault(to, {})
                    here[key] = here.get(key, 0.0) + part
        yield None, [], sum(masses[None].values())

    def entropy(self) -> float:
        """Return the exact entropy in nats per text: by the chain rule, the expected sum of the choices' entropies."""
        return -sum(mass * sum(p * log(p) for p in law if p) for _, law, mass in self._flow())

    def collision(self) -> float:
        """Return the exact probability that two independent texts are equal."""
        *_, (_, _, mass) = self._flow(power=2)
        return mass

    def duplicates(self, count: int) -> float:
        """Return the probability, to first order in `collision`, that ``count`` independent texts hold a duplicate."""
        return -expm1(-0.5 * count * (count - 1) * self.collision())

    def marginals(self) -> dict[str, dict[str, float]]:
        """Return, for each variable, the exact probability that a text binds it to each label.

        They sum to less than 1 where not all texts bind the variable.
        """
        out: dict[str, dict[str, float]] = {}
        for node, law, mass in self._flow():
            if node is not None and node.variable:
                table = out.setdefault(node.variable, {})
                for label, p in zip(node.labels, law, strict=True):
                    table[label] = table.get(label, 0.0) + mass * p
        return out

    def vocabulary(self) -> frozenset[str]:
        """Return all words and punctuation marks that texts can hold."""
        texts = [t for n in self.nodes if isinstance(n, Text) for t in (n.table.values() if n.variable else [n.text])]
        return frozenset(word for text in texts for word in words(text))


def words(text: str) -> list[str]:
    """Split a text into words and punctuation marks."""
    return _WORD.findall(text)
