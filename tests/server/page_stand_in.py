"""A server that speaks the conversations API from memory, with a model that says again what it was told."""

import asyncio
import json
import sys
import time
from itertools import count
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from gistchat.server import page

STRATEGIES = ["last", "recent", "full", "summary", "hybrid", "rolling", "retrieval", "memory"]


class Talk:
    def __init__(self, number: int, title: str = "", strategy: str = "memory", budget: int = 96) -> None:
        self.id, self.title, self.strategy, self.budget = f"talk-{number}", title, strategy, budget
        self.created = self.updated = time.time()
        self.nodes: dict[str, dict[str, Any]] = {}
        self.head, self.keys = "", count(1)
        self.pinned: list[str] = []
        self.gist: list[str] | None = None
        self.dropped: set[str] = set()
        self.versions: list[list[str]] = []

    def add(self, parent: str, speaker: str, text: str) -> str:
        key = f"k{next(self.keys)}"
        self.nodes[key] = {
            "key": key,
            "parent": parent,
            "speaker": speaker,
            "text": text,
            "rating": 0,
            "created": time.time(),
        }
        self.head, self.updated = key, time.time()
        if not self.title and speaker == "user":
            self.title = text[:60]
        return key

    def path(self) -> list[dict[str, Any]]:
        line, key = [], self.head
        while key:
            line.append(self.nodes[key])
            key = self.nodes[key]["parent"]
        return line[::-1]

    def leaf(self, key: str) -> str:
        while below := [node["key"] for node in self.nodes.values() if node["parent"] == key]:
            key = below[-1]
        return key

    def info(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "created": self.created,
            "updated": self.updated,
            "messages": len(self.path()),
            "origin": "page",
            "strategy": self.strategy,
            "budget": self.budget,
        }

    def message(self, number: int, node: dict[str, Any], by_parent: dict[str, list[str]]) -> dict[str, Any]:
        receipt = f"{self.id}.{node['key']}" if node["speaker"] == "model" else None
        return {
            **{name: node[name] for name in ("key", "speaker", "text", "rating", "created")},
            "number": number,
            "date": "",
            "siblings": by_parent[node["parent"]],
            "receipt": receipt,
        }

    def messages(self, first: int, limit: int) -> dict[str, Any]:
        line = self.path()
        start = max(1, first if first > 0 else len(line) + 1 + first)
        by_parent: dict[str, list[str]] = {}
        for node in self.nodes.values():
            by_parent.setdefault(node["parent"], []).append(node["key"])
        part = line[start - 1 : start - 1 + limit]
        return {
            "total": len(line),
            "first": start,
            "messages": [self.message(start + i, node, by_parent) for i, node in enumerate(part)],
        }

    def memory(self) -> dict[str, Any]:
        line = self.path()
        boundary = max(0, len(line) - 6)
        lines = [
            {"number": 0, "speaker": "", "text": text, "turns": [], "pinned": True, "fact": None}
            for text in self.pinned
        ]
        if self.gist is not None:
            lines += [
                {"number": 0, "speaker": "", "text": text, "turns": [], "pinned": False, "fact": None}
                for text in self.gist
            ]
        else:
            said = [(i, node) for i, node in enumerate(line[:boundary], 1) if node["speaker"] == "user"]
            for i, node in said[-5:]:
                fact = "home" if "live" in node["text"] else None
                if node["text"] not in self.dropped:
                    lines.append(
                        {
                            "number": 0,
                            "speaker": "user",
                            "text": node["text"][:120],
                            "turns": [i],
                            "pinned": False,
                            "fact": fact,
                        }
                    )
        for number, gist_line in enumerate(lines, 1):
            gist_line["number"] = number
        words = lambda text: len(text.split()) + 2  # noqa: E731
        parts = {
            "pinned": sum(words(x["text"]) for x in lines if x["pinned"]),
            "gist": sum(words(x["text"]) for x in lines if not x["pinned"] and not x["fact"]),
            "facts": sum(words(x["text"]) for x in lines if x["fact"]),
            "found": 9 if boundary > 2 else 0,
            "verbatim": min(40, sum(words(n["text"]) for n in line[boundary:])),
        }
        found = [{"turn": 1, "text": line[0]["text"], "why": "shares dog, walk"}] if boundary > 2 else []
        return {
            "strategy": self.strategy,
            "budget": self.budget,
            "tokens": {"used": sum(parts.values()), "budget": max(self.budget, sum(parts.values())), "parts": parts},
            "boundary": boundary,
            "gist": {"made_by": "hand" if self.gist is not None else "textrank", "covers": boundary, "lines": lines},
            "next_gist_lines": lines,
            "found": found,
            "facts": [],
            "pinned": [{"number": n, "text": text} for n, text in enumerate(self.pinned, 1)],
            "versions": [
                {"number": n, "covers": boundary, "made_by": "textrank", "lines": old}
                for n, old in enumerate(self.versions, 1)
            ],
            "notice": "",
        }


def refuse(status: int, message: str) -> JSONResponse:
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status
    )


def make_app(pause: float = 0.02) -> FastAPI:
    app = FastAPI()
    app.include_router(page.router)
    talks: dict[str, Talk] = {}
    numbers = count(1)

    def events(talk: Talk, parent: str, asked: str | None) -> StreamingResponse:
        async def run() -> Any:
            def send(**event: Any) -> str:
                return f"data: {json.dumps(event)}\n\n"

            key = talk.add(parent, "user", asked) if asked is not None else parent
            if asked is not None:
                yield send(type="asked", message=talk.messages(-1, 1)["messages"][0])
            text = talk.nodes[key]["text"]
            pieces = [
                f"{word} "
                for word in f"You said **{text}** and I listened. Tell me more about it, if you like.".split()
            ]
            if "long" in text:
                pieces *= 30
            said = ""
            try:
                for piece in pieces:
                    await asyncio.sleep(pause)
                    said += piece
                    yield send(type="piece", text=piece)
            finally:
                talk.add(key, "model", said.strip() or "…")
            yield send(type="done", message=talk.messages(-1, 1)["messages"][0], notice="")

        return StreamingResponse(run(), media_type="text/event-stream")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/info")
    def info() -> dict[str, Any]:
        return {
            "version": "0.9",
            "model": "SmolLM2-135M-Instruct",
            "strategy": "memory",
            "strategies": STRATEGIES,
            "budget": 96,
            "limit": 2048,
            "backend": False,
            "needs_key": False,
        }

    @app.get("/api/conversations")
    def conversations(search: str = "", limit: int = 50, before: str = "") -> dict[str, Any]:
        latest = sorted(talks.values(), key=lambda talk: -talk.updated)
        return {
            "conversations": [talk.info() for talk in latest if search.lower() in talk.title.lower()][:limit],
            "next": None,
        }

    @app.post("/api/conversations", status_code=201)
    async def create(request: Request) -> dict[str, Any]:
        body = await request.json()
        talk = Talk(next(numbers), body.get("title", ""), body.get("strategy") or "memory", body.get("budget") or 96)
        talks[talk.id] = talk
        for turn in body.get("turns", []):
            talk.add(talk.head, turn["speaker"], turn["text"])
        return talk.info()

    @app.api_route("/api/conversations/{id}", methods=["GET", "PATCH", "DELETE"])
    async def one(id: str, request: Request) -> Any:
        if id not in talks:
            return refuse(404, "no such conversation")
        if request.method == "DELETE":
            del talks[id]
            return Response(status_code=204)
        if request.method == "PATCH":
            for name, value in (await request.json()).items():
                setattr(talks[id], name, value)
        return talks[id].info()

    @app.get("/api/conversations/{id}/messages")
    def messages(id: str, first: int = 1, limit: int = 200) -> Any:
        return talks[id].messages(first, limit) if id in talks else refuse(404, "no such conversation")

    @app.post("/api/conversations/{id}/messages")
    async def say(id: str, request: Request) -> Any:
        return events(talks[id], talks[id].head, (await request.json())["text"])

    @app.post("/api/conversations/{id}/regenerate")
    def regenerate(id: str) -> Any:
        return events(talks[id], talks[id].path()[-2]["key"], None)

    @app.patch("/api/conversations/{id}/messages/{key}")
    async def edit(id: str, key: str, request: Request) -> Any:
        talk, body = talks[id], await request.json()
        if body.get("answer"):
            return events(talk, talk.nodes[key]["parent"], body["text"])
        line = talk.path()
        at = next(i for i, node in enumerate(line) if node["key"] == key)
        parent = talk.add(talk.nodes[key]["parent"], line[at]["speaker"], body["text"])
        for node in line[at + 1 :]:
            parent = talk.add(parent, node["speaker"], node["text"])
        return {"key": parent, "total": len(line)}

    @app.delete("/api/conversations/{id}/messages/{key}", status_code=204)
    def forget(id: str, key: str) -> None:
        talks[id].nodes[key]["text"] = "…"

    @app.post("/api/conversations/{id}/head")
    async def head(id: str, request: Request) -> Any:
        talks[id].head = talks[id].leaf((await request.json())["key"])
        return talks[id].info()

    @app.post("/api/conversations/{id}/messages/{key}/rating")
    async def rate(id: str, key: str, request: Request) -> Any:
        talks[id].nodes[key]["rating"] = (await request.json())["value"]
        return {}

    @app.get("/api/conversations/{id}/memory")
    def memory(id: str) -> Any:
        return talks[id].memory() if id in talks else refuse(404, "no such conversation")

    @app.put("/api/conversations/{id}/gist")
    async def put_gist(id: str, request: Request) -> Any:
        talk = talks[id]
        talk.versions.insert(0, [x["text"] for x in talk.memory()["gist"]["lines"]])
        talk.gist = (await request.json())["text"].split("\n")
        return talk.memory()

    @app.delete("/api/conversations/{id}/gist/{number}")
    def drop(id: str, number: int) -> Any:
        talk = talks[id]
        talk.versions.insert(0, [x["text"] for x in talk.memory()["gist"]["lines"]])
        talk.dropped.add(talk.memory()["gist"]["lines"][number - 1]["text"])
        return talk.memory()

    @app.post("/api/conversations/{id}/gist/back")
    async def back(id: str, request: Request) -> Any:
        talks[id].gist = talks[id].versions.pop((await request.json())["number"] - 1)
        return talks[id].memory()

    @app.post("/api/conversations/{id}/pins")
    async def pin(id: str, request: Request) -> Any:
        body = await request.json()
        talks[id].pinned.append(body.get("text") or talks[id].memory()["gist"]["lines"][body["line"] - 1]["text"])
        return talks[id].memory()

    @app.delete("/api/conversations/{id}/pins/{number}")
    def unpin(id: str, number: int) -> Any:
        del talks[id].pinned[number - 1]
        return talks[id].memory()

    @app.get("/api/conversations/{id}/search")
    def search_turns(id: str, q: str) -> Any:
        return {
            "found": [
                {"number": i, **{n: node[n] for n in ("key", "speaker", "text")}, "why": f"shares {q}"}
                for i, node in enumerate(talks[id].path(), 1)
                if q.lower() in node["text"].lower()
            ][:20]
        }

    def receipt_of(strategy: str) -> dict[str, Any]:
        lines = [
            ("pinned", "answer in short lines", [], 6, "pinned by hand"),
            ("fact", "I live in Lisbon", [3], 5, "home"),
            ("gist", "They talked about a dog named Rex.", [1, 2], 9, "textrank"),
            ("found", "Rex likes long walks by the river.", [5], 9, "shares walk"),
            ("verbatim", "How was your day?", [11], 6, "word for word"),
            ("last", "Where do I walk with Rex?", [13], 8, "the last turn"),
        ]
        return {
            "strategy": strategy,
            "budget": 96,
            "tokens": 43,
            "model": "SmolLM2-135M-Instruct",
            "made": time.time(),
            "lines": [
                {"part": p, "speaker": "user", "text": t, "turns": n, "tokens": k, "why": w} for p, t, n, k, w in lines
            ],
            "prompt": "<|im_start|>system\nanswer in short lines\n<|im_end|>\n",
            "usage": {"prompt": 80, "cached": 20, "written": 14},
            "ended": "end",
            "seconds": {"context": 0.01, "reply": 0.8, "memory": 0.02},
            "not_sent": {"turns": 0, "reason": ""},
            "notice": "",
        }

    @app.get("/api/receipts/{id}")
    def receipt(id: str) -> Any:
        return receipt_of("memory")

    @app.post("/api/conversations/{id}/compare")
    async def compare(id: str, request: Request) -> Any:
        body = await request.json()

        async def run() -> Any:
            for side, with_ in enumerate(body["with"]):
                said = ""
                for word in f"This is how {with_['strategy']} answers: {body['text']}".split():
                    await asyncio.sleep(pause)
                    said += word + " "
                    yield f"data: {json.dumps({'type': 'piece', 'side': side, 'text': word + ' '})}\n\n"
                yield f"data: {json.dumps({'type': 'done', 'side': side, 'text': said.strip(), 'receipt': receipt_of(with_['strategy'])})}\n\n"

        return StreamingResponse(run(), media_type="text/event-stream")

    @app.post("/api/conversations/{id}/choose", status_code=201)
    async def choose(id: str, request: Request) -> Any:
        body = await request.json()
        key = talks[id].add(talks[id].head, "user", body["text"])
        talks[id].add(key, "model", body["answer"])
        return {}

    @app.get("/api/conversations/{id}/export")
    def export(id: str) -> Any:
        return Response(json.dumps([node["text"] for node in talks[id].path()]) + "\n", media_type="application/jsonl")

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(), port=int(sys.argv[1]), log_level="warning")
