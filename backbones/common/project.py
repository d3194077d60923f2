"""Define the paths of the project, and the names that all packages share."""

import difflib
import os
import re
import stat
from pathlib import Path

VERSION = "0.1.0"  # of the project; pyproject.toml reads it here
ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SCRATCH = "scratch"  # as the name of a backbone: random weights; scratch:CARD is the network of that card with random weights
SCALES = ("toy", "mini", "paper")
WORK = Path("work_dirs")
RUNS, RECORD = WORK / "runs", "record.json"  # folder of all runs, and the file that a finished run leaves in its own
KEY_START = re.compile("[0-9a-f]{1,12}")  # a run's key, or the beginning of one


def data_root() -> str:
    """Return the folder of all datasets: the variable DATA_ROOT, by default ``data``.

    Raises:
        ValueError: the variable is empty, is not valid text, or names something other than a folder. A path that does not exist
            is accepted.
    """
    root = os.environ.get("DATA_ROOT", "data")
    if not root:
        raise ValueError("The variable DATA_ROOT is empty; set it to the folder that holds the datasets, or unset it for data/.")
    try:
        root.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The variable DATA_ROOT is {root!a}, no text in UTF-8; rename the folder, or link to it.") from None
    try:
        reason = "" if stat.S_ISDIR(os.stat(root).st_mode) else "it is no folder"
        if not reason and not os.access(root, os.X_OK):
            reason = "Permission denied"
    except FileNotFoundError:  # what needs data says what should be there
        reason = ""
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise ValueError(f"The variable DATA_ROOT is {root!r:.80} ({reason}); set it to the folder that holds the datasets.")
    return root


def run_with_key(text: str | Path) -> Path | None:
    """Return the folder of the run whose key is ``text`` or begins with it; None if there is none.

    Raises:
        ValueError: the keys of several runs begin so; names the first ones.
    """
    if not KEY_START.fullmatch(str(text)):
        return None
    if (RUNS / text).is_dir():
        return RUNS / text
    runs = sorted(path for path in RUNS.glob(f"{text}*") if path.is_dir())
    if len(runs) > 1:
        keys = ", ".join(path.name for path in runs[:5])
        more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
        raise ValueError(f"The keys of {len(runs)} runs begin with {text}: {keys}{more}; give more of the key.")
    return runs[0] if runs else None


def run_keys(**_) -> list[str]:
    """Return the keys of all runs, sorted; also as a completer of arguments."""
    return sorted(path.name for path in RUNS.glob("*") if path.is_dir())


def find_run(name: str | Path) -> Path:
    """Return the folder of the run that ``name`` names: a folder, a key, or the beginning of a key.

    Raises:
        ValueError: there is no such run, or several; names the nearest.
    """
    if os.path.isdir(name):
        return Path(name)
    if run := run_with_key(name):
        return run
    keys = run_keys()
    nearest = difflib.get_close_matches(Path(name).name, keys, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(nearest)}" if nearest else f"{len(keys)} runs are in {RUNS}; tools/runs.py list shows them"
    raise ValueError(f"There is no run {name}; give a run's folder, its key or the beginning of its key ({hint}).")
