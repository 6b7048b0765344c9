"""The report of an evaluation in a real browser: no request, nothing that keeps people out, and pictures of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.artefacts import artefact
from tests.support.browser import open_chromium
from tests.support.service import DEMO, run_cli
from tests.support.tools import needs_extra

ANIMALS = (
    "cat.jpg",
    "hedgehog.webp",
    "moose-sideways.jpg",
    "red-panda.jpg",
    "scarlet-macaw.jpg",
    "slideshow.gif",
)
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, policies: Path, cache: Path
) -> tuple[Path, dict[str, Any]]:
    """The report on the demo's photographs, and the JSON of the same run."""
    folder = tmp_path_factory.mktemp("evaluated")
    names = sorted(path.name for path in DEMO.iterdir() if path.suffix != ".md")
    rows = [
        f"{DEMO / name},{'live-animals' if name in ANIMALS else 'safe'},{Path(name).suffix[1:]}"
        for name in names
    ]
    (folder / "labels.csv").write_text("\n".join(["path,label,format", *rows]))
    command = [
        "policy",
        "evaluate",
        "marketplace@3",
        "--data",
        "labels.csv",
        "--html",
        "report.html",
        "--json",
    ]
    result = run_cli(
        *command,
        *("--slice", "format", "--per-day", "20000", "--worst", "5"),
        cwd=folder,
        policies=str(policies),
        cache=str(cache),
        views="1",
    )
    assert result.returncode == 0, result.stderr
    return folder / "report.html", json.loads(result.stdout)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with open_chromium() as chromium:
        yield chromium


def test_the_figures_are_those_of_the_photographs(evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, record = evaluated
    assert record["images"] == 16
    assert record["failed"] == []
    animals = record["categories"]["live-animals"]
    assert animals["shown"]["total"] == len(ANIMALS)
    assert animals["roc_auc"]["value"] > 0.95
    assert record["categories"]["weapons"]["roc_auc"]["value"] is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_for_everyone(evaluated: tuple[Path, dict[str, Any]], chromium: Any, scheme: str) -> None:
    axe = needs_extra("axe_playwright_python.sync_playwright", "dev").Axe()
    path, record = evaluated
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())

    assert record["summary"] in page.inner_text("header")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.screenshot(path=artefact(f"evaluation-{scheme}.png"), full_page=True)
    page.evaluate("[...document.querySelectorAll('details')].slice(0, 1).forEach(one => one.open = true)")
    found = axe.run(page)
    bad = [one for one in found.response["violations"] if one["impact"] in SERIOUS]
    assert not bad, found.generate_report()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []  # such as a breach of the page's policy
    page.close()


def test_a_page_for_paper(evaluated: tuple[Path, dict[str, Any]], chromium: Any) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(evaluated[0].as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=artefact("evaluation.pdf"), format="A4", print_background=True)
    page.close()
