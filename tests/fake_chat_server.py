"""A chat server on loopback that counts tokens, streams, and does whatever a test wants it to do wrong."""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AROUND_MESSAGE, AROUND_PROMPT = 4, 3


def send(handler, values, status=200, kind="application/json"):
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def refuses(message, status=400, **more):
    """An answer that refuses, as OpenAI's do."""
    return lambda handler, body: send(handler, {"error": {"message": message, **more}}, status)


def begin(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
    handler.send_header("Connection", "close")
    handler.end_headers()


def event(handler, values):
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    handler.wfile.write(b"data: " + data + b"\n\n")
    handler.wfile.flush()


def delta(handler, content=None, finish=None, **more):
    said = {"content": content} if content is not None else {}
    event(handler, {"choices": [{"index": 0, "delta": said | more, "finish_reason": finish}]})


class ChatServer:
    """A real server.

    Attributes:
        kind: "llama.cpp" and "vllm" count tokens when asked to.
        models: what it lists; None: it has no list.
        answers: a function of handler and body for each chat, the last one for ever; None is the usual answer.
        chats, asked: the bodies of chats, and (path, headers, body) of everything.
        raws: the bodies of everything, in their own bytes.
        usage: whether it tells token counts, where it is asked to.
        token: the pattern of its tokens.
        hidden: tokens that it adds to every prompt.
        gone: set where whoever asked went away in the middle of an answer.
    """

    def __init__(self):
        self.kind, self.models, self.answers = "", [{"id": "m"}], [None]
        self.chats, self.asked, self.raws = [], [], []
        self.usage, self.token, self.hidden = True, r"\w{1,4}|[^\w\s]", 0
        self.words = ["Fine,", " thanks", "."]
        self.gone, self.lock = threading.Event(), threading.Lock()
        self.at_once = self.most_at_once = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections are kept, as those of real servers
            disable_nagle_algorithm = True

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.raws.append(raw)
                try:
                    body = json.loads(raw) if raw else None
                except (ValueError, RecursionError):
                    body = None
                outer.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                with contextlib.suppress(OSError):  # whoever asked has given up
                    outer.answer(self, body)

            do_GET = do_POST

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # connections that whoever asked has closed
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.root}/v1"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def tokens(self, text):
        return len(re.findall(self.token, text))

    def prompt_tokens(self, messages):
        texts = sum(self.tokens(message["content"]) + AROUND_MESSAGE for message in messages)
        return AROUND_PROMPT + self.hidden + texts

    def answer(self, handler, body):
        routes = {"/v1/chat/completions": self.chat, "/v1/models": self.list_models}
        if self.kind:
            routes["/tokenize"] = self.tokenize
        if self.kind == "llama.cpp":
            routes["/apply-template"] = lambda handler, body: send(handler, {"prompt": json.dumps(body["messages"])})
            routes["/props"] = lambda handler, _: send(handler, {"default_generation_settings": {"n_ctx": 777}})
        routes.get(handler.path, refuses("404 page not found", 404))(handler, body)

    def list_models(self, handler, body):
        if self.models is None:
            refuses("no such page", 404)(handler, body)
        else:
            send(handler, {"object": "list", "data": self.models})

    def tokenize(self, handler, body):
        if self.kind == "llama.cpp":
            if "content" not in body:
                return send(handler, {})
            number = self.tokens(body["content"])
            if body.get("parse_special"):  # a whole prompt
                number = self.prompt_tokens(json.loads(body["content"]))
            return send(handler, {"tokens": [7] * number})
        if "messages" in body:
            return send(handler, {"count": self.prompt_tokens(body["messages"]), "max_model_len": 900})
        if "prompt" not in body:
            return refuses("prompt: field required", 422)(handler, body)
        return send(handler, {"count": self.tokens(body["prompt"])})

    def chat(self, handler, body):
        with self.lock:
            self.chats.append(body)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            (answer or self.usual)(handler, body)
        except OSError:
            self.gone.set()
            raise
        finally:
            with self.lock:
                self.at_once -= 1

    def usual(self, handler, body):
        roles = [message["role"] for message in body["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"] or not all(
            message["content"] for message in body["messages"]
        ):
            return refuses("Conversation roles must alternate user/assistant/user/assistant/...")(handler, body)
        begin(handler)
        delta(handler, role="assistant", content="")
        for word in self.words:
            delta(handler, word)
        delta(handler, finish="stop")
        if self.usage and body.get("stream_options") == {"include_usage": True}:
            number = self.prompt_tokens(body["messages"])
            usage = {"prompt_tokens": number, "completion_tokens": len(self.words)}
            event(handler, {"choices": [], "usage": usage | {"prompt_tokens_details": {"cached_tokens": 5}}})
        event(handler, b"[DONE]")
