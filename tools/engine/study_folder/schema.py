"""Declare the files of a study's folder: what may stand in results.csv, study.json, details.json, curves.json and gains.json."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backbones.common.schema import Count, Fraction, Index, NonNegative, Number

Name = Annotated[str, Meta(min_length=1)]


class RowSchema(msgspec.Struct, kw_only=True):
    """Declare a row of results.csv; an empty cell of numbers is None."""

    study: str = ""
    scale: str = ""
    recipe: Name
    network: str
    task: Name
    protocol: str
    split: str
    metric: Name
    pretrain_seed: Index | None
    finetune_seed: Index | None
    value: str
    status: Literal["done", "diverged", "failed"]
    run: Name


class ImagesSchema(msgspec.Struct, kw_only=True):
    """Declare how much a difference of two recipes varies with the test images."""

    recipe: str
    base: str
    metric: str
    network: str
    protocol: str
    split: str
    total: NonNegative
    common: NonNegative
    paired: NonNegative | None = None
    count: Count | None = None


class PublishedValueSchema(msgspec.Struct, kw_only=True):
    """Declare a published number."""

    recipe: str
    network: str | None
    metric: str
    value: Number


class PublishedSchema(msgspec.Struct, kw_only=True):
    """Declare the published numbers beside a study's own."""

    source: str = ""
    values: list[PublishedValueSchema] = []
    protocols: dict[str, str] = {}


class DifferenceSchema(msgspec.Struct, kw_only=True):
    """Declare the keys in which a recipe's config differs from its parent's: [parent's, own]."""

    parent: str
    keys: dict[str, tuple[str, str]]


class TuningSchema(msgspec.Struct, kw_only=True):
    """Declare the scores of a grid of learning rates."""

    recipe: str
    task: str
    seed: Index
    metric: str
    values: dict[str, Number | None]
    best: Number
    edge: bool


class RunSchema(msgspec.Struct, kw_only=True):
    """Declare what study.json keeps of a run."""

    backbone: str | None = None
    transfer: str | None = None
    precision: str | None = None
    machine: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    speed: dict[str, Number] | None = None
    size: dict[str, Number] | None = None
    epochs: Number | None = None
    peak_memory_gb: Number | None = None
    remarks: list[str] | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None
    config: str | None = None
    pictures: str | None = None
    data: str | None = None
    command: str | None = None


class RequestSchema(msgspec.Struct, kw_only=True):
    """Declare the options of a call that added to a study's table."""

    recipes: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: Count = 1
    fine_tunings: Count = 1
    teachers: dict[str, str] = {}
    tune_lr: bool = False
    protocol: str | None = None
    processes: Count = 1


class StudyFileSchema(msgspec.Struct, kw_only=True):
    """Declare study.json."""

    name: str
    scale: str
    recipes: Annotated[list[str], Meta(min_length=1)]
    metrics: list[str]
    reference: str | None = None
    labels: dict[str, str] = {}
    decisive: dict[str, str] = {}
    parents: dict[str, list[str]] = {}
    images: list[ImagesSchema] = []
    published: PublishedSchema | None = None
    tricks: dict[str, list[tuple[str, dict[str, Any]]] | str | None] = {}
    left_out: dict[str, list[str]] = {}
    differences: dict[str, DifferenceSchema] | None = None
    tuning: list[TuningSchema] = []
    protocols: dict[str, dict[str, Any]] = {}
    runs: dict[str, RunSchema] = {}
    file: str = ""
    file_sha256: str = ""
    requests: list[RequestSchema] = []
    remarks: list[str] = []


class SideSchema(msgspec.Struct, kw_only=True):
    """Declare one recipe in a table of details.json: [mean, standard deviation] of each row over n pretrainings."""

    n: Index
    values: dict[str, tuple[Number | None, Number | None]]


class BreakdownSchema(msgspec.Struct, kw_only=True):
    """Declare a table of details.json."""

    task: str
    network: str
    protocol: str
    split: str
    name: str
    title: str
    note: str
    digits: Annotated[int, Meta(ge=0, le=12)]
    gains: bool
    recipes: dict[str, SideSchema]


class DetailsSchema(msgspec.Struct, kw_only=True):
    """Declare details.json."""

    tables: list[BreakdownSchema]


class CurvesSchema(msgspec.Struct, kw_only=True):
    """Declare curves.json: the lines of each run."""

    runs: dict[str, list[dict[str, Number | None]]]


class GainSchema(msgspec.Struct, kw_only=True):
    """Declare a comparison of gains.json."""

    recipe: str
    base: str
    metric: str
    network: str
    protocol: str
    split: str
    gain: Number
    low: Number | None
    high: Number | None
    p: Fraction | None
    verdict: str


class ChanceSchema(msgspec.Struct, kw_only=True):
    """Declare what a rank correlation would be by chance."""

    mean: Number
    low: Number
    high: Number
    p: Fraction


class CorrelationSchema(msgspec.Struct, kw_only=True):
    """Declare a rank correlation of gains.json: that of all recipes, over the reference or over their parents."""

    recipe: str
    base: str
    metric: str
    network: str
    protocol: str
    split: str
    rho: Number | None
    n: Index
    chance: ChanceSchema | None


class GainsSchema(msgspec.Struct, kw_only=True):
    """Declare gains.json: the margins that were given, and every comparison and rank correlation of the report."""

    margins: dict[str, NonNegative]
    gains: list[GainSchema]
    correlations: list[CorrelationSchema]
