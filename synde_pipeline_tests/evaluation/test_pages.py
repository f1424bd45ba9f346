"""The frame of all pages, and the eval report in a real browser: narrow and wide, light and dark, all in one file."""

import re

import pytest

from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.evaluation.report_page import render
from synde_pipeline_tests.browser import chromium, look
from synde_pipeline_tests.evaluation.test_report import HOSTILE, report


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_arms_stand_out_on_both_grounds_and_text_is_readable():
    page = render(report())
    grounds = re.findall(r"--ground: (#\w+)", page)
    grounds = [ground if len(ground) == 7 else f"#{ground[1] * 2}{ground[2] * 2}{ground[3] * 2}" for ground in grounds]
    assert len(grounds) == 2
    assert [colour for colour in ARM_COLOURS.values() if min(contrast(colour, g) for g in grounds) < 3] == []
    for name in ("ink", "soft", "good", "bad", "open"):
        inks = re.findall(rf"--{name}: (#\w+)", page)
        assert [contrast(ink, ground) >= 4.5 for ink, ground in zip(inks, grounds, strict=True)] == [True, True], name


def test_a_drawing_has_no_black_and_no_white_of_its_own_and_equal_ones_are_equal_bytes():
    def drawn() -> str:
        drawing, axes = figure(3, 2)
        axes.plot([0, 1], [0, 1], color=ARM_COLOURS["dual"], label="<b>")
        axes.legend()
        return svg(drawing)

    assert drawn() == drawn()
    assert "#000000" not in drawn()
    assert "#ffffff" not in drawn()
    assert "currentColor" in drawn()
    assert "<b>" not in drawn()
    assert not re.search(r"http(?!://www\.w3\.org)", drawn())


def test_a_page_of_logs_without_a_label_says_what_one_would_add():
    judged = {"runs": 9, "labelled": 0, "judged": {"failure": 7, "success": 2}}
    page = render(report() | {"labels": judged})
    assert "None of 9 runs carries a label" in page
    assert "A judge read 9 of them: 2 success, 7 failure" in page
    assert "synde label TRACE_UID success" in page
    assert "would add" not in render(report() | {"labels": judged | {"labelled": 1}})
    assert "would add" not in render(report())


@pytest.mark.slow
def test_the_report_in_a_browser(tmp_path):
    checks = [{"name": "improvement", "status": "failed", "sentence": HOSTILE * 5}]
    value = report(name=HOSTILE) | {"gate": {"passed": False, "reason": HOSTILE * 3, "checks": checks}}
    file = tmp_path / "report.html"
    file.write_text(render(value), "utf-8")
    with chromium() as browser:
        seen = look(browser, file, tmp_path / "shots")
    assert len(seen) == 4
    for one in seen:
        about = (one["width"], one["scheme"])
        assert one["overflow"] == 0, about
        assert one["requests"] == [file.resolve().as_uri()], about
        assert one["problems"] == [], about
        assert one["images"] == 0, about
        assert "<script>alert(1)</script>" in one["text"], about
    assert len({one["ground"] for one in seen}) == 2
