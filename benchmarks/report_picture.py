"""The picture of a report that docs/reports.md shows: ``python benchmarks/report_picture.py``.

Writes the report of the photo example's photos and takes a picture of its top in headless Chromium, which has to be on PATH. Run
examples/photo/run.py first: it makes the model and copies the photos.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from acceptance.chromium import chromium, find_chromium  # noqa: E402
from graphlrp.cli import main as graphlrp  # noqa: E402

BUILD = ROOT / "examples" / "photo" / "build"
PICTURE = ROOT / "docs" / "pictures" / "report.png"
WIDTH, HEIGHT = 1130, 1120


def main() -> None:
    """Write the report, look at it, keep the picture."""
    program = find_chromium()
    if program is None:
        sys.exit("Chromium is not on PATH")
    if not (BUILD / "efficientnet_lite0.onnx").exists():
        sys.exit("run examples/photo/run.py first")
    with TemporaryDirectory() as folder, chromium(program) as tab:
        page = Path(folder) / "report.html"
        graphlrp(
            [
                *("report", str(BUILD / "efficientnet_lite0.onnx")),
                *(str(BUILD / name) for name in ("chelsea.png", "coffee.png", "camera.png")),
                *("--size", "224", "--resize", "256", "--interpolation", "bicubic", "--mean", "127", "--std", "128"),
                *("--labels", str(BUILD / "labels.txt"), "--title", "Three photos"),
                *("--composite", "epsilon-plus-flat", "--composite", "epsilon-alpha2beta1", "-o", str(page)),
            ],
            standalone_mode=False,
        )
        tab.open(page, width=WIDTH, height=HEIGHT)
        shot = Image.open(io.BytesIO(tab.screenshot(whole=False))).convert("RGB")
    # 256 colours are enough for a page, and a third of the bytes.
    shot.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3).save(PICTURE, optimize=True)
    print(f"wrote {PICTURE.relative_to(ROOT)} ({PICTURE.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
