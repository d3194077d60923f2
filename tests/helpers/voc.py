"""Write small VOCdevkits."""

from pathlib import Path

import pytest

BOX = (10, 20, 60, 80)


def annotation(*objects: tuple, size: tuple[int, int] = (100, 90)) -> str:
    """Return an XML with (name, box, difficult) objects."""
    parts = [
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for name, box, hard in objects
    ]
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{''.join(parts)}</annotation>"


GOOD = annotation(("cat", BOX, 0))


@pytest.fixture
def devkit(tmp_path):
    """Return a function ``devkit(a=text, ...)`` that writes images with these names and XML texts, and returns VOC2007.

    The text None writes no XML.
    """

    def make(**texts: str | None) -> Path:
        folder = tmp_path / "VOCdevkit/VOC2007"
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / f"JPEGImages/{name}.jpg").write_bytes(b"image")
            if text is not None:
                (folder / f"Annotations/{name}.xml").write_text(text)
        return folder

    return make
