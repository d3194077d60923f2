"""Whether anybody reads the keys of a config: MMEngine itself accepts any key in silence, a misspelt one too.

There is no list of allowed keys. A key is known if what is built from its dict takes it (``tools.engine.taken``); where nothing
is built from a dict, and at the top of a config, a protocol or a study, it is known if some code reads it.
"""

import ast
import difflib
import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbones.configs import read_config
from tools.engine.quiet import quiet
from tools.engine.taken import READ, found, taken

ROOT = Path(__file__).resolve().parents[2]
ENGINE, BACKBONES, CONFIGS = ROOT / "tools/engine", ROOT / "backbones", ROOT / "configs"
OF_A_CONFIG = re.compile(
    r"""(?:\bcfg|\bready|\bload\([^()]*\))(?:\.(?:get|pop|setdefault)\("(\w+)"|\.(\w+)\b(?!\s*=[^=]))|"(\w+)"\s+(?:not\s+)?in\scfg\b"""
)
OF_A_PROTOCOL = re.compile(r"""\bprotocol(?:\[|\.get\()"(\w+)"|\bcfg\.protocol\.(\w+)""")
OF_A_STUDY = re.compile(r"""\b(?:(?:study\.|self\.)data|catalogue)\.(\w+)|getattr\((?:\w+\.)?data, "(\w+)\"""")
BESIDE = ("type", "_scope_", "_delete_")  # MMEngine's own, in any dict
OPTIONS = {  # names of a config that have an option, which is read after --cfg-options
    **dict(tricks="--tricks", backbone="--backbone", transfer="--transfer", lr_factor="--lr-factor", hold_out="--hold-out"),
    **dict(seed="--seed", randomness="--seed", work_dir="--work-dir", run="--work-dir", launcher="--launcher", resume="--resume"),
    "on_bad_image": "--on-bad-image",
}


@quiet()  # it is here that a run imports mmdet and mmseg
def check_config(cfg, where: str) -> None:
    """Checks every key of a config, resolved or as it was read.

    Args:
        cfg: an mmengine Config of a task.
        where: what an error calls it: its file.

    Raises:
        ValueError: nothing takes a key, or there is nothing of the name in a ``type``; says where and what is nearest.
    """
    _check_names(cfg, where)
    for name in names_read(cfg.task).intersection(cfg) - {"tricks"}:  # those and their options are checked by compose()
        _walk(cfg, name, cfg[name], where)


@quiet()
def check_overrides(cfg, overrides: dict[str, Any], where: str) -> None:
    """Checks what --cfg-options would change, before anything is merged: each must be there, or be something that is taken.

    Raises:
        ValueError: it is neither; a number in a list that is too short; what has an option of its own.
    """
    for full in overrides:
        node, path, who = cfg, "", f"--cfg-options {full}"
        if option := OPTIONS.get(full.split(".")[0]):
            raise ValueError(f"{who}: that is what {option} sets; give that instead.")
        for name in full.split("."):
            if name == "_delete_" or node is None or path.startswith("protocol."):
                break
            if isinstance(node, list | tuple):
                if not name.isdigit() or int(name) >= len(node):
                    raise ValueError(f"{who}: {path} of {where} is a list of {len(node)}; give 0 to {len(node) - 1}.")
                node = node[int(name)]
            elif not hasattr(node, "keys"):
                raise ValueError(f"{who}: {path} of {where} is {node!r:.60}, which has no parts.")
            elif not path and name not in names_read(cfg.task):
                raise ValueError(_unread(cfg, name, who, where))
            elif path == "protocol" and name not in node:
                check_protocol(cfg.task, {name: None}, where)
                break
            elif name in node:
                node = node[name]
            else:
                if path:
                    kind = {"type": overrides[f"{path}.type"]} if f"{path}.type" in overrides else {}
                    _check_key(cfg, path, dict(node) | kind, name, f"{who}: {where}")
                break
            path = f"{path}.{name}".lstrip(".")


def check_protocol(task: str, protocol: dict, where: str) -> None:
    """Checks a protocol of a dense task: each of its keys is read, or stands in another protocol or config of the task.

    Raises:
        ValueError: that is not so; or a file of ``protocols`` lacks a key which the code reads and every other one has.
    """
    own, folder = Path(where).absolute(), CONFIGS / task / "protocols"
    others = {path: _keywords(path, "protocol") for path in sorted((CONFIGS / task).rglob("*.py")) if path != own}
    read = found(OF_A_PROTOCOL, _sources(task))
    _refuse(protocol, read.union(*others.values()), "protocol.", where, "a protocol")
    shared = [keys for path, keys in others.items() if path.parent == folder]
    if own.parent == folder and (lacks := sorted(read.intersection(*shared) - set(protocol))):
        raise ValueError(f"{where} lacks protocol.{lacks[0]}, which every other protocol of {task} has; add it.")


def check_protocol_file(task: str, name: str) -> None:
    """Checks the file of a protocol that is chosen by name, before it is applied; what is no name of a file is left alone.

    Raises:
        ValueError: see ``check_protocol``.
    """
    path = CONFIGS / task / "protocols" / f"{name}.py"
    if isinstance(name, str) and path.is_file():
        check_protocol(task, read_config(path).protocol, str(path))


def check_study(data: dict, where: str) -> None:
    """Checks the keys of a study's file: each is read by the engine, or used within the file.

    A dict of dicts, or of lists of dicts, has names of its own, and fields below them, which are checked likewise.

    Raises:
        ValueError: nothing reads one.
    """
    sources, used = tuple(sorted(ENGINE.glob("*.py"))), _used(Path(where).read_text())
    known = found(OF_A_STUDY, sources) | found(re.compile(r"(?<![\w.])data\.(\w+)"), (ENGINE / "study.py",))
    fields = found(READ, sources)
    _refuse([key for key in data if key not in used], known, "", where, "a study")
    for name in known.intersection(data):
        for own, entry in data[name].items() if isinstance(data[name], dict) else ():
            for item in entry if isinstance(entry, list | tuple) else [entry]:
                if isinstance(item, dict) and own != "overrides":  # those are checked with the config that they are for
                    _refuse(item, fields, f"{name}.{own}.", where, "", siblings=item)


@cache
def names_read(task: str) -> set[str]:
    """The names at the top of a config that somebody reads: MMEngine's Runner, the engine, the backbones, the task's package."""
    from mmengine.config import Config, ConfigDict

    own = found(OF_A_CONFIG, _sources(task)).difference(dir(list), dir(dict), dir(Config), dir(ConfigDict))
    return own | _arguments_of_runner() - {"cfg"} | {"custom_imports"}  # the last: Config.fromfile


@cache
def _arguments_of_runner() -> set[str]:
    """Read from its file, since to import it takes torch."""
    tree = ast.parse((Path(find_spec("mmengine").origin).parent / "runner/runner.py").read_text())
    runner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Runner")
    start = next(node for node in runner.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {argument.arg for argument in (*start.args.args, *start.args.kwonlyargs)} - {"self"}


@cache
def _sources(task: str) -> tuple[Path, ...]:
    """The files that may read a config of a task, this package's checks of it left out."""
    return tuple(
        path
        for folder in (ENGINE, BACKBONES, ROOT / task)
        for path in sorted(folder.rglob("*.py"))
        if path.name not in ("known_keys.py", "taken.py")
    )


def _walk(cfg, path: str, value: Any, where: str) -> None:
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _walk(cfg, f"{path}.{i}", item, where)
    if not hasattr(value, "items"):
        return
    if path == "protocol":
        check_protocol(cfg.task, value, where)
        return
    for key in value:
        _check_key(cfg, path, value, key, where)
    for key, item in value.items():
        _walk(cfg, f"{path}.{key}", item, where)


def _check_key(cfg, path: str, node: dict, key: str, where: str) -> None:
    """Raises ValueError unless the dict ``node`` at ``path`` of a config may have ``key``."""
    try:
        what = taken(cfg, path, node)
    except LookupError as error:
        near = difflib.get_close_matches(node["type"], error.args, n=3)
        hint = f"nearest: {', '.join(near)}" if near else "give the full path of a class, as in backbones.ResNet"
        raise ValueError(f"{where} has {path}.type={node['type']}, and nothing has that name; {hint}.") from None
    if what is None or key in BESIDE or key in what.keys:
        return
    if not what.more or difflib.get_close_matches(key, what.keys, n=1, cutoff=0.8):
        _refuse([key], what.keys, f"{path}.", where, what.who, siblings=node)


def _refuse(keys: Collection[str], known: Collection[str], path: str, where: str, who: str, siblings: Collection = ()) -> None:
    """Raises ValueError for the first of ``keys`` that is not in ``known``, what ``who`` takes; '': what any code reads."""
    for key in keys:
        if key not in known:
            (near, *_) = *difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5), ""
            if who:
                hint = f"{who} knows {near} (nearest), all: " if near else f"{who} knows "
                raise ValueError(f"{where} has {path}{key}; {hint}{', '.join(sorted(set(known).difference(BESIDE))) or 'none'}.")
            beside = ", ".join(name for name in siblings if name in known) or "nothing"
            raise ValueError(f"{where} has {path}{key}, which nothing reads; nearest: {near or 'none'}; beside it are {beside}.")


def _check_names(cfg, where: str) -> None:
    """Raises ValueError for a name at the top of a config's file that nothing reads, neither the code nor the file itself."""
    known = names_read(cfg.task)
    if "run" in cfg:  # dumped: it has all that the file needed for itself that it was made from
        texts = [p.read_text() for p in (*(CONFIGS / "_base_").glob("*.py"), *(CONFIGS / cfg.task).glob("*.py"))]
        known = known.union(_keyed(Path(where)), *map(_assigned, texts))
        odd = [name for name in cfg if name not in known]
    else:
        texts = list(_texts(Path(where)))
        known = known.union(*map(names_read, {task for text in texts for task in _tasks(text)}))  # a base may be another task's
        known = known.union(*map(_used, texts))
        odd = [name for text in texts for name in _assigned(text) if name not in known]
    if odd:
        raise ValueError(_unread(cfg, odd[0], where, where))


def _keyed(config: Path) -> set[str]:
    """The names at the top of the config of which the run beside this dumped one was made."""
    path = config.parent / "key.json"
    return set(json.loads(path.read_text())["config"]) if path.is_file() else set()


def _texts(path: Path) -> Iterator[str]:
    """The text of a config and of those under it; 'mmdet::...' are the library's own."""
    text = path.read_text()
    yield text
    for node in _parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                if "::" not in base:
                    yield from _texts(path.parent / base)


def _tasks(text: str) -> list[str]:
    """The task packages that a config's text names as its task."""
    lines = [node for node in _parse(text).body if isinstance(node, ast.Assign)]
    named = [ast.literal_eval(node.value) for node in lines if getattr(node.targets[0], "id", "") == "task"]
    return [task for task in named if (ROOT / task / "task.py").is_file()]


def _unread(cfg, name: str, who: str, where: str) -> str:
    """One sentence on a name at the top of a config that nothing reads."""
    if name in cfg and who != where:
        return f"{who}: {name} is used only while {where} is read; change what follows from it, or a copy of the file."
    near = difflib.get_close_matches(name, sorted(names_read(cfg.task)), n=3, cutoff=0.5)
    return f"{who}: nothing reads {name}; nearest: {', '.join(near or sorted(names_read(cfg.task)))}."


def _parse(text: str) -> ast.Module:
    return ast.parse(re.sub(r"\{\{.*?\}\}", "0", text))  # MMEngine's {{variables}} are no Python


def _assigned(text: str) -> list[str]:
    """The names that a config's text sets, but for those that start with an underscore."""
    targets = [t for node in _parse(text).body if isinstance(node, ast.Assign) for t in node.targets]
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [name for name in names if name[0] != "_"]


def _used(text: str) -> set[str]:
    """The names that a config's text uses itself."""
    used = {n.id for n in ast.walk(_parse(text)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return used | set(re.findall(r"_base_\.(\w+)", text))


@cache
def _keywords(path: Path, name: str) -> frozenset[str]:
    """The keys of ``name = dict(...)`` in a file; none where it is no dict there."""
    for node in _parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name and isinstance(node.value, ast.Call):
            return frozenset(k.arg for k in node.value.keywords if k.arg)
    return frozenset()
