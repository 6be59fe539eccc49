"""What `gistchat corpora` prints: the facts on each corpus, and where it can be read from now."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gistchat.corpora import CORPORA, hub
from gistchat.corpora.corpus import Corpus
from gistchat.errors import UserError

MIRRORS_AT_ONCE = 8


def describe(names: Sequence[str], offline: bool) -> Iterator[str]:
    """Lines on the corpora of these names, or on all.

    Raises:
        UserError: an unknown name.
    """
    if unknown := [name for name in names if name not in CORPORA]:
        raise UserError(f"unknown corpus {unknown[0]!r}; there are: {', '.join(CORPORA)}")
    chosen = {name: CORPORA[name] for name in names or CORPORA}
    mirrors = [mirror for corpus in chosen.values() for mirror in corpus.hub]
    reachable = {} if offline else _ask(mirrors)
    for name, corpus in chosen.items():
        yield f"{name}: {corpus.description}"
        for title, text in _facts(name, corpus, reachable):
            yield f"    {title + ':':10} {text}"


def _ask(mirrors: Sequence[str]) -> dict[str, bool]:
    with ThreadPoolExecutor(MIRRORS_AT_ONCE) as pool:
        return dict(zip(mirrors, pool.map(hub.is_reachable, mirrors), strict=True))


def _facts(name: str, corpus: Corpus, reachable: dict[str, bool]) -> Iterator[tuple[str, str]]:
    for title, text in (("size", corpus.size), ("licence", corpus.licence), ("citation", corpus.citation)):
        if text:
            yield title, text
    if corpus.link:
        yield "link", corpus.link
    if name == "chitchat":
        yield "now", "installed" if _is_installed(corpus) else "not installed: pip install chitchat-dataset"
        return
    yield "files", f"--from FILE or FOLDER with {', '.join(corpus.patterns)}"
    for mirror in corpus.hub:
        state = {True: "reachable now", False: "not reachable now", None: "not asked"}[reachable.get(mirror)]
        yield "hub", f"--from hub: {mirror} ({state})"


def _is_installed(corpus: Corpus) -> bool:
    try:
        return bool(corpus.sources(""))
    except UserError:
        return False
