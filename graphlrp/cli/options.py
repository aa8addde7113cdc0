"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from graphlrp.preprocessing import INTERPOLATIONS, LAYOUTS
from graphlrp.visual.colour import COLOUR_MAPS

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

model_argument = click.argument("model", type=PATH)
inputs_argument = click.argument("inputs", nargs=-1, required=True, type=PATH)

plugins_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE[:OBJECT]",
    help="Python module or file.py, or an object in one, with layers, rules or presets. [repeatable]",
)
composite_option = click.option(
    "--composite", default="auto", show_default=True, metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]"
)
composites_option = click.option(
    "--composite",
    "composites",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]",
    help="Preset of rules, e.g. epsilon-gamma-box:low=-2.1,high=2.6/2.4/2.3. [repeatable]",
)


def model_options(function: Command) -> Command:
    """Options of every command that compiles a model."""
    for option in reversed(
        (
            click.option("--explain", multiple=True, metavar="NAME", help="Input or inner value to explain. [repeatable]"),
            click.option("--start", metavar="NAME", help="Output or inner value whose relevance is propagated."),
            click.option(
                "--rule",
                multiple=True,
                metavar="SELECTOR=RULE[:PARAMETER=NUMBER,...]",
                help="Rule that precedes those of the composite, for the mappings chosen by first, last, every, family/NAME,"
                " operator/NAME, name/GLOB or up-to/NODE, e.g. family/dense=gamma:gamma=0.1. [repeatable]",
            ),
            click.option("--class-axis", default=1, show_default=True, help="Axis of the explained output that counts classes."),
            click.option("--initial", metavar="NAME", help="What relevance starts from: value (f(x)), one or contrastive."),
            click.option("--report", multiple=True, metavar="NAME", help="Inner value whose relevance to save too. [repeatable]"),
            click.option(
                "--restrict",
                multiple=True,
                metavar="NAME=CHANNEL,...",
                help="Inner value and the channels of it that relevance goes on through. [repeatable]",
            ),
            click.option(
                "--bias", metavar="NAME", help="Policy for the relevance of biases. [default: the composite's, or absorb]"
            ),
            click.option(
                "--policy", multiple=True, metavar="NAME=CHOICE", help="Policy of mappings, e.g. merge=abs. [repeatable]"
            ),
            click.option(
                "--trust", is_flag=True, help="Read MODEL though it is pickled: this runs whatever code the file holds."
            ),
            click.option(
                "--references",
                type=PATH,
                metavar="FILE",
                help="Samples (.csv, .npy; texts one a line, .txt) among which Taylor roots of an estimator are looked for."
                " [default: support vectors]",
            ),
            click.option(
                "--level",
                type=click.Choice(["boundary", "mean"]),
                help="What Taylor decomposition of an estimator measures relevance from: f = 0, or the mean of f over the"
                " references. [default: boundary; of regression always the mean]",
            ),
            plugins_option,
            click.option("--provider", multiple=True, metavar="NAME", help="ONNX Runtime provider, cpu or cuda. [repeatable]"),
            click.option("--dtype", default="float32", show_default=True, help="float32, or float64 to verify (slow)."),
        )
    ):
        function = option(function)
    return function


OF_PICTURES = ("size", "resize", "interpolation", "mean", "std", "scale", "layout", "channels")
"""Options that say how pictures become an input."""


@dataclass(frozen=True)
class InputOptions:
    """What :func:`input_options` adds to a command: which samples are read, and how.

    Attributes:
        labels: file with the names of the classes.
        rows: which samples of a table, of arrays or lines.
        lines: every line of a text is a document.
        size, resize, interpolation, mean, std, scale, layout, channels: preprocessing of pictures.
        batch_size: samples per run.
        given: names of the options of pictures that were given, as the command line spells them.
    """

    labels: Path | None
    rows: str | None
    lines: bool
    size: str | None
    resize: int | None
    interpolation: str
    mean: str
    std: str
    scale: float
    layout: str | None
    channels: str | None
    batch_size: int
    given: tuple[str, ...] = ()

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> InputOptions:
        """Take what is ours out of the options of the command that runs; the rest is that of the model."""
        context = click.get_current_context()
        given = [name for name in OF_PICTURES if context.get_parameter_source(name) != ParameterSource.DEFAULT]
        own = {field.name: options.pop(field.name) for field in fields(cls) if field.name != "given"}
        return cls(**own, given=tuple(f"--{name}" for name in given))

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """The options of pictures."""
        return {name: getattr(self, name) for name in OF_PICTURES}


def input_options(function: Command) -> Command:
    """Options of every command that reads samples: see :class:`InputOptions`."""
    for option in reversed(
        (
            click.option("--labels", type=PATH, help="Names of the classes, one a line. [default: what the model declares]"),
            click.option(
                "--rows",
                metavar="A:B,C,...",
                help="Samples of INPUT to explain, counted from 0: 3,7 or 0:5. [default: all; of a table or lines, 8]",
            ),
            click.option("--lines", is_flag=True, help="Every line of a text is a document. [default: every file]"),
            click.option("--size", metavar="N or HxW", help="Size of the model's input. [default: what the model declares]"),
            click.option("--resize", type=int, help="Length of the short side before the centre is cut out."),
            click.option("--interpolation", type=click.Choice(list(INTERPOLATIONS)), default="bilinear", show_default=True),
            click.option(
                "--mean",
                default="0",
                show_default=True,
                help="Subtracted from pixels 0-255: a number, or one per channel: 123,117,104.",
            ),
            click.option("--std", default="1", show_default=True, help="Divides what is left: a number, or one per channel."),
            click.option("--scale", default=1.0, show_default=True, help="Multiplies what is left."),
            click.option("--layout", type=click.Choice(list(LAYOUTS)), help="[default: what the model's shape says]"),
            click.option("--channels", type=click.Choice(["RGB", "BGR", "L"]), help="[default: RGB, L for one channel]"),
            click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1)),
        )
    ):
        function = option(function)
    return function


def target_options(function: Command) -> Command:
    """Which classes are explained."""
    for option in reversed(
        (
            click.option("--target", type=int, help="Class to explain. [default: the top classes]"),
            click.option(
                "--top-k", default=1, show_default=True, type=click.IntRange(1), help="Explain the k classes that score highest."
            ),
        )
    ):
        function = option(function)
    return function


def report_options(function: Command) -> Command:
    """How a page shows relevance."""
    for option in reversed(
        (
            click.option("--title", help="Of the page."),
            click.option(
                "--colours",
                default="blue-orange",
                show_default=True,
                metavar="NAME",
                help=f"Colour map of the relevances: {', '.join(COLOUR_MAPS)}.",
            ),
            click.option("--joint", is_flag=True, help="One common scale for all maps. [default: each has its own]"),
            click.option(
                "--percentile", type=float, help="|R| that gets the full colour. [default: 99.5, of features the largest]"
            ),
        )
    ):
        function = option(function)
    return function
