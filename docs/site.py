"""Make the documentation site from README.md, docs/ and the files that they link to. MkDocs calls the ``on_`` functions.

The pages are written for GitHub, where a link may lead to any file of the project. Such a file becomes a page of the site.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
HOME = "README.md"  # the first page of the site
# the beginning of a relative link, or of the definition of one, and its target without the anchor
LINK = re.compile(r"(\]\(|^\[[^\]]+\]: )(?!\w+:|#)([^)#\s]+)", re.M)
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".yml": "yaml", ".sh": "bash"}


def on_files(files, config):
    """Add README.md and each file that a page links to, directly or through another, unless the site has it."""
    present = {file.src_uri for file in files}
    for file in files:  # mkdocs.yml excludes the Markdown of every report
        if file.src_uri.endswith("/report.md") and uri_of(f"docs/{file.src_uri}") == file.src_uri:
            file.inclusion = InclusionLevel.NOT_IN_NAV
    queue = [HOME, *(f"docs/{uri}" for uri in sorted(present) if uri.endswith(".md"))]
    for path in queue:
        if uri_of(path) not in present:
            file = File.generated(config, uri_of(path), content=content_of(path))
            file.inclusion = InclusionLevel.INCLUDED if path.endswith(".md") else InclusionLevel.NOT_IN_NAV
            files.append(file)
        queue += [target for target in linked_from(path) if target not in queue and uri_of(target) not in present]
    return files


def on_page_markdown(markdown, page, config, files):
    """Return the text of a page with its links made for the site."""
    uri = page.file.src_uri
    source = next((path for path in (HOME, uri, f"docs/{uri}") if uri_of(path) == uri and (ROOT / path).is_file()), None)
    if source is None:  # the page of a source file
        return markdown

    def for_site(match):
        target = join_path(source, match[2])
        return match[1] + (relpath(uri_of(target), dirname(uri) or ".") if (ROOT / target).is_file() else match[2])

    return LINK.sub(for_site, markdown.replace("<details>", '<details markdown="1">'))


def linked_from(path: str) -> list[str]:
    """Return the files of the project that a Markdown file links to, by their paths from the root."""
    if not path.endswith(".md"):
        return []
    targets = [join_path(path, target) for _, target in LINK.findall((ROOT / path).read_text())]
    return [target for target in targets if (ROOT / target).is_file()]


def join_path(path: str, link: str) -> str:
    """Return the path from the root of what ``link`` in the file ``path`` leads to."""
    return normpath(join(dirname(path), link))


def uri_of(path: str) -> str:
    """Return the path in the site's sources of a file of the project."""
    if path == HOME:
        return "index.md"
    if path.startswith("docs/"):
        page = path.removesuffix(".md") + ".html"  # a report's own page, which would have the address of its Markdown
        return (page if path.endswith("/report.md") and (ROOT / page).is_file() else path).removeprefix("docs/")
    return path if path.endswith(".md") else f"source/{path}.md"


def content_of(path: str) -> str:
    """Return the Markdown of a page that shows a file outside docs/."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get((ROOT / path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n`````{language}\n{text}`````\n"
