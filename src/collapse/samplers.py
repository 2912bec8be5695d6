"""Samplers: how stories are drawn from a language model. Settings, checked; standard library only.

The decoding itself is in `collapse.families.decoding`.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from collapse.errors import ConfigError, unknown

STARTS = ("bos_fixed_length", "first_token_inclusive")

KINDS: dict[str, dict[str, Any]] = {
    "sample": {"temperature": 1.0, "top_k": None, "top_p": None},
    "greedy": {},
    "beam": {"beams": None, "length_penalty": 1.0, "early_stopping": False},
    "none": {},
}
"""The options of each kind beside ``max_tokens`` and ``start``, with their defaults."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


@dataclass(frozen=True)
class Sampler:
    """How stories are drawn from a language model.

    An option that does not belong to the kind is an error; one that does and is not given takes its default.

    Attributes:
        temperature: kind ``sample``; logits are divided by it. Default 1, the model itself.
        max_tokens: tokens of a story at most, a prefix included; must be given, but for kind ``none``. A story that has
            not ended by then is truncated: ``max_tokens`` tokens and no end.
        start: ``bos_fixed_length``: each story starts from the end token alone. ``first_token_inclusive``: the tokens
            of a context follow the end token and are the beginning of the story.
        kind: ``sample`` draws at random; ``greedy`` takes the most likely token; ``beam`` is beam search;
            ``none`` draws nothing, for chains of generation 1 alone.
        top_k: kind ``sample``; only the ``top_k`` most likely tokens are drawn, after the temperature.
        top_p: kind ``sample``; nucleus sampling (Holtzman et al., arXiv 1904.09751): only the smallest set of most
            likely tokens that holds this probability is drawn, after temperature and ``top_k``. In (0, 1].
        beams: kind ``beam``; hypotheses kept per story, 2 or more. Must be given.
        length_penalty: kind ``beam``; a hypothesis of n drawn tokens, the end included, scores its log-probability
            divided by n ** ``length_penalty``, as in transformers. Default 1.
        early_stopping: kind ``beam``; true stops a story once it has ``beams`` hypotheses that ended, false (the
            default) once none that runs, at its present length, would score above the worst of them.

    Raises:
        ConfigError: an option is out of range, missing, or belongs to another kind.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    start: str = "bos_fixed_length"
    kind: str = "sample"
    top_k: int | None = None
    top_p: float | None = None
    beams: int | None = None
    length_penalty: float | None = None
    early_stopping: bool | None = None

    def __post_init__(self):
        if self.kind not in tuple(KINDS):
            raise unknown("kind of sampler", str(self.kind), KINDS)
        if self.start not in STARTS:
            raise unknown("start of the sampler", str(self.start), STARTS)
        for kind, options in KINDS.items():
            for option, default in options.items():
                if kind == self.kind and getattr(self, option) is None:
                    object.__setattr__(self, option, default)
                elif kind != self.kind and getattr(self, option) is not None:
                    raise ConfigError(f"{option} is an option of kind {kind!r}, this sampler is of kind {self.kind!r}")
        if self.kind == "none":
            self._require("max_tokens", self.max_tokens is None, "left out where the kind is 'none'")
        else:
            self._require("max_tokens", _whole(self.max_tokens, 1), "a whole number above 0")
        if self.kind == "sample":
            hint = ": its limit 0 is greedy decoding, `kind: greedy`"
            positive = _number(self.temperature) and self.temperature > 0
            self._require("temperature", positive, "a positive number", hint if self.temperature == 0 else "")
            self._require("top_k", self.top_k is None or _whole(self.top_k, 1), "a whole number above 0")
            share = self.top_p is None or (_number(self.top_p) and 0 < self.top_p <= 1)
            self._require("top_p", share, "a number above 0, at most 1")
        if self.kind == "beam":
            self._require("beams", _whole(self.beams, 2), "a whole number above 1", ": one is `kind: greedy`")
            self._require("length_penalty", _number(self.length_penalty), "a number")
            self._require("early_stopping", isinstance(self.early_stopping, bool), "true or false")

    def _require(self, name: str, good: bool, what: str, hint: str = "") -> None:
        if not good:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}{hint}")
