// The conversations API: requests, streams, and what went wrong in plain words.

const KEY = "api-key";
export const connection = new EventTarget(); // "away", "back" and "key"

let away = null; // a promise that the server answers again, while it does not

export class ApiError extends Error {
  /** `status`: of HTTP; 0 where the server did not answer. */
  constructor(message, status, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait; // seconds
  }
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function hasKey() {
  return Boolean(sessionStorage.getItem(KEY));
}

/** The parsed answer. What only reads waits while the server is away; what writes is never sent twice. */
export async function call(method, path, body, options = {}) {
  const response = await request(method, path, body, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call("GET", path, undefined, options);

/** Events of a streamed answer. */
export async function* stream(method, path, body, signal) {
  const response = await request(method, path, body, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split(/\r?\n\r?\n/);
      rest = events.pop();
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
        if (data && data !== "[DONE]") yield JSON.parse(data);
      }
    }
  } catch (error) {
    throw signal?.aborted ? error : lost(error);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The answer as a file of the browser's downloads. */
export async function download(path, name) {
  const response = await request("GET", path);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function request(method, path, body, { signal, keepalive } = {}) {
  const headers = { accept: "application/json, text/event-stream" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  const ask = () => fetch(`/${path}`, { method, headers, signal, keepalive, cache: "no-store",
    body: body === undefined ? undefined : JSON.stringify(body) });
  for (;;) {
    let response;
    try {
      response = await ask();
    } catch (error) {
      if (signal?.aborted) throw error;
      if (method !== "GET") throw lost(error);
      await answers();
      continue;
    }
    if (response.ok) return response;
    throw await refused(response);
  }
}

async function refused(response) {
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    message = `the server answered ${response.status}`;
  }
  if (response.status === 401) connection.dispatchEvent(new Event("key"));
  return new ApiError(message, response.status, Number(response.headers.get("retry-after")) || 0);
}

function lost() {
  answers();
  return new ApiError("The server does not answer.", 0);
}

/** Wait, with growing pauses, until the server answers. */
function answers() {
  away ??= (async () => {
    connection.dispatchEvent(new Event("away"));
    for (let pause = 500; ; pause = Math.min(pause * 1.5, 5000)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        await fetch("/health", { cache: "no-store" });
        break;
      } catch {
        // still away
      }
    }
    away = null;
    connection.dispatchEvent(new Event("back"));
  })();
  return away;
}

/** What to tell people, and what to do. */
export function explain(error) {
  if (!(error instanceof ApiError)) {
    console.error(error);
    return "Something went wrong in the page. Reload it; your conversation is kept on the server.";
  }
  if (error.status === 0) return "The server does not answer. What you wrote is still in the box; send it when the server is back.";
  if (error.status === 401) return "The server wants an API key.";
  if (error.status === 404) return `Not found: ${error.message}`;
  if (error.status === 429) return `The server is busy with other replies. Try again${error.wait ? ` in ${error.wait} seconds` : " in a moment"}.`;
  if (error.status === 503) return `The server cannot do that right now: ${error.message}. Try again in a moment.`;
  return error.message[0].toUpperCase() + error.message.slice(1);
}
