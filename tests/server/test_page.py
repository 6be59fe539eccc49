"""The page in a real browser: talking, memory, keyboard, phone, hostile texts, long conversations, accessibility."""

import json
import re
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gistchat.server import page as page_module
from gistchat.server.app import create_app
from gistchat.server.run import open_model, uvicorn_config
from gistchat.server.settings import ServeSettings
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

SAID = [
    "Hi! I have a dog named Rex, and we walk by the river.",
    "What a lovely name! How old is he?",
    "He is four. I live in Lisbon.",
    "Lisbon is a beautiful city.",
    "Yes. I am a nurse, so mornings are early.",
    "That sounds like a calm way to begin a busy day.",
    "On weekends we drive to the beach in Caparica.",
    "Does he like the water?",
    "He loves it, but he is afraid of big waves.",
    "Some dogs need time. Begin in **shallow** water.",
    "Thank you. I shall try that on Sunday.",
    "Tell me how it went!",
    "It went well, he swam to the rocks and back.",
    "What a brave dog.",
]
HOSTILE = (
    "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    "[x](javascript:document.title='broken') [y](data:text/html,z) ![z](x) <svg/onload=alert(1)> `</code><b>`"
)

expect.set_options(timeout=15_000)


class Server:
    """A running server, and its API."""

    def __init__(self, folder, model, **settings) -> None:
        self.database = Database.open(f"sqlite:///{folder}/conversations.db")
        app = create_app(ServeSettings(**settings), model, ConversationStore(self.database))
        self.shared = app.state.shared
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(uvicorn_config(app))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
        self.shared.close()
        self.database.close()

    def call(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or "null")

    def begin(self, said=SAID, title: str = "Walks with Rex", **settings) -> str:
        """A conversation in which this was said in turn."""
        turns = [{"speaker": "model" if at % 2 else "user", "text": text} for at, text in enumerate(said)]
        return self.call("POST", "/api/conversations", {"title": title, "turns": turns, **settings})["id"]

    def texts(self, id: str) -> list[str]:
        return [message["text"] for message in self.call("GET", f"/api/conversations/{id}/messages")["messages"]]


@pytest.fixture(scope="module")
def model():
    """The packaged one, with short replies."""
    return open_model(None, ["chat.max_reply_tokens=16", "chat.strategy=memory"], slots=2)


@pytest.fixture(scope="module")
def server(model, tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("page"), model, slots=2)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    if not path:
        pytest.skip("the page is tested in a real browser: apt-get install chromium")
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """Opens the page, or a conversation in it; in the end, nothing has gone wrong and no other host was asked."""
    contexts, errors = [], []

    def open_at(id: str = "", width=1280, height=800, expected: str = "", **options) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(8000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if not expected or expected not in message.text else None,
        )
        page.on("request", lambda asked: None if asked.url.startswith(server.url) else errors.append(asked.url))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.goto(f"{server.url}/#{id}" if id else server.url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [error for error in errors if not error.startswith("blob:")] == []


def turn(page: Page, number: int):
    return page.locator(f".turn[data-number='{number}']")


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def ended(page: Page) -> None:
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


# ---- talking


def test_the_first_minute(open_page, server):
    page = open_page()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 1000
    expect(page.get_by_text("What is on your mind?")).to_be_visible()
    expect(page.get_by_text("Here you see what the model remembers.")).to_be_visible()
    page.get_by_role("button", name="Hi! I have a dog named Rex.").click()
    page.keyboard.press("Enter")
    expect(turn(page, 1)).to_contain_text("I have a dog named Rex.")
    ended(page)
    id = page.url.split("#")[1]
    said = server.texts(id)
    assert said[0] == "Hi! I have a dog named Rex."
    assert len(said) == 2
    expect(turn(page, 2).locator(".text")).not_to_be_empty()
    expect(page.locator(".entry.current")).to_contain_text("Hi! I have a dog")
    expect(page.get_by_role("heading", name="Memory")).to_be_visible()
    page.reload()
    expect(turn(page, 2)).to_be_visible()


def test_a_reply_is_stopped_and_what_was_said_is_kept(open_page, server):
    page = open_page(server.begin())
    say(page, "Tell me a very long story.")
    expect(turn(page, 16).locator(".text")).to_contain_text(re.compile(r"\w"))
    page.keyboard.press("Escape")
    ended(page)
    id = page.url.split("#")[1]
    expect(turn(page, 16).locator(".tools")).to_be_visible()
    kept = server.texts(id)
    assert kept[14] == "Tell me a very long story."
    assert len(kept) == 16


def test_shift_enter_makes_a_line(open_page, server):
    page = open_page(server.begin())
    page.get_by_label("Message", exact=True).click()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    ended(page)
    assert server.texts(page.url.split("#")[1])[14] == "one\ntwo"


def test_an_edited_turn_is_answered_anew_and_both_branches_stay(open_page, server):
    id = server.begin()
    page = open_page(id)
    expect(turn(page, 14)).to_be_visible()
    page.keyboard.press("ArrowUp")  # in the empty box
    box = page.get_by_label("Text of turn 13")
    expect(box).to_be_focused()
    box.fill("It rained, so we stayed at home.")
    page.get_by_role("button", name="Answer anew").click()
    ended(page)
    expect(turn(page, 13)).to_contain_text("2/2")
    assert server.texts(id)[12] == "It rained, so we stayed at home."
    turn(page, 13).get_by_label("Version before").click()
    expect(turn(page, 13)).to_contain_text("he swam to the rocks")
    expect(turn(page, 14)).to_contain_text("What a brave dog.")
    turn(page, 13).get_by_label("Next version").click()
    expect(turn(page, 13)).to_contain_text("stayed at home")


def test_a_turn_is_changed_in_place(open_page, server):
    id = server.begin()
    page = open_page(id)
    turn(page, 13).hover()
    turn(page, 13).get_by_label("Edit").click()
    page.get_by_label("Text of turn 13").fill("It went badly.")
    page.get_by_role("button", name="Only change").click()
    expect(turn(page, 13)).to_contain_text("It went badly.")
    expect(turn(page, 14)).to_contain_text("What a brave dog.")
    assert server.texts(id)[12:] == ["It went badly.", "What a brave dog."]


def test_another_answer_and_ratings(open_page, server):
    id = server.begin()
    page = open_page(id)
    turn(page, 14).get_by_label("Good answer").click()
    expect(turn(page, 14).get_by_label("Good answer")).to_have_attribute("aria-pressed", "true")
    turn(page, 14).get_by_label("Answer again").click()
    expect(turn(page, 14)).to_contain_text("2/2")
    expect(turn(page, 14).get_by_label("Good answer")).to_have_attribute("aria-pressed", "false")
    turn(page, 14).get_by_label("Version before").click()
    expect(turn(page, 14).get_by_label("Good answer")).to_have_attribute("aria-pressed", "true")
    assert server.call("GET", f"/api/conversations/{id}/messages?first=-1")["messages"][0]["rating"] == 1


def test_two_answers_side_by_side(open_page, server):
    id = server.begin()
    page = open_page(id)
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("First strategy").select_option("recent")
    page.get_by_label("Second strategy").select_option("full")
    say(page, "Where do we drive on weekends?")
    choose = page.get_by_label("Choose the answer by full")
    expect(choose).to_be_enabled()
    expect(page.get_by_label("Answer by recent", exact=True)).to_be_visible()
    assert len(server.texts(id)) == 14
    answer = page.get_by_label("Answer by full", exact=True).locator(".text").inner_text()
    choose.click()
    expect(turn(page, 16)).to_contain_text(answer)
    assert server.texts(id)[14] == "Where do we drive on weekends?"


# ---- conversations


def test_rename_delete_and_undo(open_page, server):
    id, other = server.begin(title="To be renamed"), server.begin(title="Another one")
    page = open_page(id)
    expect(page.locator("#title")).to_have_text("To be renamed")
    page.get_by_label("Conversation menu").click()
    page.get_by_role("menuitem", name="Rename…").click()
    page.get_by_label("Title").fill("Renamed")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Renamed")
    expect(page.locator(".entry.current")).to_contain_text("Renamed")
    page.get_by_label("Conversation menu").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.locator(f"[data-id='{id}']")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(turn(page, 14)).to_be_visible()
    entry = page.locator(f"[data-id='{other}']")
    entry.hover()
    entry.get_by_role("button").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.goto("about:blank")  # it cannot be undone any more
    for _ in range(100):  # the browser sends it after the page is gone
        listed = [one["id"] for one in server.call("GET", "/api/conversations")["conversations"]]
        if other not in listed:
            break
    assert id in listed
    assert other not in listed


def test_search_finds_conversations_and_turns(open_page, server):
    id = server.begin(title="About lighthouses")
    server.begin(title="Something else")
    page = open_page(server.begin())
    expect(turn(page, 14)).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("nurse")
    page.get_by_role("option", name="I am a nurse").click()
    expect(turn(page, 5)).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.type("lighthouses")
    expect(page.get_by_role("option", name="About lighthouses")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("About lighthouses")
    assert page.url.endswith(id)


def test_export_is_downloaded(open_page, server):
    page = open_page(server.begin())
    page.get_by_label("Conversation menu").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as JSONL").click()
    assert download.value.suggested_filename == "Walks-with-Rex.jsonl"
    assert "I am a nurse" in download.value.path().read_text()


# ---- memory


def test_the_memory_shows_where_lines_come_from(open_page, server):
    id = server.begin(budget=96)
    memory = server.call("GET", f"/api/conversations/{id}/memory")
    page = open_page(id)
    panel = page.get_by_role("complementary", name="Memory")
    expect(panel.get_by_text(f"of {memory['tokens']['budget']} tokens")).to_be_visible()
    line = next(line for line in memory["gist"]["lines"] if line["turns"])
    number = line["turns"][0]
    panel.get_by_label(f"Go to turn {number}", exact=True).first.click()
    expect(turn(page, number)).to_be_focused()
    expect(turn(page, number)).to_be_in_viewport()
    expect(turn(page, number)).to_have_class(re.compile("flash"))
    boundary = turn(page, memory["boundary"]).locator(".boundary")
    boundary.scroll_into_view_if_needed()
    expect(boundary).to_be_visible()
    expect(turn(page, memory["boundary"])).to_have_class(re.compile("condensed"))
    expect(turn(page, memory["boundary"] + 1)).not_to_have_class(re.compile("condensed"))


def test_the_memory_is_corrected(open_page, server):
    id = server.begin(budget=96)
    page = open_page(id)
    panel = page.get_by_role("complementary", name="Memory")
    panel.get_by_label("A line to pin").fill("Answer in one sentence.")
    page.keyboard.press("Enter")
    expect(panel.get_by_label("Unpin: Answer in one sentence.")).to_have_count(1)
    expect(panel.get_by_label("A line to pin")).to_be_focused()
    panel.get_by_label("Unpin: Answer in one sentence.").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_label("Unpin: Answer in one sentence.")).to_have_count(0)

    panel.get_by_label("Edit the gist").click()
    panel.get_by_label("Text of the gist").fill("She walks Rex by the river in Lisbon.")
    panel.get_by_role("button", name="Save gist").click()
    expect(panel.locator(".lines")).to_contain_text(["She walks Rex by the river in Lisbon."])
    panel.get_by_text("earlier gist").click()
    panel.get_by_label("Go back to earlier gist 1", exact=True).click()
    expect(panel.get_by_text("She walks Rex by the river in Lisbon.")).to_have_count(0)

    drop = panel.get_by_label(re.compile("^Drop: ")).first
    dropped = drop.get_attribute("aria-label")
    drop.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_label(dropped, exact=True)).to_have_count(0)
    texts = [line["text"] for line in server.call("GET", f"/api/conversations/{id}/memory")["gist"]["lines"]]
    assert dropped.removeprefix("Drop: ") not in texts


def test_a_turn_is_forgotten_only_when_one_is_sure(open_page, server):
    id = server.begin()
    page = open_page(id)
    turn(page, 13).hover()
    for sure in (False, True):
        turn(page, 13).get_by_label("More for turn 13").click()
        page.get_by_role("menuitem", name="Forget this turn…").click()
        page.get_by_role("button", name="Forget it" if sure else "Cancel").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert ("he swam" in str(server.texts(id))) or sure
    expect(turn(page, 13)).not_to_contain_text("he swam")
    assert "he swam" not in str(server.texts(id))


def test_the_receipt_of_a_reply(open_page, server):
    page = open_page(server.begin())
    say(page, "Where do I walk with Rex?")
    ended(page)
    turn(page, 16).get_by_role("button", name="What it read").click()
    panel = page.get_by_role("complementary", name="Memory")
    expect(panel.get_by_role("heading", name="Receipt of turn 16")).to_be_visible()
    expect(panel.get_by_text("The turn that was answered")).to_be_visible()
    expect(panel.locator(".line-text", has_text="Where do I walk with Rex?")).to_have_count(1)
    panel.get_by_text("letter by letter").click()
    expect(panel.locator(".prompt")).not_to_be_empty()
    panel.get_by_label("Back to the memory").click()
    expect(panel.get_by_role("heading", name="Pinned")).to_be_visible()


def test_strategy_and_budget(open_page, server):
    id = server.begin()
    page = open_page(id)
    expect(turn(page, 14)).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Only the latest turns, word for word.").click()
    page.get_by_label("Budget in tokens").fill("64")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    conversation = server.call("GET", f"/api/conversations/{id}")
    assert (conversation["strategy"], conversation["budget"]) == ("recent", 64)


# ---- keyboard, drafts, appearance


def test_the_keyboard(open_page, server):
    page = open_page(server.begin())
    expect(turn(page, 14)).to_be_visible()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator(".turn:focus")).to_have_count(1)
    before = page.evaluate("document.activeElement.number")
    page.keyboard.press("Alt+ArrowUp")
    expect(turn(page, before - 1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Alt+m")
    expect(page.locator("#panel")).not_to_be_visible()
    page.keyboard.press("Alt+m")
    expect(page.locator("#panel")).to_be_visible()
    page.keyboard.press("Alt+n")
    expect(page.get_by_text("What is on your mind?")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_drafts_are_kept_for_each_conversation(open_page, server):
    first, second = server.begin(), server.begin(title="Second")
    page = open_page(first)
    page.get_by_label("Message", exact=True).fill("half a thought")
    page.locator(f"[data-id='{second}'] a").click()
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    page.locator(f"[data-id='{first}'] a").click()
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thought")
    page.reload()
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thought")


def test_nothing_typed_is_lost_while_the_server_is_away(open_page, server):
    page = open_page(server.begin(), expected="Failed to load resource")
    expect(turn(page, 14)).to_be_visible()
    page.context.set_offline(True)
    say(page, "Are you there?")
    expect(page.locator("#away")).to_contain_text("The server does not answer.")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Are you there?")
    page.context.set_offline(False)
    expect(page.locator("#away")).to_be_hidden()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(turn(page, 15)).to_contain_text("Are you there?")
    ended(page)


def test_the_key_is_asked_for_and_kept_for_the_tab(browser, model, tmp_path):
    server = Server(tmp_path, model, api_keys=("a-key-for-the-page",))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(server.url)
        dialog = page.get_by_role("dialog", name="API key")
        for key in ("a-wrong-key", "a-key-for-the-page"):
            dialog.get_by_role("textbox").fill(key)
            dialog.get_by_role("button", name="Go on").click()
            if key == "a-wrong-key":
                expect(dialog).to_contain_text("did not take that key")
        expect(dialog).to_have_count(0)
        say(page, "Hello!")
        expect(turn(page, 2)).to_be_visible()
        ended(page)
        page.reload()
        expect(turn(page, 2)).to_be_visible()
        assert page.evaluate("localStorage.getItem('api-key')") is None
        assert page.evaluate("sessionStorage.getItem('api-key')") == "a-key-for-the-page"
    finally:
        context.close()
        server.stop()


@pytest.mark.parametrize(
    ("status", "words"), [(429, "busy with other replies"), (503, "cannot do that right now"), (400, "It is too long")]
)
def test_refusals_are_said_in_plain_words(open_page, server, status, words):
    page = open_page(server.begin(), expected="Failed to load resource")
    expect(turn(page, 14)).to_be_visible()
    body = json.dumps({"error": {"message": "it is too long", "type": "x", "param": None, "code": None}})
    page.route("**/messages", lambda route: route.fulfill(status=status, body=body, content_type="application/json"))
    say(page, "Hello?")
    expect(page.locator(".toast")).to_contain_text(words)
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello?")


def test_dark_and_light(open_page, server):
    page = open_page(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Light", exact=True).click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_right_to_left_text(open_page, server):
    page = open_page(server.begin(["שלום, מה שלומך היום?", "- ראשון\n- שני", "and in English?", "Yes."], title="שיחה"))
    assert turn(page, 1).locator("p").evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert turn(page, 2).locator("ul").evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert turn(page, 3).locator("p").evaluate("node => getComputedStyle(node).direction") == "ltr"


def test_on_a_phone(open_page, server):
    other = server.begin(title="The other one")
    page = open_page(server.begin(), 390, 844, has_touch=True, is_mobile=True)
    expect(turn(page, 14)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("#side")).not_to_be_visible()
    page.get_by_role("button", name="Memory").click()
    expect(page.get_by_role("heading", name="Pinned")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).not_to_be_visible()
    page.get_by_label("Show conversations").click()
    page.locator(f"[data-id='{other}'] a").click()
    expect(page.locator("#title")).to_have_text("The other one")
    expect(page.locator("#side")).not_to_be_visible()


# ---- safety


def test_hostile_texts_stay_texts(open_page, server):
    id = server.begin([HOSTILE, HOSTILE, *SAID], title=HOSTILE[:150], budget=96)
    server.call("POST", f"/api/conversations/{id}/pins", {"text": "<img src=x onerror=alert(1)>"})
    page = open_page(id)
    expect(turn(page, 16)).to_be_visible()
    expect(page.get_by_role("complementary").get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    page.evaluate("scroller.scrollTop = 0")
    expect(turn(page, 2)).to_contain_text("<img src=x")
    assert page.title() != "broken"
    assert turn(page, 2).locator("a, img, script, svg:not(.icon)").count() == 0
    page.keyboard.press("Control+k")
    page.keyboard.type("onerror")
    expect(page.get_by_role("option").first).to_contain_text("<img")
    assert page.title() != "broken"


def test_the_browser_refuses_what_the_policy_forbids(open_page):
    page = open_page(expected="TrustedHTML")
    refused = """() => { try { document.body.innerHTML = "<b>x</b>"; return "taken"; } catch (e) { return e.name; } }"""
    assert page.evaluate(refused) == "TypeError"


MARKDOWN = [
    ("a **b** _c_ ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
    ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("# Big\ntext", "<h3>Big</h3><p>text</p>"),
    ("> said\n> so", "<blockquote><p>said<br>so</p></blockquote>"),
    ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
    (
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
    ),
    ("[**a**](https://x.example/_b_)", '<p><a href="https://x.example/_b_"><strong>a</strong></a></p>'),
    ("see https://x.example/a. Then", '<p>see <a href="https://x.example/a">https://x.example/a</a>. Then</p>'),
    ("```py\na < b\n\nc", "<code>a &lt; b\n\nc</code>"),
    ("***both*** **un", "<p><strong><em>both</em></strong> **un</p>"),
    (r"\*not\* <b>", "<p>*not* &lt;b&gt;</p>"),
]


def test_markdown(open_page):
    page = open_page()
    # What stays of the elements: names, and attributes that say more than direction and looks.
    shown = """async (text) => {
        const { show } = await import(document.querySelector('link[href$="markdown.js"]').href);
        const node = document.createElement("div");
        show(node, text);
        const code = node.querySelector("pre code");
        const html = code ? code.outerHTML : node.querySelector("table")?.outerHTML ?? node.innerHTML;
        return html.replace(/ (dir|target|rel|scope)="[^"]*"/g, "");
    }"""
    for text, html in MARKDOWN:
        assert page.evaluate(shown, text) == html, text
    assert "noopener noreferrer" in page.evaluate(
        """async () => {
            const { inline } = await import(document.querySelector('link[href$="markdown.js"]').href);
            return inline("[a](http://x.example)")[0].rel;
        }"""
    )


def test_no_text_makes_markdown_slow(open_page):
    page = open_page()
    slow = """async (texts) => {
        const { show } = await import(document.querySelector('link[href$="markdown.js"]').href);
        return texts.map((text) => {
            const begun = performance.now();
            show(document.createElement("div"), text);
            return performance.now() - begun;
        });
    }"""
    patterns = ["*a ", "**", "_", "[", "[a](", "`", "`` ", "> ", "- ", "h", "http://", "|-", "\\", "~~a", "# ", "* * "]
    times = page.evaluate(slow, [pattern * 4000 for pattern in patterns])
    assert dict(zip(patterns, times, strict=True)) == {pattern: pytest.approx(0, abs=1500) for pattern in patterns}


# ---- long conversations


LONG = 10_000


@pytest.fixture(scope="module")
def long_conversation(server) -> str:
    said = [f"Turn {number}. {'word ' * (number * 7919 % 90)}" for number in range(1, LONG + 1)]
    return server.begin(said, "Long", strategy="recent")


def test_ten_thousand_turns_scroll_without_a_stall(open_page, long_conversation):
    page = open_page(long_conversation)
    expect(turn(page, LONG)).to_be_in_viewport()
    seen = page.evaluate(
        """async () => {
            const long = [];
            new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration)))
                .observe({ type: "longtask" });
            let most = 0;
            const step = scroller.scrollHeight / 120;
            while (scroller.scrollTop > 0) {
                scroller.scrollTop -= step;
                await new Promise(requestAnimationFrame);
                most = Math.max(most, document.querySelectorAll(".turn").length);
            }
            return { most, longest: Math.max(0, ...long) };
        }"""
    )
    assert seen["most"] < 60
    assert seen["longest"] < 250  # milliseconds
    expect(turn(page, 1)).to_contain_text("Turn 1.")


def test_what_is_read_stays_where_it_is(open_page, long_conversation):
    page = open_page(long_conversation)
    expect(turn(page, LONG)).to_be_visible()
    page.evaluate("scroller.scrollTop = 300000")
    expect(turn(page, LONG)).to_have_count(0)
    expect(page.locator(".turn.waiting")).to_have_count(0)
    moved = page.evaluate(
        """async () => {
            const frames = async () => { for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame); };
            const off = [];
            const read = (row) => row.getBoundingClientRect().bottom > 300;
            for (let n = 0; n < 40; n++) {
                const row = [...document.querySelectorAll(".turn")].find(read);
                const before = row.getBoundingClientRect().top;
                scroller.scrollTop -= 150;
                await frames();
                const now = document.querySelector(`[data-number="${row.number}"]`).getBoundingClientRect().top;
                off.push(Math.abs(now - before - 150));
            }
            return Math.max(...off);
        }"""
    )
    assert moved < 2  # pixels


def test_a_turn_is_found_by_its_number(open_page, long_conversation):
    page = open_page(long_conversation)
    expect(turn(page, LONG)).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("4321")
    expect(page.get_by_role("option", name="Go to turn 4321")).to_be_visible()
    page.keyboard.press("Enter")
    expect(turn(page, 4321)).to_be_focused()
    expect(turn(page, 4321)).to_be_in_viewport()
    page.get_by_label("Go to the latest message").click()
    expect(turn(page, LONG)).to_be_in_viewport()


# ---- accessibility


def findings(page: Page) -> list[str]:
    """Serious and critical ones, by axe."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finish()))")
    violations = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}"
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_serious_findings_of_axe(open_page, server, look):
    size = {"width": 390, "height": 844, "is_mobile": True, "has_touch": True} if look == "phone" else {}
    scheme = "dark" if look == "dark" else "light"
    page = open_page(server.begin(budget=96), color_scheme=scheme, reduced_motion="reduce", bypass_csp=True, **size)
    expect(turn(page, 14)).to_be_visible()
    if look == "phone":
        assert findings(page) == []
        page.get_by_role("button", name="Memory").click()
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    say(page, "Where do I walk with Rex?")
    ended(page)
    turn(page, 16).get_by_role("button", name="What it read").click()
    expect(page.get_by_role("heading", name="Receipt of turn 16")).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("river")
    expect(page.get_by_role("option").first).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    if look == "phone":
        page.get_by_label("Show conversations").click()
    page.get_by_role("button", name="Settings").click()
    assert findings(page) == []


# ---- files


def test_the_page_names_its_files_by_their_contents():
    html = page_module.page_html().decode()
    names = set(re.findall(rf"page/{page_module.edition()}/([\w.]+)", html))
    assert names == set(page_module.page_files())
    for name, content in page_module.page_files().items():
        imported = set(re.findall(r'from "\./([\w.]+)"', content.decode()))
        assert imported <= names, name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", re.sub(r"//[^\n]*\n", "\n", content.decode())), name


def test_files_are_kept_for_good_and_the_page_is_not(server):
    def fetch(path: str, **headers: str):
        try:
            return urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers))
        except urllib.error.HTTPError as error:
            return error

    page = fetch("/")
    assert page.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert fetch("/", **{"If-None-Match": page.headers["etag"]}).status == 304
    file = fetch(f"/page/{page_module.edition()}/app.js")
    assert "immutable" in file.headers["cache-control"]
    assert file.headers["content-type"].startswith("text/javascript")
    for path in ("/page/older/app.js", f"/page/{page_module.edition()}/index.html", "/page/x/..%2fpage.py"):
        assert fetch(path).status == 404
