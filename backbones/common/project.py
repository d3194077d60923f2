"""Define the paths of the project, and the names that all packages share."""

import os
import stat
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SCRATCH = "scratch"  # as the name of a backbone: random weights; scratch:CARD is the network of that card with random weights
SCALES = ("toy", "mini", "paper")
RUNS, RECORD = Path("work_dirs/runs"), "record.json"  # folder of all runs, and the file that a finished run leaves in its own


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
