"""What a process imports of which those of the tests are forks: all that commands import, and what that takes seconds.

Its objects stay, so it is not searched for garbage while they are made, nor later in any fork.
"""

import gc
import importlib

IMPORTED = ["gistchat.experiment", "gistchat.chat.session", "gistchat.cli.chat_terminal", "gistchat.train.train"]
IMPORTED += [
    "gistchat.chat.kept",
    "gistchat.chat.old_journals",
    "gistchat.models.export",
    "transformers.models.gpt2.modeling_gpt2",
    "datasets",
    "xllamacpp",
]
IMPORTED += ["transformers.models.llama.modeling_llama", "transformers.models.bart.modeling_bart", "pytest"]
IMPORTED += ["rouge_score.rouge_scorer", "sacrebleu.metrics", "matplotlib.figure", "matplotlib.backends.backend_svg"]

gc.disable()
for name in IMPORTED:
    importlib.import_module(name)
gc.freeze()
gc.enable()
