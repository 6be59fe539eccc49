"""What is exported goes to the hub with a card, without this machine's paths, privately, and again after a failure."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import gistchat
from huggingface_hub import HfApi

from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import PACKAGED
from gistchat.models.sharing import base_id, model_card, shareable
from gistchat.recipe.load import override
from gistchat.recipe.schema import Recipe


@pytest.fixture
def work(tmp_path, run_folder):
    """A working folder with a run of a tiny GPT-2."""
    shutil.copytree(run_folder / "checkpoint", tmp_path / "run")
    return tmp_path


def card_of(repository):
    _, front, text = repository.file("README.md").decode().split("---\n", 2)
    return yaml.safe_load(front), text


def uploaded_texts(repository):
    return {
        name: file.data.decode()
        for name, file in repository.at("main").files.items()
        if name.endswith((".json", ".md", ".Modelfile", ".jinja"))
    }


def test_a_name_alone_is_ones_own_and_private_with_a_card_and_no_paths(hub, work, run_folder):
    hub.log_in()
    done = hub.gistchat("export", "run", "out", "--push", "my-model", cwd=work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["exported: out", f"pushed: {hub.endpoint}/ada/my-model"]
    repository = hub["ada/my-model"]
    assert repository.private
    files = repository.at("main").files
    assert files["model.safetensors"].data == (work / "out" / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "gistchat.json", "README.md"} <= set(files)
    values, text = card_of(repository)
    assert (values["library_name"], values["tags"]) == ("transformers", ["gistchat", "conversational"])
    assert not values.keys() & {"base_model", "license", "datasets"}  # random weights, conversations of one's own
    assert "# my-model" in text
    assert "random weights" in text
    local = (str(run_folder.parent), str(work), str(Path.home()), "talks.jsonl")
    for name, content in uploaded_texts(repository).items():
        assert not [place for place in local if place in content], name
    # What comes down again is a whole checkpoint.
    for name, file in files.items():
        (work / "down" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "down" / name).write_bytes(file.data)
    assert load_checkpoint(work / "down").recipe.data.source == ""
    assert (work / "out" / "gistchat.json").read_text() != (work / "down" / "gistchat.json").read_text()


def test_a_public_model_has_to_be_asked_for(hub, work):
    hub.log_in()
    assert hub.gistchat("export", "run", "out", "--push", "our-lab/chat", "--public", cwd=work).returncode == 0
    assert not hub["our-lab/chat"].private
    commit = hub["our-lab/chat"].at("main").oid
    done = hub.gistchat("export", "out", "--push", "our-lab/chat", cwd=work)
    assert done.returncode == 1
    assert done.stderr == (
        "error: our-lab/chat is there and public: add --public to upload to it, or give another name\n"
    )
    assert hub["our-lab/chat"].at("main").oid == commit


def test_after_a_failure_the_command_that_goes_on_is_said(hub, work):
    done = hub.gistchat("export", "run", "my out", "--push", "my-model", cwd=work)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith("hf auth login, then gistchat export 'my out' --push my-model")
    assert "my out is kept" in line
    hub.log_in()
    hub.fault("down", "POST .*/commit/")
    done = hub.gistchat("export", "my out", "--push", "my-model", cwd=work)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("go on with gistchat export 'my out' --push ada/my-model")
    hub.mend()
    sent = len([request for request in hub.requests if request.host == "storage" and request.method == "PUT"])
    done = hub.gistchat("export", "my out", "--push", "ada/my-model", cwd=work)
    assert done.returncode == 0, done.stderr
    assert len([request for request in hub.requests if request.host == "storage" and request.method == "PUT"]) == sent
    assert "model.safetensors" in hub["ada/my-model"].at("main").files
    done = hub.gistchat("export", "my out", "--push", "meta-llama/mine", cwd=work)
    assert done.returncode == 1
    assert (
        "log in as somebody who may write there (hf auth login), or push to your own account: gistchat" in done.stderr
    )
    assert done.stderr.endswith("gistchat export 'my out' --push mine\n")


def test_a_card_that_is_there_stays(hub, work):
    hub.log_in()
    assert hub.gistchat("export", "run", "out", "--push", "my-model", cwd=work).returncode == 0
    hub["ada/my-model"].commit({"README.md": b"# Mine\n"})
    assert hub.gistchat("export", "out", "--push", "my-model", cwd=work).returncode == 0
    assert hub["ada/my-model"].file("README.md") == b"# Mine\n"


def test_gguf_files_go_with_their_modelfile_and_card(hub, work, run_folder):
    hub.log_in()
    done = hub.gistchat("export", "run", "out.gguf", "--push", "my-gguf", cwd=work)
    assert done.returncode == 0, done.stderr
    repository = hub["ada/my-gguf"]
    assert repository.private
    for name in ("out.gguf", "out.Modelfile"):
        assert repository.file(name) == (work / name).read_bytes()
        assert str(run_folder.parent).encode() not in repository.file(name)
    assert card_of(repository)[0]["library_name"] == "gguf"
    assert hub.gistchat("export", "out.gguf", "--push", "again", cwd=work).returncode == 0
    assert hub["ada/again"].file("out.gguf") == repository.file("out.gguf")


def test_the_packaged_adapter_names_its_base_licence_and_data(hub_in_this_process, tmp_path):
    hub = hub_in_this_process
    hub.log_in()
    done = gistchat("export", str(PACKAGED), "lora.gguf", "--adapter-only", "--push", "my-lora", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values, text = card_of(hub["ada/my-lora"])
    assert values["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (values["base_model_relation"], values["license"]) == ("adapter", "apache-2.0")
    assert "chitchat (MIT)" in text
    modelfile = hub["ada/my-lora"].file("lora.Modelfile").decode()
    assert "FROM ./SmolLM2-135M-Instruct.Q4_1.gguf\nADAPTER ./lora.gguf\n" in modelfile
    shutil.copytree(PACKAGED, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path)  # as training writes it
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    done = gistchat("export", "adapter", "--push", "my-adapter", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = hub["ada/my-adapter"].file("adapter_config.json")
    assert json.loads(data)["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    metadata = json.loads(hub["ada/my-adapter"].file("gistchat.json"))
    assert metadata["files"]["adapter_config.json"] == hashlib.sha256(data).hexdigest()
    assert card_of(hub["ada/my-adapter"])[0]["library_name"] == "peft"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "out", "--push", "a/b/c"], "--push: "),
        (["run", "out", "--push", "my model"], "--push: "),
        (["run"], "say where to: gistchat export RUN OUT"),
        (["run", "out", "--public"], "--public is for what is pushed: give --push HUB_ID"),
        (["elsewhere", "--push", "mine"], "elsewhere: not what gistchat export writes; say where to"),
        (["run", "--push", "mine", "--quant", "f16"], "--quant: give OUT, the file to write"),
    ],
)
def test_what_cannot_be_pushed_is_said_before_anything_is_written(hub, work, words, message):
    hub.log_in()
    (work / "elsewhere").mkdir()
    before = sorted(work.iterdir())
    done = hub.gistchat("export", *words, cwd=work)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert sorted(work.iterdir()) == before


def test_a_recipe_for_others_names_no_place_and_nobody(tmp_path):
    (tmp_path / "base").mkdir()
    settings = [
        f"data.source={tmp_path}/chat.txt", "data.corpus=whatsapp", "data.folder=prepared", "data.answer_as=Anna",
        "data.rename=Anna=A", "data.speakers=Anna,Ben", f"model.name={tmp_path}/base", "summary.method=endpoint",
        "summary.url=http://box:1/v1", "summary.model=m", f"memory.encoder={tmp_path}/base", "train.steps=7",
        f"train.deepspeed={tmp_path}/d.json", "chat.url=http://box:2/v1",
    ]  # fmt: skip
    recipe = override(Recipe(), settings)
    given = json.dumps(vars(shareable(recipe)), default=vars)
    assert not [part for part in (str(tmp_path), "chat.txt", "prepared", "Anna", "Ben", "box") if part in given]
    assert shareable(recipe).train.steps == 7
    assert shareable(recipe).data.corpus == "whatsapp"
    assert base_id(recipe) == ""
    settings = ["data.corpus=dailydialog", "data.source=hub:OpenRL/daily_dialog", "model.name=DialoGPT-small"]
    of_hub = override(Recipe(), settings)
    assert shareable(of_hub) == of_hub
    assert base_id(of_hub) == "microsoft/DialoGPT-small"


def test_base_and_licence_are_what_the_hub_says_of_them(hub_in_this_process):
    api = HfApi(endpoint=hub_in_this_process.endpoint)
    hub_in_this_process["openai-community/gpt2"].commit({"README.md": b"---\nlicense: mit\n---\n"})
    for name, base, licence in (
        ("gpt2", "openai-community/gpt2", "mit"),
        ("meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "llama3.2"),
        ("models/of-mine", None, None),  # a folder, named from where the training ran
    ):
        recipe = override(Recipe(), [f"model.name={name}", "data.corpus=dailydialog", "data.source=hub"])
        values = yaml.safe_load(model_card(recipe, "auto", "ada/x", "transformers", "finetune", api).split("---\n")[1])
        assert (values.get("base_model"), values.get("license")) == (base, licence)
        assert values["datasets"] == ["OpenRL/daily_dialog"]
    with hub_in_this_process.offline():
        values = yaml.safe_load(model_card(Recipe(), "auto", "ada/x", "gguf", "quantized", api).split("---\n")[1])
    assert (values["base_model"], values["license"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
