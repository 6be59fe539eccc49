"""Corpora from the Hugging Face hub, by the library `datasets`; `hub:FOLDER` reads a local copy of a hub repository.

What is read is a commit: that of the revision which is asked for, or else of the main branch. The library would take
the newest data in its cache where it cannot have that, of whatever revision.
"""

import contextlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from gistchat.errors import UserError, first_line, require
from gistchat.hub import ask, commit_of, is_silent, problem, split_revision

PREFIX = "hub"
DEFAULT = "default"  # what `datasets` calls the only configuration of a data set that names none
MOST_NAMED = 20  # configurations, in a message
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")

Files = list[tuple[Path, str]]  # Arrow files, each with its split


@dataclass(frozen=True)
class Place:
    """A data set on the hub, OWNER/NAME[/CONFIGURATION][@REVISION], or a folder in place of OWNER/NAME."""

    repository: str
    config: str = ""
    revision: str = ""

    @property
    def is_folder(self) -> bool:
        return Path(self.repository).is_dir()

    def named(self, config: str) -> str:
        """How to name a configuration of it."""
        return f"{self.repository}/{config}" + (f"@{self.revision}" if self.revision else "")


class WrongConfig(ValueError):
    """A data set has several configurations and none is named, or not the one that is."""

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        listed = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        has = f"has no configuration {place.config!r}, only" if place.config else "has several configurations:"
        super().__init__(f"{place.repository} {has} {listed}; name one, as in --from {PREFIX}:{place.named(names[0])}")


def load(corpus: str, ids: Sequence[str]) -> list[tuple[Path, str, str]]:
    """Fetch the first of `ids`, each as `Place` says, that can be had.

    Returns:
        Its Arrow files in the local cache, each with its split and what it is of: an id with its commit.

    Raises:
        UserError: the corpus is not on the hub, or none of its mirrors can be had.
    """
    if not ids:
        raise UserError(f"{corpus} is not on the hub; give its files with --from FILE_OR_FOLDER")
    datasets = require("datasets", "hub")
    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.ERROR)  # its warnings would come before our one message
    problems, silent = [], False
    for name in ids:
        place = place_of(name)
        try:
            files, origin = _load(datasets, place)
            return [(path, split, origin) for path, split in files]
        except WrongConfig as error:
            raise UserError(str(error)) from None
        except Exception as error:
            # The library raises types of its own, of the hub's client and of the network, and ValueErrors.
            problems.append(f"{name}: {_words(datasets, place, error)}")
            silent = silent or (not place.is_folder and is_silent(error))
    advice = "check the network, or " if silent else ""
    raise UserError(
        f"cannot get {corpus} from the hub ({'; '.join(problems)}); {advice}download the original files "
        "and give their folder with --from"
    )


def _words(datasets: ModuleType, place: Place, error: Exception) -> str:
    if isinstance(error, datasets.exceptions.DatasetGenerationError):
        return f"its files cannot be read ({first_line(error.__cause__ or error)})"
    if place.is_folder:
        return first_line(error)
    before = "not fetched before, and " if is_silent(error) else ""
    return before + problem(error, place.repository, "dataset")


def place_of(name: str) -> Place:
    """What a name means. A folder goes first, as in the library."""
    if Path(name).is_dir():
        return Place(name)
    place, revision = split_revision(name)
    parent, _, config = place.rpartition("/")
    return Place(parent, config, revision) if place.count("/") > 1 else Place(place, "", revision)


def _load(datasets: ModuleType, place: Place) -> tuple[Files, str]:
    """The Arrow files of a data set, and what to call it."""
    name = f"{place.repository}/{place.config}" if place.config else place.repository
    if place.is_folder:
        return _loaded(datasets, place, None), name
    commit = commit_of(place.repository, place.revision, "dataset")
    files = _cached(datasets, commit, place.config or DEFAULT)
    if not files:
        try:
            files = ask(lambda: _fetched(datasets, place, commit))
        except WrongConfig:
            raise
        except Exception:
            # Where nobody says which configuration, the only one that was fetched before will be meant.
            files = [] if place.config else _cached(datasets, commit, "*")
            if not files:
                raise
    return files, f"{name}@{commit}"


def _cached(datasets: ModuleType, commit: str, config: str) -> Files:
    """What `datasets` (4 and 5: DATASET/CONFIGURATION/VERSION/COMMIT) has in its cache of a commit; else nothing."""
    folders = [path.parent for path in Path(datasets.config.HF_DATASETS_CACHE).glob(f"*/{config}/*/{commit}/*.json")]
    if len(set(folders)) != 1:
        return []
    return [(path, _SHARD.sub("", path.stem).rpartition("-")[2]) for path in sorted(folders[0].glob("*.arrow"))]


def _fetched(datasets: ModuleType, place: Place, commit: str) -> Files:
    """As `_loaded`, but with an error that says why the hub does not give it, which the library keeps for itself."""
    api = require("huggingface_hub", "hub").HfApi()
    errors = require("huggingface_hub.errors", "hub")
    api.dataset_info(place.repository, revision=commit)  # fails at once where the library would try for half a minute
    try:
        return _loaded(datasets, place, commit)
    except WrongConfig:
        raise
    except Exception:
        with contextlib.suppress(errors.EntryNotFoundError):
            api.auth_check(place.repository, repo_type="dataset")
        raise


def _loaded(datasets: ModuleType, place: Place, commit: str | None) -> Files:
    """What the library makes of a folder, or of a commit on the hub.

    Raises:
        WrongConfig: there are several configurations, or not the one that is named.
        Exception: whatever else is wrong, in the words of the library.
    """
    try:
        splits = datasets.load_dataset(place.repository, place.config or None, revision=commit)
    except ValueError:
        names = datasets.get_dataset_config_names(place.repository, revision=commit)
        if place.config in names or (len(names) < 2 and not place.config):
            raise
        raise WrongConfig(place, names) from None
    files = [(Path(file["filename"]), split) for split, part in splits.items() for file in part.cache_files]
    if commit and any(commit not in path.parts for path, _ in files):
        raise OSError("only other versions of it can be had, from the cache")
    return files


def unreachable(name: str, timeout: float = 5.0) -> str:
    """Why the hub does not give this id and revision now, asked once for `timeout` seconds; empty where it does."""
    place = place_of(name)
    try:
        api = require("huggingface_hub", "hub").HfApi()
        api.dataset_info(place.repository, revision=place.revision or None, timeout=timeout)
    except UserError as error:  # no client
        return str(error)
    except Exception as error:
        return problem(error, place.repository, "dataset")
    return ""
