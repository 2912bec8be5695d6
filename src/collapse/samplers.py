"""Samplers: how items are drawn from a model. Settings, checked; standard library only.

Texts are decoded by `collapse.families.decoding`; a VAE draws from its prior.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from collapse.errors import ConfigError, unknown

STARTS = ("bos_fixed_length", "first_token_inclusive", "continuation")

PROMPTS = ("real", "synthetic")

NOISES = ("mean", "bernoulli")

KINDS: dict[str, dict[str, Any]] = {
    "sample": {"temperature": 1.0, "top_k": None, "top_p": None, "repetition_penalty": 1.0},
    "greedy": {"repetition_penalty": 1.0},
    "beam": {"beams": None, "length_penalty": 1.0, "early_stopping": False, "repetition_penalty": 1.0},
    "prior": {"noise": "mean"},
    "none": {},
}
"""The options of each kind beside ``max_tokens``, ``start`` and ``prompts``, with their defaults."""

WITHOUT_TOKENS = ("prior", "none")
"""Kinds that decode no text, and have no ``max_tokens``."""


def _kinds_with(option: str) -> list[str]:
    return [kind for kind, options in KINDS.items() if option in options]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


@dataclass(frozen=True)
class Sampler:
    """How items are drawn from a model.

    An option that does not belong to the kind is an error; one that does and is not given takes its default.

    Attributes:
        temperature: kind ``sample``; logits are divided by it. Default 1, the model itself.
        max_tokens: tokens of a story at most, a prefix included; must be given for every kind that decodes text. A
            story that has not ended by then is truncated: ``max_tokens`` tokens and no end. With ``start:
            continuation`` what is decoded is ``max_tokens`` tokens long, without the prompt.
        start: ``bos_fixed_length``: each story starts from the end token alone. ``first_token_inclusive``: the tokens
            of a context follow the end token and are the beginning of the story. ``continuation``: a context is a
            prompt, of which the item is the continuation: ``max_tokens`` tokens that follow it, the end token never
            among them, as with ``min_new_tokens = max_new_tokens`` in transformers.
        kind: ``sample`` draws at random; ``greedy`` takes the most likely token; ``beam`` is beam search; ``prior``
            draws from the prior of a VAE; ``none`` draws nothing, for chains of generation 1 alone.
        top_k: kind ``sample``; only the ``top_k`` most likely tokens are drawn, after the temperature.
        top_p: kind ``sample``; nucleus sampling (Holtzman et al., arXiv 1904.09751): only the smallest set of most
            likely tokens that holds this probability is drawn, after temperature and ``top_k``. In (0, 1].
        beams: kind ``beam``; hypotheses kept per story, 2 or more. Must be given.
        length_penalty: kind ``beam``; a hypothesis of n drawn tokens, the end included, scores its log-probability
            divided by n ** ``length_penalty``, as in transformers. Default 1.
        early_stopping: kind ``beam``; true stops a story once it has ``beams`` hypotheses that ended, false (the
            default) once none that runs, at its present length, would score above the worst of them.
        prompts: what contexts are at generations above 1: of ``real`` items (the default), or of the ``synthetic``
            ones that the generation was fitted on. A start from the end token alone has none.
        repetition_penalty: of kinds that decode text (Keskar et al., arXiv 1909.05858, section 4.1); scores of tokens
            that the prompt or the text so far holds are divided by it where they are positive and multiplied by it
            where they are negative. As in transformers the scores are logits, before the temperature, and in beam
            search log-probabilities. Default 1: none.
        noise: kind ``prior``; an item is the decoder's ``mean`` (the default), or a ``bernoulli`` draw from it.

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
    prompts: str = "real"
    repetition_penalty: float | None = None
    noise: str | None = None

    def __post_init__(self):
        if self.kind not in tuple(KINDS):
            raise unknown("kind of sampler", str(self.kind), KINDS)
        self._one_of("start", STARTS, "start of the sampler")
        self._one_of("prompts", PROMPTS, "prompts of the sampler")
        for option in dict.fromkeys(option for options in KINDS.values() for option in options):
            if option in KINDS[self.kind]:
                if getattr(self, option) is None:
                    object.__setattr__(self, option, KINDS[self.kind][option])
            elif getattr(self, option) is not None:
                *others, last = map(repr, _kinds_with(option))
                of = f"kinds {', '.join(others)} and {last}" if others else f"kind {last}"
                raise ConfigError(f"{option} is an option of {of}, this sampler is of kind {self.kind!r}")
        if self.kind in WITHOUT_TOKENS:
            self._require("max_tokens", self.max_tokens is None, f"left out where the kind is {self.kind!r}")
            if (self.start, self.prompts) != ("bos_fixed_length", "real"):
                raise ConfigError(f"start and prompts are options of samplers of text, this is of kind {self.kind!r}")
        else:
            self._require("max_tokens", _whole(self.max_tokens, 1), "a whole number above 0")
            penalty = self.repetition_penalty
            self._require("repetition_penalty", _number(penalty) and penalty > 0, "a positive number")
        if self.prompts == "synthetic" and self.start == "bos_fixed_length":
            raise ConfigError("prompts: synthetic needs a start that takes contexts, `start: continuation` say")
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
        if self.kind == "prior":
            self._one_of("noise", NOISES, "noise of the sampler")

    def _one_of(self, name: str, valid: tuple[str, ...], what: str) -> None:
        if getattr(self, name) not in valid:
            raise unknown(what, str(getattr(self, name)), valid)

    def _require(self, name: str, good: bool, what: str, hint: str = "") -> None:
        if not good:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}{hint}")
