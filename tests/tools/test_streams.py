"""Check that the tools end quietly when the reader of their output goes, and write in any encoding."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tools.engine.cli import CLOSED_PIPE

TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py") if path.name != "__init__.py")
LATIN = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def start(line: list, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *map(str, line)], stderr=subprocess.PIPE, text=True, **options)


def closed_pipe() -> int:
    """Return the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def unexpected(errors: str) -> list[str]:
    """Return the lines of stderr without the one that says of an empty cache that it is filled."""
    return [line for line in errors.splitlines() if not line.startswith("Measuring networks")]


@pytest.mark.parametrize("tool", TOOLS)
def test_help_ends_quietly_without_a_reader(tool):
    pipe = closed_pipe()
    process = start([ROOT / "tools" / tool, "--help"], stdout=pipe)
    os.close(pipe)
    assert process.communicate()[1] == ""


@pytest.mark.parametrize(
    "line",
    [
        ["study.py", "plan", "configs/studies/table8.py", "--scale", "paper"],
        ["study.py", "status", "configs/studies/table8.py", "--scale", "paper"],
        ["print_config.py", "configs/classification/resnet50_toy.py"],
    ],
)
def test_output_ends_quietly_without_a_reader(line, toy_root, tmp_path):
    pipe, env = closed_pipe(), os.environ | {"DATA_ROOT": str(toy_root.parent)}
    process = start([ROOT / "tools" / line[0], *line[1:]], stdout=pipe, env=env, cwd=tmp_path)
    os.close(pipe)
    assert unexpected(process.communicate()[1]) == [] and process.returncode in (CLOSED_PIPE, 1)  # 1: rich's own end


def test_an_error_without_a_reader_is_quiet_too(tmp_path):
    pipe = closed_pipe()
    line = [sys.executable, ROOT / "tools/study.py", "plan", "configs/studies/nothing.py"]
    process = subprocess.Popen(list(map(str, line)), stdout=pipe, stderr=pipe)
    os.close(pipe)
    assert process.wait() in (2, CLOSED_PIPE)


def test_a_pipe_that_breaks_elsewhere_is_no_end_of_the_reader():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.engine.cli import main\n"
    code += "def fail(): raise BrokenPipeError('a loader worker')\nmain(fail)"
    process = start(["-c", code], stdout=subprocess.DEVNULL)
    assert "BrokenPipeError: a loader worker" in process.communicate()[1] and process.returncode == 1


def test_a_full_disk_behind_the_output_gives_one_sentence():
    with open("/dev/full", "w") as full:
        process = start([ROOT / "tools/print_config.py", "configs/classification/resnet50_toy.py"], stdout=full)
        errors = process.communicate()[1]
    assert errors.count("\n") == 1 and "No space left on device" in errors and process.returncode == 2


@pytest.mark.parametrize("env", [dict(PYTHONIOENCODING="latin-1"), dict(PYTHONIOENCODING="ascii"), LATIN, dict(TERM="dumb")])
def test_a_plan_is_shown_in_any_encoding(env, tmp_path):
    line = [ROOT / "tools/study.py", "plan", "configs/studies/table8.py", "--scale", "paper"]
    process = start(line, stdout=subprocess.PIPE, env=os.environ | env, cwd=tmp_path, encoding="latin-1")
    output, errors = process.communicate()
    assert process.returncode == 0 and unexpected(errors) == [] and "B-standard" in output


@pytest.mark.slow
def test_a_run_in_an_ascii_locale_writes_its_files_in_utf8(toy_root, tmp_path):
    folder, small = tmp_path / "Läufe", ["batch=2", "num_workers=0", "epochs=1", "model.backbone.base_channels=8"]
    line = [ROOT / "tools/train.py", "configs/classification/resnet50_toy.py", "--work-dir", folder, "--cfg-options", *small]
    env = os.environ | LATIN | {"DATA_ROOT": str(toy_root.parent)}
    process = start(line, stdout=subprocess.PIPE, env=env, cwd=tmp_path, encoding="ascii", errors="strict")
    output, errors = process.communicate()
    assert process.returncode == 0 and "Traceback" not in errors and "L?ufe" in output, errors
    (log,) = folder.glob("2*/*.log")
    assert "Läufe" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("home", ["missing", "a file"])
def test_a_user_without_a_home_can_plan(tmp_path, home):
    path = tmp_path / "home"
    if home == "a file":
        path.write_text("x")
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG")} | {"HOME": str(path / "x")}
    process = start([ROOT / "tools/study.py", "plan", "configs/studies/demo.py"], stdout=subprocess.PIPE, env=env, cwd=tmp_path)
    assert unexpected(process.communicate()[1]) == [] and process.returncode == 0


@pytest.mark.parametrize(("durations", "lines"), [((0.3,), 1), ((0.05, 0.05, 0.05, 0.05), 1), ((0.3, 0.3), 1), ((0.0, 0.0), 0)])
def test_measuring_that_takes_long_is_told_once(monkeypatch, tmp_path, capsys, durations, lines):
    from backbones.common import fact_cache

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fact_cache, "PATIENCE", 0.12)
    monkeypatch.setattr(fact_cache, "_waited", [0.0])
    fact_cache._say_once.cache_clear()
    for i, duration in enumerate(durations):
        fact_cache.cached("test", i, lambda duration=duration: time.sleep(duration) or {})
    said = capsys.readouterr()
    assert (
        said.err.count(f"Measuring networks and this machine, once: {tmp_path}/tricktransfer keeps") == lines and said.out == ""
    )


def test_what_is_cached_is_told_at_once(monkeypatch, tmp_path, capsys):
    from backbones.common import fact_cache

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fact_cache, "PATIENCE", 0.0)
    fact_cache.cached("test", "fact", dict)
    capsys.readouterr()
    fact_cache._say_once.cache_clear()
    fact_cache._read.clear()
    assert fact_cache.cached("test", "fact", lambda: pytest.fail("computed again")) == {} and capsys.readouterr().err == ""


def test_the_cache_of_an_unknown_user_is_in_the_temporary_folder(monkeypatch, tmp_path):
    from backbones.common import fact_cache

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fact_cache.folder() == tmp_path / f"cache-{os.getuid()}/tricktransfer"
