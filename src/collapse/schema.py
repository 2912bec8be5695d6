"""The shape of a config: every key and its type. What names mean is checked in `collapse.config`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[A-Za-z][A-Za-z0-9_.]*$"
Names = list[str]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Block(_Strict):
    """Cells whose generations are persisted one by one: the product of the lists.

    A block ``on_demand`` is built for the figures that show it, and these by their own targets and ``<paper>_full``.
    """

    dataset: Names
    recipe: Names
    policy: Names
    sampler: Names
    selector: Names = ["all"]
    seed: list[Annotated[int, Field(ge=0)]]
    generations: int = Field(ge=1)
    on_demand: bool = False


class Chains(_Strict):
    """Chains that run in memory, ``seeds`` of them side by side: the product of the lists.

    ``on_demand`` is that of `Block`.
    """

    dataset: Names
    recipe: Names
    policy: Names
    seeds: int = Field(ge=1)
    generations: int = Field(ge=1)
    on_demand: bool = False


class Pretrained(_Strict):
    """Weights that recipes start from: generation 1 of a recipe (seed 0), or a model of transformers' layout.

    The latter is a folder (``path``), or a repository of the hub at a pinned ``revision``, with the file of its
    ``weights``.
    """

    dataset: str | None = None
    recipe: str | None = None
    family: str | None = None
    path: str | None = None
    repository: str | None = None
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    weights: Literal["model.safetensors", "pytorch_model.bin"] = "model.safetensors"
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}

    @model_validator(mode="after")
    def _one_source(self):
        given = {k for k in ("dataset", "recipe", "family", "path", "repository", "revision") if getattr(self, k)}
        if given not in ({"dataset", "recipe"}, {"family", "path"}, {"family", "repository", "revision"}):
            raise ValueError("give dataset and recipe, or family and path, or family, repository and revision")
        return self


class Selection(_Strict):
    """Rows that a figure or a claim needs: a block of the config, filtered. ``all`` is every value of the block."""

    block: str
    dataset: Names | Literal["all"] = "all"
    recipe: Names | Literal["all"] = "all"
    policy: Names | Literal["all"] = "all"
    sampler: Names | Literal["all"] = "all"
    selector: Names | Literal["all"] = "all"
    seed: list[int] | Literal["all"] = "all"


class Figure(_Strict):
    """A figure or a table: the rows it needs, what its script is told, and the script where it has another name."""

    script: str | None = None
    rows: list[Selection] = []
    options: dict[str, Any] = {}
    extra: list[Literal["curves.parquet", "details.parquet", "examples.json"]] = []


class Gate(_Strict):
    """A bound that generation 1 must keep before any claim on a block, and on those it ``closes``, is judged.

    The value is that of ``metric``; with ``against`` the relative gain over that block, with ``over`` the relative gain
    over that column.
    """

    statement: str
    block: str
    metric: str
    against: str | None = None
    recipe: str | None = None
    against_recipe: str | None = None
    over: str | None = None
    closes: Names = []
    at_least: float | None = None
    at_most: float | None = None


class Config(_Strict):
    """The whole config of a scale. See config/README.md for every key."""

    scale: str = Field(pattern=NAME)
    device: Literal["cpu", "cuda"] = "cpu"
    datasets: dict[str, dict[str, Any]]
    recipes: dict[str, dict[str, Any]]
    policies: dict[str, dict[str, Any]]
    samplers: dict[str, dict[str, Any]]
    selectors: dict[str, dict[str, Any]]
    pretrained: dict[str, Pretrained] = {}
    cells: dict[str, Block] = {}
    chains: dict[str, Chains] = {}
    figures: dict[str, dict[str, Figure]]
    gates: dict[str, Gate] = {}
    claims: Names = []
    curve_items: int | None = Field(default=None, ge=1)
