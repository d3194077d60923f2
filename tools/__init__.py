"""Hold the command-line tools of the project."""

import importlib.util
import sys

if importlib.util.find_spec("msgspec") is None:  # the first package that every script needs
    print(
        f"error: {sys.executable} lacks the packages of this project. Run 'make setup' once and '. .venv/bin/activate' in each "
        "new shell, or 'pip install -c constraints.txt -e .' in an environment of your own.",
        file=sys.stderr,
    )
    raise SystemExit(2)
