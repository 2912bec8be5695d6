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
_LOOKAHEAD = 32  # characters


def zipf(options: str, exponent: float = 1.0) -> tuple[tuple[float, str], ...]:
    """Return the alternatives of a comma-separated list; the r-th has a weight of r ** -exponent."""
    return tuple((r**-exponent, option.strip()) for r, option in enumerate(options.split(","), 1))


class _Law:
    """The probabilities of a rule's alternatives, one of which may be banned, as sampling and scoring need them."""

    def __init__(self, weights: Sequence[float], banned: int | None):
        allowed = [0.0 if i == banned else w for i, w in enumerate(weights)]
        total = sum(allowed)
        if not total > 0:
            raise ValueError("no alternative is left")
        self.probabilities = [w / total for w in allowed]
        self.logs = [log(p) if p else -inf for p in self.probabilities]
        last = max(i for i, p in enumerate(self.probabilities) if p)
        # from the last possible alternative on, infinity: rounding can then never draw one of probability zero
        self.cumulative = [c if i < last else inf for i, c in enumerate(accumulate(self.probabilities))]


class _Text:
    """Emits a literal (``variable`` is None) or ``table[value of variable]``, then goes to ``next`` (None: the end)."""

    __slots__ = ("live", "next", "table", "text", "variable")

    def __init__(self, text: str, variable: str | None, table: dict[str, str], following: "_Node"):
        self.text, self.variable, self.table, self.next = text, variable, table, following


class _Choice:
    """Chooses an alternative, binds its label to ``variable`` and goes to its node in ``arms``."""

    __slots__ = ("_laws", "_weights", "arms", "exclude", "index", "labels", "live", "lookahead", "table", "variable")

    def __init__(self, variable: str, exclude: str | None, alternatives, arms: list["_Node"]):
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


_Node = _Text | _Choice | None
_Chooser = Callable[[_Choice, _Law, int], int | None]


class Grammar:
    """A distribution over texts, compiled from ``rules``; see the module's description.

    Args:
        rules: rule name -> alternatives. Weights need not sum to 1. No recursion.
        forms: form name -> {label: text}.
        start: the rule that makes a whole text.

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
        self._nodes: list[_Text | _Choice] = []  # a node comes after all that it leads to
        self._needs: dict[_Node, frozenset[str]] = {None: frozenset()}
        self._binds: dict[_Node, frozenset[str]] = {None: frozenset()}
        self._start = self._compile(f"{{:{start}}}", None, ())
        if self._needs[self._start]:
            raise ValueError(f"used before they are bound: {', '.join(sorted(self._needs[self._start]))}")
        self._set_lookahead()

    # Compilation

    def _alternatives(self, name: str):
        if name not in self._rules:
            raise ValueError(f"there is no rule {name!r}")
        return self._rules[name]

    def _compile(self, template: str, following: _Node, path: tuple[str, ...]) -> _Node:
        """Return the node of a template that goes on to ``following``; ``path`` holds the rules around it."""
        parts, position = [], 0
        for match in _FIELD.finditer(template):
            parts += [template[position : match.start()], match.groups()]
            position = match.end()
        for part in reversed([*parts, template[position:]]):
            if isinstance(part, tuple):
                following = self._field(*part, following, path)
            elif part:
                following = self._add(_Text(part, None, {}, following), {following}, frozenset())
        return following

    def _field(self, variable, name, exclude, form, following, path):
        if name is None:
            table = self._table(variable, form)
            return self._add(_Text("", variable, table, following), {following}, frozenset({variable}))
        if name in path:
            raise ValueError(f"rule {name!r} is recursive")
        alternatives = self._alternatives(name)
        arms = [self._compile(template, following, (*path, name)) for _, template, _ in alternatives]
        node = _Choice(variable, exclude, alternatives, arms)
        return self._add(node, set(arms), frozenset({exclude} - {None}))

    def _table(self, variable: str, form: str | None) -> dict[str, str]:
        values = sorted(self._values.get(variable, ()))
        if form is None:
            return {value: value for value in values}
        table = self._forms.get(form[0].lower() + form[1:])
        if table is None or not set(values) <= table.keys():
            raise ValueError(f"form {form!r} is missing, or lacks some of: {', '.join(values)}")
        return {
            value: table[value][0].upper() + table[value][1:] if form[0].isupper() else table[value] for value in values
        }

    def _add(self, node, after: set[_Node], uses: frozenset[str]):
        """Register a node: which variables must be bound before it, which are bound from it on."""
        needs = frozenset().union(*(self._needs[n] for n in after))
        binds = frozenset().union(*(self._binds[n] for n in after))
        live = frozenset().union(*(n.live for n in after if n is not None))
        new = {node.variable} - {""} if isinstance(node, _Choice) else set()
        if new & binds:
            raise ValueError(f"bound twice: {', '.join(new & binds)}")
        self._needs[node], self._binds[node] = needs - new | uses, binds | new
        # the variables on which probabilities depend from here on; all others are forgotten when mass flows
        node.live = live - new | (uses if isinstance(node, _Choice) else frozenset())
        self._nodes.append(node)
        return node

    def _set_lookahead(self) -> None:
        """Find, for each choice, how many characters tell its alternatives apart, and the table that does it."""
        known: dict[tuple[_Node, int], frozenset[str]] = {}

        def heads(node: _Node, k: int) -> frozenset[str]:
            """The first k characters (fewer where the text ends) of all that can follow from here, or a superset."""
            if node is None or k == 0:
                return frozenset({""})
            if (node, k) not in known:
                if isinstance(node, _Choice):
                    found = frozenset().union(*(heads(arm, k) for arm in node.arms))
                else:
                    texts = {t[:k] for t in node.table.values()} if node.variable else {node.text[:k]}
                    found = frozenset(t + rest for t in texts for rest in heads(node.next, k - len(t)))
                known[node, k] = found
            return known[node, k]

        for node in self._nodes:
            if isinstance(node, _Choice):
                for k in range(_LOOKAHEAD + 1):
                    sets = [heads(arm, k) for arm in node.arms]
                    table = {head: i for i, arm in enumerate(sets) for head in arm}
                    if len(table) == sum(map(len, sets)):
                        break
                else:
                    raise ValueError(f"{_LOOKAHEAD} characters do not tell these apart: {', '.join(node.labels)}")
                node.lookahead, node.table = k, table

    # One story

    def _walk(self, choose: _Chooser) -> tuple[str, dict[str, str], float] | None:
        """Follow one derivation. ``choose(choice, law, position)`` returns an alternative, or None to give up.

        Returns:
            The text, the bound variables and the log-probability in nats, or None.
        """
        node, facts, out, position, logprob = self._start, {}, [], 0, 0.0
        while node is not None:
            if isinstance(node, _Text):
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

        def choose(node: _Choice, law: _Law, position: int) -> int:
            return bisect_right(law.cumulative, next(uniform))

        while True:
            yield self._walk(choose)

    def _parse(self, text: str) -> tuple[str, dict[str, str], float] | None:
        """Return the only walk that makes ``text``, or None: the text chooses, then the result is compared with it."""

        def choose(node: _Choice, law: _Law, position: int) -> int | None:
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
            raise DataError(
                f"the grammar gave {len(found)} different texts in {limit} draws: ask for fewer than {count}"
            )
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
        path: list[
            list[int]
        ] = []  # at each choice of the last walk: the alternatives not yet taken, the taken one last
        while True:
            steps = iter(range(len(path)))

            def choose(node: _Choice, law: _Law, position: int) -> int:
                step = next(steps, None)  # noqa: B023 - used within this turn only
                if step is None:
                    path.append([i for i, p in enumerate(law.probabilities) if p])
                    return path[-1][-1]
                return path[step][-1]

            text, _, logprob = self._walk(choose)
            yield text, logprob
            while path and len(path[-1]) == 1:
                path.pop()
            if not path:
                return
            path[-1].pop()

    # All stories

    def _flow(self, power: int = 1) -> Iterator[tuple[_Choice | None, list[float], float]]:
        """Let a mass of 1 flow from the start; an alternative of probability p takes p ** power of it.

        Yields ``(choice, probabilities, mass)`` wherever mass passes, ``(None, [], mass)`` where it ends.
        """
        masses: dict[_Node, dict[tuple, float]] = {self._start: {(): 1.0}}
        for node in reversed(self._nodes):
            for bound, mass in masses.pop(node, {}).items():
                facts = dict(bound)
                if isinstance(node, _Text):
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
        texts = [t for n in self._nodes if isinstance(n, _Text) for t in (n.table.values() if n.variable else [n.text])]
        return frozenset(word for text in texts for word in words(text))


def words(text: str) -> list[str]:
    """Split a text into words and punctuation marks."""
    return _WORD.findall(text)


# The stories. Templates of sentences begin with a space; alternatives are ordered from common to rare.

_GIRLS = "Lily, Mia, Anna, Sara, Emma, Lucy, Sue, Amy, Molly, Ella, Rose, Nora"
_BOYS = "Tim, Tom, Ben, Max, Jack, Leo, Billy, Bob, Peter, Finn, Noah, Henry"
_PLAY = {
    "ball": "throw", "doll": "hug", "car": "push", "kite": "fly", "book": "read", "boat": "sail", "hat": "wear",
    "train": "push", "drum": "hit", "balloon": "hold", "truck": "push", "robot": "build", "teddy bear": "hug",
    "plane": "fly", "bike": "ride", "puzzle": "build", "crown": "wear", "flute": "play", "wagon": "pull",
    "bell": "ring", "scarf": "wear",
}  # fmt: skip
_AT = {
    "park": "in", "garden": "in", "beach": "at", "forest": "in", "farm": "at", "river": "at", "lake": "at",
    "yard": "in", "zoo": "at", "school": "at", "hill": "on", "market": "at", "playground": "on", "pond": "at",
    "library": "in", "castle": "in",
}  # fmt: skip


def _by_gender(girl: str, boy: str) -> dict[str, str]:
    return dict.fromkeys(_GIRLS.split(", "), girl) | dict.fromkeys(_BOYS.split(", "), boy)


STORY_FORMS: Forms = {
    "he": _by_gender("she", "he"),
    "him": _by_gender("her", "him"),
    "his": _by_gender("her", "his"),
    "play": _PLAY,
    "at": _AT,
}

STORY_RULES: Rules = {
    "story": ((1, "{opening:opening} {trait:trait} {child:child} {begin:begin}{weather:weather}{plot:plot}"),),
    "opening": (
        (0.56, "Once upon a time, a", "time"),
        (0.2, "Once in a town, a", "town"),
        (0.12, "Down by the sea, a", "sea"),
        (0.06, "Deep in the woods, a", "woods"),
        (0.04, "Long ago in winter, a", "winter"),
        (0.02, "High on a hill, a", "hill"),
    ),
    "child": ((0.54, "girl named {hero:girl}", "girl"), (0.46, "boy named {hero:boy}", "boy")),
    "begin": (
        (0.36, "took {hero.his} {:thing} to the {:spot} to show {friend:friend}.", "took"),
        (0.32, "had a {:thing}.{going:going}", "had"),
        (0.2, "got a {:thing} from {hero.his} {giver:family}.{going:going}", "got"),
        (0.12, "found a {:thing}.{going:going}", "found"),
    ),
    "thing": ((1, "{size:size} {look:look} {object:object}"),),
    "spot": ((1, "{air:air} {place:place}"),),
    "going": (
        (0.6, " {hero} and {friend:friend} went to the {:spot}.", "went"),
        (0.25, " {hero} met {friend:friend} near the {:spot}.", "met"),
        (0.15, " {hero} ran to the {:spot} with {friend:friend}.", "ran"),
    ),
    "weather": (
        (0.78, "", "none"),
        (0.09, " It was sunny {place.at} the {place}.", "sunny"),
        (0.05, " It was cold {place.at} the {place}.", "cold"),
        (0.04, " The birds sang {place.at} the {place}.", "birds"),
        (0.025, " There was snow {place.at} the {place}.", "snow"),
        (0.015, " A rainbow was in the sky.", "rainbow"),
    ),
    "plot": (
        (0.24, " {turn:turn} the {object} was gone.{cry:cry}{outcome:lost_end}", "lost"),
        (0.18, " {friend} wanted to {object.play} the {look} {object}, too.{outcome:share_end}", "share"),
        (0.14, " {turn:turn} {hero} broke the {object}.{cry:cry}{outcome:broken_end}", "broken"),
        (0.12, " {hero} gave {friend} the {look} {object} and some {food:food}.{outcome:gift_end}", "gift"),
        (0.1, " There they met a {mood:mood} {animal:animal} {where:where}.{outcome:animal_end}", "animal"),
        (0.07, " {turn:turn} it began to {storm:storm}. They hid {where:where}.{outcome:storm_end}", "storm"),
        (0.05, " {turn:turn} the wind blew the {object} into a tree.{cry:cry}{outcome:stuck_end}", "stuck"),
        (0.04, " {friend} had a {object2:object!object}. {hero} wanted to trade.{outcome:trade_end}", "trade"),
        (0.03, " {turn:turn} they heard a noise {where:where}.{cry:cry}{outcome:noise_end}", "noise"),
        (0.02, " {turn:turn} a voice came from the {object}. It asked for {food:food}.{outcome:magic_end}", "magic"),
        (0.01, " They dug a hole and saw a box {where:where}.{outcome:treasure_end}", "treasure"),
    ),
    "cry": (
        (0.55, "", "none"),
        (0.37, " {hero} was {sorrow:bad}.", "felt"),
        (0.08, " {hero} began to cry.", "cried"),
    ),
    "lost_end": (
        (0.66, " {friend} found the {look} {object} {where:where}.{ending:happy}", "found"),
        (0.2, " They looked {where:where}, but never found the {look} {object}.{ending:sad}", "gone"),
        (0.14, " Then a {mood:mood} {animal:animal} gave {hero} the {object}.{ending:happy}", "returned"),
    ),
    "share_end": (
        (0.75, ' {hero} said, "We can share it."{ending:happy}', "shared"),
        (0.25, ' {hero} said, "No, it is mine." {friend} was {sorrow:bad}.{ending:sad}', "refused"),
    ),
    "broken_end": (
        (0.4, " {hero.His} {helper:family} fixed it with {tool:tool}.{ending:happy}", "fixed"),
        (0.34, " {friend} fixed it with {tool:tool}.{ending:happy}", "friend fixed"),
        (0.26, " No one could fix the {look} {object}.{ending:sad}", "ruined"),
    ),
    "gift_end": (
        (0.85, ' {friend} said, "Thank you, {hero}!"{ending:happy}', "thanked"),
        (0.15, " But {friend} did not like the {look} {object}.{ending:sad}", "disliked"),
    ),
    "animal_end": (
        (0.7, " They gave it {food:food} and it was {relief:good}.{ending:happy}", "fed"),
        (0.18, " {hero} let it {object.play} the {object}.{ending:happy}", "played"),
        (0.12, " It took the {look} {object} and ran away.{ending:sad}", "stolen"),
    ),
    "storm_end": (
        (0.8, " Soon the sun came out.{ending:happy}", "safe"),
        (0.2, " The {look} {object} got wet.{ending:sad}", "wet"),
    ),
    "stuck_end": (
        (0.6, " A {mood:mood} {animal:animal} got it down.{ending:happy}", "animal"),
        (0.25, " {hero.His} {helper:family} got it down.{ending:happy}", "family"),
        (0.15, " No one could reach the {look} {object}.{ending:sad}", "unreached"),
    ),
    "trade_end": (
        (0.8, " So {hero} got the {object2} and {friend} got the {object}.{ending:happy}", "traded"),
        (0.2, " But {friend} kept the {object2}.{ending:sad}", "kept"),
    ),
    "noise_end": (
        (0.8, " But it was only a {mood:mood} {animal:animal}.{ending:happy}", "animal"),
        (0.2, " They ran away and left the {look} {object}.{ending:sad}", "fled"),
    ),
    "magic_end": (
        (0.7, " Then {hero} woke up. It was only a dream.{closing:closing}", "dream"),
        (0.3, " It was a magic {object}!{ending:happy}", "real"),
    ),
    "treasure_end": (
        (0.6, " It was full of gold.{ending:happy}", "gold"),
        (0.4, " But the box was empty.{ending:sad}", "empty"),
    ),
    "happy": (
        (0.3, " {hero} was {good:good} and hugged {friend}.{closing:closing}", "hugged"),
        (0.25, " {hero} and {friend} played {place.at} the {place} until {time:time}.{closing:closing}", "played"),
        (0.2, " {hero} and {friend} were {good:good}.{closing:closing}", "felt"),
        (0.17, " When {hero} left the {place}, {friend} was {good:good}.{closing:closing}", "left"),
        (0.08, " Then {hero} ate {treat:food} with {friend}.{closing:closing}", "ate"),
    ),
    "closing": (
        (0.75, "", "none"),
        (0.09, " The end.", "end"),
        (0.07, " They lived happily ever after.", "ever after"),
        (0.04, " {hero} and {friend} were best friends.", "best friends"),
        (0.03, " {hero.His} {proud:family} was proud of {hero.him}.", "proud"),
        (0.01, " It was the best day of all.", "best day"),
        (0.01, " {friend} never forgot the {look} {object}.", "never forgot"),
    ),
    "sad": (
        (0.6, " {hero} left the {place} and felt {grief:bad}.{lesson:lesson}", "left"),
        (0.25, " {hero.His} {comfort:family} gave {hero.him} a big hug.{lesson:lesson}", "comforted"),
        (0.15, " That night, {hero} could not sleep.{lesson:lesson}", "sleepless"),
    ),
    "lesson": (
        (0.6, "", "none"),
        (0.25, " {hero} learned to be more {virtue:virtue}.", "learned"),
        (0.1, " {friend} said sorry the next day.", "sorry"),
        (0.05, " It was a very sad day.", "sad day"),
    ),
    "girl": zipf(_GIRLS, 1.2),
    "boy": zipf(_BOYS, 1.2),
    "friend": zipf("Sam, Kim, Alex, Pip, Coco, Robin, Fred, Zoe, Dot, Gus, Kit, Lola, Ned, Pam, Rex, Tess", 1.2),
    "object": zipf(", ".join(_PLAY), 1.2),
    "place": zipf(", ".join(_AT), 1.2),
    "size": zipf("big, small, new, little, pretty, heavy, soft, funny, long, tiny, strange", 0.7),
    "look": zipf(
        "red, blue, green, yellow, white, black, pink, brown, purple, golden, silver, gray, wooden, shiny", 0.7
    ),
    "air": zipf("big, sunny, quiet, old, green, busy, pretty, cold, windy, dark, lovely, empty", 0.7),
    "trait": zipf(
        "little, kind, happy, curious, brave, shy, clever, funny, silly, polite, quiet, gentle, lazy, stubborn", 0.7
    ),
    "family": zipf("mom, dad, grandma, brother, sister, grandpa, aunt, uncle, teacher, cousin"),
    "turn": zipf("Then, Suddenly, But soon, Later, At noon, Just then"),
    "where": zipf(
        "under a tree, behind a rock, in the grass, in a bush, under a bench, in the mud, near the path, "
        "behind a wall, under the leaves, in the sand, near the gate, behind a barrel, under a log, in a nest",
        0.7,
    ),
    "bad": zipf("sad, scared, angry, upset, worried, lonely, tired, sorry, confused, hurt", 0.7),
    "good": zipf("happy, glad, proud, excited, thankful, calm, safe, cheerful, surprised, full of joy", 0.7),
    "mood": zipf("hungry, little, friendly, lost, sleepy, brown, thirsty, fat, grumpy, clever", 0.7),
    "animal": zipf("dog, cat, bird, rabbit, frog, duck, mouse, bear, fox, turtle, pony, sheep, goat, monkey, lion"),
    "food": zipf("cookies, cake, apples, soup, bread, juice, candy, milk, pie, berries, cheese, honey, nuts", 0.7),
    "tool": zipf("glue, tape, string, paint, wire, wood, nails"),
    "storm": zipf("rain, snow, thunder, hail"),
    "time": zipf("dinner, dark, bedtime, sunset, lunch, the moon came out"),
    "virtue": zipf("careful, kind, patient, honest, brave, gentle"),
}

TINY_FORMS: Forms = {"he": {"Ann": "she", "Al": "he", "Alan": "he"}}

TINY_RULES: Rules = {
    "story": (
        (3, "{:who} had a {object:object}.{weather:weather} {plot:plot}"),
        (1, "Nothing happened.{closing:closing}"),
    ),
    "who": ((2, "Here is {hero:name}. {hero.He}"), (1, "{hero:name}")),
    "name": zipf("Ann, Al, Alan"),
    "object": ((2, "ball"), (1, "balloon")),
    "weather": ((3, "", "none"), (1, " It rained.", "rain")),
    "plot": (
        (
            2,
            "{friend:name!hero} took the {object}, but {hero} took the {object2:object!object}.{closing:closing}",
            "trade",
        ),
        (1, "{hero.He} lost the {object}.{closing:closing}", "lost"),
    ),
    "closing": ((2, "", "none"), (1, " The end.", "end")),
}


def stories() -> Grammar:
    """Return the grammar of the embedded stories."""
    return Grammar(STORY_RULES, STORY_FORMS)


def tiny() -> Grammar:
    """Return a grammar that uses every construct and makes few enough texts to write them all down."""
    return Grammar(TINY_RULES, TINY_FORMS)
