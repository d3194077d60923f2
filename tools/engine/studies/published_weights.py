"""Cards of published weights: which files the rows of a study need, where each is looked for, and making the cards."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from backbones.card_facts import JSON, CardFacts
from backbones.common.files import read_json, sha256

IMAGENET_MEAN, IMAGENET_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of most published weights
FILES, CARDS = Path("checkpoints"), Path("work_dirs/cards")
HUB = "https://huggingface.co/{}/resolve/main/model.safetensors"


@dataclass(frozen=True)
class Weights:
    """A row of a study that starts from published weights.

    Args:
        name: of the row.
        source: as ``tools/import_backbone.py`` takes it: 'timm:NAME.TAG' or 'torchvision:NAME.WEIGHTS'.
        file: what the file is called.
        about: the recipe in a few words.
        top1: as published, in percent.
    """

    name: str
    source: str
    file: str
    about: str
    top1: float | None = None

    @property
    def folder(self) -> Path:
        """Of its card, which every study shares."""
        return CARDS / self.source.replace(":", "-")

    @property
    def made(self) -> bool:
        return (self.folder / JSON).is_file()

    @property
    def path(self) -> Path | None:
        """Where the file is: in checkpoints/, or where torch keeps what it downloads; None where it is not."""
        from torch.hub import get_dir

        return next((p for p in (FILES / self.file, Path(get_dir()) / FILES.name / self.file) if p.is_file()), None)

    @property
    def state(self) -> str:
        """'card made', 'file there' or 'file missing'."""
        return "card made" if self.made else "file there" if self.path else "file missing"

    @property
    def url(self) -> str:
        """Where the file is published: by torchvision or timm, or on the Hub where timm has it there alone.

        Raises:
            ValueError: the library has no such weights.
        """
        from backbones.interchange.reference_networks import timm_config, torchvision_weights

        library, name = self.source.split(":", 1)
        if library == "torchvision":
            return torchvision_weights(name).url
        config = timm_config(name)
        return config.url or HUB.format(config.hf_hub_id)

    @property
    def arch(self) -> dict:
        """The network: as its card has it, else as its name says."""
        from backbones.interchange.reference_networks import arch_of

        return card_arch(self.folder) or arch_of(self.source.split(":", 1)[1])

    @property
    def facts(self) -> CardFacts:
        """The facts of the card; of one that is not made yet, what its name says, with a provisional identity."""
        if self.made:
            return CardFacts.read(self.folder)
        plain = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD, channel_order="rgb")
        return CardFacts(self.arch, **plain, folder=str(self.folder), identity=f"no card yet in {self.folder}")

    @property
    def digest(self) -> str | None:
        """The first digits of the file's sha256, with which torchvision's names end; timm does not promise that of its own."""
        match = re.search(r"-([0-9a-f]{8,})\.\w+$", self.file)
        return match[1] if match and self.source.startswith("torchvision:") else None

    @property
    def command(self) -> str:
        """The command line that makes the card by hand."""
        top1 = "" if self.top1 is None else f" --top1 {self.top1:g}"
        return f"python tools/import_backbone.py {FILES / self.file} --network {self.source}{top1} --out {self.folder.as_posix()}"

    def make(self) -> list[str]:
        """Makes the card from the file; returns sentences on what was assumed.

        Raises:
            ValueError: the file is not the one that its name says, or not of this network.
        """
        from backbones.interchange.importer import import_backbone

        if self.digest and not (found := sha256(self.path)).startswith(self.digest):
            raise ValueError(
                f"{self.path} is not the file that its name says: its sha256 begins with {found[: len(self.digest)]}; get it "
                "again, or give a file of your own a name and a row of its own in a study."
            )
        given = {} if self.top1 is None else {"top1": self.top1}
        made = import_backbone(str(self.path), network=self.source, **given)
        made.write(self.folder)
        return made.notes


def card_arch(folder: str | Path) -> dict | None:
    """The network of the card in ``folder``, or None where there is none."""
    path = Path(folder) / JSON
    return read_json(path)["arch"] if path.is_file() else None


def make_cards(weights: Iterable[Weights], log: Callable[[str], None]) -> None:
    """Makes the cards that are not there, from files at hand or, where a network is, downloaded ones.

    Raises:
        ValueError: files are missing, with a line for each; or see ``Weights.make``.
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
    """Fetches the files into checkpoints/, from every host that answers; what fails is logged."""
    from torch.hub import download_url_to_file

    hosts = {row.name: "https://" + urlsplit(row.url).netloc for row in weights}
    there = {host for host in set(hosts.values()) if answers(host)}
    for row in [row for row in weights if hosts[row.name] in there]:
        FILES.mkdir(exist_ok=True)
        log(f"downloading {row.url} to {FILES / row.file}")
        try:
            download_url_to_file(row.url, str(FILES / row.file), row.digest, progress=False)
        except (OSError, RuntimeError) as error:
            log(f"{row.url} could not be downloaded ({error})")


def answers(host: str) -> bool:
    """Whether there is a way to ``host`` within five seconds, whatever it answers."""
    try:
        urlopen(Request(host, method="HEAD"), timeout=5).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True


def missing_text(missing: list[Weights], others: list[Weights]) -> str:
    """What to do about files that are not there: a line for each."""
    rows = [f"  {row.name:13} {FILES / row.file}  from {row.url}" for row in missing]
    can = " ".join(["scratch", *(row.name for row in others)])
    return "\n".join(
        [
            f"{len(missing)} of {len(missing) + len(others)} files of weights are not here and could not be downloaded. Put each "
            "where its line says and start the same command again:",
            *rows,
            f"Rows that can run without them: --recipes {can}. Cards are then made by themselves; by hand:",
            *(f"  {row.command}" for row in missing),
        ]
    )
