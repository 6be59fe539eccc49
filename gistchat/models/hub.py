"""Models of the Hugging Face hub: is it reachable, and what to say when a model cannot be had."""

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from gistchat.errors import UserError, first_line

OFFLINE_HINT = (
    "check the name and the network, give a local folder, use the packaged model (--model smollm2), "
    "or train from random weights (--model gpt2 --init scratch)"
)


def reachable(source: str) -> str:
    """`source` as it is; for a hub id while the hub does not answer, the folder where it was fetched to before.

    Left to itself, the hub's client tries every file that it does not have for half a minute, with two lines of
    warning per try.
    """
    silence = "" if Path(source).is_dir() else _hub_silence(source)
    if not silence:
        return source
    try:
        return snapshot_download(source, local_files_only=True)
    except LocalEntryNotFoundError:
        raise UserError(
            f"cannot get model {source!r} (not fetched before, and the hub does not answer: {silence}): {OFFLINE_HINT}"
        ) from None


def _hub_silence(name: str) -> str:
    """Why the hub does not answer, from one request without retries; empty if it does (a 404 counts as reachable)."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except (HfHubHTTPError, HFValidationError):
        return ""
    except Exception as error:
        # No network, no such host, a bad certificate, a time-out, HF_HUB_OFFLINE: each has its own exception type.
        return first_line(error)
    return ""


def load_error(source: str, error: Exception) -> UserError:
    """What to say of a model that cannot be loaded from a folder or had from the hub."""
    reason = first_line(error)
    if Path(source).is_dir():
        return UserError(f"{source}: cannot load the model ({reason})")
    return UserError(f"cannot get model {source!r} ({reason}): {OFFLINE_HINT}")
