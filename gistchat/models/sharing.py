"""What of a model goes to others: its recipe without places and people of this machine, and a model card."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.errors import RepositoryNotFoundError

from gistchat.corpora.hub import PREFIX
from gistchat.corpora.readers import CORPORA
from gistchat.models.packaged_file import SMOLLM2
from gistchat.models.resolve import SHORT_NAMES
from gistchat.recipe.schema import DataConfig, ExperimentConfig, MixConfig, Recipe, SummaryConfig, mix_of

PACKAGED_ID, PACKAGED_LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"
SECONDS = 10  # that the hub may take to tell a licence
LICENCE_FIELDS = ("license", "license_name", "license_link")


def is_place(text: str) -> bool:
    """Whether a setting names something of this machine: a path, and no hub id."""
    return bool(text) and (text[0] in "/~." or "\\" in text or Path(text).exists())


def shareable(recipe: Recipe) -> Recipe:
    """A recipe without files, folders and servers of this machine, and without names of people."""
    data = recipe.data
    mix = [dataclasses.replace(part, source=_shareable_source(part)) for part in data.mix]
    people = {name: [] for name in ("answer_as", "rename", "speakers")}
    cleaned: dict[str, Any] = {
        "data": {**people, "mix": mix, "source": _shareable_source(data), "folder": ""},
        "summary": {"url": "", "prompt": ""},
        "chat": {"url": "", "model": ""},
        "train": {"deepspeed": ""},
    }
    if recipe.summary.method == "endpoint":  # which needs its address
        cleaned["summary"] |= {"method": SummaryConfig().method, "model": ""}
    places = {"model": ("name",), "summary": ("model",), "memory": ("encoder", "reranker")}
    places["evaluate"] = ("bertscore_model", "mauve_model")
    for section, names in places.items():
        for name in names:
            if is_place(value := getattr(getattr(recipe, section), name)):
                cleaned.setdefault(section, {})[name] = Path(value).name if section == "model" else ""
    return recipe.change(**cleaned, experiment=ExperimentConfig())


def _shareable_source(part: DataConfig | MixConfig) -> str:
    name = part.source.partition(":")[2]
    return part.source if part.source.partition(":")[0] == PREFIX and not is_place(name) else ""


def base_id(recipe: Recipe) -> str:
    """The hub id of the model that training began with; empty for a folder of one's own and for random weights."""
    name = recipe.model.name
    if recipe.model.init == "scratch" or (name != SMOLLM2 and is_place(name)):
        return ""
    short = SHORT_NAMES.get(name.lower().removeprefix("microsoft/"), name)
    return PACKAGED_ID if name == SMOLLM2 else short.partition("@")[0]


def model_card(recipe: Recipe, format_name: str, name: str, library: str, relation: str, api: HfApi) -> str:
    """The README of a model that is called `name` on the hub, with what the hub reads of it.

    Args:
        library: what loads it.
        relation: to its base: finetune | adapter | quantized.
    """
    base, licence = _base_and_licence(recipe, api)
    values = ModelCardData(
        base_model=base or None,
        base_model_relation=relation if base else None,
        datasets=sorted(set(_datasets(recipe.data))) or None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["gistchat", "conversational", *(["lora"] if relation == "adapter" else [])],
        **licence,
    )
    lines = ["---", values.to_yaml(), "---", "", f"# {name.rpartition('/')[2]}", ""]
    return "\n".join([*lines, *_text(recipe, format_name, base, licence)])


def _base_and_licence(recipe: Recipe, api: HfApi) -> tuple[str, dict[str, str]]:
    """The base as the hub calls it now, and its licence as its card says it; where the hub does not tell, none."""
    if not (base := base_id(recipe)):
        return "", {}
    known = {"license": PACKAGED_LICENCE} if base == PACKAGED_ID else {}
    try:
        info = api.model_info(base, timeout=SECONDS)
    except RepositoryNotFoundError:  # as it was a folder
        return "", {}
    except Exception:  # gated, gone, no network: types of the client's own
        return base, known
    card = info.card_data or {}
    return info.id, {field: card.get(field) for field in LICENCE_FIELDS if card.get(field)} or known


def _datasets(data: DataConfig) -> Iterator[str]:
    """Their hub ids."""
    for part in mix_of(data):
        named = part.source.partition(":")[2] if part.source.startswith(f"{PREFIX}:") else ""
        if name := (named if not is_place(named) else "") or next(iter(CORPORA[part.corpus].hub), ""):
            yield name.partition("@")[0]


def _text(recipe: Recipe, format_name: str, base: str, licence: dict[str, str]) -> Iterator[str]:
    yield (
        "A dialogue model, trained with gistchat. Of a long conversation it reads a gist, turns that matter and the "
        "latest ones, within a budget of tokens."
    )
    yield ""
    if base:
        yield f"- **Base**: [{base}](https://huggingface.co/{base}), under {_shown(licence)}."
    else:
        scratch = recipe.model.init == "scratch"
        yield f"- **Base**: {'random weights' if scratch else 'a model that is not on the hub; its licence holds'}."
    corpora = {part.corpus: CORPORA[part.corpus] for part in mix_of(recipe.data)}
    for corpus in corpora.values():
        own = corpus.licence == "yours"
        yield f"- **Data**: {'conversations of its maker' if own else f'{corpus.name} ({corpus.licence})'}."
    train = recipe.train
    length = f"{train.steps:,} steps" if train.steps else f"{train.epochs} passes over the data"
    yield (
        f"- **Training**: {length} of {train.batch_size} replies; contexts of {recipe.context.budget:,} tokens: "
        f"{', '.join(train.strategies)}. The loss is on the reply alone."
    )
    yield f"- **Layout of prompts**: `{format_name}`; `gistchat.json` or the file itself says the rest."
    yield f"- **Talk to it**: download it, then `gistchat chat FOLDER_OR_FILE`. Strategy: `{recipe.chat.strategy}`."
    yield ""


def _shown(licence: dict[str, str]) -> str:
    name = licence.get("license_name") or licence.get("license")
    return f"licence {name}" if name else "a licence that its page states"
