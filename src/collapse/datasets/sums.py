"""Sums over items: what a chain can do with where its policy takes sets whole, and when it does."""

from dataclasses import dataclass

from collapse import policies
from collapse.policies import Policy


@dataclass(frozen=True)
class Sums:
    """Contexts of an unconditional family of whose ``count`` items only the sufficient statistics are asked for."""

    count: int


def takes_items(policy: Policy, size: int, generations: int) -> bool:
    """Return whether a policy tells items of a set apart, so that its chains need them one by one.

    It does where it draws, cuts, weighs, corrupts or corrects them, and where it is a stream. Samples come in parts of
    ``size``, and whole sets are made of whole parts.

    Args:
        policy: the policy.
        size: N.
        generations: length of the chain.
    """
    reads = policies.reads(policy, generations, size)
    for n in range(2, generations + 1):
        for share in policies.plan(policy, n, size):
            if share.draw in ("redrawn", "anchored", "dealt") or share.weight != 1:
                return True
            if share.corruption or share.correction:
                return True
            if any(source.kind == "stream" for source in share.sources):
                return True
            if share.draw == "all":
                continue
            for source in share.sources:
                there = max(size, reads[source.index][0]) if source.kind == "synthetic" else size
                if share.count != -(-there // size) * size:
                    return True
    return policy.budget == "items" and generations > 1
