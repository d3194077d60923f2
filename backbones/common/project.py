"""Define the paths of the project, and the names that all packages share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SCRATCH = "scratch"  # as the name of a backbone: random weights
SCALES = ("toy", "mini", "paper")
