"""Models of the Hugging Face hub: fetched once, by commit, and then loaded as any folder is.

Given an id instead of a folder, transformers asks the hub again for each file that a model might have, for half a
minute each where the hub is busy, and posts the ids of models without safetensors to a service that converts them.

Models may come with Python code of their own. It is never run: every `from_pretrained` of gistchat says
`trust_remote_code=False`, as transformers would otherwise ask on standard input, which belongs to the chat.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

from gistchat.errors import UserError, first_line, missing_for_tokenizer
from gistchat.hub import ask, commit_of, is_silent, problem, split_revision

OFFLINE_HINT = (
    "check the network, give a local folder, use the packaged model (--model smollm2), "
    "or train from random weights (--model gpt2 --init scratch)"
)
OWN_CODE = "this model needs Python code of its own (auto_map), which is never run; take one that transformers knows"

# Tokenizer, configuration and chat templates, also those in the folders of a sentence encoder's parts.
TEXTS = ("*.json", "*.jinja", "*.txt", "*.model", "*.spm", "*.vocab", "*.bpe", "*.tiktoken")
# Many repositories hold the same weights in several formats; the first of these that is there is fetched.
PARTS = ("[1-9]_*/pytorch_model.bin", "[0-9]_*/model.safetensors")  # of a sentence encoder
WEIGHTS = (
    ("model.safetensors", "model-*-of-*.safetensors", "0_*/model.safetensors"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "0_*/pytorch_model.bin"),
)


def needs_own_code(error: Exception) -> bool:
    """Whether transformers refused a model because it does not know it and would have to run the model's own code."""
    return "trust_remote_code" in str(error)


def fetched(source: str, commit: str = "", weights: bool = True) -> str:
    """The folder of a model: `source` itself, or where the files of a hub id are, which are fetched where they are not.

    Args:
        source: a folder, or OWNER/NAME[@REVISION].
        commit: of the hub's repository; else what the revision is at now.
        weights: also these, not only tokenizer and configuration.
    Raises:
        UserError: there is no such model, or it cannot be had now.
    """
    if Path(source).is_dir():
        return source
    repository, revision = split_revision(source)
    try:
        commit = commit or commit_of(repository, revision)
        if not weights:
            return str(_snapshot(repository, commit, TEXTS))
        for kind in WEIGHTS:
            folder = _snapshot(repository, commit, (*TEXTS, *PARTS, *kind))
            if any(True for pattern in kind for _ in folder.glob(pattern)):
                return str(folder)
    except Exception as error:
        # The hub's client raises types of its own, and the network's.
        raise load_error(source, error) from None
    raise UserError(f"cannot get model {source!r}: no weights (model.safetensors or pytorch_model.bin) in what it has")


def _snapshot(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder with those files of a commit; with as many as were fetched, where nobody knows which there are."""

    def download(from_cache: bool = False) -> Path:
        return Path(
            snapshot_download(repository, revision=commit, allow_patterns=patterns, local_files_only=from_cache)
        )

    def get() -> Path:
        if _is_listed(repository, commit):
            with contextlib.suppress(LocalEntryNotFoundError):
                return download(from_cache=True)
        try:
            HfApi().repo_info(repository, revision=commit)  # fails at once where the client would try for half a minute
        except Exception as error:
            try:
                return download(from_cache=True)
            except LocalEntryNotFoundError:
                raise error from None
        return download()

    return ask(get)


def _is_listed(repository: str, commit: str) -> bool:
    """Whether it is known which files there are."""
    try:
        get_cached_repo_tree(repository, revision=commit)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def commit_now(source: str) -> str:
    """The commit of a hub id's revision. Raises UserError where it cannot be had."""
    try:
        return commit_of(*split_revision(source))
    except Exception as error:
        raise load_error(source, error) from None


def newer_commit(source: str, commit: str) -> str:
    """The commit that a hub id's revision is at now, where its model has other files than at `commit`; else empty."""
    repository, revision = split_revision(source)
    try:
        now = commit_of(repository, revision, patient=False)
        return now if now != commit and _files(repository, now) != _files(repository, commit) else ""
    except Exception:
        return ""  # the hub does not say; what is loaded is known all the same


def _files(repository: str, commit: str) -> dict[str, str]:
    """A model's files, without what is only about it, by their hashes."""
    info = ask(lambda: HfApi().model_info(repository, revision=commit, files_metadata=True), tries=1)
    files = {file.rfilename: file.blob_id or "" for file in info.siblings or []}
    return {name: blob for name, blob in files.items() if not name.endswith((".md", ".gitattributes"))}


def load_error(source: str, error: Exception) -> UserError:
    """What to say of a model that cannot be loaded from a folder or had from the hub."""
    if isinstance(error, UserError):
        return error
    if needs_own_code(error):
        return UserError(f"{source}: {OWN_CODE}")
    if missing := missing_for_tokenizer(error):
        return UserError(f"{source}: {missing}")
    if Path(source).is_dir():
        return UserError(f"{source}: cannot load the model ({first_line(error)})")
    reason = problem(error, split_revision(source)[0])
    if is_silent(error):
        return UserError(f"cannot get model {source!r} (not fetched before, and {reason}): {OFFLINE_HINT}")
    return UserError(f"cannot get model {source!r}: {reason}")
