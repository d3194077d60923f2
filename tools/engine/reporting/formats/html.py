"""Print a report as one page of HTML that needs no other file: the answer on the first screen, all else folded by subject."""

import base64
import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from tools.engine.reporting.document import Figure, Report, Sheet, verdict_of

HERE = Path(__file__).parent
PICTURES = 750_000  # bytes for the image sheets of a page; base64 makes a third more of them
WIDTHS = (1400, 1100, 900, 700, 550, 400)  # px: largest widths of a sheet, which are tried in turn
QUALITY = 70  # of WebP


def html(report: Report) -> str:
    """Return the report as one page: style, script, figures and sheets are inlined, and every value is escaped.

    Raises:
        ValueError: an image sheet cannot be read.
    """
    sheets = [block for block in report.blocks if isinstance(block, Sheet)]
    return render(
        "report.html.jinja",
        report=report,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
        pictures=inlined(sheets),
    )


def render(template: str, **values) -> str:
    """Return a template of this package, filled with values that are escaped where they are no ``Markup``."""
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> Environment:
    templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters |= {"verdict": verdict_of, "base64": _base64, "drawing": _drawing, "together": _together}
    return templates


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _together(text: str) -> str:
    """Return a text in which no line ends between p and its value."""
    return re.sub(r"\bp (< )?(?=0)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _drawing(figure: Figure) -> Markup:
    """Return the HTML of a figure, which was rendered, and so escaped, by this module."""
    return Markup(figure.html)


def inlined(sheets: Sequence[Sheet]) -> dict[Sheet, str]:
    """Return image sheets as data URLs of WebP, all at most so wide that ``PICTURES`` bytes suffice or ``WIDTHS`` ends.

    Raises:
        ValueError: a file is not a readable image.
    """
    images = [_image(sheet.path) for sheet in sheets]
    contents: list[bytes] = []
    for width in WIDTHS:
        contents = [_webp(image, width) for image in images]
        if sum(map(len, contents)) <= PICTURES:
            break
    return {sheet: f"data:image/webp;base64,{_base64(data)}" for sheet, data in zip(sheets, contents, strict=True)}


def _image(path: Path):
    """Return an image in RGB."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL raises either for a broken PNG
        raise ValueError(f"{path} cannot be read ({error}); draw it again with tools/show.py, or remove it.") from None


def _webp(image, width: int) -> bytes:
    """Return an image as WebP, scaled down to ``width`` if it is wider."""
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
