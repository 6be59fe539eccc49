"""What the loopback hub keeps: repositories with their commits, branches, tags and files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

MAIN = "refs/heads/main"
PARQUET = "refs/convert/parquet"
LFS_PATTERNS = ("*.7z", "*.arrow", "*.bin", "*.gguf", "*.gz", "*.h5", "*.model", "*.msgpack", "*.npy", "*.onnx")
LFS_PATTERNS += ("*.ot", "*.parquet", "*.pt", "*.pth", "*.safetensors", "*.tflite", "*.zip")
LFS_SIZE = 10_000_000  # bytes: whatever is larger is a large file, too
GIT_ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def is_large(path: str, size: int) -> bool:
    """Whether the hub keeps such a file on its second host."""
    name = path.rpartition("/")[2]
    return size > LFS_SIZE or any(fnmatch(name, pattern) for pattern in LFS_PATTERNS)


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class File:
    """One version of a file."""

    path: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def large(self) -> bool:
        return bool(self.data) and is_large(self.path, len(self.data))

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(self.data)}")
        return "\n".join((*lines, "")).encode()

    @cached_property
    def oid(self) -> str:
        return git_hash(self.pointer if self.large else self.data)

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.large else self.oid}"'

    def entry(self) -> dict[str, Any]:
        """As a listing of files shows it."""
        large = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        entry = {"type": "file", "oid": self.oid, "size": len(self.data), "path": self.path}
        return {**entry, "lfs": large} if self.large else entry


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    date: str
    parent: str
    files: Mapping[str, File]

    def folders(self) -> dict[str, str]:
        """All folders, each with a hash of what is in it."""
        names = {parent for path in self.files for parent in _parents(path)}
        return {
            name: hashlib.sha1(
                "".join(file.oid for path, file in sorted(self.files.items()) if path.startswith(f"{name}/")).encode()
            ).hexdigest()
            for name in sorted(names)
        }


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


@dataclass
class Repository:
    """A model or a dataset.

    Attributes:
        kind: model | dataset.
        id: owner/name, as its owner wrote it.
        gated: whether files are for those on the list only.
        allowed: users on that list.
    """

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    allowed: set[str] = field(default_factory=set)
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @classmethod
    def of_folder(cls, kind: str, name: str, folder: Path, **rights: Any) -> "Repository":
        """A repository of a folder's files, in two commits, the first of which is empty."""
        repository = cls(kind, name, **rights)
        repository.commit({".gitattributes": GIT_ATTRIBUTES}, "initial commit")
        repository.commit(files_of(folder), "Upload files")
        return repository

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    def commit(self, changes: Mapping[str, bytes | None], title: str = "Change", ref: str = "main") -> str:
        """Add or replace files (None: delete them) on a branch; returns the commit."""
        name = self._full_name(ref)
        parent = self.refs.get(name) or (self.refs.get(MAIN, "") if name.startswith("refs/heads/") else "")
        files = dict(self.commits[parent].files) if parent else {}
        for path, data in changes.items():
            files.pop(path, None)
            if data is not None:
                files[path] = File(path, data)
        date = (FIRST_DAY + timedelta(hours=len(self.commits))).isoformat(timespec="milliseconds")
        contents = [self.kind, self.id, parent, title, date, *(f"{path} {files[path].oid}" for path in sorted(files))]
        oid = hashlib.sha1("\n".join(contents).encode()).hexdigest()
        self.commits[oid] = Commit(oid, title, date.replace("+00:00", "Z"), parent, files)
        self.refs[name] = oid
        return oid

    def tag(self, name: str, revision: str = "main") -> None:
        found = self.at(revision)
        assert found, f"{self.id} has no revision {revision}"
        self.refs[f"refs/tags/{name}"] = found.oid

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a full name such as refs/convert/parquet, or a commit's (short) hash."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return self.commits[self.refs[name]]
        short = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        return self.commits[short[0]] if len(short) == 1 else None

    def file(self, path: str, revision: str = "main") -> bytes:
        """What a file holds."""
        found = self.at(revision)
        assert found, f"{self.id} has no revision {revision}"
        return found.files[path].data

    def history(self, commit: Commit) -> list[Commit]:
        """A commit and those before it, latest first."""
        commits = [commit]
        while parent := self.commits.get(commits[-1].parent):
            commits.append(parent)
        return commits

    def card(self, commit: Commit) -> dict[str, Any]:
        """What stands between the lines --- on top of the README."""
        text = commit.files["README.md"].data.decode() if "README.md" in commit.files else ""
        return (yaml.safe_load(text.split("---\n")[1]) or {}) if text.startswith("---\n") else {}

    def _full_name(self, ref: str) -> str:
        return ref if ref.startswith("refs/") else f"refs/heads/{ref}"


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their paths in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
