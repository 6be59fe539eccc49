"""Commands that answer: chat, reply."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gistchat.cli.options import (
    CHAT_STRATEGIES,
    SEED,
    ChatFolder,
    Database,
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
)
from gistchat.errors import UserError
from gistchat.names import checked_path
from gistchat.progress import show


def chat(
    run_folder: ChatFolder = None,
    url: Url = None,
    model: ServerModel = None,
    load: Annotated[
        Path | None, Option(parser=checked_path, metavar="FILE", help="Go on with a conversation from /save.")
    ] = None,
    continue_: Annotated[
        bool,
        Option(
            "--continue",
            help="Go on with the latest conversation, saved or not, with its RUN and settings; those given here count "
            "more.",
        ),
    ] = False,
    conversation: Annotated[
        str | None,
        Option(metavar="ID", help="As --continue, with the conversation whose id begins so (gistchat conversations)."),
    ] = None,
    no_journal: Annotated[
        bool, Option("--no-journal", help="Keep nothing of this chat; --continue cannot find it.")
    ] = False,
    database: Database = None,
    strategy: Annotated[str | None, Option(help=f"{CHAT_STRATEGIES}. Default: the recipe's (rolling).")] = None,
    method: Annotated[
        str | None,
        Option(
            help="Of summaries: textrank | lexrank | lsa | mmr | lead | recent | seq2seq | llm | endpoint. "
            "Default: the recipe's."
        ),
    ] = None,
    with_: Annotated[
        str | None, Option("--with", metavar="MODEL", help="What writes the summaries, as in summarize.")
    ] = None,
    summary_url: Annotated[
        str | None,
        Option(metavar="ADDRESS", help="Of a server that writes the summaries (--method endpoint). Default: --url's."),
    ] = None,
    prompt: Annotated[str | None, Option(metavar="FILE", help="A prompt of your own for summaries.")] = None,
    budget: Annotated[int | None, Option(help="Tokens before the last turn. Default: the recipe's (96).")] = None,
    encoder: Encoder = None,
    system: Annotated[
        str | None, Option(metavar="TEXT", help="What a chat model is told first. Default: to answer briefly.")
    ] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_reply_tokens: ReplyTokens = None,
    engine: Engine = None,
    set_: Set = None,
    seed: Annotated[int | None, Option(callback=SEED, help="Makes the draws repeatable. Default: random.")] = None,
    end_command: Annotated[
        str | None, Option(help="Ends the chat, besides /quit. Default: the recipe's (Abort!).")
    ] = None,
) -> None:
    """Talk to a model: a trained one, a GGUF file, or whatever a server has. /help in the chat lists its commands.

    When standard input is not a terminal, each line of it is a turn and each line of output a reply.
    """
    from gistchat.cli.chat_terminal import chat_in_terminal

    if sum(map(bool, (load, continue_, conversation))) > 1:
        raise UserError("--load, --continue, --conversation: a chat goes on with one conversation; give one of them")
    chosen = {"chat.strategy": strategy, "chat.temperature": temperature, "chat.top_p": top_p, "chat.engine": engine}
    chosen |= {"chat.max_reply_tokens": max_reply_tokens, "chat.end_command": end_command, "context.budget": budget}
    if method == "endpoint":
        summary_url, with_ = summary_url or url, with_ or model
    chosen |= {"summary.method": method, "summary.model": with_, "summary.url": summary_url, "summary.prompt": prompt}
    chosen |= {**answering(url, model), "chat.system": system}
    chosen |= {"memory.encoder": encoder, "memory.keep_vectors": "false" if no_journal else None}
    go_on = conversation or continue_
    chat_in_terminal(run_folder, settings(chosen, set_), seed, load, go_on, not no_journal, database)


def reply(
    source: Annotated[
        Path, Argument(parser=checked_path, metavar="IN.jsonl", help="Dialogues, one a line, as prepare writes them.")
    ],
    out: Annotated[
        Path, Argument(parser=checked_path, metavar="OUT.jsonl", help="One reply a line: what answers the last turn.")
    ],
    run_folder: ChatFolder = None,
    url: Url = None,
    model: ServerModel = None,
    strategy: Annotated[str | None, Option(help="Context strategy. Default: the recipe's (rolling).")] = None,
    encoder: Encoder = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_reply_tokens: ReplyTokens = None,
    engine: Engine = None,
    set_: Set = None,
    seed: Annotated[int, Option(callback=SEED, help="Of the draws.")] = 0,
    force: Annotated[bool, Option("--force", help="Write OUT.jsonl anew where it exists.")] = False,
) -> None:
    """Answer the last turn of every dialogue of a file, as the chat would.

    Stopped, the same command goes on. With torchrun, several processes share the work.
    """
    from gistchat.chat.batch_replies import reply_to_file
    from gistchat.chat.session import ChatSession
    from gistchat.processes import is_first_process

    chosen = {"chat.strategy": strategy, "chat.temperature": temperature, "chat.top_p": top_p, "chat.engine": engine}
    chosen |= {"chat.max_reply_tokens": max_reply_tokens, **answering(url, model), "memory.encoder": encoder}
    count = reply_to_file(ChatSession.open(run_folder, settings(chosen, set_), seed), source, out, force)
    if is_first_process():
        show(f"{count:,} replies -> {out}")
