"""The loopback hub itself answers its clients as the true one does."""

from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

SMOLLM2, GATED = "HuggingFaceTB/SmolLM2-135M-Instruct", "google/gemma-2-2b-it"


@pytest.fixture
def api(hub_in_this_process):
    return HfApi(endpoint=hub_in_this_process.endpoint)


def test_small_files_come_from_the_hub_and_large_ones_from_the_second_host(hub, api):
    path = hf_hub_download(SMOLLM2, "config.json")
    assert hub[SMOLLM2].at("main").oid in path
    assert Path(path).read_bytes() == hub[SMOLLM2].file("config.json")
    large = hf_hub_download(SMOLLM2, "model.safetensors")
    assert Path(large).read_bytes() == hub[SMOLLM2].file("model.safetensors")
    sent = {
        request.file.rpartition("/")[2]: request.host
        for request in hub.requests
        if request.file and request.method == "GET"
    }
    assert sent == {"config.json": "hub", "model.safetensors": "storage"}
    hub.requests.clear()
    hf_hub_download(SMOLLM2, "model.safetensors")
    assert hub.downloads() == []
    assert hub.asked_outside() == []


def test_old_names_and_other_capitals_lead_to_the_repository(hub, api):
    assert api.model_info("gpt2").id == "openai-community/gpt2"
    assert b'"gpt2"' in Path(hf_hub_download("gpt2", "config.json")).read_bytes()
    assert api.model_info("Microsoft/dialogpt-small").id == "microsoft/DialoGPT-small"


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, api):
    repository = hub[SMOLLM2]
    first = repository.at("main").oid
    repository.tag("v1")
    second = repository.commit({"notes.txt": b"new"}, "Notes")
    repository.commit({"notes.txt": b"other"}, "Try", "try")
    for revision, found in ((first, first), ("v1", first), ("main", second), (None, second)):
        assert api.model_info(SMOLLM2, revision=revision).sha == found
    read = [Path(hf_hub_download(SMOLLM2, "notes.txt", revision=name)).read_text() for name in ("main", "try")]
    assert read == ["new", "other"]
    refs = api.list_repo_refs(SMOLLM2)
    assert ([ref.name for ref in refs.branches], [ref.name for ref in refs.tags]) == (["main", "try"], ["v1"])
    assert [commit.title for commit in api.list_repo_commits(SMOLLM2)] == ["Notes", "Upload files", "initial commit"]
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(SMOLLM2, "notes.txt", revision="v1")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(SMOLLM2, "config.json", revision="v2")


def test_listings_have_pages_folders_and_details(hub, api):
    hub.page = 2
    names = sorted(hub["openai-community/gpt2"].at("main").files)
    assert sorted(api.list_repo_files("gpt2")) == names
    tree = list(api.list_repo_tree("openai-community/gpt2", recursive=True, expand=True))
    assert {entry.path for entry in tree} == {*names, "onnx"}
    assert all(entry.last_commit for entry in tree)
    assert [entry.path for entry in api.list_repo_tree("gpt2", "onnx")] == ["onnx/decoder_model.onnx"]
    info = api.get_paths_info("openai-community/gpt2", ["model.safetensors", "onnx", "missing"])
    assert [type(entry).__name__ for entry in info] == ["RepoFile", "RepoFolder"]
    assert info[0].lfs.size == len(hub["openai-community/gpt2"].file("model.safetensors"))
    assert {path.name for path in Path(snapshot_download("gpt2")).iterdir()} == {name.split("/")[0] for name in names}


def test_what_is_missing_or_private_or_gated_is_told_apart(hub, api):
    with pytest.raises(RepositoryNotFoundError, match="401"):
        api.model_info("nobody/nothing")
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.model_info("nobody/nothing", token="hf_ada")
    with pytest.raises(GatedRepoError, match="Please log in"):
        hf_hub_download(GATED, "config.json")
    hub.log_in("ada")
    with pytest.raises(GatedRepoError, match=r"not in the authorized list. Visit .*gemma-2-2b-it to ask for access"):
        hf_hub_download(GATED, "config.json")
    hub[GATED].allowed.add("ada")
    assert hf_hub_download(GATED, "config.json")
    hub[SMOLLM2].private = True
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(SMOLLM2)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")
    assert api.whoami(token="hf_ben")["name"] == "ben"


def test_a_hub_that_is_busy_down_or_slow_is_asked_again(hub, api):
    hub.fault("busy", "config.json", times=2, seconds=0)
    assert hf_hub_download(SMOLLM2, "config.json")
    hub.fault("down", "generation_config.json", times=1)
    assert hf_hub_download(SMOLLM2, "generation_config.json")
    asked = [(request.status, request.headers.get("Retry-After")) for request in hub.requests if request.status >= 400]
    assert [status for status, _ in asked if status != 404] == [429, 429, 503]
    hub.fault("slow", "tokenizer_config.json", times=1, seconds=5)
    assert hf_hub_download(SMOLLM2, "tokenizer_config.json", etag_timeout=0.2)
    hub.fault("dribble", "special_tokens_map.json", seconds=0.01)
    assert hf_hub_download(SMOLLM2, "special_tokens_map.json")


def test_a_download_that_breaks_is_made_again(hub, api):
    whole = hub[SMOLLM2].file("model.safetensors")
    hub.fault("cut", "model.safetensors", times=1)
    assert Path(hf_hub_download(SMOLLM2, "model.safetensors")).read_bytes() == whole
    # The client goes on from full pieces of 10 MB, of which a tiny file has none.
    assert len(hub.downloads(f"{SMOLLM2}/model.safetensors")) == 2
    url = hf_hub_url(SMOLLM2, "model.safetensors")
    for asked, part in (("bytes=100-", whole[100:]), ("bytes=3-9", whole[3:10])):
        answer = get_session().get(url, headers={"Range": asked}, follow_redirects=True)
        assert (answer.status_code, answer.content) == (206, part)
    answer = get_session().get(url, headers={"Range": f"bytes={len(whole)}-"}, follow_redirects=True)
    assert answer.status_code == 416


def test_offline_nobody_answers(hub, api, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's tries
    with hub.offline(), pytest.raises(LocalEntryNotFoundError):
        hf_hub_download(SMOLLM2, "config.json")
    assert hf_hub_download(SMOLLM2, "config.json")


def test_other_hosts_are_not_reached_and_are_remembered(hub, api):
    with pytest.raises(httpx2.ProxyError):
        get_session().get("https://conversion.example.org/call", timeout=5)
    assert hub.asked_outside() == ["conversion.example.org"]


def test_uploads(hub, api, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(HfHubHTTPError, match="401"):
        api.create_repo("talker")
    hub.log_in("ada")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("google/talker")
    assert api.create_repo("talker", private=True).repo_id == "ada/talker"
    api.create_repo("talker", exist_ok=True)
    done = api.upload_folder(repo_id="ada/talker", folder_path=tmp_path)
    assert hub["ada/talker"].private
    assert hub["ada/talker"].at("main").oid == done.oid
    assert hub["ada/talker"].file("model.safetensors") == b"weights"
    assert [request.method for request in hub.requests if request.host == "storage"] == ["PUT"]
    api.delete_file("config.json", "ada/talker")
    assert set(hub["ada/talker"].at("main").files) == {".gitattributes", "model.safetensors"}
