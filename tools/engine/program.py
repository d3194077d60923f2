"""Run the scripts of tools/ as the commands of one program: ``tricktransfer train`` is ``python tools/train.py``."""

import ast
import difflib
import os
import sys
from pathlib import Path
from types import ModuleType

from backbones.common.project import ROOT
from tools.engine.cli import COMPLETING, CommandParser, main

NAME = "tricktransfer"
FOR_DEVELOPERS = ("benchmark", "draw_architecture", "write_tricks_page")  # commands that are named below the others
ABOUT = """Compare pretrained backbones: does a trick that improves one on ImageNet also improve detection and segmentation?

  tricktransfer prepare_data toy
  tricktransfer study run demo
  tricktransfer report demo

Each command is a script of tools/, which python tools/COMMAND.py runs too. For completion by the Tab key in bash or zsh:

  pip install argcomplete
  eval "$(register-python-argcomplete tricktransfer)"
"""


def tricktransfer() -> None:
    """Run the command line, and exit."""
    main(run_command)


def scripts() -> dict[str, Path]:
    """Return the scripts of tools/ by name."""
    return {path.stem: path for path in sorted((ROOT / "tools").glob("*.py")) if path.stem != "__init__"}


def run_command() -> None:
    """Run the script that the first argument names with the other arguments.

    Raises:
        ValueError: no script has this name; names the nearest.
    """
    name = chosen_name()
    if name in scripts():
        run_script(scripts()[name], sys.argv[2:])
        return
    if name and not name.startswith("-"):
        nearest = difflib.get_close_matches(name, scripts(), n=3)
        hint = f"nearest: {', '.join(nearest)}" if nearest else f"all: {', '.join(scripts())}"
        raise ValueError(f"{NAME} has no command {name!r}; {hint}.")
    parser = CommandParser(prog=NAME, description=ABOUT, epilog=f"for developers of the project: {', '.join(FOR_DEVELOPERS)}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", required=True)
    for command, path in scripts().items():
        shown = {} if command in FOR_DEVELOPERS else {"help": first_line(path)}  # argparse lists those that have a help
        commands.add_parser(command, add_help=False, **shown)
    parser.parse_args()


def chosen_name() -> str:
    """Return the first argument, '' without one; for a shell that completes a line, its first whole one."""
    if COMPLETING not in os.environ:
        return sys.argv[1] if len(sys.argv) > 1 else ""
    words = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" ")
    if len(words) < 3 or words[1] not in scripts():
        return ""
    os.environ[COMPLETING] = "2"  # the number of the word that argcomplete takes for the name of the program
    return words[1]


def run_script(path: Path, arguments: list[str]) -> None:
    """Run a script as Python itself would, under the name ``tricktransfer NAME``."""
    sys.argv = [f"{NAME} {path.stem}", *arguments]
    module = ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)


def first_line(path: Path) -> str:
    """Return the first line of a script's docstring without its full stop."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0].rstrip(".")
