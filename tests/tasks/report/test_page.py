"""The page: complete in itself, safe to open, and the same for the same story."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import asdict
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tasks.domain.model import Finding, Result, Verdict
from tasks.judge.canary import plain
from tasks.judge.judgement import Classification, GroupScore, Interval, Judgement, MetricResult, Score, Stats
from tasks.report import canvas
from tasks.report.markdown import markdown_of
from tasks.report.page import DRAWN, page_of
from tasks.report.story import Story, story_of
from tests.tasks.report.told import BEGAN, Told, frame_of_counts, judged, promoted, taken_back

NASTY = "<script>alert(1)</script>|`x`$y$&"


class Links(HTMLParser):
    """Everything that a browser would load, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


def by_config(folder: Path, pairs: int = 3, name: str = "cpu", points: int = 60) -> Story:
    """A canary that its config's judge has failed; the first metric is too high."""
    told = Told(folder, "1.4")
    told.live(2, candidate=20, baseline=20, blue=60)
    names = [f"{name} {number}" for number in range(pairs)]
    results = tuple(result(one, number, last=pairs - 1) for number, one in enumerate(names))
    judgement = Judgement("davy", 66.0, Score.FAIL, "", (GroupScore("system", 66.0),), results, seed=7)
    cles = {"canary": {"effectSize": {"measure": "cles"}}}
    evidence = {
        **judged(
            frame_of_counts({"candidate": [(40, 0)] * 60, "baseline": [(40, 0)] * 60}, after=3)
        ).evidence,
        "judgement": plain(asdict(judgement)),
        "canary": {"config": {"metrics": [{"name": names[-1], "analysisConfigurations": cles}]}},
        "pairs": [pair(one, points, times=1 if number else 2) for number, one in enumerate(names)],
    }
    verdict = Verdict(
        Result.FAIL, (Finding("canary score", "candidate", Result.FAIL, 66.0, "score 66"),), evidence
    )
    told.verdict(64, verdict)
    told.back(64, verdict.reason, by="flow")
    return story_of(told.record)


def result(name: str, number: int, *, last: int) -> MetricResult:
    return MetricResult(
        name,
        str(number),
        Classification.PASS if number else Classification.HIGH,
        tags={"zone": "eu"},
        groups=("system",),
        experiment=Stats(mean=2.6),
        control=Stats(mean=1.3),
        interval=Interval(0.9, 1.25, 1.5, 0.98),
        effect=2.0 if number < last else 0.7,
    )


def pair(name: str, points: int, *, times: float) -> dict[str, object]:
    control = 1 + np.arange(points) % 7 / 10
    start = (BEGAN + timedelta(seconds=3)).isoformat()
    sides = {"control": [None, *control[1:]], "experiment": list(control * times)}
    return {"name": name, "tags": {"zone": "eu"}, "start": start, "step": 1.0, **sides}


@pytest.mark.parametrize("tell", [taken_back, promoted])
def test_a_page_needs_nothing_else(tmp_path: Path, tell: object) -> None:
    page = page_of(story_of(tell(tmp_path).record))  # type: ignore[operator]  # both tell a story of a folder
    links = Links(page)
    assert all(loaded.startswith("#") for loaded in links.loaded)
    assert not links.tags & {"script", "link", "iframe", "img", "object"}
    assert not re.search(r"@import|url\((?!#)", page)
    assert {"svg", "table", "h1"} <= links.tags


def test_the_sentence_stands_in_the_heading_and_the_badge_says_it_in_two_words(tmp_path: Path) -> None:
    story = story_of(taken_back(tmp_path).record)
    page = page_of(story)
    assert f"<h1>{story.headline}</h1>" in page
    assert '<span class="badge bad">taken back</span>' in page


def test_the_failing_metric_is_the_first_card_and_the_only_red_one(tmp_path: Path) -> None:
    page = page_of(story_of(taken_back(tmp_path).record))
    cards = re.findall(r'<section class="card (bad)?">\s*<h3>(.*?)<', page)
    assert cards[0] == ("bad", "Failed requests ")
    assert [red for red, _ in cards].count("bad") == 1


def test_every_word_from_outside_is_shown_and_none_is_obeyed(tmp_path: Path) -> None:
    told = Told(tmp_path, NASTY)
    told.live(2, candidate=20, blue=80)
    told.line(5, "abort", by=NASTY)
    told.back(6, NASTY, by=NASTY)
    story = story_of(told.record)
    page, markdown = page_of(story), markdown_of(story)
    assert "script" not in Links(page).tags
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "<script" not in markdown
    assert r"\|\`x\`\$y\$&amp;" in markdown


def test_names_of_metrics_are_text_in_plots_too(tmp_path: Path) -> None:
    page = page_of(by_config(tmp_path, pairs=1, name="<b>$x^2$</b>"))
    assert "b" not in Links(page).tags
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ET.fromstring(svg)
    assert ">&lt;b&gt;$x^2$&lt;/b&gt; 0</text>" in page


def test_a_canary_config_shows_scores_by_group_effects_and_what_failed_first(tmp_path: Path) -> None:
    page = page_of(by_config(tmp_path))
    assert page.index("Scores by group") < page.index("What was measured")
    assert "<td>system</td><td>66</td>" in page
    assert "1.25 (0.9 to 1.5, 98 %)" in page
    assert "2 times the control&#39;s mean" in page
    assert "larger in 70 % of comparisons" in page
    assert page.index("<h3>cpu 0") < page.index("Scores by group") < page.index("<h3>cpu 1")


def test_what_was_not_judged_is_not_shown(tmp_path: Path) -> None:
    page = page_of(story_of(taken_back(tmp_path).record))
    for title in ("Scores by group", "Side by side", "Metrics of the canary analysis"):
        assert title not in page


def test_a_page_of_many_metrics_stays_small(tmp_path: Path) -> None:
    page = page_of(by_config(tmp_path, pairs=200, points=1440))
    assert len(page.encode()) < 1_000_000
    assert page.count("<h3>cpu") == DRAWN
    assert f"{DRAWN} of 200 are drawn" in page
    assert "cpu 199" in page


def test_both_arms_have_their_colours_and_no_marker_is_left(tmp_path: Path) -> None:
    page = page_of(story_of(taken_back(tmp_path).record))
    svg = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert {"var(--new)", "var(--baseline)", "var(--old)"} <= set(re.findall(r"var\(--\w+\)", svg))
    for marker in (canvas.INK, canvas.FAINT, *canvas.COLOURS.values()):
        assert marker not in svg


def test_every_plot_names_its_axes(tmp_path: Path) -> None:
    page = page_of(story_of(taken_back(tmp_path).record))
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        texts = " ".join(re.findall(r"<text.*?>(.*?)</text>", svg))
        assert "time (UTC)" in texts or "response time (ms)" in texts
        assert re.search(r"\(%\)|\(ms\)|per second", texts)


def test_the_same_story_gives_the_same_page(tmp_path: Path) -> None:
    record = taken_back(tmp_path).record
    assert page_of(story_of(record)) == page_of(story_of(record))


def test_markdown_has_the_sentence_the_findings_and_the_plots_as_images(tmp_path: Path) -> None:
    story = story_of(taken_back(tmp_path).record)
    markdown = markdown_of(story)
    assert markdown.startswith(f"# {story.headline}\n")
    assert "| 14:03:07 | guard | 20 % | error\\_rate | candidate | fail |" in markdown
    images = re.findall(r"!\[(.*?)\]\(data:image/svg\+xml;base64,(.*?)\)", markdown)
    assert [title for title, _ in images] == ["Who answered the users", "Failed requests"]
    for _, content in images:
        assert ET.fromstring(b64decode(content)).tag.endswith("svg")
        assert b"#010203" not in b64decode(content)
    assert len(markdown) < 200_000


def test_a_release_under_way_has_a_page(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    page = page_of(story_of(told.record))
    assert "under way" in page
    assert "running for" in page


def test_a_release_that_has_only_been_opened_has_a_page(tmp_path: Path) -> None:
    assert "under way" in page_of(story_of(Told(tmp_path).record))
