"""Where the project lies, and the words that all of it shares."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SCRATCH = "scratch"  # as a backbone: random weights
SCALES = ("toy", "mini", "paper")
