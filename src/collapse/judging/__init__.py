"""Judging: each statement of a paper as a test on rows, written down before the run that judges it.

`claims` reads the statements, `arms` what each compares, `grid` says which rows of a scale each one needs,
`statistics` holds the named quantities (these know neither pandas nor scipy: the workflow uses them), `tables` takes
values out of rows, `inference` has intervals, p-values and Holm's correction, `verdicts` puts them together.
"""

from collapse.judging.claims import Claim, parse
from collapse.judging.grid import check, columns, needs, resolve, selections, split

__all__ = ["Claim", "check", "columns", "needs", "parse", "resolve", "selections", "split"]
