"""What is exported loads with plain transformers and answers as the run does."""

import pytest
import torch
from conftest import gistchat, train_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from gistchat.chat.session import ChatSession
from gistchat.errors import UserError
from gistchat.models import export as export_module
from gistchat.models.export import export, push


@pytest.mark.parametrize("method", ["lora", "full"])
def test_plain_transformers_gives_the_same_greedy_reply(tiny_recipe, tmp_path, method):
    tiny_recipe = tiny_recipe.change(train={"method": method, "learning_rate": 1e-3, "steps": 3})
    train_tiny(tiny_recipe, tmp_path / "run")
    done = gistchat("export", "run", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    greedy = ["chat.temperature=0", "chat.max_reply_tokens=8"]
    sessions = [ChatSession.open(tmp_path / folder, greedy) for folder in ("run", "out")]
    said = ["".join(session.reply("Did you see the dog?")) for session in sessions]
    assert said[0]
    assert said[0] == said[1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = sessions[0].engine.format.encode(sessions[0].context).ids
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=0)[0, len(prompt) :]
    stops = sessions[0].engine.format.stop_ids
    kept = ids[: next((i for i, token in enumerate(ids.tolist()) if token in stops), len(ids))]
    assert tokenizer.decode(kept, skip_special_tokens=True).strip().startswith(said[0].rstrip("\ufffd").strip())
    assert "out is not empty" in gistchat("export", "run", "out", cwd=tmp_path).stderr


class Hub:
    """Records what is uploaded, or refuses."""

    refuses = False
    uploads = ()

    def create_repo(self, name, exist_ok):
        if self.refuses:
            raise OSError("no route to host")
        return f"https://hub.example/{name}"

    def upload_folder(self, repo_id, folder_path):
        Hub.uploads = (*Hub.uploads, (repo_id, sorted(path.name for path in folder_path.iterdir())))


def test_the_whole_folder_is_pushed_and_kept_when_the_hub_refuses(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "HfApi", Hub)
    folder = export(run_folder, tmp_path / "out")
    assert push(folder, "me/chat") == "https://hub.example/me/chat"
    [(name, files)] = Hub.uploads
    assert name == "me/chat"
    assert {"model.safetensors", "config.json", "tokenizer.json", "gistchat.json"} <= set(files)
    monkeypatch.setattr(Hub, "refuses", True)
    with pytest.raises(UserError, match=r"cannot push to 'me/chat' \(no route to host\); .*out is kept"):
        push(folder, "me/chat")
    assert (folder / "model.safetensors").exists()
