"""Start a real Slurm where it is installed, and wait for what it does."""

import os
import subprocess
import time

import pytest

from backbones.common.project import ROOT

SCRIPT = ROOT / "tests/slurm/start.sh"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start a cluster, point the environment of this process to it, and yield its folder."""
    folder = tmp_path_factory.mktemp("slurm")
    process = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, timeout=120)
    if process.returncode == 77:
        subprocess.run([SCRIPT, "stop", folder])
        pytest.skip(process.stderr.splitlines()[-1])
    assert process.returncode == 0, process.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("SLURM_", "SBATCH_", "SRUN_", "SCANCEL_"))]:
            patch.delenv(name)
        patch.setenv("SLURM_CONF", process.stdout.removeprefix("export SLURM_CONF='").rstrip("'\n"))
        yield folder
    stopped = subprocess.run([SCRIPT, "stop", folder], capture_output=True, text=True, timeout=60)
    assert stopped.returncode == 0 and not folder.exists(), stopped.stderr


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds: {condition}"
        time.sleep(0.2)
