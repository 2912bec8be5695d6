"""What data sets of one chain share: D_1, further shards of N real items, validation and test, cut beforehand."""

from collapse.errors import ConfigError
from collapse.items import Items


class Shards:
    """Splits of a prepared data set; a subclass has ``config.shards``, ``size`` (N) and ``_split``."""

    MADE = "cut"
    """How its shards come about, for the message of an error."""

    def _split(self, name: str, start: int = 0) -> Items:
        """Return the items of ``shard1`` .., ``validation`` or ``test``, one chain, numbered from ``start``."""
        raise NotImplementedError

    def real(self) -> Items:
        """D_1, N items."""
        return self.fresh(1)

    def fresh(self, n: int) -> Items:
        """The n-th shard of N real items, from 1. Raises ConfigError where there is none."""
        if not 1 <= n <= self.config.shards:
            raise ConfigError(f"shard {n} was asked for, {self.config.shards} were {self.MADE}: raise `shards`")
        return self._split(f"shard{n}", (n - 1) * self.size)

    @property
    def validation(self) -> Items:
        """Items for validation."""
        return self._split("validation")

    @property
    def test(self) -> Items:
        """The frozen real test set."""
        return self._split("test")
