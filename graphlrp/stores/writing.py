"""Writing the relevance of a data set, batch by batch, into one file that survives whatever happens to the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.files import temporary_of
from graphlrp.stores.batches import pieces
from graphlrp.stores.columns import Storage
from graphlrp.stores.database import START_OVER, Writer, begin, readable_errors
from graphlrp.stores.journal import journal_of, lock
from graphlrp.stores.reading import Store, read
from graphlrp.stores.samples import Samples

DTYPES = ("float16", "float32", "float64")
COMPRESSIONS = (None, "gzip", "lzf", *range(10))


def write(
    path: str | os.PathLike[str],
    explainer: Explainer,
    x: Any,
    target: Any = None,
    *,
    labels: Any = None,
    index: Any = None,
    sources: Sequence[str] | None = None,
    keep_inputs: bool = False,
    dtype: str = "float32",
    compression: str | int | None = None,
    batch_size: int = 32,
    progress: bool | Callable[[int, int | None], None] = False,
    overwrite: bool = False,
) -> Store:
    """Explain a data set and keep its relevance in one HDF5 file.

    A batch counts as soon as it is on the disk, as a whole or not at all. If the process is killed, the same call goes on behind
    the last batch; a file that is complete is left as it is. Samples that are there already are compared by their checksums.

    Args:
        path: of the file; an unfinished one is continued.
        explainer: what explains.
        x: what the explainer takes; anything that is sliced like an array, such as ``np.memmap`` or a data set of h5py, of which
            a batch is read at a time; or an iterable of batches, each samples or a pair (samples, labels), such as a loader,
            which has to give the same samples in the same order when it is iterated again.
        target: as for explaining, with class indices or weights for all N samples; or ``"labels"``; or a function that takes the
            output [n, C] of a batch and returns class indices [n] or weights [n, C].
        labels: true classes int [N], or bool [N, C] where a sample may have several.
        index: positions of the samples in their data set, int [N], each once; by default 0 to N - 1.
        sources: where every sample comes from, such as the name of its file, N texts; they are kept.
        keep_inputs: keep what was explained, too.
        dtype: of the relevance: ``"float32"``, ``"float64"``, or ``"float16"`` with a scale for every map.
        compression: of everything large: None, ``"gzip"``, ``"lzf"``, or a level of gzip from 0 to 9.
        batch_size: samples that are explained and written together; batches of an iterable that are larger are divided.
        progress: show a bar, or call ``progress(done, total)`` after each batch, with None for a total that is not known.
        overwrite: start over even if there is a file.

    Returns:
        The store, open for reading.

    Raises:
        InputError: a file of other settings, other samples, or none of ours; a path that cannot be written, a full disk; and as
            for explaining.
    """
    path = Path(path)
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    if compression not in COMPRESSIONS or isinstance(compression, bool):
        raise InputError(f"unknown compression {compression!r}; there are None, 'gzip', 'lzf' and levels of gzip from 0 to 9")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    samples = Samples(explainer, x, target, labels, index, sources=sources, keep_inputs=keep_inputs, batch_size=batch_size)
    storage = Storage(dtype, compression)
    with readable_errors(path):
        _prepare(path, overwrite)
    _write(path, samples, storage, _Progress(progress, samples.count))
    return read(path)


def _prepare(path: Path, overwrite: bool) -> None:
    """Remove what is to be overwritten, and find out before anything is computed whether the place can be written to."""
    if path.exists() and overwrite:
        with open(path, "r+b", buffering=0) as file:
            lock(file, path)
        path.unlink()
    if not path.exists():
        journal_of(path).unlink(missing_ok=True)
        temporary = temporary_of(path)
        with open(temporary, "wb"):
            pass
        temporary.unlink()


def _write(path: Path, samples: Samples, storage: Storage, progress: _Progress) -> None:
    writer: Writer | None = None
    done = 0
    try:
        for piece in pieces(samples.x, samples.batch_size):
            if writer is None and path.exists():
                writer = Writer(path)
                writer.check_settings(samples.settings(piece, storage))
            done = piece.stop
            if writer is not None:
                writer.check_samples(piece, samples)
                piece = piece.behind(writer.done)
            if len(piece):
                if writer is not None:
                    writer.check_unfinished()
                record = samples.record(piece)
                if writer is None:
                    begin(path, record, samples.settings(piece, storage), samples, storage, ragged=piece.ragged)
                    writer = Writer(path)
                writer.append(record)
            progress(done)
        if writer is None:
            raise InputError("the data set holds no samples")
        if done < writer.done:
            raise InputError(f"{path} has {writer.done} samples, but the data set only {done}: {START_OVER}")
        writer.finish()
    finally:
        progress.close()
        if writer is not None:
            writer.close()


class _Progress:
    """A bar, a function, or nothing."""

    def __init__(self, progress: bool | Callable[[int, int | None], None], total: int | None) -> None:
        self._total = total
        self._function = progress if callable(progress) else None
        self._bar = tqdm(total=total, unit="sample", leave=False) if progress is True else None

    def __call__(self, done: int) -> None:
        if self._function is not None:
            self._function(done, self._total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
