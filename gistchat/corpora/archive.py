"""ZIP archives as messengers and services export them: their texts are unpacked for as long as the process runs."""

import tempfile
import zipfile
import zlib
from functools import cache
from pathlib import Path, PurePosixPath

from gistchat.errors import UserError
from gistchat.limits import UNPACKED_ANYWAY, UNPACKED_TIMES

SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".md", ".parquet")  # of files that may hold conversations
_FOLDERS: dict[Path, tempfile.TemporaryDirectory] = {}  # of archives; removed when the process ends


def is_archive(path: Path) -> bool:
    """Whether it is a ZIP archive, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@cache
def unpacked(path: Path) -> Path:
    """A folder with the archive's texts, in the folders that they have there; pictures and the like are left out.

    Of an archive of archives these are there.

    Raises:
        UserError: the archive is cut or damaged, asks for a password, or would unpack to far more than its size.
    """
    folder = _FOLDERS[path] = tempfile.TemporaryDirectory(prefix=f"{path.stem[:40]}-")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [part for part in archive.infolist() if not part.is_dir()]
            # Archives beside texts are what people sent each other.
            texts = [part for part in parts if _is_text(part.filename)] or [
                part for part in parts if _is_text(part.filename, (".zip",))
            ]
            if sum(part.file_size for part in texts) > max(UNPACKED_ANYWAY, UNPACKED_TIMES * path.stat().st_size):
                raise UserError(f"{path}: unpacks to over {UNPACKED_TIMES} times its size, which no export does")
            for part in texts:
                archive.extract(part, folder.name)  # `extract` keeps names inside of the folder
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise UserError(f"{path}: a ZIP that is cut or damaged ({error}); get it anew") from None
    except RuntimeError:
        raise UserError(f"{path}: a ZIP with a password; unpack it first") from None
    return Path(folder.name)


def origin_of(path: Path) -> str:
    """What to call a file that was unpacked from an archive; empty for others."""
    for archive, folder in _FOLDERS.items():
        if path.is_relative_to(folder.name):
            return f"{origin_of(archive) or archive}: {path.relative_to(folder.name)}"
    return ""


def _is_text(name: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    parts = PurePosixPath(name)
    return parts.suffix.lower() in suffixes and "__MACOSX" not in parts.parts and not parts.name.startswith("._")
