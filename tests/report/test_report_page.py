"""The report's page: whole, safe against hostile texts, and its item browser in a real browser."""

import copy
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import report_data
from report_data import DIALOGUES, HOSTILE, LOG

from gistchat.evaluate.metrics import unigram_f1
from gistchat.report import item_browser as report_items
from gistchat.report import write as report
from gistchat.report.sentences import sentences


@pytest.fixture(scope="module")
def budgets() -> tuple[dict, list]:
    return copy.deepcopy(report_data.budgets())


@pytest.fixture(scope="module")
def experiment() -> tuple[dict, list]:
    return copy.deepcopy(report_data.experiment())


class Page(HTMLParser):
    """Open elements, and the content of every script."""

    VOID = ("meta", "input", "br", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def hostile(rows: list) -> list:
    """The rows with hostile texts in the first item."""
    rows = copy.deepcopy(rows)
    for row in rows[:8]:
        if row["id"] == "d0#7":
            row |= {"gold": HOSTILE, "reply": HOSTILE, "gist": HOSTILE, "prompt": f"<bos>{HOSTILE}<sp1>"}
            row["context"] = [{"role": "user", "text": HOSTILE}] * 3
    return rows


def test_the_page_is_complete_and_hostile_text_stays_text(tmp_path, budgets):
    values = budgets[0] | {"warnings": [HOSTILE]}
    rows = hostile(budgets[1])
    path = report.write_report(tmp_path, HOSTILE, HOSTILE, values, rows, {"": [LOG]})
    assert path == tmp_path / "report.html"
    text = path.read_text()
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert text.endswith("</html>\n") or text.endswith("</html>")
    assert len(page.scripts) == 2
    assert "img" not in page.tags
    assert page.tags.count("svg") == 5
    assert "http" not in re.sub(r"http://www\.w3\.org/[\w/.]+", "", text)
    assert f"All {DIALOGUES} items" in text
    data = json.loads(page.scripts[0])
    assert len(data["items"]) == DIALOGUES
    assert HOSTILE in data["texts"]
    for line in sentences(values):
        assert line.replace("'", "&#39;") in text


def test_the_page_embeds_every_prediction_as_it_is(budgets):
    rows = hostile(budgets[1])
    found = report_items.embed(rows)
    data = json.loads(found.data)
    assert (found.items, found.all_items, found.rows, found.all_rows) == (DIALOGUES, DIALOGUES, len(rows), len(rows))
    by_place = {(row["id"], row["strategy"], row["budget"]): row for row in rows}
    shown = 0
    for name, _, _, _, asked, gold, own in data["items"]:
        for system, gist, context, prompt, reply, nats, rank, f1, candidates, *_ in own:
            row = by_place.pop((name, *data["systems"][system][2:]))
            text = data["texts"].__getitem__
            assert "".join(map(text, prompt)) == row["prompt"]
            assert [text(turn) for _, turn in context] == [turn["text"] for turn in row["context"][:-1]]
            assert (None if gist is None else text(gist)) == (row["gist"] or None)
            assert (None if reply is None else text(reply)) == row["reply"]
            assert nats == pytest.approx(row["nats"] / 10, abs=0.001)
            assert (rank, candidates) == (row["rank"], row["candidates"])
            assert (f1 is None) == (reply is None)
            if reply is not None:
                alone = unigram_f1([row["reply"]], [row["gold"]])(np.ones((1, 1)))
                assert f1 == pytest.approx(float(alone[0]), abs=0.001)
            shown += 1
        assert text(gold)
        assert text(asked)
    assert shown == len(rows)


def test_a_page_with_too_many_items_holds_those_with_replies_and_says_so(tmp_path, experiment, monkeypatch):
    values, rows = experiment
    whole = len(report_items.embed(rows).data)
    found = report_items.embed(rows, whole // 3)
    assert len(found.data) <= whole // 3
    assert 10 <= found.items < found.all_items == 2 * DIALOGUES
    items = json.loads(found.data)["items"]
    assert {(name, seed) for name, _, _, seed, *_ in items[:10]} == {(f"d{i}#7", s) for i in range(5) for s in (1, 2)}
    monkeypatch.setattr(report, "embed", lambda rows: report_items.embed(rows, whole // 3))
    text = report.write_report(tmp_path, "t", "s", values, rows).read_text()
    counts = f"{found.items} of {found.all_items} items ({found.rows} of {found.all_rows} predictions)"
    assert f"This page holds {counts}" in text


def test_the_report_of_an_experiment_has_a_section_for_each_variant(tmp_path, experiment):
    values, rows = experiment
    text = report.write_report(
        tmp_path, "Two sizes", "4 runs", values, rows, {"small": [LOG], "large": [LOG]}
    ).read_text()
    for section in ("Results", "Costs", "Planted facts", "By depth", "By seed"):
        for variant in ("small", "large"):
            assert f'aria-label="{section} {variant}"' in text
    assert text.count("<svg") == 10
    assert "In short, the tuned model of small against recent: summary is worse." in text
    assert "In short, the tuned model of large against recent: summary is better." in text
    assert "With large, tuned summary has" in text


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        pytest.skip("the item browser is tested in a real browser: apt-get install chromium")
    return found


@pytest.fixture
def browser_page(tmp_path, experiment):
    """The report of the experiment in Chromium, as a phone shows it; fails when the page's script does."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    rows = hostile(experiment[1])
    report.write_report(tmp_path, "Two sizes", "4 runs", experiment[0], rows)
    errors = []
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=quiet)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("request", lambda request: errors.append(request.url) if request.url[:5] != "file:" else None)
        page.goto((tmp_path / "report.html").as_uri())
        yield page
        browser.close()
    assert errors == []


def test_the_item_browser(browser_page, experiment):
    from playwright.sync_api import expect

    page, rows = browser_page, hostile(experiment[1])
    count, listed = page.locator("#count"), page.locator("#list > details")
    expect(count).to_have_text("60 items of 60, 240 predictions")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    # Pages.
    expect(listed).to_have_count(20)
    expect(page.locator("#page")).to_have_text("page 1 of 3")
    page.locator("#after").click()
    expect(page.locator("#page")).to_have_text("page 2 of 3")

    # Search in what a system said.
    said = next(row for row in rows if row["variant"] == "large" and row["id"] == "d3#7" and row["reply"])
    page.get_by_label("search all texts").fill(said["reply"].upper())
    expect(count).to_have_text("1 item of 60, 1 prediction")
    expect(page.locator("#page")).to_have_text("page 1 of 1")
    page.get_by_role("button", name="clear").click()
    expect(count).to_have_text("60 items of 60, 240 predictions")

    # Filters.
    page.locator("select[name=variant]").select_option("small")
    page.locator("select[name=strategy]").select_option("summary")
    expect(count).to_have_text("60 items of 60, 60 predictions")
    scores = sorted(row["nats"] / 10 for row in rows if row["variant"] == "small" and row["strategy"] == "summary")
    page.get_by_label("at least").fill(f"{(scores[-5] + scores[-6]) / 2:.4f}")
    expect(count).to_have_text("5 items of 60, 5 predictions")
    page.locator("select[name=order]").select_option("highest score first")
    expect(listed.first.locator("> summary")).to_contain_text("nats per token")
    shown = [float(text.rsplit(" ", 1)[1]) for text in listed.locator("> summary").all_inner_texts()]
    assert shown == pytest.approx(scores[:-6:-1], abs=0.001)
    page.get_by_role("button", name="clear").click()
    page.locator("select[name=score]").select_option("rank")
    page.get_by_label("at most").fill("1")
    ones = sum(row["rank"] == 1 for row in rows)
    expect(count).to_contain_text(f", {ones} predictions")

    # An item by keyboard, with its systems side by side; hostile text is only text.
    page.get_by_role("button", name="clear").click()
    page.get_by_label("search all texts").fill("onerror")
    expect(listed).to_have_count(1)
    page.locator("select[name=variant]").select_option("small")
    expect(count).to_have_text("1 item of 60, 2 predictions")
    listed.locator("> summary").focus()
    page.keyboard.press("Enter")
    cards = listed.locator(".card")
    expect(cards).to_have_count(2)
    assert HOSTILE in cards.first.text_content()
    cards.first.get_by_text("prompt as the model got it").click()
    expect(cards.first.locator("pre")).to_have_text(f"<bos>{HOSTILE}<sp1>")
    listed.get_by_role("button", name="show all").click()
    expect(cards).to_have_count(4)
    assert page.locator("#list img, #list script, #list b").count() == 0
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
