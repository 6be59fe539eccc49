"""What `gistchat corpora` prints: the facts on each corpus, and where it can be read from now."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gistchat.corpora import hub
from gistchat.corpora.corpus import Corpus
from gistchat.corpora.readers import CORPORA
from gistchat.errors import UserError

MIRRORS_AT_ONCE = 8


def describe(names: Sequence[str], offline: bool) -> Iterator[str]:
    """Lines on the corpora of these names, or on all.

    Raises:
        UserError: an unknown name.
    """
    if unknown := [name for name in names if name not in CORPORA]:
        raise UserError(f"unknown corpus {unknown[0]!r}; there are: {', '.join(CORPORA)}")
    corpora = [CORPORA[name] for name in dict.fromkeys(names or CORPORA)]
    mirrors = [] if offline else [mirror for corpus in corpora for mirror in corpus.hub]
    with ThreadPoolExecutor(MIRRORS_AT_ONCE) as pool:
        problems = dict(zip(mirrors, pool.map(hub.unreachable, mirrors), strict=True))
    for corpus in corpora:
        yield f"{corpus.name}: {corpus.description}"
        for title, text in _facts(corpus, problems):
            yield f"    {title + ':':10} {text}"


def _facts(corpus: Corpus, problems: dict[str, str]) -> Iterator[tuple[str, str]]:
    for title in ("size", "licence", "citation", "link"):
        if text := getattr(corpus, title):
            yield title, text
    if corpus.name == "chitchat":
        try:
            corpus.sources("")
            yield "now", "installed"
        except UserError:
            yield "now", "not installed: pip install chitchat-dataset"
        return
    if corpus.export:
        yield "export", corpus.export
    yield "files", f"--from FILE or FOLDER with {', '.join(corpus.patterns)}"
    for mirror in corpus.hub:
        problem = problems.get(mirror)
        state = "not asked" if problem is None else f"not reachable now: {problem}" if problem else "reachable now"
        yield "hub", f"--from hub: {mirror} ({state})"
