"""Run stages, print their tables and save all measurements."""

import os
import platform
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from backbones.common.files import write_json
from tools.benchmarks.rounds import Comparison, Settings, measure

PACKAGES = ("torch", "torchvision", "timm", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation", "pillow")


def run_stages(stages: list[str], settings: Settings, out: Path) -> None:
    """Run ``stages`` one after another; rewrite the file ``out`` after each, with the system load before and after the stage."""
    console = Console()
    facts = machine(settings)
    report = {"machine": facts, "stages": {}}
    console.print(", ".join(f"{name} {value}" for name, value in facts.items() if name != "versions"), highlight=False)
    for stage in stages:
        results, load, started = [], os.getloadavg()[0], time.time()
        with console.status(stage) as status:
            for item in import_module(f"tools.benchmarks.{stage}").comparisons(settings):
                result = measure(item, settings, status.update) if isinstance(item, Comparison) else item
                results.append(result)
                for table in tables(result):
                    console.print(table, highlight=False)
        report["stages"][stage] = {
            "seconds": time.time() - started,
            "load": {"before": load, "after": os.getloadavg()[0]},
            "results": results,
        }
        write_json(out, report)
    console.print(out, highlight=False)


def machine(settings: Settings) -> dict:
    """Return what the times depend on: processor, cores, threads, device, versions, date."""
    import torch

    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "rounds": settings.rounds,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": dict(versions()),
    }


def versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def cpu_name() -> str:
    """Return the name of the processor as the system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def tables(result: dict) -> Iterator[Table | str]:
    """Yield a result for the terminal: the ratios of a comparison, or the rows of any other result (``columns``, ``rows``)."""
    if "rows" in result:
        table = Table(*result["columns"], title=result["name"], title_justify="left")
        for row in result["rows"]:
            table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row))
    else:
        table = Table("", f"{result['unit']}/s", "ours is faster by", "aim", title=result["name"], title_justify="left")
        for name, rates in result["rates"].items():
            table.add_row(name, f"{median(rates):.4g}", ratio(result["ratios"].get(name)), aim(result["aims"].get(name)))
    yield table
    for line in [*(f"equal: {line}" for line in result.get("equal", ())), *result.get("notes", ())]:
        yield f"  {line}"
    yield ""


def ratio(spread: dict | None) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})" if spread else ""


def aim(least: float | None) -> str:
    return f">= {least:g}" if least else ""
