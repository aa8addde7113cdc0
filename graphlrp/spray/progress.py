"""How far an analysis is."""

from __future__ import annotations

from collections.abc import Callable

from tqdm.auto import tqdm

Progress = bool | Callable[[int, int], None]


def steps_of(progress: Progress, total: int) -> Callable[[str], None]:
    """A function to call when a step is done, with the name of the next one, or "done"."""
    if callable(progress):
        done = iter(range(1, total + 1))
        return lambda _: progress(next(done), total)
    if not progress:
        return lambda _: None
    bar = tqdm(total=total, unit="step", desc="maps", leave=False)

    def advance(name: str) -> None:
        bar.set_description(name)
        bar.update()
        if name == "done":
            bar.close()

    return advance
