"""Scores of replies that any system wrote: a file of predictions against one of references."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gistchat.dialogue.lines import json_lines, require_text
from gistchat.dialogue.turns import Malformed, is_texts
from gistchat.dialogue.words import word_parts
from gistchat.errors import UserError
from gistchat.evaluate import bootstrap
from gistchat.evaluate.bootstrap import Metric, Sampled
from gistchat.evaluate.metrics import METRICS, OLD_ROUGE, Golds, against_gold
from gistchat.limits import LONGEST_REPLY, is_too_deep
from gistchat.progress import say

MetricSamples = list[tuple[Metric, Sampled]]
# Fields, the first that is there counts; but all gold replies do, and each of these fields may hold a list of them.
MADE, GOLD = ("reply", "prediction"), ("gold", "reference", "golds", "references")
EITHER = ("response", "text")
CONTROLS = "shuffled gold", "echo"


@dataclass(frozen=True)
class Text:
    """A reply of a file.

    Attributes:
        id: what it answers; empty where the file has none.
        text: the reply; the first of several gold ones.
        last: the turn that it answers, where the file tells.
        others: further gold replies.
    """

    id: str
    text: str
    last: str = ""
    others: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[str, ...]:
        return (self.text, *self.others)


def read_texts(path: Path, fields: Sequence[str] = (*MADE, *GOLD, *EITHER)) -> list[Text]:
    """The replies of a file: JSONL with `reply`, `prediction`, `gold` or `reference` (and `id`), or the paper's JSON.

    A gold reply may be a list of texts. The paper's file is one object `{"context": [...], "ans": [...]}` or
    `{"ans": [...]}`.

    Args:
        fields: where the text of a line is looked for, in this order.

    Raises:
        UserError: no such file, a malformed line, no reply, or an id twice.
    """
    require_text(path)
    texts = _paper_texts(path)
    if texts is None:
        texts = [_text(where, value, fields) for where, value in json_lines(path)]
    if not texts:
        raise UserError(f"{path}: no reply in it")
    seen: set[str] = set()
    for number, text in enumerate(texts, 1):
        if (count := max(len(word_parts(gold)) for gold in text.golds)) > LONGEST_REPLY:
            raise UserError(f"{path}: reply {number} has {count:,} words; up to {LONGEST_REPLY:,} can be scored")
        if text.id and text.id in seen:
            raise UserError(f"{path}: the id {text.id!r} is there twice")
        seen.add(text.id)
    if len({bool(text.id) for text in texts}) > 1:
        raise UserError(f"{path}: some replies have an id and some have none")
    return texts


def _paper_texts(path: Path) -> list[Text] | None:
    """None where the file is not in the paper's layout."""
    data = path.read_bytes()
    if not data.lstrip().startswith(b"{") or is_too_deep(data):
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("ans"), list):
        return None
    answers, contexts = value["ans"], value.get("context", [""] * len(value["ans"]))
    if not isinstance(contexts, list) or not all(isinstance(text, str) for text in (*answers, *contexts)):
        raise UserError(f"{path}: 'ans' and 'context' must be lists of strings")
    if len(answers) != len(contexts):
        raise UserError(f"{path}: {len(contexts)} contexts and {len(answers)} answers")
    # Summary and last turn are joined by two spaces; the turn is what follows the last of them.
    return [Text("", a, c.strip().rpartition("  ")[2]) for a, c in zip(answers, contexts, strict=True)]


def _text(where: str, value: Any, fields: Sequence[str]) -> Text:
    if isinstance(value, Malformed):
        raise UserError(str(value))
    if not isinstance(value, dict):
        raise UserError(f"{where}: not an object")
    names = [name for name in fields if value.get(name) is not None]
    if not names:
        raise UserError(f"{where}: none of the fields {', '.join(fields)} with a text")
    there = next(name for name in fields if name in value)
    if (there in GOLD) != (names[0] in GOLD):  # else a gold reply would be scored as one that was made
        raise UserError(f"{where}: {there!r} is null")
    names = [name for name in names if name in GOLD] if names[0] in GOLD else names[:1]
    first, *others = dict.fromkeys(text for name in names for text in _texts_of(where, name, value[name]))
    last = value.get("last", "")
    if not last and (context := value.get("context")) and isinstance(context, list) and isinstance(context[-1], dict):
        last = context[-1].get("text", "")
    return Text("" if value.get("id") is None else str(value["id"]), first, str(last), tuple(others))


def _texts_of(where: str, name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if name not in GOLD:
        raise UserError(f"{where}: {name!r} must be a text")
    if not value or not is_texts(value):
        raise UserError(f"{where}: {name!r} must be a text, or a list of texts")
    return value


def align(predictions: Sequence[Text], references: Sequence[Text], names: tuple[Path, Path]) -> list[tuple[Text, Text]]:
    """Pairs by id where both files have ids, else by place.

    Raises:
        UserError: a prediction without its reference, or files of other lengths.
    """
    if predictions[0].id and references[0].id:
        by_id = {text.id: text for text in references}
        if missing := [text.id for text in predictions if text.id not in by_id]:
            raise UserError(f"{names[1]}: no reference for {len(missing)} predictions, such as {missing[0]!r}")
        if left := len(references) - len(predictions):
            say(f"references without a prediction: {left}")
        return [(text, by_id[text.id]) for text in predictions]
    if predictions[0].id or references[0].id:
        say(f"only {names[0] if predictions[0].id else names[1]} has ids: lines are put together by their place")
    if len(predictions) > len(references):
        raise UserError(
            f"{names[0]} has {len(predictions)} replies, {names[1]} has {len(references)}: they do not align"
        )
    if left := len(references) - len(predictions):
        say(f"references left over: {left}; the predictions are taken for answers to the first {len(predictions)}")
    return list(zip(predictions, references, strict=False))


def measures(replies: Sequence[str], golds: Golds, old: bool = False) -> list[Metric]:
    """Every metric of replies against the gold ones of each; `old`: the paper's, too."""
    rows = [{"reply": reply, "gold": gold} for reply, gold in zip(replies, golds, strict=True)]
    entries = [entry for entry in METRICS.values() if entry.needs == "reply"]
    return [entry.of(rows) for entry in (*entries, *([OLD_ROUGE] if old else []))]


def score_predictions(
    predictions: Path, references: Path, resamples: int = 2000, seed: int = 0, old: bool = False
) -> dict[str, Any]:
    """All metrics of a file of predictions with 95 % bootstrap intervals, beside those of controls.

    The controls are other items' gold replies (`shuffled gold`) and the turn itself (`echo`, where a file has it): a
    metric that ranks one of them above the predictions does not measure what it is taken for, or the predictions are
    no better than chance.
    """
    predicted = read_texts(predictions, (*MADE, *EITHER, *GOLD))
    if several := next((text for text in predicted if text.others), None):
        raise UserError(f"{predictions}: a prediction is one text, and {several.id or several.text!r} has several")
    pairs = align(predicted, read_texts(references, (*GOLD, *EITHER, *MADE)), (predictions, references))
    golds = [reference.golds for _, reference in pairs]
    systems = {"predictions": [prediction.text for prediction, _ in pairs]}
    if len(golds) > 1:
        firsts = [reference.text for _, reference in pairs]
        systems["shuffled gold"] = [*firsts[1:], firsts[0]]
    last = [prediction.last or reference.last for prediction, reference in pairs]
    if all(last):
        systems["echo"] = last
    weights = bootstrap.resample_weights(len(pairs), resamples, seed)
    samples = {
        name: [(metric, Sampled.of(metric, len(pairs), weights)) for metric in measures(replies, golds, old)]
        for name, replies in systems.items()
    }
    return {
        "items": len(pairs),
        "resamples": resamples,
        "results": {name: _values(of, samples["predictions"]) for name, of in samples.items()},
        "warnings": _warnings(samples),
    }


def _values(of: MetricSamples, predictions: MetricSamples) -> dict[str, Any]:
    values = {}
    for (metric, sampled), (_, other) in zip(of, predictions, strict=True):
        values[metric.name] = {**vars(sampled.interval()), "unit": metric.unit, "better": metric.better}
        if sampled is not other:
            values[metric.name]["minus predictions"] = bootstrap.compared(sampled, other)
    return values


def _warnings(systems: dict[str, MetricSamples]) -> list[str]:
    """Metrics against gold that do not put the predictions above a control."""
    lines = []
    for name in CONTROLS:
        for (metric, control), (_, predicted) in zip(systems.get(name, []), systems["predictions"], strict=False):
            difference = bootstrap.compared(predicted, control)
            if metric.name in against_gold() and difference["low"] <= 0:
                below = "below" if difference["high"] < 0 else "not shown to be above"
                lines.append(
                    f"{metric.name}: the predictions are {below} the control '{name}' "
                    f"({difference['value']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}])"
                )
    return lines
