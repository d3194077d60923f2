"""Say how a subset was made: the file beside its data, which refuses other data in its folder and enters records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import PIL
from PIL import features

from backbones.common.files import read_json, write_json
from backbones.common.schema import accept
from backbones.common.subsets import SubsetOptions

RECIPE = ".subset.json"  # hidden, so that no reader of data takes it for a part of the data
FACTS = ("layout", "source", "options", "versions")  # what decides the files of a subset, beside the source's content


class Recipe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Declare the content of the file.

    Args:
        layout: imagenet, places365, voc or ade20k.
        source: name of the folder that was copied from.
        options: see ``SubsetOptions``.
        versions: of the libraries that decode, resize and encode.
        chosen, available: see ``backbones.common.subsets.Choice``.
        source_recipe: recipe of the source, if that was a subset too.
    """

    layout: str
    source: str
    options: SubsetOptions
    versions: dict[str, str]
    chosen: dict[str, int]
    available: dict[str, int]
    source_recipe: dict[str, Any] | None = None

    def sentence(self) -> str:
        """Describe the subset for the log, the record and the report."""
        options = self.options
        parts = [f"{split} {count:,} of {self.available.get(split, 0):,}" for split, count in self.chosen.items()]
        if options.short_side:
            parts.append(f"short side {options.short_side} by {options.resampler}, JPEG quality {options.quality}")
        return f"The data is a subset of {self.source} ({', '.join(parts)})."


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the bytes of a resized image."""
    return {"pillow": PIL.__version__, "libjpeg": str(features.version("libjpeg_turbo") or features.version("jpg"))}


def read_recipe(folder: Path) -> Recipe | None:
    """Return the recipe of the subset in ``folder``, or None if the folder has none.

    Raises:
        ValueError: the file is no recipe, or cannot be read.
    """
    path = Path(folder) / RECIPE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); fix its permissions.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no recipe of a subset; bring the file back, or make the subset anew.")
    return accept(content, Recipe, str(path))


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe of the subset in ``folder``."""
    write_json(Path(folder) / RECIPE, msgspec.to_builtins(recipe))


def refuse_other(there: Recipe, recipe: Recipe, folder: Path, remedy: str) -> None:
    """Raise ValueError if ``there``, the recipe in ``folder``, makes other files than ``recipe``; names the differences."""
    if differences := list(_differences(there, recipe)):
        raise ValueError(f"{folder} holds another subset ({'; '.join(differences[:3])}); {remedy}.")


def _differences(there: Recipe, here: Recipe) -> Iterator[str]:
    before, now = (_flat(msgspec.to_builtins(recipe)) for recipe in (there, here))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            yield f"{key}: {_shown(before.get(key))} there, {_shown(now.get(key))} now"


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a subset by dotted key, two levels deep."""
    facts = {key: recipe[key] for key in FACTS}
    return {
        f"{key}.{name}" if name else key: value
        for key, fact in facts.items()
        for name, value in (fact.items() if isinstance(fact, dict) else (("", fact),))
    }


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value!s:.60}"
