"""Single sentences of texts in the raw layout of WikiText, and which of them a grammar can make.

Marks stand apart from words, so a sentence ends with " ." before white space; a heading or a line of a list ends with
its line. `complete` cuts a piece of a text into the sentences that it holds from beginning to end.

`Acceptor` says whether some text of a grammar holds a sentence. It tries every place of the grammar's graph where a
sentence may begin: what the sentence says must follow from there, and what it takes as known (a name that was bound
before) must be possible together, which a walk from the start of the graph decides. The answer is exact: yes, if and
only if the grammar gives a text with this sentence a positive probability.
"""

import re
from collections.abc import Iterable, Iterator

from collapse.datasets.grammar import Choice, Grammar, Node, Text

_BREAK = re.compile(r"(?<= \.)(?=\s)|\n")
STOP = " ."

Known = dict[str, str]
Barred = dict[str, frozenset[str]]


def complete(text: str, mark: str) -> list[str]:
    """Return the complete sentences, headings and list lines of a piece of a text, without white space around them.

    What comes before the first end of a sentence or line, and after the last one, is left out.

    Args:
        text: the piece.
        mark: what stands at the beginning of each line, a line break for this purpose.
    """
    parts = _BREAK.split(text.replace(mark, "\n"))
    last = parts.pop()
    parts = parts[1:] + [last] * (len(parts) > 0 and last.endswith(STOP))
    return [part.strip() for part in parts if part.strip()]


class Acceptor:
    """Says which sentences, headings and list lines can stand in a text of a grammar."""

    def __init__(self, grammar: Grammar):
        """Find where sentences may begin.

        Raises:
            ValueError: a sentence begins inside a value of a variable, or without white space before it.
        """
        self._grammar = grammar
        self._starts: list[tuple[Text, int]] = []
        self._known: dict[str, bool] = {}
        self._ways: dict[Node, frozenset[Node]] = {}
        self._possible: dict[tuple, bool] = {}
        before: dict[Node, set[str]] = {grammar.start: {"\n"}}  # the last two characters before a node
        for node in reversed(grammar.nodes):
            for tail in before.get(node, ()):
                if isinstance(node, Choice):
                    for arm in node.arms:
                        before.setdefault(arm, set()).add(tail)
                    continue
                for text in node.table.values() if node.variable else (node.text,):
                    ends = [i for i in range(len(text)) if _ended(tail + text[:i]) and text[i].isspace()]
                    if text and tail == STOP and not text[0].isspace():
                        raise ValueError(f"no white space between the end of a sentence and {text!r}")
                    if node.variable and ends:
                        raise ValueError(f"a sentence begins inside a value of {node.variable!r}: {text!r}")
                    self._starts += [(node, i) for i in ends if (node, i) not in self._starts]
                    before.setdefault(node.next, set()).add((tail + text)[-2:])

    def accepts(self, sentence: str) -> bool:
        """Say whether some text of the grammar holds the sentence, as `complete` gives it."""
        if sentence not in self._known:
            text = f" {sentence}" if sentence.endswith(STOP) else f" {sentence} \n"
            self._known[sentence] = any(
                self._can(node, outer, barred)
                for node, at in self._starts
                for outer, barred in self._follow(node, at, text, {}, {}, {})
            )
        return self._known[sentence]

    def share(self, sentences: Iterable[str]) -> float:
        """Return the share of sentences that are accepted; 0 where there are none."""
        found = [self.accepts(sentence) for sentence in sentences]
        return sum(found) / len(found) if found else 0.0

    def _follow(
        self, node: Node, at: int, rest: str, bound: Known, outer: Known, barred: Barred
    ) -> Iterator[tuple[Known, Barred]]:
        """Yield what must have been bound before, for each way to write ``rest`` from character ``at`` of ``node`` on.

        Args:
            node: where to go on; None is the end of the text.
            at: characters of it that are written.
            rest: what is still to be written.
            bound: variables that the sentence binds.
            outer: variables that it takes as bound, with their labels.
            barred: labels that such variables cannot have had.
        """
        if node is None:
            return
        if isinstance(node, Choice):
            for arm, label in zip(node.arms, node.labels, strict=True):
                excluded, after = bound.get(node.exclude, outer.get(node.exclude)), barred
                if node.exclude and excluded == label:
                    continue
                if node.exclude and excluded is None and label in self._labels(node.exclude):
                    after = {**barred, node.exclude: barred.get(node.exclude, frozenset()) | {label}}
                more = {**bound, node.variable: label} if node.variable else bound
                yield from self._follow(arm, 0, rest, more, outer, after)
            return
        for text, label in self._texts(node, {**bound, **outer}):
            if node.variable and label in barred.get(node.variable, ()):
                continue
            new = outer if node.variable in bound or node.variable is None else {**outer, node.variable: label}
            text = text[at:]
            if rest.startswith(text) and len(rest) > len(text):
                yield from self._follow(node.next, 0, rest[len(text) :], bound, new, barred)
            elif text.startswith(rest) and (len(text) == len(rest) or text[len(rest)].isspace() or rest[-1] == "\n"):
                yield new, barred

    def _texts(self, node: Text, facts: Known) -> list[tuple[str, str | None]]:
        """Return what a node may write, with the label of its variable."""
        if node.variable is None:
            return [(node.text, None)]
        if node.variable in facts:
            return [(node.table[facts[node.variable]], facts[node.variable])]
        return [(text, label) for label, text in node.table.items()]

    def _labels(self, variable: str) -> frozenset[str]:
        return frozenset(
            label for n in self._grammar.nodes if isinstance(n, Choice) and n.variable == variable for label in n.labels
        )

    def _can(self, target: Node, outer: Known, barred: Barred) -> bool:
        """Say whether a walk from the start reaches ``target`` with these variables so bound."""
        key = (target, frozenset(outer.items()), frozenset(barred.items()))
        if key not in self._possible:
            self._possible[key] = self._reaches(target, outer, barred)
        return self._possible[key]

    def _reaches(self, target: Node, outer: Known, barred: Barred) -> bool:
        ways = self._ways_to(target)
        choices = [n for n in ways if isinstance(n, Choice) and n.exclude]
        tracked, size = {*outer, *barred}, -1
        while len(tracked) > size:  # the labels on which it depends whether an arm that counts is allowed
            size = len(tracked)
            for n in choices:
                if n.variable in tracked or not ways.issuperset(n.arms):
                    tracked |= {n.variable, n.exclude} - {""}
        states: dict[Node, set[frozenset]] = {self._grammar.start: {frozenset()}}
        for node in reversed(self._grammar.nodes):
            if node is target or node not in ways:
                continue
            for state in states.pop(node, ()):
                if isinstance(node, Text):
                    states.setdefault(node.next, set()).add(state)
                    continue
                facts = dict(state)
                for arm, label in zip(node.arms, node.labels, strict=True):
                    if arm not in ways or (node.exclude in facts and facts[node.exclude] == label):
                        continue
                    if outer.get(node.variable, label) != label or label in barred.get(node.variable, ()):
                        continue
                    new = {(node.variable, label)} if node.variable in tracked else set()
                    states.setdefault(arm, set()).add(state | new)
        return any(outer.keys() <= dict(state).keys() for state in states.get(target, ()))

    def _ways_to(self, target: Node) -> frozenset[Node]:
        """Return the nodes from which ``target`` can be reached, and itself."""
        if target not in self._ways:
            ways = {target}
            for node in self._grammar.nodes:
                after = node.arms if isinstance(node, Choice) else [node.next]
                if not ways.isdisjoint(after):
                    ways.add(node)
            self._ways[target] = frozenset(ways)
        return self._ways[target]


def _ended(text: str) -> bool:
    return text.endswith(("\n", STOP))
