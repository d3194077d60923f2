"""Turn published weights into backbone cards: list the files that a study needs, find or download them, and write the cards."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from backbones.card_facts import JSON, CardFacts, read_card_json
from backbones.common.files import sha256

IMAGENET_MEAN, IMAGENET_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of most published weights
FILES, CARDS = Path("checkpoints"), Path("work_dirs/cards")
HUB = "https://huggingface.co/{}/resolve/main/model.safetensors"


@dataclass(frozen=True)
class Weights:
    """Represent a row of a study that starts from published weights.

    Args:
        name: name of the row.
        source: 'timm:NAME.TAG' or 'torchvision:NAME.WEIGHTS', as ``tools/import_backbone.py`` takes it.
        file: name of the file.
        about: short description of the training recipe.
        top1: published top-1 accuracy in percent.
    """

    name: str
    source: str
    file: str
    about: str
    top1: float | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of its card, which all studies share."""
        return CARDS / self.source.replace(":", "-")

    @property
    def made(self) -> bool:
        return (self.folder / JSON).is_file()

    @property
    def path(self) -> Path | None:
        """Return the file in checkpoints/ or in torch's download cache; None if it is in neither."""
        from torch.hub import get_dir

        return next((p for p in (FILES / self.file, Path(get_dir()) / FILES.name / self.file) if p.is_file()), None)

    @property
    def state(self) -> str:
        """Return 'card made', 'file there' or 'file missing'."""
        if self.made:
            return "card made"
        return "file there" if self.path else "file missing"

    @property
    def url(self) -> str:
        """Return where the file is published: the address of torchvision or timm, else timm's file on the Hugging Face Hub.

        Raises:
            ValueError: the library does not have such weights.
        """
        from backbones.interchange.reference_networks import timm_config, torchvision_weights

        library, name = self.source.split(":", 1)
        if library == "torchvision":
            return torchvision_weights(name).url
        config = timm_config(name)
        return config.url or HUB.format(config.hf_hub_id)

    @property
    def arch(self) -> dict:
        """Return the network of its card, or the network of its name while there is no card."""
        from backbones.interchange.reference_networks import arch_of

        return card_arch(self.folder) or arch_of(self.source.split(":", 1)[1])

    @property
    def facts(self) -> CardFacts:
        """Return the facts of the card; before it is written, those that the name implies, with a provisional identity."""
        if self.made:
            return CardFacts.read(self.folder)
        inputs = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD, channel_order="rgb")
        return CardFacts(self.arch, **inputs, folder=str(self.folder), identity=f"no card yet in {self.folder}")

    @property
    def digest(self) -> str | None:
        """Return the first digits of the file's sha256 from its name; None for timm, whose names do not promise them."""
        match = re.search(r"-([0-9a-f]{8,})\.\w+$", self.file)
        return match[1] if match and self.source.startswith("torchvision:") else None

    def make(self) -> list[str]:
        """Write the card from the file and return sentences on what was assumed.

        Raises:
            ValueError: the file does not have the sha256 of its name, or is not of this network.
        """
        from backbones.interchange.importer import import_backbone

        if self.digest and not (digest := sha256(self.path)).startswith(self.digest):
            raise ValueError(
                f"{self.path} is not the file that its name says: its sha256 begins with {digest[: len(self.digest)]}. "
                "Download it again, or give your own file another name and a row of its own in a study."
            )
        facts = {} if self.top1 is None else {"top1": self.top1}
        imported = import_backbone(str(self.path), network=self.source, **facts)
        imported.write(self.folder)
        return imported.notes


def card_arch(folder: str | Path) -> dict | None:
    """Return the network of the card in ``folder``, or None if there is no card."""
    path = Path(folder) / JSON
    return read_card_json(path)["arch"] if path.is_file() else None


def make_cards(weights: Iterable[Weights], log: Callable[[str], None]) -> None:
    """Write the missing cards from local files; download missing files if their host can be reached.

    Raises:
        ValueError: files are missing, or see ``Weights.make``.
    """
    weights = list(weights)
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

    hosts = {row.name: "https://" + urlsplit(row.url).netloc for row in weights}
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
    runnable = " ".join(["scratch", *(row.name for row in others)])
    return (
        f"{len(missing)} of {len(missing) + len(others)} weight files are missing and could not be downloaded: {files}. Put them "
        f"there and start the same command again, or leave their rows out with --recipes {runnable}."
    )
