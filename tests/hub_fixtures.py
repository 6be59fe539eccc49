"""The fixture `hub`: the loopback hub with the tiny repositories, everything as new for each test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_commands import Commands
from hub_contents import GIT_ATTRIBUTES, Repository, files_of
from hub_datasets import dataset_files
from hub_models import ADAPTER, MODELS, MOVED, make_adapter, make_model
from hub_server import Hub
from transformers.utils import logging as transformers_logging

from gistchat.models.resolve import resolve_base
from gistchat.recipe.schema import ModelConfig


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FOLDER/ID: the files of each tiny model."""
    folder = tmp_path_factory.mktemp("hub")
    shown, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in MODELS:
        make_model(name, folder / name)
    make_adapter(folder / ADAPTER)
    transformers_logging.set_verbosity(verbosity)
    if shown:
        transformers_logging.enable_progress_bar()
    return folder


@pytest.fixture(scope="session")
def hub_files(hub_folder: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """Of each model and of datasets/ID, of each branch, the files."""
    models = {name: {"main": files_of(hub_folder / name)} for name in (*MODELS, ADAPTER)}
    return models | {f"datasets/{name}": branches for name, branches in dataset_files().items()}


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub-home")) as hub:
        hub.commands = Commands(hub.environment)
        yield hub
        hub.commands.close()


@pytest.fixture(scope="session")
def packaged_gguf() -> Path:
    """The packaged model as it was converted once, which has nothing to do with a hub and takes half a minute."""
    return Path(resolve_base(ModelConfig(), seed=0).source)


@pytest.fixture
def hub(running_hub: Hub, hub_files: dict[str, dict[str, dict[str, bytes]]], packaged_gguf: Path) -> Iterator[Hub]:
    """The hub, with nobody logged in and nothing in the caches but the packaged model.

    `hub.gistchat("train", ..., cwd=folder)` runs a command that uses it; `hub.environment` is for any other program.
    """
    shutil.rmtree(running_hub.home)
    models = running_hub.home / "cache" / "gistchat" / "models"
    models.mkdir(parents=True)
    (models / packaged_gguf.name).symlink_to(packaged_gguf)
    running_hub.reset([_repository(name, branches) for name, branches in hub_files.items()], MOVED)
    yield running_hub
    running_hub.mend()


def _repository(name: str, branches: dict[str, dict[str, bytes]]) -> Repository:
    kind, name = ("dataset", name.removeprefix("datasets/")) if name.startswith("datasets/") else ("model", name)
    repository = Repository(kind, name, **(dict(MODELS[name].rights) if name in MODELS else {}))
    repository.commit({".gitattributes": GIT_ATTRIBUTES}, "initial commit")
    for branch, files in branches.items():
        repository.commit(files, "Upload files", branch)
    return repository


@pytest.fixture
def hub_in_this_process(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub, at which the client in this process points, too, as far as it lets itself be turned around."""
    import datasets
    import huggingface_hub
    import transformers.utils.hub
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    close_session()
    for name, value in hub.environment.items():
        monkeypatch.setenv(name, value)
    paths = {"HF_HOME": hub.home, "HF_HUB_CACHE": hub.home / "hub", "HF_TOKEN_PATH": hub.token_path}
    for name, value in paths.items():
        monkeypatch.setattr(constants, name, str(value))
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    settings = {"ENDPOINT": hub.endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
    for name, value in {**settings, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.endpoint)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(os.environ["HF_DATASETS_CACHE"]))
    yield hub
    close_session()
