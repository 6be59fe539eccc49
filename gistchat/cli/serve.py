"""The command that serves: API, page, memory in front of another model."""

from typing import Annotated

from typer import Option

from gistchat.cli.options import (
    CHAT_STRATEGIES,
    ChatFolder,
    Encoder,
    Engine,
    ReplyTokens,
    ServerModel,
    Set,
    Temperature,
    TopP,
    Url,
    answering,
    settings,
    within,
)
from gistchat.errors import UserError

KEY = "GISTCHAT_API_KEY"


def serve(
    run_folder: ChatFolder = None,
    host: Annotated[
        str, Option(metavar="ADDRESS", help="To listen at. Others than this machine's own need --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(callback=within(0, 65535), help="0: any that is free.")] = 8760,
    api_key: Annotated[
        list[str] | None,
        Option(
            metavar="KEY",
            envvar=KEY,
            help="Whoever asks must send it (Authorization: Bearer KEY). Each key has conversations of its own. "
            "Repeatable; in the environment, several stand apart by spaces, and other users do not see them.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Where conversations are kept: sqlite:///FILE, or postgresql://... (extra postgres). Default: "
            "GISTCHAT_DATABASE, or a file in your data folder.",
        ),
    ] = None,
    url: Url = None,
    model: ServerModel = None,
    backend: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="Stand in front of this OpenAI-compatible server and give it a memory; requests are passed on.",
        ),
    ] = None,
    backend_key: Annotated[
        str | None,
        Option(
            metavar="KEY",
            envvar="GISTCHAT_BACKEND_KEY",
            help="With --backend: your key for it. Default: what callers send, unless it is a key of this server.",
        ),
    ] = None,
    observe: Annotated[bool, Option("--observe", help="With --backend: only record, change nothing.")] = False,
    strategy: Annotated[
        str | None, Option(help=f"{CHAT_STRATEGIES}. Default: the recipe's (rolling); with --backend: memory.")
    ] = None,
    budget: Annotated[
        int | None, Option(help="Tokens before the last turn. Default: the recipe's (96); with --backend: 2048.")
    ] = None,
    system: Annotated[
        str | None, Option(metavar="TEXT", help="What a chat model is told first, where a request does not say.")
    ] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_reply_tokens: ReplyTokens = None,
    encoder: Encoder = None,
    engine: Engine = None,
    set_: Set = None,
    slots: Annotated[
        int, Option(callback=within(1, 64), help="Replies that are written at once, each with a context of its own.")
    ] = 4,
    queue: Annotated[
        int, Option(callback=within(0, 10_000), help="Replies that may wait; more are refused (429).")
    ] = 32,
    allow_host: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="A name that this server is also reached by, such as chat.example. Repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        Option(metavar="ORIGIN", help="Pages of another host that may ask, such as https://app.example. Repeatable."),
    ] = None,
) -> None:
    """Serve a model: an OpenAI-compatible API, and a page to chat in, where its memory is seen and corrected.

    Conversations are kept in a database. Try it: curl http://127.0.0.1:8760/v1/chat/completions
    -H 'Content-Type: application/json' -d '{"messages": [{"role": "user", "content": "Hello"}]}'
    """
    from gistchat.server import run
    from gistchat.server.settings import ServeSettings

    remembering = {"chat.strategy": strategy, "context.budget": budget, "memory.encoder": encoder}
    replying = {"chat.temperature": temperature, "chat.top_p": top_p, "chat.max_reply_tokens": max_reply_tokens}
    replying |= {"chat.engine": engine, "chat.system": system, **answering(url, model)}
    if backend and (run_folder or any(value is not None for value in replying.values())):
        raise UserError("--backend: the model there answers, as requests ask it to; leave MODEL and its options out")
    if observe and not backend:
        raise UserError("--observe watches what a backend is asked, so give its address, too: --backend ADDRESS")
    memory = settings(remembering, set_)
    served = ServeSettings(
        host=host,
        port=port,
        api_keys=tuple(api_key or ()),
        allowed_hosts=tuple(allow_host or ()),
        allowed_origins=tuple(allow_origin or ()),
        backend=backend or "",
        backend_key=(backend and backend_key) or "",
        observe=observe,
        memory=tuple(memory) if backend else (),
        slots=slots,
        queue=queue,
    )
    run.serve(served, run_folder, [*settings(replying, []), *memory], database)
