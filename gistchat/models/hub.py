"""Models of the Hugging Face hub: is it reachable, and what to say when a model cannot be had.

Models may come with Python code of their own. It is never run: every `from_pretrained` of gistchat says
`trust_remote_code=False`, as transformers would otherwise ask on standard input, which belongs to the chat.
"""

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from gistchat.errors import UserError, first_line, missing_for_tokenizer

OFFLINE_HINT = (
    "check the name and the network, give a local folder, use the packaged model (--model smollm2), "
    "or train from random weights (--model gpt2 --init scratch)"
)


OWN_CODE = "this model needs Python code of its own (auto_map), which is never run; take one that transformers knows"


def needs_own_code(error: Exception) -> bool:
    """Whether transformers refused a model because it does not know it and would have to run the model's own code."""
    return "trust_remote_code" in str(error)


def reachable(source: str) -> str:
    """`source` as it is; for a hub id while the hub does not answer, the folder where it was fetched to before.

    One request without retries tells (a 404 is an answer, too). Left to itself, the hub's client tries every file that
    it does not have for half a minute, with two lines of warning per try.
    """
    if Path(source).is_dir():
        return source
    try:
        get_hf_file_metadata(hf_hub_url(source, "config.json"))
        return source
    except (HfHubHTTPError, HFValidationError):
        return source  # the hub does answer
    except Exception as error:
        # No network, no such host, a bad certificate, a time-out, HF_HUB_OFFLINE: each has its own exception type.
        silence = first_line(error)
    try:
        return snapshot_download(source, local_files_only=True)
    except LocalEntryNotFoundError:
        raise UserError(
            f"cannot get model {source!r} (not fetched before, and the hub does not answer: {silence}): {OFFLINE_HINT}"
        ) from None


def load_error(source: str, error: Exception) -> UserError:
    """What to say of a model that cannot be loaded from a folder or had from the hub."""
    if needs_own_code(error):
        return UserError(f"{source}: {OWN_CODE}")
    if missing := missing_for_tokenizer(error):
        return UserError(f"{source}: {missing}")
    reason = first_line(error)
    if Path(source).is_dir():
        return UserError(f"{source}: cannot load the model ({reason})")
    return UserError(f"cannot get model {source!r} ({reason}): {OFFLINE_HINT}")
