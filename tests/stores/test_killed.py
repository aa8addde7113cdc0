"""Processes that are killed while they write, at any moment, and continued: the file is that of an uninterrupted run."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import graphlrp
from graphlrp import stores
from tests.stores.models import classifier, samples
from tests.stores.test_writing import content, equal

COUNT = 400
BATCH = 4


def write(path: Path, sender: Connection | None, options: dict[str, object]) -> None:
    """Explain all samples; tell after every batch how many are done."""

    def progress(done: int, total: int | None) -> None:
        if sender is not None:
            sender.send(done)

    explainer = graphlrp.load(classifier(), "epsilon-plus")
    x = samples(COUNT, 2, 6, 6)
    labels = np.arange(COUNT) % 3
    stores.write(path, explainer, x, "labels", labels=labels, batch_size=BATCH, progress=progress, **options).close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("kills", "options"), [(4, {}), (20, {"dtype": "float16", "compression": "gzip", "keep_inputs": True})], ids=["plain", "gzip"]
)
def test_killed_and_continued(tmp_path: Path, kills: int, options: dict[str, object]) -> None:
    generator = np.random.default_rng()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["graphlrp.stores", "tests.stores.models"])
    write(tmp_path / "whole.h5", None, options)
    expected = content(tmp_path / "whole.h5")
    path = tmp_path / "killed.h5"
    counts: list[int] = []
    for _ in range(kills):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=write, args=(path, sender, options))
        process.start()
        sender.close()
        told = receiver.recv()
        # Samples that are there already take no time; from the first new batch on, any moment may be the last.
        while told <= (counts[-1] if counts else 0):
            told = receiver.recv()
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the process was done before it was killed: give it more samples"
        while receiver.poll():
            try:
                told = receiver.recv()
            except EOFError:
                break
        with stores.read(path) as store:
            counts.append(len(store))
            assert not store.finished
            # All that was reported as done is there, and perhaps a batch whose report did not come through.
            assert told <= counts[-1] <= told + BATCH
            np.testing.assert_array_equal(store.relevance[:], store_of(expected, counts[-1], options))
    print(f"killed at {counts}")
    assert counts == sorted(counts) and counts[-1] < COUNT
    write(path, None, options)
    equal(content(path), expected)
    assert {entry.name for entry in tmp_path.iterdir()} == {"whole.h5", "killed.h5"}


def store_of(expected: dict[str, np.ndarray], count: int, options: dict[str, object]) -> np.ndarray:
    """The first relevances of the uninterrupted run."""
    relevance = expected["relevance/x"][:count].astype(np.float32)
    return relevance * expected["relevance/x:scale"][:count].reshape(-1, 1, 1, 1) if "dtype" in options else relevance
