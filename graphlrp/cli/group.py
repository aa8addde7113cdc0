"""The command ``graphlrp``: errors in one line, and the commands of plugins beside its own."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import click

import graphlrp
from graphlrp.errors import GraphLRPError
from graphlrp.plugins.manager import Plugins

COMMANDS = {
    "check": "check",
    "compile": "compile_",
    "evaluate": "evaluate",
    "explain": "explain",
    "plan": "plan",
    "plugins": "plugins",
    "relevance": "relevance",
    "report": "report",
    "spray": "spray",
}
"""Every command has a module of its name; this is what it is called there. Only that of the command in question is imported."""


class _Group(click.Group):
    """Turns the package's errors into one line on stderr and exit status 2; commands of plugins stand beside its own."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*COMMANDS, *Plugins().commands})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            command: click.Command = getattr(import_module(f"graphlrp.cli.{name}"), COMMANDS[name])
            return command
        return Plugins().commands.get(name)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except GraphLRPError as error:
            click.echo(f"graphlrp: {type(error).__name__}: {error}", err=True)
            context.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(graphlrp.__version__, prog_name="graphlrp")
@click.option("--trace-plugins", is_flag=True, envvar="GRAPHLRP_TRACE_PLUGINS", help="Tell of every hook call and registration.")
def main(trace_plugins: bool) -> None:
    """Explain the decisions of models by propagating relevance through them.

    MODEL is an ONNX file, or with --trust a fitted scikit-learn estimator or Pipeline (.joblib, .pkl, .pickle).
    """
    # As `python -m` does: plugins beside the model are found.
    sys.path.insert(0, os.getcwd())
    if trace_plugins:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("graphlrp.plugins").setLevel(logging.DEBUG)
