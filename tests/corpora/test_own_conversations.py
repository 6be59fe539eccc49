"""From a person's own file to a model, as the README says; and the original files of the corpora through a run."""

import json
import random
import zipfile
from pathlib import Path

from conftest import DEEDS, THINGS, gistchat

from gistchat.dialogue.turns import SPLITS
from gistchat.pipeline import run
from gistchat.recipe.load import load_recipe
from gistchat.recipe.schema import MixConfig

RECIPES = Path(__file__).parents[2] / "gistchat" / "recipes"
TINY = ["--model", "gpt2", "--init", "scratch", "--size", "tiny", "--out", "runs/own"]
SETTINGS = ["train.steps=2", "train.batch_size=2", "train.evaluate_every=2", "train.validation_items=2"]
SETTINGS += ["evaluate.items=3", "evaluate.reply_items=1", "evaluate.max_reply_tokens=4", "evaluate.resamples=50"]
for setting in SETTINGS:
    TINY += ["--set", setting]


def talk(days: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    rng = random.Random(seed)
    return [
        [
            ("Ann" if i % 2 else "Ben", f"I {rng.choice(DEEDS)} the {rng.choice(THINGS)}, number {rng.randrange(999)}.")
            for i in range(8)
        ]
        for _ in range(days)
    ]


def whatsapp(dialogues) -> str:
    lines = ["1/1/24, 8:00 AM - Messages and calls are end-to-end encrypted."]
    for day, turns in enumerate(dialogues, 1):
        lines += [f"1/{day}/24, 9:{i:02} PM - {name}: {text}" for i, (name, text) in enumerate(turns)]
        lines += [f"1/{day}/24, 9:30 PM - Ben: <Media omitted>"]
    return "\n".join(lines) + "\n"


def openai(dialogues) -> str:
    roles = {"Ann": "assistant", "Ben": "user"}
    values = [{"messages": [{"role": roles[name], "content": text} for name, text in turns]} for turns in dialogues]
    return "".join(json.dumps(value) + "\n" for value in values)


def test_a_messenger_export_becomes_a_model_in_three_commands(tmp_path):
    (tmp_path / "chat.txt").write_text(whatsapp(talk(12)))
    prepared = gistchat("prepare", "whatsapp", "--from", "chat.txt", "--out", "data/mine", cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert "read 12 dialogues with 96 turns, kept 12" in prepared.stdout
    assert "left out 12: media without words" in prepared.stdout
    assert "left out 1: messenger's notices" in prepared.stdout
    ran = gistchat("run", str(RECIPES / "own.toml"), "--from", "chat.txt", *TINY, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "talk to it: gistchat chat runs/own" in ran.stdout
    assert "history before the last turn fits in a budget of 32:" in ran.stderr
    chat = gistchat("chat", "runs/own", "--max-reply-tokens", "4", cwd=tmp_path, stdin="Hello!\n")
    assert chat.returncode == 0, chat.stderr


def test_the_kind_of_a_file_is_told_by_its_look(tmp_path):
    (tmp_path / "talks.jsonl").write_text(openai(talk(12)))
    ran = gistchat("train", str(RECIPES / "own.toml"), "--from", "talks.jsonl", *TINY, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "prepare: chat -> " in ran.stderr
    (tmp_path / "odd.jsonl").write_text('{"lyrics": "la"}\n')
    ran = gistchat("train", str(RECIPES / "own.toml"), "--from", "odd.jsonl", *TINY, cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("error: odd.jsonl: cannot tell what kind of file this is")


def test_one_long_dialogue_cannot_fill_three_splits(tmp_path):
    (tmp_path / "chat.txt").write_text("".join(f"{name}: {text}\n" for name, text in talk(1)[0]))
    ran = gistchat("run", str(RECIPES / "own.toml"), "--from", "chat.txt", *TINY, cwd=tmp_path)
    assert ran.returncode == 1
    assert "error: the test split is empty; three dialogues fill all" in ran.stderr
    assert "an empty line begins a new dialogue" in ran.stderr


def original(corpus: str, folder: Path, split: str, dialogues) -> None:
    """The dialogues in the corpus's own layout."""
    texts = [[text for _, text in turns] for turns in dialogues]
    if corpus == "dailydialog":
        lines = ["".join(f"{text} __eou__ " for text in turns) for turns in texts]
        (folder / f"dialogues_{split}.txt").write_text("\n".join(lines) + "\n")
    elif corpus == "personachat":
        lines = []
        for turns in texts:
            pairs = zip(turns[::2], turns[1::2], strict=True)
            exchanges = ["your persona: i ski .", *(f"{one}\t{other}" for one, other in pairs)]
            lines += [f"{number} {line}" for number, line in enumerate(exchanges, 1)]
        (folder / f"{split}_self_original_no_cands.txt").write_text("\n".join(lines) + "\n")
    elif corpus == "blended_skill_talk":
        values = [{"dialogue": turns[:-1], "response": turns[-1]} for turns in texts]
        (folder / f"bst_{split}.json").write_text(json.dumps(values))
    else:
        lines = ["conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags"]
        for number, turns in enumerate(texts):
            for i, text in enumerate(turns, 1):
                words = text.replace(",", "_comma_")
                lines.append(f"hit:{number}_conv:{number},{i},sad,I lost,{i % 2},{words},5|5|5_5|5|5,")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def test_the_four_corpora_go_the_whole_way_from_their_files(tmp_path):
    corpora = ("dailydialog", "personachat", "blended_skill_talk", "empathetic_dialogues")
    for seed, corpus in enumerate(corpora):
        (tmp_path / corpus).mkdir()
        dialogues = talk(15, seed)
        for split, start, end in (("train", 0, 7), ("valid", 7, 11), ("test", 11, 15)):
            original(corpus, tmp_path / corpus, split, dialogues[start:end])
    tiny = ["model.name=gpt2", "model.init=scratch", "model.size=tiny", f"data.folder={tmp_path / 'data'}"]
    recipe = load_recipe(RECIPES / "own.toml", [*tiny, *SETTINGS])
    mix = [MixConfig(corpus, str(tmp_path / corpus)) for corpus in corpora]
    metrics = run(recipe.change(data={"corpus": "chitchat", "source": "", "mix": mix}), tmp_path / "run")
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["corpora"] == {corpus: {"read": 15, "kept": 15} for corpus in corpora}
    assert report["turns_read"] == 4 * 120
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [4 * 7, 4 * 4, 4 * 4]
    assert metrics["items"] == 3


def test_the_list_of_corpora_says_what_is_known_and_reachable(tmp_path):
    listed = gistchat("corpora", "--offline", cwd=tmp_path)
    assert listed.returncode == 0
    assert "hub:       --from hub: OpenRL/daily_dialog (not asked)" in listed.stdout
    one = gistchat("corpora", "dailydialog", cwd=tmp_path)  # HF_HUB_OFFLINE is set in tests
    assert "13,118 dialogues" in one.stdout
    assert "Li, Su, Shen, Li, Cao, Niu (2017)" in one.stdout
    assert "OpenRL/daily_dialog (not reachable now: HF_HUB_OFFLINE forbids to ask the hub)" in one.stdout
    assert "chitchat" not in one.stdout
    assert gistchat("corpora", "daily", cwd=tmp_path).returncode == 1


def test_several_corpora_on_the_command_line(tmp_path):
    for corpus in ("dailydialog", "blended_skill_talk"):
        (tmp_path / corpus).mkdir()
        original(corpus, tmp_path / corpus, "train", talk(6) if corpus == "dailydialog" else talk(9)[6:])
    parts = ["dailydialog=dailydialog", "blended_skill_talk=blended_skill_talk"]
    done = gistchat("prepare", *parts, "--out", "data/mix", "--audit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "blended_skill_talk: read 3, kept 3" in done.stdout
    wrong = gistchat("prepare", *parts, "--from", "x", "--out", "data/mix", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "--from goes with one corpus" in wrong.stderr


def test_a_folder_of_exports_is_prepared_at_once(tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "with Ben.txt").write_text(whatsapp(talk(12)))
    (folder / "talks.jsonl").write_text(openai(talk(12, seed=1)))
    (folder / "user.json").write_text('{"name": "Ann"}')
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    with zipfile.ZipFile(folder / "WhatsApp Chat - Eve.zip", "w") as archive:
        archive.writestr("_chat.txt", whatsapp(talk(12, seed=2)))
        archive.writestr("IMG-1.jpg", b"\xff\xd8")
    prepared = gistchat("prepare", "exports", "--out", "data/mine", "--as", "Ann", "--as", "assistant", cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert "exports: left out 1 file that holds no conversations: user.json" in prepared.stderr
    assert "your WhatsApp chats, as Android and iPhones export them in any language (2 files)" in prepared.stdout
    assert "read from exports/WhatsApp Chat - Eve.zip: _chat.txt" in prepared.stdout
    speakers = next(line for line in prepared.stdout.splitlines() if "speakers, by turns: " in line)
    assert set(speakers.partition(": ")[2].split(", ")) == {"Ann 96", "Ben 96", "assistant 48", "user 48"}
    assert prepared.stdout.count("more turns") == 3  # of the dialogues that it shows
    ran = gistchat("train", str(RECIPES / "own.toml"), "--from", "exports", "--as", "Ann", *TINY, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "prepare: whatsapp+chat -> data/" in ran.stderr.replace("chat+whatsapp", "whatsapp+chat")


def test_files_that_hold_no_conversations_are_one_line(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "messages.html").write_text("<html></html>")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "user.json").write_text('{"name": "Ann"}')
    (tmp_path / "empty").mkdir()
    for place, problem in (
        ("pages", "pages: only web pages (1); export again as JSON, which keeps who wrote what, and when"),
        ("cut.zip", "cut.zip: a ZIP that is cut or damaged"),
        ("odd", "odd/user.json: cannot tell what kind of file this is"),
        ("empty", "empty: no file in it that may hold conversations"),
        ("missing.txt", "missing.txt: no such file or folder"),
    ):
        prepared = gistchat("prepare", place, cwd=tmp_path)
        assert prepared.returncode == 1
        assert prepared.stderr.splitlines()[-1].startswith(f"error: {problem}"), prepared.stderr
        assert len(prepared.stderr.splitlines()) == 1


def test_a_table_whose_columns_are_named_needs_no_other_name(tmp_path):
    (tmp_path / "talk.csv").write_text("Who is it,Words\nAnn,Hi\nBen,Ho\n")
    unknown = gistchat("prepare", "talk.csv", cwd=tmp_path)
    assert "--columns speaker=NAME --columns text=NAME; found: who is it, words" in unknown.stderr
    named = ["--columns", "speaker=Who is it", "--columns", "text=Words"]
    prepared = gistchat("prepare", "talk.csv", *named, cwd=tmp_path)
    assert "speakers, by turns: Ann 1, Ben 1" in prepared.stdout, prepared.stderr


def test_a_wrong_value_of_an_option_is_one_line(tmp_path):
    (tmp_path / "talk.txt").write_text("Ann: Hi\nBen: Ho\n")
    for option, value, problem in (
        ("--gap", "-1", "data.gap must be at least 0"),
        ("--from-date", "15.03.2024", "data.from_date: '15.03.2024' is not a day, as 2024-03-05"),
        ("--rename", "Ann", "data.rename: 'Ann' is not OLD=NEW"),
        ("--columns", "Who", "data.columns: 'Who' is not PART=NAME"),
    ):
        refused = gistchat("prepare", "talk.txt", option, value, cwd=tmp_path)
        assert problem in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
