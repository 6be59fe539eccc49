"""llama.cpp's own server with the packaged model, as people run it: a backend for the proxy."""

import contextlib
from collections.abc import Iterator

from gistchat.engines.llama_server import load_library, threads
from gistchat.models.packaged_file import packaged_file

KEY = "llama-key"


@contextlib.contextmanager
def llama_backend(context: int = 2048) -> Iterator[str]:
    """Its address, of which KEY is the key."""
    library = load_library()
    params = library.CommonParams()
    params.model.path = str(packaged_file())
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = context, 1, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads()
    params.ui = False
    params.use_jinja = True
    params.api_keys = [KEY]
    server = library.Server(params)
    yield f"{server.listening_address}/v1"
    del server
