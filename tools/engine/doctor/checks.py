"""What ``tools/doctor.py`` looks at: checks that take facts and give findings."""

import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backbones.common.project import ROOT, SCALES
from tools.engine.config import Options, load, resolve, task_of

TESTED_PYTHON = (3, 11)
NEEDED = (
    "torch",
    "torchvision",
    "timm",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
)
OPENCV = ("opencv-python", "opencv-python-headless")
# The two lines of OpenMMLab share their import names: whichever was installed last wins, file by file.
FROZEN_LINE = ("mmengine", "mmengine-lite", "mmcv", "mmcv-full", "mmcv-lite", "mmdet", "mmsegmentation")
INSTALL = 'pip install -c constraints.txt -e ".[test]"'
INSTALL_ANY = 'pip install -e ".[test]"'


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    what: the thing; found: how it is; mend: the one command that puts it right, empty where nothing is wrong;
    note: worth knowing, though nothing is wrong.
    """

    what: str
    found: str
    mend: str = ""
    note: bool = False

    @property
    def state(self) -> str:
        return "WRONG" if self.mend else "note" if self.note else "ok"


def read_constraints(path: Path) -> dict[str, str]:
    """name -> version of the lines ``name==version`` of a constraints file; empty where there is no file."""
    if not path.is_file():
        return {}
    pairs = re.findall(r"^\s*([A-Za-z0-9._-]+)\s*==\s*([^\s;#]+)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): wanted for name, wanted in pairs}


def installed(names: Iterable[str]) -> dict[str, str | None]:
    """name -> version, or None where it is not installed."""

    def find(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: find(name) for name in names}


def check_python(running: tuple[int, int]) -> Finding:
    text = ".".join(map(str, running))
    tested = ".".join(map(str, TESTED_PYTHON))
    if running == TESTED_PYTHON:
        return Finding("python", text)
    return Finding("python", f"{text}: not tested, {tested} is", note=True)


def check_packages(have: dict[str, str | None], wanted: dict[str, str]) -> list[Finding]:
    """One finding per needed package: its version against the constraints', local parts (+cpu) aside."""
    mend = INSTALL if wanted else INSTALL_ANY
    findings = []
    for name in NEEDED:
        mine, right = have.get(name), wanted.get(name)
        if mine is None:
            findings.append(Finding(name, "not installed", mend))
        elif right and mine.partition("+")[0] != right.partition("+")[0]:
            findings.append(Finding(name, f"{mine}; constraints.txt has {right}", mend))
        else:
            findings.append(Finding(name, mine))
    return findings


def check_openmmlab(have: dict[str, str | None]) -> list[Finding]:
    """A finding where packages of OpenMMLab's frozen line stand beside those of the maintained one."""
    frozen = [name for name in FROZEN_LINE if have.get(name)]
    if not frozen:
        return []
    ours = [name for name in NEEDED if name.startswith("onedl-")]
    again = f"pip install --force-reinstall --no-deps -c constraints.txt {' '.join(ours)}"
    mend = f"pip uninstall -y {' '.join(frozen)} && {again}"
    return [
        Finding(
            "openmmlab",
            f"{', '.join(frozen)} overwrite files of the onedl packages (same import names)",
            mend,
        )
    ]


def check_opencv(have: dict[str, str | None], wanted: dict[str, str]) -> list[Finding]:
    """The two variants share files, so they must be of one version: the constraints', or the lower."""
    there = {name: have[name] for name in OPENCV if have.get(name)}
    if not there:
        return [Finding("opencv", "not installed", INSTALL if wanted else INSTALL_ANY)]
    text = ", ".join(f"{name} {number}" for name, number in there.items())
    if len(set(there.values())) == 1:
        return [Finding("opencv", text)]
    one = wanted.get(OPENCV[0]) or min(there.values(), key=_numbers)
    mend = f"pip install --force-reinstall --no-deps {' '.join(f'{name}=={one}' for name in there)}"
    return [Finding("opencv", f"{text}: they share files and differ", mend)]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def mend_import(name: str, message: str, headless: str | None = None) -> str:
    """The command that cures a failed import of ``name``, from what it said.

    Args:
        name: of the module.
        message: of the ImportError.
        headless: installed version of opencv-python-headless, if any: it needs no library of a display.
    """
    if name != "cv2" or not re.search(r"lib(GL|gthread|glib|SM|Xext|Xrender)\b", message):
        return INSTALL
    if headless:
        return f"pip install --force-reinstall --no-deps opencv-python-headless=={headless}"
    return "apt-get install -y libgl1 libglib2.0-0"


def check_import(name: str, have: dict[str, str | None], load_module: Callable[[str], object] = __import__) -> list[Finding]:
    """A finding where the module ``name`` cannot be imported."""
    try:
        load_module(name)
    except Exception as error:  # a damaged installation raises anything
        text = f"import fails: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return [Finding(name, text, mend_import(name, str(error), have.get(OPENCV[1])))]
    return []


def check_disk(free: int, folder: Path) -> Finding:
    """Free bytes where runs are written; a study of scale mini writes about 2 GB."""
    text = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= 2e9:
        return Finding("disk", text)
    return Finding(
        "disk",
        f"{text}: a study needs about 2",
        "du -sh work_dirs/runs/* | sort -h  # and remove what is not needed",
    )


def check_precision(in_hardware: bool, ratio: float) -> Finding:
    """bfloat16 on the CPU: what the processor says, and the measured time of bfloat16 over float32."""
    text = f"{'' if in_hardware else 'not '}in hardware; a convolution takes {ratio:.2f} of its float32 time"
    if in_hardware and ratio > 1.5:
        text += " (slower than it should be: is something else running?)"
    return Finding("bfloat16", text)


def measure_bf16(seconds: float = 1.5) -> float:
    """Time of a convolution of 64 channels, both ways, under bfloat16 autocast over that in float32."""
    import torch

    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.randn(8, 64, 32, 32).contiguous(memory_format=torch.channels_last)

    def step(enabled: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = layer(images)
        output.float().sum().backward()
        return time.perf_counter() - start

    times, end = {True: [], False: []}, time.perf_counter() + seconds
    for i in range(20):
        for enabled in (False, True):
            times[enabled].append(step(enabled))
        if i and time.perf_counter() > end:
            break
    return min(times[True]) / min(times[False])


def check_machine() -> list[Finding]:
    """Devices, threads and bfloat16, as torch sees them."""
    import torch

    from backbones.common.fact_cache import machine

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "not set")
    return [
        Finding("devices", ", ".join([*names, f"cpu ({cpu})"])),
        Finding(
            "threads",
            f"{torch.get_num_threads()} in torch, {cores} cores for this process, OMP_NUM_THREADS {limit}",
        ),
        check_precision(machine()["bf16"], measure_bf16()),
    ]


def check_operators() -> list[Finding]:
    from backbones.mmcv_ops import operators

    text = {
        "compiled": "compiled (mmcv._ext)",
        "torchvision": "torchvision's NMS and RoIAlign (mmcv is not compiled)",
    }
    return [Finding("operators of mmcv", text[operators()])]


def check_data() -> list[Finding]:
    """Whether the data of each scale and task is where its config looks; missing data is no fault."""
    findings = {}
    for scale in SCALES:
        for path in sorted((ROOT / "configs").glob(f"*/*_{scale}.py")):
            what = f"data: {path.parent.name}, {scale}"
            findings[what] = findings.get(what) or _data_of(what, path)
    return list(findings.values())


def _data_of(what: str, path: Path) -> Finding:
    transfers = task_of(load(path)).STAGE == "transfer"
    resolved = resolve(path, Options(backbone="scratch") if transfers else None)
    cfg, task = resolved.cfg, resolved.task
    try:
        task.check_data(cfg)
    except ValueError as error:
        hint = "; python tools/prepare_data.py toy makes it" if cfg.scale == "toy" else ""
        return Finding(what, f"{re.split('[;.] ', str(error))[0].rstrip('.')}{hint}", note=True)
    return Finding(what, f"found in {os.path.commonpath(task.data_folders(cfg))}")


def diagnose() -> list[Finding]:
    """All findings, in the order of the report. A part that cannot be looked at is a finding itself."""
    have = installed((*NEEDED, *OPENCV, *FROZEN_LINE))
    findings = [check_python(tuple(map(int, platform.python_version_tuple()[:2])))]
    wanted = read_constraints(ROOT / "constraints.txt")
    findings += check_packages(have, wanted) + check_openmmlab(have) + check_opencv(have, wanted)
    broken = [finding for name in ("torch", "torchvision", "cv2", "mmengine") for finding in check_import(name, have)]
    findings += broken
    if not broken:
        findings += check_operators() + check_machine()
    folder = Path.cwd()
    findings.append(check_disk(shutil.disk_usage(folder).free, folder))
    return findings if broken else findings + check_data()


def render(findings: list[Finding]) -> str:
    """The findings as aligned text, and under each that is wrong the command that mends it."""
    width = max(len(f.what) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"{f.state:5}  {f.what:{width}}  {f.found}")
        if f.mend:
            lines.append(f"{'':5}  {'':{width}}  mend: {f.mend}")
    wrong = sum(bool(f.mend) for f in findings)
    return "\n".join([*lines, "", f"{wrong} wrong." if wrong else "Nothing is wrong."])
