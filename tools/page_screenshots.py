"""Make docs/page.png, docs/page-dark.png and docs/page-phone.png: the page of a real server with the packaged model.

    python tools/page_screenshots.py

Needs the extras `serve` and `dev`, and Chromium (`apt-get install chromium`).
"""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx2
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gistchat.server.app import create_app
from gistchat.server.run import bound, open_model, uvicorn_config
from gistchat.server.settings import ServeSettings
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

DOCS = Path(__file__).parents[1] / "docs"
MOST_BYTES = 200_000
OTHERS = ["Plans for the garden", "Learning the guitar", "A recipe for lentil soup", "Books for the summer"]
SAID = [
    "Hi! I have a dog named Rex, and we walk by the river.",
    "What a lovely name! How old is he?",
    "He is four. I live in Lisbon, and I work as a nurse.",
    "That sounds busy. When do you walk?",
    "Every morning before work. On weekends we drive to the beach in Caparica.",
    "Does he like the water?",
    "He loves it, but he is afraid of big waves.",
    "Some dogs need time. What has helped others:\n\n1. Begin in **shallow** water\n2. Bring a toy that *floats*\n"
    "3. Stop while it is still fun",
    "Good idea, I shall try that on Sunday.",
    "Tell me how it went!",
]
LAST = "He swam to the rocks and back. What a brave dog!"
AS_THE_PAGE = {"Sec-Fetch-Site": "same-origin"}  # so that these are conversations of the page
PINNED = "Rex is afraid of big waves."


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a running server."""
    database = Database.open(f"sqlite:///{folder}/conversations.db")
    model = open_model(None, ["chat.strategy=memory"], slots=1)
    app = create_app(ServeSettings(), model, ConversationStore(database))
    listening = bound("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn_config(app))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        app.state.shared.close()
        database.close()


def begin(http: httpx2.Client) -> str:
    """A conversation to show; its last answer is the model's own."""
    for title in OTHERS:
        http.post("/api/conversations", json={"title": title}).raise_for_status()
    turns = [{"speaker": "model" if at % 2 else "user", "text": text} for at, text in enumerate(SAID)]
    begun = http.post("/api/conversations", json={"title": "Walks with Rex", "budget": 160, "turns": turns})
    path = f"/api/conversations/{begun.raise_for_status().json()['id']}"
    http.post(f"{path}/pins", json={"text": PINNED}).raise_for_status()
    http.post(f"{path}/messages", json={"text": LAST, "seed": 1}).raise_for_status()
    return path.rpartition("/")[2]


def show(page: Page, address: str) -> None:
    """The boundary in the middle of what is seen."""
    page.goto(address)
    expect(page.get_by_text("Pinned").first).to_be_attached()
    expect(page.locator(".boundary")).to_be_attached()
    page.locator(".boundary").evaluate("node => node.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)  # the frame after that


def take(browser: Browser, address: str, name: str, width: int, height: int, **options: object) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
    page = context.new_page()
    show(page, address)
    image = Image.open(BytesIO(page.screenshot())).convert("RGB")
    path = DOCS / name
    image.save(path, optimize=True)
    context.close()
    size = path.stat().st_size
    print(f"{path}: {size:,} bytes")
    if size >= MOST_BYTES:
        raise SystemExit(f"{path} is larger than {MOST_BYTES:,} bytes")


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as url, sync_playwright() as playwright:
        with httpx2.Client(base_url=url, timeout=120, headers=AS_THE_PAGE) as http:
            address = f"{url}/#{begin(http)}"
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        take(browser, address, "page.png", 1360, 850)
        take(browser, address, "page-dark.png", 1360, 850, color_scheme="dark")
        take(browser, address, "page-phone.png", 390, 800, is_mobile=True, has_touch=True, device_scale_factor=2)
        browser.close()


if __name__ == "__main__":
    main()
