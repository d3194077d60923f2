"""Print a report as one page of HTML, as Markdown for GitHub, as LaTeX, and its answer on a terminal."""

__all__ = ["html", "latex", "markdown", "terminal"]
