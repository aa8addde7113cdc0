"""``graphlrp spray``."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy.typing as npt

from graphlrp.cli.datasets import DataSet, read_data_set, read_truth
from graphlrp.cli.grouping import Groups, explain_texts, feature_names, groups_of
from graphlrp.cli.labels import read_labels
from graphlrp.cli.loading import load_explainers
from graphlrp.cli.options import (
    PATH,
    InputOptions,
    composite_option,
    input_options,
    model_argument,
    model_options,
    report_options,
)
from graphlrp.cli.relevance import SUFFIXES, described, store_options, store_path, write_store
from graphlrp.cli.results import check_folder
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.spray.clustering import METHODS
from graphlrp.visual.colour import colour_map

if TYPE_CHECKING:
    from graphlrp.spray import Analysis, Ranking
    from graphlrp.stores import Store

Array = npt.NDArray[Any]

FEWEST = 8
"""Maps that a class needs to be looked at: t-SNE of the source's perplexity, 7, needs more than 7."""


@click.command(short_help="Look for groups among relevance maps.")
@model_argument
@click.argument("inputs", nargs=-1, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="A folder.")
@composite_option
@store_options
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Class to look into. [repeatable; default: see --top]")
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes of the smallest λ2 to look into."
)
@click.option("--pool", default=20, show_default=True, type=click.IntRange(1), help="Maps are pooled to this size.")
@click.option("--neighbours", type=click.IntRange(1), help="Of every map in the graph. [default: the logarithm of their number]")
@click.option("--eigenvalues", default=32, show_default=True, type=click.IntRange(2), help="How many are computed.")
@click.option("--clusters", multiple=True, type=click.IntRange(1), help="How many. [repeatable; default: by the eigengap]")
@click.option("--clustering", type=click.Choice(list(METHODS)), default="kmeans", show_default=True)
@click.option("--embedding", type=click.Choice(["tsne", "umap", "none"]), default="tsne", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn by lot.")
@input_options
@report_options
@model_options
def spray(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    composite: str,
    classes: tuple[str, ...],
    top: int,
    title: str | None,
    colours: str,
    joint: bool,
    percentile: float | None,
    **options: Any,
) -> None:
    """Look for groups among relevance maps: of INPUTS explained by MODEL, or of a store (.h5) in place of MODEL.

    Classes are ordered by λ2: the smaller, the more clearly their maps fall into groups, one of which may look at an artefact.
    The first of them are looked into: spectrum, clusters, their typical maps, and an embedding. Of texts and tables, the terms or
    columns that every cluster is about, and typical texts, take the place of the maps.

    A folder among INPUTS stands for the pictures in it and below, and if it has folders, these are the classes; without, samples
    are sorted by the class that is explained. Writes the page (report.html), and for every class a folder with spectrum.png,
    embedding.png, montage.png (profile.png of texts and tables), clusters.csv and analysis.h5. The relevance is kept in
    relevance.h5: an interrupted run goes on.
    """
    from graphlrp.reports import Report

    folder = check_folder(output)
    settings = {
        name: options.pop(name) for name in ("pool", "neighbours", "eigenvalues", "clusters", "clustering", "embedding", "seed")
    }
    chosen = InputOptions.taken_from(options)
    names = read_labels(chosen.labels) if chosen.labels is not None else None
    look: dict[str, Any] = {"colours": colour_map(colours), "joint": joint, "percentile": percentile}
    with ExitStack() as stack:
        if model.suffix.lower() in SUFFIXES:
            store, data, explainer = _stored(stack, model, inputs), None, None
        else:
            store, data, explainer = _explained(stack, model, inputs, folder, composite, chosen, names, options)
        names = names if names is not None else store.classes
        for line in described(store, names):
            click.echo(line)
        groups = replace(groups_of(store, names, data), features=feature_names(store, inputs))
        if explainer is not None and data is not None:
            groups = replace(groups, explain=explain_texts(store, explainer, data))
        members = _large_enough(groups, classes, max(FEWEST, (settings["neighbours"] or 0) + 1))
        facts = {"relevance": f"{len(store)} maps, {store.composite}", "sorted by": groups.by}
        page = Report(title or "Groups of relevance maps", model=model if data is not None else None, settings=facts, **look)
        folder.mkdir(parents=True, exist_ok=True)
        ranking = _rank(groups, members, settings)
        if ranking is not None:
            click.echo(f"classes by λ2, sorted by {groups.by}\n{ranking}")
            ranking.plot().savefig(folder / "ranking.png", dpi=150)
            page.add(ranking)
        looked_into = list(classes) or ([str(name) for name in ranking.classes] if ranking else list(members))[:top]
        for name in looked_into:
            analysis = _analyse(groups, members[name], settings)
            click.echo(f"\nclass {name}: {len(analysis)} maps, {_in_words(analysis, groups)}")
            _write(folder / _slug(name), name, analysis, groups, colours)
            page.add(analysis, f"Class {name}", **_shown(analysis, groups))
        written = page.save(folder / "report.html")
    files = [written, *(folder / _slug(name) for name in looked_into)]
    files += [folder / "ranking.png"] if ranking is not None else []
    files += [folder / "relevance.h5"] if data is not None else []
    click.echo(f"wrote {', '.join(map(str, files))}")


# Where maps come from


def _explained(
    stack: ExitStack,
    model: Path,
    inputs: Sequence[Path],
    folder: Path,
    composite: str,
    chosen: InputOptions,
    names: Sequence[str] | None,
    options: dict[str, Any],
) -> tuple[Store, DataSet, Explainer]:
    """Relevance of INPUTS, kept in the folder."""
    if not inputs:
        raise InputError(f"give INPUTS that {model} explains, or a store of relevance (.h5) in its place")
    kept = {name: options.pop(name) for name in ("target", "truth", "precision", "compression")}
    (explainer,) = load_explainers(model, [composite], **options)
    data = read_data_set(inputs, explainer, chosen)
    labels = read_truth(kept.pop("truth"), data, names if names is not None else explainer.classes)
    path = store_path(folder / "relevance.h5")
    store = write_store(path, explainer, data, labels, kept.pop("target"), batch_size=chosen.batch_size, **kept)
    return stack.enter_context(store), data, explainer


def _stored(stack: ExitStack, path: Path, inputs: Sequence[Path]) -> Store:
    """Relevance of a store."""
    from graphlrp import stores

    if inputs:
        raise InputError(f"{path} is a store of relevance, which needs no INPUTS; give either, or a model in its place")
    return stack.enter_context(stores.read(path))


# What is done with them


def _large_enough(groups: Groups, classes: Sequence[str], fewest: int) -> dict[str, Array]:
    """Members of the classes that have enough maps; of the others it is said that they are left out.

    Raises:
        InputError: there are none, or one that was asked for is not among them.
    """
    members = {name: rows for name, rows in groups.members.items() if len(rows) >= fewest}
    for name in classes:
        if name not in groups.members:
            raise InputError(f"--class {name!r}: there is no such class; there are {_listed(list(groups.members))}")
        if name not in members:
            raise InputError(
                f"--class {name!r} has {len(groups.members[name])} maps; groups are looked for among at least {fewest}"
            )
    small = [name for name in groups.members if name not in members]
    if not members:
        sizes = [f"{name} ({len(groups.members[name])})" for name in small]
        raise InputError(
            f"groups are looked for among at least {fewest} maps of a class; the classes have fewer: {_listed(sizes)}"
        )
    if small:
        click.echo(f"graphlrp: left out with fewer than {fewest} maps: {_listed(small)}", err=True)
    return members


def _steps(groups: Groups, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a ranking and an analysis have in common."""
    from graphlrp import spray as spectral

    vectors = len(getattr(groups.maps, "shape", ())) == 2
    preprocess = None if vectors else spectral.SumPool(settings["pool"])
    own = {"neighbours": settings["neighbours"], "seed": settings["seed"]}
    return {"preprocess": preprocess, "layout": groups.layout, "progress": sys.stderr.isatty(), **own}


def _rank(groups: Groups, members: Mapping[str, Array], settings: Mapping[str, Any]) -> Ranking | None:
    """All classes by λ2, if there are several."""
    from graphlrp import spray as spectral

    if len(members) < 2:
        return None
    return spectral.rank({name: groups.part(rows) for name, rows in members.items()}, **_steps(groups, settings))


def _analyse(groups: Groups, rows: Array, settings: Mapping[str, Any]) -> Analysis:
    """The groups of one class."""
    from graphlrp import spray as spectral

    return spectral.analyse(
        groups.maps,
        index=rows,
        eigenvalues=min(settings["eigenvalues"], len(rows)),
        clusters=settings["clusters"] or None,
        clustering=settings["clustering"],
        embedding=None if settings["embedding"] == "none" else settings["embedding"],
        **_steps(groups, settings),
    )


def _shown(analysis: Analysis, groups: Groups) -> dict[str, Any]:
    """What the page needs beside the analysis."""
    if len(analysis.shape) == 1:
        return {"features": groups.features, "sources": groups.sources, "explain": groups.explain}
    return {"relevance": groups.maps, "images": groups.images, "layout": groups.layout}


def _in_words(analysis: Analysis, groups: Groups) -> str:
    """Eigenvalues, what they suggest, the clusters that stand apart, and what clusters of vectors are about."""
    from graphlrp.spray import suspicious

    values = ", ".join(f"{value:.4f}" for value in analysis.eigenvalues[:6])
    lines = [f"eigenvalues {values}, ...; the largest gap is behind the {_ordinal(analysis.gap)}"]
    for name in analysis.clusterings:
        lines += [f"  {suspect}" for suspect in suspicious(analysis, name)] or [f"  {name}: no cluster stands apart"]
        if len(analysis.shape) == 1:
            for own in analysis.profile(features=groups.features, clustering=name, count=3):
                about = ", ".join(f"{feature.name} {feature.share:.0%}" for feature in own.features) or "nothing"
                lines.append(f"  {name}: relevance of cluster {own.cluster} is on {about}")
    return "\n".join(lines)


def _write(folder: Path, name: str, analysis: Analysis, groups: Groups, colours: str) -> None:
    """Pictures, labels and everything else of one class."""
    folder.mkdir(parents=True, exist_ok=True)
    analysis.plot_spectrum().savefig(folder / "spectrum.png", dpi=150)
    if len(analysis.embeddings) > 1:
        analysis.plot_embedding(groups.images, title=f"Class {name}").savefig(folder / "embedding.png", dpi=150)
    if len(analysis.shape) == 2:
        figure = analysis.montage(groups.maps, groups.images, layout=groups.layout, colours=colours)
        figure.savefig(folder / "montage.png", dpi=200)
    else:
        many = analysis.labels.max() >= 50
        figure = analysis.plot_profile(features=groups.features, colours=colours, count=2 if many else 8)
        figure.savefig(folder / "profile.png", dpi=200)
    analysis.save(folder / "analysis.h5")
    planes = {key: points for key, points in analysis.embeddings.items() if key != "spectral"}
    with (folder / "clusters.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["sample", "source", *analysis.clusterings, *(f"{key} {axis}" for key in planes for axis in "xy")])
        for row, position in enumerate(analysis.index.tolist()):
            source = groups.sources[position] if groups.sources is not None else ""
            labels = [int(found[row]) for found in analysis.clusterings.values()]
            points = [f"{value:.6g}" for plane in planes.values() for value in plane[row, :2]]
            table.writerow([position, source, *labels, *points])


def _slug(name: str) -> str:
    """The name of a class as that of a folder."""
    return f"class-{re.sub(r'[^A-Za-z0-9._-]+', '_', name) or '_'}"


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
