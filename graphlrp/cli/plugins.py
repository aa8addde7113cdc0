"""``graphlrp plugins`` and ``graphlrp plugins new``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

import graphlrp
from graphlrp.cli.options import PATH, plugins_option
from graphlrp.cli.results import print_table
from graphlrp.errors import PluginWarning
from graphlrp.plugins.manager import Plugins, import_plugin
from graphlrp.plugins.skeleton import KINDS, write_skeleton


@click.group(invoke_without_command=True, short_help="List plugins, or write one to start from.")
@plugins_option
@click.pass_context
def plugins(context: click.Context, plugins: tuple[str, ...]) -> None:
    """List plugins: name, version, origin, what each registers, replaces, and what is wrong with it.

    Exit status 1 if an installed plugin does not work.
    """
    if context.invoked_subcommand is not None:
        return
    with warnings.catch_warnings():
        # The table tells it.
        warnings.simplefilter("ignore", PluginWarning)
        origins = Plugins([import_plugin(name) for name in plugins]).origins
    table = Table("plugin", "version", "origin", "registers", box=None, show_lines=True)
    for origin in origins:
        lines = [f"{kind}: {', '.join(names)}" for kind, names in origin.registered.items()]
        lines += [f"replaces: {', '.join(origin.replaced)}"] if origin.replaced else []
        lines += [f"LEFT OUT: {origin.error}"] if origin.error else []
        version = graphlrp.__version__ if origin.source == "built-in" else origin.version
        table.add_row(origin.name, version, origin.source, escape("\n".join(lines)))
    print_table(table)
    if any(origin.error for origin in origins):
        sys.exit(1)


@plugins.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="layer", show_default=True, help="What the package adds.")
@click.option("--into", default=".", type=PATH, help="Folder to write the package's folder to.")
def new_plugin(name: str, kind: str, into: Path) -> None:
    """Write a package with a plugin: a layer or a rule of its own, tests, and the entry point that makes it known."""
    folder = write_skeleton(name, into, kind)
    click.echo(f"wrote {folder}; now: pip install -e '{folder}[test]' && pytest {folder} && graphlrp plugins")
