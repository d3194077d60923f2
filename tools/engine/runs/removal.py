"""Remove runs that nobody needs any more, after asking."""

import shutil
import sys
from collections.abc import Sequence

from backbones.common.project import RUNS, find_run
from tools.engine.run_folder import RECORD, early_log, expected_key, locked
from tools.engine.runs.facts import RunFacts, runs_on
from tools.engine.wording import counted


def named_runs(names: Sequence[str], runs: Sequence[RunFacts]) -> list[RunFacts]:
    """Return the runs of work_dirs/runs that are named by key, the beginning of a key, or folder.

    Raises:
        ValueError: there is no such run, or it lies elsewhere.
    """
    by_key = {run.key: run for run in runs}
    chosen: dict[str, RunFacts] = {}
    for name in names:
        folder = find_run(name)
        if folder.absolute().parent != RUNS.absolute() or folder.name not in by_key:
            raise ValueError(f"{folder} is no run of {RUNS}, and only these are removed; remove that folder yourself.")
        chosen[folder.name] = by_key[folder.name]
    return list(chosen.values())


def consequences(chosen: Sequence[RunFacts], runs: Sequence[RunFacts]) -> list[str]:
    """Return a sentence for each run to remove that something else uses.

    Raises:
        ValueError: a process is running one of them.
    """
    lines, keys = [], {run.key for run in chosen}
    for run in chosen:
        if run.is_running:
            raise ValueError(f"The run {run.key} is being run by a process; stop that first.")
        if run.tables:
            lines.append(f"{run.key} is in the table of {', '.join(run.tables)}.")
        if others := [other.key for other in runs_on(run, runs) if other.key not in keys]:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            lines.append(f"{run.key} wrote the card of {', '.join(others[:3])}{more}.")
    return lines


def refuse_while_running(runs: Sequence[RunFacts]) -> None:
    """Refuse to call runs unused while others go on, since a study names its runs in a table only at its end.

    Raises:
        ValueError: a process is running a run; names the first ones.
    """
    if running := [run.key for run in runs if run.is_running]:
        raise ValueError(
            f"{counted(len(running), 'run')} still going on ({', '.join(running[:3])}), and a study names its runs only at its "
            "end; wait for that before --unused."
        )


def confirm(question: str, yes: bool) -> bool:
    """Return whether the user agrees.

    Raises:
        ValueError: nobody can be asked, since the input is no terminal.
    """
    if yes:
        return True
    if not (sys.stdin and sys.stdin.isatty()):
        raise ValueError("Nobody can be asked here, since the input is no terminal; give --yes to remove without being asked.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def remove(run: RunFacts) -> None:
    """Remove a run with its logs. Its record goes first, so that a half removed run is never taken for a finished one.

    Raises:
        ValueError: a process has begun to run it.
    """
    folder = run.folder
    with locked(folder, wait=0):
        if folder.is_symlink():  # what it leads to stays
            folder.unlink()
        else:
            (folder / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder)
    for path in (early_log(folder), early_log(folder).with_suffix(".failed.txt"), expected_key(folder)):
        path.unlink(missing_ok=True)
