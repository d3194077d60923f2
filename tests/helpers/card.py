"""Edit cards, and read one-sentence errors."""

import json

import pytest

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard
from backbones.card import JSON

LOADER = dict(type="backbones.LoadImage")
DETECTION, SEGMENTATION = "configs/detection/faster_rcnn_fpn_toy.py", "configs/segmentation/fcn_toy.py"


def edit_json(card: BackboneCard, **changes) -> None:
    """Change fields of card.json; None removes a field."""
    about = json.loads((card.path / JSON).read_text()) | changes
    (card.path / JSON).write_text(json.dumps({k: v for k, v in about.items() if v is not None}))


def one_sentence(error: pytest.ExceptionInfo) -> str:
    """Assert that an error message is one line that ends with a full stop, and return it."""
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text
