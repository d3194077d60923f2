"""Test the program ``tricktransfer``, its completion, and what an installed copy of the project answers."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tools.engine.program import FOR_DEVELOPERS, first_line, scripts, tricktransfer


def call(monkeypatch, capsys, *args: str) -> tuple[int, str, str]:
    """Return status, output and errors of the program in this process."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # set back afterwards
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["tricktransfer", *args])
    with pytest.raises(SystemExit) as end:
        tricktransfer()
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_its_commands_are_the_scripts(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = call(monkeypatch, capsys, "--help")
    assert status == 0 and {"train", "test", "study", "runs", "report"} < set(scripts())
    listed, _, below = out.replace("\n", " \n").partition("for developers of the project: ")
    for name, path in scripts().items():
        assert (f"    {name} " in listed and first_line(path) in listed) != (name in FOR_DEVELOPERS)
    assert below.strip() == ", ".join(FOR_DEVELOPERS) and set(FOR_DEVELOPERS) < set(scripts())


def test_a_command_runs_the_script_of_its_name(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capsys, "runs", "list") == (0, "No runs yet in work_dirs/runs.\n", "")
    status, _, err = call(monkeypatch, capsys, "report")
    assert status == 2 and "usage: tricktransfer report [-h]" in err and "tricktransfer report: error: the following" in err
    status, _, err = call(monkeypatch, capsys, "study", "run", "demo", "--jobs", "0")
    assert status == 2 and "tricktransfer study run: error: argument --jobs" in err
    assert call(monkeypatch, capsys, "study", "run", "dmeo")[2] == "error: There is no study dmeo; nearest: demo.\n"


def test_an_unknown_command_is_refused_with_the_nearest(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "trian")[2] == "error: tricktransfer has no command 'trian'; nearest: train.\n"
    assert call(monkeypatch, capsys)[0] == 2


def complete(line: str, folder: Path) -> set[str]:
    """Return what the program offers a shell after ``line``."""
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    variables |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "offers"), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    code = "from tools.engine.program import tricktransfer; tricktransfer()"
    subprocess.run([sys.executable, "-c", code], env=os.environ | variables, cwd=folder, check=True, capture_output=True)
    return {offer.strip() for offer in (folder / "offers").read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("tricktransfer st", {"study"}),
        ("tricktransfer study ", {"run", "status", "plan", "why"}),
        ("tricktransfer study run de", {"demo"}),
        ("tricktransfer study run demo --sca", {"--scale"}),
        ("tricktransfer study run demo --scale ", {"toy", "mini", "paper"}),
        ("tricktransfer train --restar", {"--restart"}),
        ("tricktransfer train --am", set()),  # answered, but not offered
        ("tricktransfer runs show 70", {"7087aa000000"}),
    ],
)
def test_a_shell_gets_commands_options_studies_and_keys(tmp_path, line, offers):
    pytest.importorskip("argcomplete")
    (tmp_path / "work_dirs/runs/7087aa000000").mkdir(parents=True)
    assert complete(line, tmp_path) >= offers and (offers or not complete(line, tmp_path))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A new virtual environment that sees the packages of this one but not the project."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the files that git tracks."""
    folder = tmp_path_factory.mktemp("clone") / "tricktransfer"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def install(environment: Path, *what: str) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--force-reinstall", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, *what], check=True)


def run(environment: Path, folder: Path, *args: str) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DATA_ROOT")}
    command = [str(environment / "bin/tricktransfer"), *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_editable_install_gives_the_program_in_any_folder(environment, clone, tmp_path):
    install(environment, "--editable", str(clone))
    done = run(environment, tmp_path, "study", "plan", "demo", "--recipes", "scratch")
    assert done.returncode == 0 and "demo at scale toy" in done.stdout, done.stderr
    assert run(environment, tmp_path, "--version").stdout.strip().endswith(str(clone))


@pytest.mark.slow
def test_a_wheel_says_in_one_sentence_that_the_project_is_used_from_its_clone(environment, clone, tmp_path):
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*line, str(clone)], check=True)
    (wheel,) = tmp_path.glob("tricktransfer-*.whl")
    install(environment, str(wheel))
    code = "import backbones; print(type(backbones.ResNet(50, 'd', base_channels=8)).__name__, backbones.__file__)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    imported = subprocess.run(
        [str(environment / "bin/python"), "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert imported.stdout.startswith(f"ResNet {environment}"), imported.stderr
    for args in ((), ("study", "run", "demo"), ("train", "configs/classification/resnet50_toy.py"), ("runs", "list")):
        done = run(environment, tmp_path, *args)
        assert done.returncode == 2 and done.stdout == "", done
        assert (
            done.stderr.startswith("error: TrickTransfer is used from a clone of its repository") and done.stderr.count("\n") == 1
        )
