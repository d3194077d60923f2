"""Check the installation and this machine for ``tools/doctor.py``: functions that take facts and return findings."""

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
# The two lines of OpenMMLab share their import names, so the one installed last overwrites files of the other.
FROZEN_LINE = ("mmengine", "mmengine-lite", "mmcv", "mmcv-full", "mmcv-lite", "mmdet", "mmsegmentation")
MADE_BY = {  # scale -> command of tools/prepare_data.py
    "toy": "toy",
    "mini": "subset --for mini from the published datasets, and set DATA_ROOT to data/mini",
}
INSTALL = 'pip install -c constraints.txt -e ".[test]"'
INSTALL_ANY = 'pip install -e ".[test]"'


@dataclass(frozen=True)
class Finding:
    """Hold one line of the report.

    Attributes:
        what: the item that was checked.
        found: its state.
        fix: the command that fixes it; empty if nothing is wrong.
        note: True for a remark that is not a problem.
    """

    what: str
    found: str
    fix: str = ""
    note: bool = False

    @property
    def state(self) -> str:
        """Return "WRONG", "note" or "ok"."""
        if self.fix:
            return "WRONG"
        return "note" if self.note else "ok"


def read_constraints(path: Path) -> dict[str, str]:
    """Return {name: version} from the lines ``name==version`` of a constraints file, or {} if the file does not exist."""
    if not path.is_file():
        return {}
    pairs = re.findall(r"^\s*([A-Za-z0-9._-]+)\s*==\s*([^\s;#]+)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): pinned for name, pinned in pairs}


def installed(names: Iterable[str]) -> dict[str, str | None]:
    """Return {name: version}, with None for a package that is not installed."""

    def find(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: find(name) for name in names}


def check_python(running: tuple[int, int]) -> Finding:
    """Compare the running version of Python with the tested one; another version is a note."""
    text = ".".join(map(str, running))
    tested = ".".join(map(str, TESTED_PYTHON))
    if running == TESTED_PYTHON:
        return Finding("python", text)
    return Finding("python", f"{text}: not tested (tested: {tested})", note=True)


def check_packages(have: dict[str, str | None], wanted: dict[str, str]) -> list[Finding]:
    """Return a finding for each needed package that compares its version with the constraints', ignoring local parts (+cpu)."""
    command = INSTALL if wanted else INSTALL_ANY
    findings = []
    for name in NEEDED:
        current, required = have.get(name), wanted.get(name)
        if current is None:
            findings.append(Finding(name, "not installed", command))
        elif required and current.partition("+")[0] != required.partition("+")[0]:
            findings.append(Finding(name, f"{current}; constraints.txt has {required}", command))
        else:
            findings.append(Finding(name, current))
    return findings


def check_openmmlab(have: dict[str, str | None]) -> list[Finding]:
    """Return a finding if packages of OpenMMLab's frozen line are installed beside those of the maintained one."""
    frozen = [name for name in FROZEN_LINE if have.get(name)]
    if not frozen:
        return []
    maintained = [name for name in NEEDED if name.startswith("onedl-")]
    reinstall = f"pip install --force-reinstall --no-deps -c constraints.txt {' '.join(maintained)}"
    command = f"pip uninstall -y {' '.join(frozen)} && {reinstall}"
    text = f"{', '.join(frozen)} overwrite files of the onedl packages (same import names)"
    return [Finding("openmmlab", text, command)]


def check_opencv(have: dict[str, str | None], wanted: dict[str, str]) -> list[Finding]:
    """Compare the versions of OpenCV's two variants.

    The variants share files, so they need one version: that of the constraints or, without one, the lower.
    """
    variants = {name: have[name] for name in OPENCV if have.get(name)}
    if not variants:
        return [Finding("opencv", "not installed", INSTALL if wanted else INSTALL_ANY)]
    text = ", ".join(f"{name} {number}" for name, number in variants.items())
    if len(set(variants.values())) == 1:
        return [Finding("opencv", text)]
    target = wanted.get(OPENCV[0]) or min(variants.values(), key=_numbers)
    command = f"pip install --force-reinstall --no-deps {' '.join(f'{name}=={target}' for name in variants)}"
    return [Finding("opencv", f"{text}: they share files, but their versions differ", command)]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def mend_import(name: str, message: str, headless: str | None = None) -> str:
    """Return the command that fixes a failed import.

    Args:
        name: name of the module.
        message: message of the ImportError.
        headless: installed version of opencv-python-headless, or None. This variant needs no display libraries.
    """
    if name != "cv2" or not re.search(r"lib(GL|gthread|glib|SM|Xext|Xrender)\b", message):
        return INSTALL
    if headless:
        return f"pip install --force-reinstall --no-deps opencv-python-headless=={headless}"
    return "apt-get install -y libgl1 libglib2.0-0"


def check_import(name: str, have: dict[str, str | None], load_module: Callable[[str], object] = __import__) -> list[Finding]:
    """Return a finding if the module ``name`` cannot be imported."""
    try:
        load_module(name)
    except Exception as error:  # a damaged installation raises anything
        text = f"import fails: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return [Finding(name, text, mend_import(name, str(error), have.get(OPENCV[1])))]
    return []


def check_disk(free: int, folder: Path) -> Finding:
    """Check the free bytes where runs are written. A study of scale mini writes about 2 GB."""
    text = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= 2e9:
        return Finding("disk", text)
    command = "du -sh work_dirs/runs/* | sort -h  # and remove what is not needed"
    return Finding("disk", f"{text}; a study needs about 2 GB", command)


def check_precision(in_hardware: bool, ratio: float) -> Finding:
    """Report bfloat16 on the CPU: whether the processor supports it, and its measured time over that of float32."""
    text = f"{'' if in_hardware else 'not '}in hardware; a convolution takes {ratio:.2f} of its float32 time"
    if in_hardware and ratio > 1.5:
        text += " (slower than expected: is another program running?)"
    return Finding("bfloat16", text)


def measure_bf16(seconds: float = 1.5) -> float:
    """Return the time of a convolution of 64 channels, forward and backward, under bfloat16 autocast over that in float32."""
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
    """Report devices, threads and bfloat16 as torch sees them."""
    import torch

    from backbones.common.fact_cache import machine

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "not set")
    return [
        Finding("devices", ", ".join([*names, f"cpu ({cpu})"])),
        Finding("threads", f"{torch.get_num_threads()} in torch, {cores} cores for this process, OMP_NUM_THREADS {limit}"),
        check_precision(machine()["bf16"], measure_bf16()),
    ]


def check_operators() -> list[Finding]:
    """Report which implementation of mmcv's operators runs."""
    from backbones.mmcv_ops import operators

    text = {
        "compiled": "compiled (mmcv._ext)",
        "torchvision": "torchvision's NMS and RoIAlign (mmcv is not compiled)",
    }
    return [Finding("operators of mmcv", text[operators()])]


def check_data() -> list[Finding]:
    """Report whether each scale and task has its data where the config expects it. Missing data is a note, not a problem."""
    findings: dict[str, Finding] = {}
    for scale in SCALES:
        for path in sorted((ROOT / "configs").glob(f"*/*_{scale}.py")):
            item = f"data: {path.parent.name}, {scale}"
            if item not in findings:
                findings[item] = _data_of(item, path)
    return list(findings.values())


def _data_of(item: str, path: Path) -> Finding:
    transfers = task_of(load(path)).STAGE == "transfer"
    resolved = resolve(path, Options(backbone="scratch") if transfers else None)
    cfg, task = resolved.cfg, resolved.task
    try:
        task.check_data(cfg)
    except ValueError as error:
        hint = f"; generate it with python tools/prepare_data.py {MADE_BY[cfg.scale]}" if cfg.scale in MADE_BY else ""
        return Finding(item, f"{re.split('[;.] ', str(error))[0].rstrip('.')}{hint}", note=True)
    return Finding(item, f"found in {os.path.commonpath(task.data_folders(cfg))}")


def diagnose() -> list[Finding]:
    """Return all findings in the order of the report. A package that cannot be imported is a finding too."""
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
    """Return the findings as aligned text, with the fixing command under each problem."""
    width = max(len(f.what) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"{f.state:5}  {f.what:{width}}  {f.found}")
        if f.fix:
            lines.append(f"{'':5}  {'':{width}}  fix: {f.fix}")
    problems = sum(bool(f.fix) for f in findings)
    count = f"{problems or 'No'} {'problem' if problems == 1 else 'problems'} found."
    return "\n".join([*lines, "", count])
