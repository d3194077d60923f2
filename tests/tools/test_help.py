"""Test that every command and every sub-command describes itself and all its options, and fits a terminal of 80 columns."""

import argparse
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from backbones.common.project import ROOT, VERSION
from tests.helpers.inputs.calls import FUNCTIONS
from tools.engine.cli import CommandParser
from tools.engine.program import run_command, scripts

TOOLS = sorted(scripts())


class Parsed(Exception):
    """Carry the parser of a tool out of it."""


def parser_of(tool: str, program: str = "{}.py") -> argparse.ArgumentParser:
    """Return the parser that a tool builds under the name of ``program``, before it parses anything."""

    def stop(parser, *_):
        raise Parsed(parser)

    module = importlib.import_module(f"tools.{tool}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program.format(tool)])
        patch.setattr(CommandParser, "parse_args", stop)
        patch.setattr(CommandParser, "parse_known_args", stop)
        with pytest.raises(Parsed) as stopped:
            getattr(module, FUNCTIONS.get(tool, tool))()
    return stopped.value.args[0]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its commands, at any depth."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_option_and_command_is_described(tool):
    for parser in parsers(parser_of(tool)):
        assert parser.description, parser.prog
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert {choice.dest for choice in action._choices_actions if choice.help} == set(action.choices), parser.prog
            else:
                assert action.help, f"{parser.prog}: {action.option_strings or action.dest}"


@pytest.mark.parametrize("tool", TOOLS)
def test_every_command_has_a_version(tool, capsys):
    for parser in parsers(parser_of(tool)):
        with pytest.raises(SystemExit) as stop:
            argparse.ArgumentParser.parse_args(parser, ["--version"])
        assert stop.value.code == 0 and capsys.readouterr().out.split() == ["TrickTransfer", VERSION, "in", str(ROOT)]


@pytest.mark.parametrize("program", ["{}.py", "tricktransfer {}"])
@pytest.mark.parametrize("tool", TOOLS)
def test_every_line_of_a_help_fits_80_columns(tool, program, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for parser in parsers(parser_of(tool, program)):
        assert [line for line in parser.format_help().splitlines() if len(line) > 80] == [], parser.prog


def test_the_help_of_the_program_fits_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["tricktransfer", "--help"])
    with pytest.raises(SystemExit):
        run_command()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20 and [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("tool", TOOLS)
def test_every_option_says_what_holds_without_it(tool):
    for parser in parsers(parser_of(tool)):
        for action in parser._actions:
            takes_value = action.option_strings and action.nargs != 0 and action.help != argparse.SUPPRESS
            if takes_value and not action.required:
                text = parser.formatter_class(parser.prog)._get_help_string(action)
                assert re.search(r"default: |asked for when|required|needed", text), f"{parser.prog}: {text}"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_named_default_is_stated_once(tool):
    for parser in parsers(parser_of(tool)):
        for action in parser._actions:
            text = parser.formatter_class(parser.prog)._get_help_string(action) if action.help else ""
            assert len(re.findall(r"\(default: ", text)) <= 1, f"{parser.prog}: {text}"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_python_without_the_packages_says_how_to_get_them(tool):
    command = [sys.executable, "-S", str(ROOT / f"tools/{tool}.py"), "--help"]  # -S: without site-packages
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "activate" in done.stderr
    assert len(done.stderr.splitlines()) == 1
