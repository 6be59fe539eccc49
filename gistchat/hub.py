"""The Hugging Face hub: repositories by commit, how long one waits for it, and what to say when it refuses.

Left to itself the hub's client waits as long as the hub asks it to, several times over and without a word, also for
what lies in its cache. Here the cache is taken at once; for what is not in it one waits a little, and that is said.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from gistchat.errors import first_line, require
from gistchat.progress import say

T = TypeVar("T")

LOGIN = "hf auth login"
TRIES = 5
FIRST_PAUSE = 1.0  # seconds; each further one is twice as long, where the hub does not say how long
LONGEST_WAIT = 60.0  # seconds, all pauses together
BUSY = (429, 500, 502, 503, 504)
PAGES = {"model": "", "dataset": "datasets/"}


def split_revision(name: str) -> tuple[str, str]:
    """What stands before an @, and the branch, tag or commit after it; empty for the main branch."""
    repository, _, revision = name.partition("@")
    return repository, revision


def commit_of(repository: str, revision: str = "", kind: str = "model", patient: bool = True) -> str:
    """The commit that a branch or tag is at; where the hub does not answer, the one that it was at when last asked.

    Args:
        kind: model | dataset.
        patient: try again where the hub is busy and it was never asked before.
    Raises:
        Exception: an error of the hub's client or of the network, which `problem` puts into words.
    """
    library = require("huggingface_hub", "hub")
    network = require("huggingface_hub.utils", "hub").httpx

    def resolve(from_cache: bool = False) -> str:
        return library.HfApi().resolve_revision(
            repository, repo_type=kind, revision=revision or None, local_files_only=from_cache
        )

    def commit() -> str:
        try:
            return resolve().resolved
        except library.errors.RevisionNotFoundError:
            raise
        except (library.errors.HfHubHTTPError, network.ProxyError) as error:
            try:
                return resolve(from_cache=True).resolved
            except library.errors.RevisionResolutionError:
                raise error from None

    return ask(commit, TRIES if patient else 1)


def ask(call: Callable[[], T], tries: int = TRIES) -> T:
    """What `call` gets from the hub. It is tried again, for a minute at most, where the hub is busy or out of order."""
    waited, pause = 0.0, FIRST_PAUSE
    with _without_patience():
        for left in reversed(range(tries)):
            try:
                return call()
            except Exception as error:
                status, wanted = _busy(_cause(error))
                wait = wanted or pause
                if not status or not left or waited + wait > LONGEST_WAIT:
                    raise
            say(f"the hub is busy ({status}); trying again in {wait:.0f} s")
            time.sleep(wait)
            waited, pause = waited + wait, pause * 2
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def _without_patience() -> Iterator[None]:
    """For a while the hub's client raises what is wrong at once, and waits no longer than its own limit for an answer.

    Else it tries again by itself where the hub is busy, and has no limit for most questions.
    """
    library = require("huggingface_hub", "hub")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it warns of comes out as one message of ours
    session = library.get_session()
    hooks = session.event_hooks
    session.event_hooks = {
        "request": [*hooks["request"], _limit_time],
        "response": [*hooks["response"], _raise_if_busy],
    }
    try:
        yield
    finally:
        session.event_hooks = hooks


def _limit_time(request: Any) -> None:
    limits = request.extensions.get("timeout", {})
    if not any(limits.values()):
        seconds = require("huggingface_hub", "hub").constants.HF_HUB_ETAG_TIMEOUT
        request.extensions["timeout"] = dict.fromkeys(limits, seconds)


def _raise_if_busy(response: Any) -> None:
    if response.status_code in BUSY:
        response.read()
        require("huggingface_hub.utils", "hub").hf_raise_for_status(response)


def _busy(error: BaseException) -> tuple[int, float]:
    """The status with which a busy hub answered, 0 for other errors; and for how many seconds it wants to be left."""
    response = getattr(error, "response", None)
    if response is None or response.status_code not in BUSY:
        return 0, 0
    limit = require("huggingface_hub.utils", "hub").parse_ratelimit_headers(response.headers)
    seconds = response.headers.get("retry-after", "")
    if not seconds.isdigit() and limit and not limit.remaining:
        seconds = str(limit.reset_in_seconds)
    return response.status_code, float(seconds) if seconds.isdigit() else 0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cause(error: BaseException) -> BaseException:
    """What the hub answered, or what hindered asking it; the error itself where it has to do with neither."""
    errors = require("huggingface_hub.errors", "hub")
    network = require("huggingface_hub.utils", "hub").httpx
    kinds = (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, errors.HFValidationError, network.TransportError)
    return next((cause for cause in _chain(error) if isinstance(cause, kinds)), error)


def is_silent(error: BaseException) -> bool:
    """Whether the hub did not answer at all, or was not to be asked."""
    errors = require("huggingface_hub.errors", "hub")
    network = require("huggingface_hub.utils", "hub").httpx
    return isinstance(_cause(error), (errors.OfflineModeIsEnabled, network.TransportError))


def problem(error: BaseException, repository: str, kind: str = "model") -> str:
    """What is wrong, and what to do about it, where something of a repository cannot be had from the hub."""
    library = require("huggingface_hub", "hub")
    errors = library.errors
    cause = _cause(error)
    if is_silent(cause):
        return _silence(cause)
    if not isinstance(cause, errors.HfHubHTTPError):
        return first_line(cause)
    status, page = cause.response.status_code, f"{library.constants.ENDPOINT}/{PAGES[kind]}{repository}"
    if isinstance(cause, errors.GatedRepoError):
        login = f", then log in with {LOGIN}" if status == 401 else "; your account has none yet"
        return f"it is gated: ask for access at {page}{login}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"it has no such branch, tag or commit; see {page}"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return f"no such {kind} on the hub, or a private one: check the name; for a private one log in with {LOGIN}"
    if status == 401:
        return f"the hub does not take your login: log in again with {LOGIN}"
    if status in BUSY:
        return _business(*_busy(cause))
    return f"the hub refuses it: {cause.server_message or first_line(cause)}"


def _silence(error: BaseException) -> str:
    library = require("huggingface_hub", "hub")
    network = require("huggingface_hub.utils", "hub").httpx
    if isinstance(error, library.errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids to ask the hub"
    if isinstance(error, network.TimeoutException):
        seconds = library.constants.HF_HUB_ETAG_TIMEOUT
        return f"the hub did not answer within {seconds} s; HF_HUB_ETAG_TIMEOUT=60 waits longer"
    return f"the hub does not answer: {first_line(error)}"


def _business(status: int, wanted: float) -> str:
    later = f"in {wanted:.0f} s" if wanted else "later"
    if status == 429:
        return f"the hub gets too many requests from here (429): try again {later}; who is logged in ({LOGIN}) may more"
    return f"the hub is out of order ({status}): try again {later}"
