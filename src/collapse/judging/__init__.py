"""Judging: each statement of a paper as a test on rows, written down before the run that judges it.

`claims` reads the statements, `grid` says which rows of a scale each one needs, `statistics` holds the named
quantities (these three know neither pandas nor scipy: the workflow uses them), `tables` takes values out of rows,
`inference` has intervals, p-values and Holm's correction, `verdicts` puts them together.
"""

from collapse.judging.claims import Claim, parse
from collapse.judging.grid import check, needs, resolve, selections, split

__all__ = ["Claim", "check", "needs", "parse", "resolve", "selections", "split"]
