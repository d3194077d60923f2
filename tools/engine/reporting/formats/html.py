"""Print a report as one page of HTML that needs no other file: the answer on the first screen, all else folded by subject."""

import base64
import io
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from tools.engine.reporting.document import Figure, Report, Sheet, verdict_of

HERE = Path(__file__).parent
PICTURES = 750_000  # bytes for the image sheets of a page, which share it equally; base64 makes a third more of them
WIDTHS = (1400, 1100, 900, 700, 550, 400)  # px: widths of a sheet, of which the largest that its share allows is taken
QUALITY = 70  # of WebP


def html(report: Report) -> str:
    """Return the report as one page: style, script, figures and sheets are inlined, and every value is escaped.

    Raises:
        ValueError: an image sheet cannot be read.
    """
    sheets = [block for block in report.blocks if isinstance(block, Sheet)]
    share = PICTURES // len(sheets) if sheets else 0
    return render(
        "report.html.jinja",
        report=report,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
        picture=lambda sheet: inlined(sheet, share),
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
    return re.sub(r"\bp (?=[0-9<])", "p\N{NO-BREAK SPACE}", text)


def _drawing(figure: Figure) -> Markup:
    """Return the HTML of a figure, which was rendered, and so escaped, by this module."""
    return Markup(figure.html)


def inlined(sheet: Sheet, share: int) -> str:
    """Return an image sheet as a data URL of WebP, as wide as ``share`` bytes allow, but at least as the smallest of ``WIDTHS``.

    Raises:
        ValueError: the file is not a readable image.
    """
    from PIL import Image

    try:
        with Image.open(sheet.path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL raises either for a broken PNG
        raise ValueError(f"{sheet.path} cannot be read ({error}); draw it again with tools/show.py, or remove it.") from None
    content = b""
    for width in WIDTHS:
        small = image
        if image.width > width:
            small = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=QUALITY, method=4)
        content = buffer.getvalue()
        if len(content) <= share:
            break
    return f"data:image/webp;base64,{_base64(content)}"
