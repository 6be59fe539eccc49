import itertools
import json
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from gistchat.corpora import chitchat
from gistchat.corpora.sources import json_members

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "run.ipynb"


def some_of_chitchat(path):
    """The first conversations of the corpus, in its own layout."""
    [corpus] = chitchat.find("")
    path.write_text(json.dumps(dict(itertools.islice(json_members(corpus.path), 600))))
    return path


def test_the_notebook_runs_from_data_to_chat(tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "store the notebook without outputs"
    small = "train.steps=2 train.batch_size=2 train.evaluate_every=2 train.validation_items=1 evaluate.items=2"
    small += " evaluate.strategies=recent,summary evaluate.reply_items=1 evaluate.max_reply_tokens=4"
    small += f" evaluate.rank_items=0 evaluate.resamples=200 data.source={some_of_chitchat(tmp_path / 'dataset.json')}"
    monkeypatch.setenv("NOTEBOOK_SET", small)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parent.parent), os.environ.get("PYTHONPATH", "")]))
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    plots = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(plots) == 4
    for expected in ("after 8 turns:", "--- hybrid:", "tuned  summary", "bot>", "verbatim, from turn"):
        assert expected in text
