"""What generation n trains on: every mixing policy of the literature behind one function, `plan`.

A policy is a named entry of the config: a kind, its options, a budget and an init. `plan` turns it into shares of
sources; the workflow's input functions and the library call the same `plan`. Standard library only.

Sources. Model k is the model of generation k; generation 1 is fitted on real data.
    real          D_1, the N real items that generation 1 is fitted on
    fresh(n)      the n-th of the disjoint real shards that were cut before generation 1 (fresh(1) is D_1)
    synthetic(k)  S_k, the items drawn from model k, first used by generation k + 1
    stream(k)     items of model k without end, drawn as the fit goes: no item is seen twice

Budgets. What is held equal between generations and policies.
    epochs  passes over the training set: a larger set takes more steps (Gerstgrasser et al., arXiv 2404.01413)
    items   N items: a larger set is cut to N, drawn uniformly without replacement (Kazdan et al., arXiv 2410.16713)
    steps   the optimiser steps of generation 1, over the whole training set

Adding a policy: write one function here, add one entry to the config. See docs/adding-a-policy.md.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, isfinite, sqrt
from typing import Any

from collapse.errors import ConfigError, unknown

BUDGETS = ("epochs", "items", "steps")
INITS = ("scratch", "first", "previous")
PRETRAINED = 0
"""The generation of weights that a recipe starts from and no fit of its chain made: they come before generation 1."""
DRAWS = ("all", "first", "redrawn", "anchored", "dealt")


@dataclass(frozen=True, order=True)
class Source:
    """Where items come from: ``kind`` is ``real``, ``fresh``, ``synthetic`` or ``stream``; ``index`` shard or model."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "real" else f"{self.kind}({self.index})"


REAL = Source("real")


def fresh(n: int) -> Source:
    """The n-th disjoint shard of real items; the first is D_1 itself."""
    return REAL if n == 1 else Source("fresh", n)


def synthetic(k: int) -> Source:
    """The items drawn from the model of generation k."""
    return Source("synthetic", k)


@dataclass(frozen=True)
class Share:
    """``count`` items of the joined ``sources``.

    Attributes:
        sources: joined in this order; a source named twice is taken twice.
        count: number of items.
        draw: ``all`` of them, the ``first`` ones (of items that are exchangeable), or a uniform draw without
            replacement, ``redrawn`` in each generation or ``anchored`` (the same in all of them). Shares of a plan that
            are ``dealt`` take their items from one order of N numbers, one share after the other: no number is taken
            twice, so that a real item and the synthetic one that was drawn in its place never meet.
        weight: loss weight of each item, relative to 1.
        corruption: share of each item's parts that the data set replaces by noise before training, in [0, 1].
        correction: share of the items that an oracle corrects before training, in [0, 1].
    """

    sources: tuple[Source, ...]
    count: int
    draw: str = "all"
    weight: float = 1.0
    corruption: float = 0.0
    correction: float = 0.0


@dataclass(frozen=True)
class Policy:
    """A named entry: which rule makes the training sets, with which options, budget and initial weights."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    budget: str = "epochs"
    init: str = "scratch"


_KINDS: dict[str, Callable[..., tuple[Share, ...]]] = {}


def kind(function):
    """Register a rule ``(n, size, **options) -> shares`` for generations n >= 2 under the function's name."""
    _KINDS[function.__name__] = function
    return function


def kinds() -> dict[str, dict[str, Any]]:
    """Return the options, with defaults, of each policy kind."""
    signature = {name: inspect.signature(rule).parameters.values() for name, rule in _KINDS.items()}
    return {name: {p.name: p.default for p in ps if p.kind is p.KEYWORD_ONLY} for name, ps in signature.items()}


def parse(name: str, entry: dict[str, Any]) -> Policy:
    """Check a config entry, ``{kind, budget, init, <options>}``, and return its policy.

    Raises:
        ConfigError: unknown kind, option, budget or init (the nearest valid name is given), or an option out of range.
    """
    entry = dict(entry)
    rule, known = entry.pop("kind", None), kinds()
    if rule not in known:
        raise unknown(f"kind of policy {name!r}", str(rule), known)
    budget, init = entry.pop("budget", "epochs"), entry.pop("init", "scratch")
    if budget not in BUDGETS:
        raise unknown(f"budget of policy {name!r}", budget, BUDGETS)
    if init not in INITS:
        raise unknown(f"init of policy {name!r}", init, INITS)
    for option in entry:
        if option not in known[rule]:
            raise unknown(f"option of policy {name!r}", option, [*known[rule], "kind", "budget", "init"])
    for option, value in entry.items():
        default = known[rule][option]
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not (number or isinstance(default, str) or (value is None and default is None)):
            raise ConfigError(f"policy {name!r}: {option} must be a number, got {value!r}")
    policy = Policy(rule, {**known[rule], **entry}, budget, init)
    try:
        for n in (2, 3):
            plan(policy, n, 1000)
    except ConfigError as error:
        raise ConfigError(f"policy {name!r}: {error}") from None
    return policy


def plan(policy: Policy, n: int, size: int) -> tuple[Share, ...]:
    """Return what generation ``n`` trains on.

    Args:
        policy: the policy.
        n: generation, counted from 1.
        size: N, the number of real items of generation 1.

    Returns:
        Shares with a positive count, in a fixed order. The same arguments always give the same plan.

    Raises:
        ConfigError: ``n`` < 1, ``size`` < 1, or an option out of range.
    """
    if n < 1:
        raise ConfigError(f"generation {n} does not exist: generations count from 1, and 1 is fitted on real data")
    if size < 1:
        raise ConfigError(f"a data set of {size} items cannot be trained on")
    if n == 1:
        return (Share((REAL,), size),)
    shares = _KINDS[policy.kind](n, size, **policy.options)
    return tuple(share for share in shares if share.count > 0)


def needs(share: Share, size: int) -> int:
    """Return how many items of each of its sources a share reads: ``size`` where it pools or draws, else its count."""
    return size if len(share.sources) > 1 or share.draw in ("redrawn", "anchored", "dealt") else share.count


def reads(policy: Policy, last: int, size: int, start: int = 2) -> dict[int, tuple[int, int]]:
    """Return model -> (items that the generations ``start`` to ``last`` need of it, the last one that reads them)."""
    found: dict[int, tuple[int, int]] = {}
    for n in range(start, last + 1):
        for share in plan(policy, n, size):
            for source in share.sources:
                if source.kind == "synthetic":
                    found[source.index] = (max(needs(share, size), found.get(source.index, (0, n))[0]), n)
    return found


def drawn(policy: Policy, k: int, last: int, size: int) -> int:
    """Return how many items of model ``k`` the generations up to ``last`` need; at least ``size``, for the measures."""
    return max(size, reads(policy, last, size, start=k + 1).get(k, (0, 0))[0])


def starts_from(policy: Policy, n: int, pretrained: bool = False) -> int | None:
    """Return the generation whose weights generation ``n`` starts from; `PRETRAINED`, or None for fresh weights.

    Args:
        policy: its init.
        n: generation.
        pretrained: whether the recipe starts from pretrained weights where the policy names no generation.
    """
    own = {"first": 1, "previous": n - 1}.get(policy.init) if n > 1 else None
    return PRETRAINED if own is None and pretrained else own


def streamed(policy: Policy, n: int, size: int) -> int | None:
    """Return the model whose endless stream generation ``n`` trains on, or None where it trains on a set.

    Raises:
        ConfigError: the plan puts a stream beside something else: a set has an end, a stream has none.
    """
    shares = plan(policy, n, size)
    found = [source.index for share in shares for source in share.sources if source.kind == "stream"]
    if found and sum(len(share.sources) for share in shares) > 1:
        raise ConfigError(f"policy of kind {policy.kind!r} puts a stream beside other sources: it has no end to join")
    return found[0] if found else None


def sources(policy: Policy, n: int, size: int) -> tuple[Source, ...]:
    """Return the distinct sources that generation ``n`` reads, sorted."""
    return tuple(sorted({source for share in plan(policy, n, size) for source in share.sources}))


def describe(policy: Policy, n: int, size: int) -> str:
    """Return the plan as text, e.g. ``real 1000 all + synthetic(1) 1000 first | epochs, scratch``.

    Budget and init do not concern generation 1, which all policies share.
    """
    fixed = Policy(policy.kind) if n == 1 else policy

    def text(share: Share) -> str:
        out = f"{'&'.join(map(str, share.sources))} {share.count} {share.draw}"
        out += f" x{share.weight:.6g}" if share.weight != 1 else ""
        out += f" corrupted {share.corruption:.6g}" if share.corruption else ""
        return out + (f" corrected {share.correction:.6g}" if share.correction else "")

    return " + ".join(text(s) for s in plan(policy, n, size)) + f" | {fixed.budget}, {fixed.init}"


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
    return value


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigError(f"{name} must be positive, got {value}")
    return value


def _choice(name: str, value: str, valid: tuple[str, ...]) -> str:
    if value not in valid:
        raise unknown(name, value, valid)
    return value


def _real(count: int, size: int, draw: str) -> Share:
    """``count`` of the N real items; all of them need no draw."""
    return Share((REAL,), count, "all" if count == size else draw)


def _pool(n: int) -> tuple[Source, ...]:
    return (REAL, *(synthetic(k) for k in range(1, n)))


@kind
def replace(n, size):
    """S_{n-1} alone (Shumailov et al., setting A; Gerstgrasser et al., "Replace")."""
    return (Share((synthetic(n - 1),), size, "first"),)


@kind
def accumulate(n, size):
    """D_1, S_1, ..., S_{n-1}: nN items (Gerstgrasser et al., "Accumulate")."""
    return (Share(_pool(n), n * size),)


@kind
def accumulate_subsample(n, size):
    """N items drawn uniformly without replacement, anew each generation, from accumulate's pool (Kazdan et al.)."""
    return (Share(_pool(n), size, "redrawn"),)


@kind
def replace_multiple(n, size):
    """S_{n-1} alone, but nN items of it: accumulate's size without its history (Gerstgrasser et al., ablation)."""
    return (Share((synthetic(n - 1),), n * size, "first"),)


@kind
def real_fraction(n, size, *, share=0.1, how="replace", draw="redrawn"):
    """A share r of the real items beside S_{n-1}.

    ``how: replace``: rN real and the first (1-r)N synthetic items (Shumailov et al., setting B, r = 0.1); ``how: add``:
    rN real and N synthetic. The real items are ``redrawn`` each generation or ``anchored``. ``how: twins``: as replace,
    but each real item takes the place of the synthetic one of its number (as in the authors' code, where a share of the
    blocks is left as it is and the others are continued); for items that are not exchangeable.
    """
    _choice("how", how, ("replace", "add", "twins"))
    _choice("draw", draw, ("redrawn", "anchored"))
    real = round(_fraction("share", share) * size)
    if how == "twins":
        if draw != "redrawn":
            raise ConfigError("how: twins redraws its real items each generation: leave draw out")
        return Share((REAL,), real, "dealt"), Share((synthetic(n - 1),), size - real, "dealt")
    return _real(real, size, draw), Share((synthetic(n - 1),), size - real if how == "replace" else size, "first")


@kind
def fresh_real(n, size, *, share=0.5, pool="newest"):
    """A share a of real items never seen before beside (1-a)N of S_{n-1}.

    ``pool: newest`` trains on these N items (fresh data loop, Alemohammad et al., arXiv 2307.01850); ``pool: all``
    accumulates them. ``share: 1`` is fresh real data alone, the ceiling of any policy.
    """
    _choice("pool", pool, ("newest", "all"))
    real = round(_fraction("share", share) * size)
    shares = []
    for i in range(2 if pool == "all" else n, n + 1):
        shares += [
            Share((fresh(i),), real, "all" if real == size else "first"),
            Share((synthetic(i - 1),), size - real, "first"),
        ]
    return (Share((REAL,), size), *shares) if pool == "all" else tuple(shares)


@kind
def augment(n, size, *, ratio=1.0):
    """D_1 and the newest synthetic items, ``ratio`` * N of them (Alemohammad et al.; Bertrand et al., 2310.00429)."""
    if ratio < 0:
        raise ConfigError(f"ratio must not be negative, got {ratio}")
    return Share((REAL,), size), Share((synthetic(n - 1),), round(ratio * size), "first")


@kind
def golden_ratio(n, size, *, ratio=1.0, weight=None, real="fresh"):
    """N synthetic items of total weight 1 - w and kN real ones of total weight w (arXiv 2502.18049).

    w* = (sqrt(k^2 + 4k) - k) / 2 for k = ``ratio``, which is the golden ratio's 0.618 at k = 1. ``weight`` sets another
    w; k / (1 + k) is naive pooling. The real items are ``fresh`` each generation, as in the paper, or ``anchored``.
    Weights are per item and average to 1.
    """
    _choice("real", real, ("fresh", "anchored"))
    k = _positive("ratio", ratio)
    if k > 1:
        raise ConfigError(f"ratio must not exceed 1: a shard holds N real items, got {ratio}")
    w = (sqrt(k * k + 4 * k) - k) / 2 if weight is None else _fraction("weight", weight)
    count = round(k * size)
    if count < 1:
        raise ConfigError(f"ratio {ratio} of {size} items leaves no real item")
    total = count + size
    draw = "all" if count == size else ("first" if real == "fresh" else "anchored")
    source = fresh(n) if real == "fresh" else REAL
    return (
        Share((source,), count, draw, weight=w * total / count),
        Share((synthetic(n - 1),), size, "first", weight=(1 - w) * total / size),
    )


@kind
def growing(n, size, *, exponent=0.5):
    """S_{n-1} alone, N (n-1)^(1+s) items of it, s = ``exponent`` (arXiv 2505.13947); s = -1 is replace."""
    if exponent < -1:
        raise ConfigError(f"exponent must be at least -1, where the size stays N, got {exponent}")
    return (Share((synthetic(n - 1),), ceil(size * (n - 1) ** (1 + exponent) - 1e-9), "first"),)


@kind
def stream(n, size):
    """Items of model n-1 without end, N to a pass: no finite sample (the variational autoencoders of Shumailov et al.).

    What is left of the three errors are expressivity and approximation.
    """
    return (Share((Source("stream", n - 1),), size),)


@kind
def oracle(n, size, *, share=0.1):
    """S_{n-1}, a share q of which an expert with access to the truth corrects: new information at q N answers."""
    return (Share((synthetic(n - 1),), size, "first", correction=_fraction("share", share)),)


@kind
def real_only(n, size):
    """Control: D_1 again, with another initialisation and order; what is left is the noise of training."""
    return (Share((REAL,), size),)


@kind
def real_repeat(n, size):
    """Control: D_1 n times, accumulate's steps without any synthetic item."""
    return (Share((REAL,) * n, n * size),)


@kind
def real_corrupted(n, size, *, rate=0.1):
    """Control: D_1 after n - 1 passes of a channel that garbles a share ``rate`` of each item.

    Garbage in, garbage out: human data of bad quality without any synthetic item. Corruption is 1 - (1 - rate)^(n-1).
    """
    return (Share((REAL,), size, corruption=1 - (1 - _fraction("rate", rate)) ** (n - 1)),)
