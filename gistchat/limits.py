"""How much a file, a recipe or an option may ask for: what is damaged or hostile must cost neither memory nor hours.

Each limit is far above all that is real, and each says why it is what it is.
"""

import itertools

# Files
LONGEST_LINE = 32 * 2**20  # bytes of a line or a dialogue: no dialogue comes near, and files may have no line ends
MOST_NESTED = 100  # brackets in brackets: real records have under ten; ijson's memory grows with the square of it
TOO_DEEP = f"nested too deeply: at most {MOST_NESTED} brackets in one another"
LONGEST_JSON = 2**28  # bytes of a JSON file that is read at once, to name the line of its error
LARGEST_RECIPE = 2**16  # bytes: ours have 4 kB; `tomllib` takes memory by the square of a dotted name's length
LONGEST_RECIPE_LINE = 4000  # bytes, for the same reason
UNPACKED_TIMES = 200  # how many times its size a Parquet file may unpack to: text takes 3 to 20 times
UNPACKED_ANYWAY = 2**26  # bytes that any may unpack to, as files of a few rows pack better
LONGEST_REPLY = 5000  # words of a reply to be scored: ROUGE-L takes ten seconds and 200 MB for two of these

# Recipes and options
MOST_SEED = 2**32 - 1  # what NumPy takes
MOST_TOKENS = 10_000_000  # of a context or row: ten times the longest context of a model
MOST_REPLY_TOKENS = 100_000  # a model that never ends its reply would go on so long
MOST_STEPS = 1_000_000_000  # of a training: more than any was ever given
MOST_ROWS = 1_000_000  # of a batch
MOST_ITEMS = 10_000_000  # dialogues, turns and replies: more than any corpus here has
MOST_GENERATED = 100_000  # dialogues that are made up for a measurement
MOST_RESAMPLES = 100_000  # of a bootstrap: ten times the default; each takes 4 bytes an item
MOST_RUNS = 1000  # of an experiment

_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_OTHER_BYTES = bytes(set(range(256)) - set(b'[]{}"'))


class Nesting:
    """How deep a JSON text nests, told from its bytes piece by piece before a parser sees them."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._rest = b""  # a backslash whose character comes with the next piece

    def is_too_deep(self, data: bytes) -> bool:
        """Whether brackets nest deeper than `MOST_NESTED` in the next piece."""
        data = self._rest + data
        self._rest = b"\\" if (len(data) - len(data.rstrip(b"\\"))) % 2 else b""
        text = data[: len(data) - len(self._rest)].replace(rb"\\", b"").replace(rb"\"", b"")
        parts = text.translate(None, _OTHER_BYTES).split(b'"')
        outside = b"".join(parts[self._in_string :: 2])
        self._in_string ^= len(parts) % 2 == 0
        depths = list(itertools.accumulate(map(_STEPS.__getitem__, outside), initial=self._depth))
        self._depth = depths[-1]
        return max(depths) > MOST_NESTED


def is_too_deep(data: bytes) -> bool:
    """Whether a JSON text nests too deeply. Most have fewer brackets than may nest, and take no closer look."""
    return data.count(b"[") + data.count(b"{") > MOST_NESTED and Nesting().is_too_deep(data)
