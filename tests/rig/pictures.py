"""The README's pictures, taken anew: ``python -m tests.rig.pictures [FOLDER]``, on a stack of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page
from rich.console import Console

from tests.benchmarks.bench import Bench, a_bench
from tests.rig.browser import Ui, open_page
from tests.rig.services import shop
from tests.rig.stack import ROOT
from tests.rig.stage import Stage
from tests.rig.walk import GATES, walk

FOLDER = ROOT / "infra" / "pictures"
HEIGHTS = {"1-form": 1300, "3-gate": 1500, "4-page": 1100}
"""Pixels, where it is not the usual height."""
USUAL = 860
WIDTH = 1200
COLOURS = 200
SETTLES = 3_000
"""Milliseconds in which the graph has been drawn."""


def main(folder: Path) -> None:
    """Release version 2.0 of a shop, and take a picture at each stop."""
    folder.mkdir(parents=True, exist_ok=True)
    with a_bench(Console(stderr=True).print) as bench, tempfile.TemporaryDirectory() as place:
        services = Path(place) / "services"
        services.mkdir()
        walk_with_camera(bench, services, folder)


def walk_with_camera(bench: Bench, services: Path, folder: Path) -> None:
    """A shop under load, deployed; the walk; the pictures."""
    davy = bench.davy
    steps = [{"share": 20, "bake": "10s"}, {"share": 50, "bake": "10s"}]
    content = shop("shop", strategy="canary", port=next(davy.ports), home=davy.home, gates=GATES, steps=steps)
    with Stage(davy, [content], rate=80) as stage, open_page() as page:
        shutil.copy(stage.file("shop"), services)
        deployed = davy.run("deploy", str(services))
        assert deployed.code == 0, deployed
        walk(Ui(page, davy), "shop", "2.0", partial(take, page, folder))
        stage.await_census("shop", "2.0")


def take(page: Page, folder: Path, name: str) -> None:
    """What the page shows now, as a small picture."""
    page.set_viewport_size({"width": WIDTH, "height": HEIGHTS.get(name, USUAL)})
    page.wait_for_timeout(SETTLES)
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
