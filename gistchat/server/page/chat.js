// The open conversation: its transcript, what is sent, and its memory.

import { ApiError, call, explain, get, stream } from "./api.js";
import { Comparison } from "./compare.js";
import { announce, el, sure, textButton, toast } from "./dom.js";
import { MemoryPanel } from "./memory.js";
import { drawMessage, grow, lookOf } from "./message.js";
import { showReceipt } from "./receipt.js";
import { Transcript } from "./transcript.js";

const PAGE = 100;
const STARTERS = ["Hi! I have a dog named Rex.", "What should I cook tonight?", "I'm learning to play the guitar."];
const SETTLES = [60, 150, 300, 600, 1200, 2400]; // milliseconds between looks at what became of a stopped answer

export class Chat {
  /**
   * `nodes`: {scroller, panel, title, toLatest}; `hooks`: changed(conversation) after the server has something new,
   * busy(yes), settings(), showPanel(yes), start(text) for a first message.
   */
  constructor(nodes, hooks) {
    Object.assign(this, { nodes, hooks, conversation: null, memory: null, cancel: null, wanted: {} });
    this.transcript = new Transcript(nodes.scroller, {
      load: (first, limit) => get(`${this.path}/messages?first=${first}&limit=${limit}`),
      draw: (message) => drawMessage(message, this.state(), this.actions),
      look: (message) => lookOf(message, this.state()),
      onfollow: (following) => (nodes.toLatest.hidden = following || !this.conversation),
    });
    this.panel = new MemoryPanel(nodes.panel, {
      goTo: (turn) => this.goTo(turn),
      change: (method, path, body, said) => this.changeMemory(method, path, body, said),
      settings: hooks.settings,
      close: () => hooks.showPanel(false),
    });
    this.actions = {
      edit: (message) => this.edit(message),
      saveEdit: (message, text, answer) => this.saveEdit(message, text, answer),
      cancelEdit: (message) => this.cancelEdit(message),
      regenerate: () => this.regenerate(),
      branch: (message, key) => this.branch(message, key),
      rate: (message, value) => this.rate(message, value),
      receipt: (message) => this.receipt(message),
      pin: (message) => this.changeMemory("POST", "pins", { text: message.text }, "Pinned"),
      forget: (message) => this.forget(message),
      memory: () => hooks.showPanel(true),
    };
  }

  get id() {
    return this.conversation?.id ?? null;
  }

  get path() {
    return `api/conversations/${this.id}`;
  }

  get busy() {
    return this.cancel !== null;
  }

  state() {
    return {
      last: this.transcript.total,
      total: this.transcript.total,
      busy: this.busy,
      boundary: this.memory?.boundary ?? 0,
      found: new Set(this.memory?.found.map(({ turn }) => turn)),
    };
  }

  // ---- opening

  /** Show a conversation, or with null an empty one. What is sent meanwhile waits for it. */
  open(id) {
    return (this.opened = this.load(id));
  }

  async load(id) {
    this.stop();
    this.conversation = null;
    this.memory = null;
    this.comparison?.close();
    this.transcript.clear();
    this.panel.editing = null;
    this.panel.show(null, 0);
    const opening = (this.opening = Symbol("opening"));
    if (!id) return this.welcome();
    this.nodes.scroller.classList.remove("empty");
    try {
      const [conversation, messages] = await Promise.all([get(`api/conversations/${id}`), get(`api/conversations/${id}/messages?first=-${PAGE}&limit=${PAGE}`)]);
      if (opening !== this.opening) return;
      this.conversation = conversation;
      this.hooks.changed(conversation);
      this.transcript.take(messages);
      this.transcript.toEnd();
      if (!messages.total) this.welcome();
      this.remember();
    } catch (error) {
      if (opening !== this.opening) return;
      this.welcome();
      if (error.status === 404) this.hooks.gone();
      toast(error.status === 404 ? "That conversation is not here any more." : explain(error));
    }
  }

  welcome() {
    this.nodes.scroller.classList.add("empty");
    this.transcript.tail.replaceChildren(el("div", { class: "welcome" },
      el("h2", {}, "What is on your mind?"),
      el("p", {}, "Talk for as long as you like. What is said long ago stays as a gist, and you can see and correct it."),
      el("div", { class: "starters" }, STARTERS.map((text) => textButton(text, () => this.hooks.start(text), { class: "button starter" })))));
  }

  /** The strategy and budget of this conversation, or of the next one. */
  async choose(settings) {
    if (!this.id) {
      this.wanted = settings;
      return;
    }
    this.conversation = await call("PATCH", this.path, settings);
    this.hooks.changed(this.conversation);
    await this.remember();
  }

  async create() {
    this.conversation = await call("POST", "api/conversations", this.wanted);
    this.hooks.created(this.conversation);
  }

  // ---- saying

  /** Say something. Gives false where it was not taken, so that its text is to be kept. */
  async send(text) {
    await this.opened;
    if (this.busy) return false;
    try {
      if (!this.id) await this.create();
    } catch (error) {
      toast(explain(error));
      return false;
    }
    this.leaveWelcome();
    const { total } = this.transcript;
    this.transcript.follow(true);
    const asked = { number: total + 1, key: "", speaker: "user", text, pending: true };
    return this.answer("POST", `${this.path}/messages`, { text, stream: true }, asked, total + 1);
  }

  async regenerate() {
    if (this.busy || !this.transcript.total) return;
    this.transcript.follow(true);
    await this.answer("POST", `${this.path}/regenerate`, { stream: true }, null, this.transcript.total);
  }

  /** Ask for an answer and show it as it comes. `from`: the first turn that changes. */
  async answer(method, path, body, asked, from) {
    const { id, transcript } = this;
    const { total } = transcript;
    const cancel = (this.cancel = new AbortController());
    const answer = { number: from + (asked ? 1 : 0), key: "", speaker: "model", text: "", pending: true };
    transcript.tail.replaceChildren();
    transcript.forgetFrom(from);
    transcript.resize(answer.number);
    if (asked) transcript.set(asked);
    transcript.set(answer);
    transcript.redraw();
    transcript.feed.setAttribute("aria-busy", "true");
    this.hooks.busy(true);
    let fault = null;
    let done = null;
    let begun = false;
    try {
      for await (const event of stream(method, path, body, cancel.signal)) {
        begun = true;
        if (event.type === "piece") this.piece(answer, event.text, id);
        else if (event.type === "error") throw new ApiError(event.error.message, event.error.code === "busy" ? 429 : 400);
        else if (event.type === "done") done = event;
      }
      if (!done) throw new ApiError("The answer broke off.", 0);
    } catch (error) {
      fault = cancel.signal.aborted ? null : error;
    }
    if (this.cancel === cancel) this.cancel = null;
    if (id !== this.id) return true; // another conversation was opened meanwhile
    transcript.feed.removeAttribute("aria-busy");
    const refused = fault && !begun;
    const taken = refused ? this.takeBack(from, total) : await this.settle(from, asked, done);
    this.hooks.busy(this.busy);
    if (fault) toast(explain(fault));
    if (done?.notice) this.tell(done.notice);
    if (done) announce(`Answer: ${done.message.text}`);
    return taken;
  }

  piece(answer, text, id) {
    if (id !== this.id) return;
    answer.text += text;
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      const row = this.transcript.rows.get(answer.number);
      if (row && this.transcript.get(answer.number) === answer) grow(row, answer);
    });
  }

  /** Nothing has come of it: the turns are as they were. */
  takeBack(from, total) {
    this.transcript.forgetFrom(from);
    this.transcript.resize(total);
    this.transcript.redraw();
    if (!total) this.welcome();
    return false;
  }

  /** Take what the server has kept. Gives whether the turn was. */
  async settle(from, asked, done) {
    const wanted = done ? done.message.number : from + (asked ? 1 : 0);
    let found = null;
    for (const pause of done ? [0] : SETTLES) {
      if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        found = await get(`${this.path}/messages?first=${Math.max(1, from - 1)}&limit=${PAGE}`);
      } catch (error) {
        toast(explain(error));
        return false;
      }
      if (found.total >= wanted) break; // until then, the server may still be ending the answer
    }
    this.transcript.forgetFrom(from);
    this.transcript.take(found);
    if (!found.total) this.welcome();
    this.hooks.changed(await get(this.path));
    await this.remember();
    return found.total >= from;
  }

  stop() {
    this.cancel?.abort();
    this.cancel = null;
    this.comparison?.cancel.abort();
  }

  leaveWelcome() {
    this.nodes.scroller.classList.remove("empty");
    this.transcript.tail.replaceChildren();
  }

  /** What people should know about the latest turn. */
  tell(text) {
    this.transcript.tail.replaceChildren(el("p", { class: "notice", role: "status" }, text[0].toUpperCase() + text.slice(1)));
  }

  // ---- changing turns

  edit(message) {
    message.editing = { text: message.text };
    this.transcript.put(message);
    const area = this.transcript.rows.get(message.number)?.querySelector("textarea");
    area?.focus();
    area?.setSelectionRange(area.value.length, area.value.length);
  }

  cancelEdit(message) {
    delete message.editing;
    this.transcript.put(message);
    this.transcript.rows.get(message.number)?.querySelector("[aria-label=Edit]")?.focus();
  }

  /** Edit the person's latest turn. */
  async editLast() {
    for (let number = this.transcript.total; number > 0 && number > this.transcript.total - PAGE; number--) {
      const message = this.transcript.get(number);
      if (message?.speaker !== "user" || message.pending) continue;
      await this.transcript.goTo(number, { focus: false });
      return this.edit(message);
    }
  }

  async saveEdit(message, text, answer) {
    if (this.busy) return;
    const path = `${this.path}/messages/${message.key}`;
    if (answer) {
      const asked = { number: message.number, key: "", speaker: "user", text, pending: true };
      if (!(await this.answer("PATCH", path, { text, answer: true, stream: true }, asked, message.number))) this.reopen(message.number, text);
      return;
    }
    await this.attempt(async () => {
      await call("PATCH", path, { text });
      delete message.editing;
      await this.reload(message.number);
    });
  }

  /** The old text came back, as there was no answer: what was typed stays in its editor. */
  reopen(number, text) {
    const message = this.transcript.get(number);
    if (!message) return;
    message.editing = { text };
    this.transcript.put(message);
  }

  async branch(message, key) {
    await this.attempt(async () => {
      await call("POST", `${this.path}/head`, { key });
      await this.reload(message.number);
      announce(`Version ${message.siblings.indexOf(key) + 1} of ${message.siblings.length}`);
    });
  }

  async rate(message, value) {
    const rating = message.rating === value ? 0 : value;
    await this.attempt(async () => {
      await call("POST", `${this.path}/messages/${message.key}/rating`, { value: rating });
      message.rating = rating;
      this.transcript.put(message);
      announce(rating ? "Rated" : "Rating taken back");
    });
  }

  async forget(message) {
    const text = "Its text is deleted for good: from the conversation, the gist, the receipts and the search. This cannot be undone.";
    if (!(await sure(`Forget turn ${message.number}?`, text, "Forget it"))) return;
    await this.attempt(async () => {
      await call("DELETE", `${this.path}/messages/${message.key}`);
      await this.reload(1);
      toast("Forgotten");
    });
  }

  /** Fetch all turns from this one on again. */
  async reload(from) {
    this.hooks.changed((this.conversation = await get(this.path)));
    const number = Math.min(from, this.conversation.messages || 1);
    const found = await get(`${this.path}/messages?first=${Math.max(1, number)}&limit=${PAGE}`);
    this.transcript.forgetFrom(from);
    this.transcript.take(found);
    await this.remember();
  }

  async attempt(change) {
    try {
      await change();
    } catch (error) {
      toast(explain(error));
    }
  }

  // ---- memory

  async remember() {
    const { id } = this;
    if (!id) return;
    try {
      const memory = await get(`${this.path}/memory`);
      if (id === this.id) this.showMemory(memory);
    } catch (error) {
      toast(explain(error));
    }
  }

  showMemory(memory) {
    this.memory = memory;
    this.panel.total = this.transcript.total;
    if (!this.receiptShown) this.panel.show(memory, this.transcript.total);
    else this.panel.memory = memory;
    this.transcript.redraw();
    this.hooks.remembered(memory);
  }

  async changeMemory(method, path, body, said) {
    if (!this.id) return null;
    try {
      const memory = await call(method, `${this.path}/${path}`, body);
      this.showMemory(memory);
      if (said) toast(said, null, 2500);
      return memory;
    } catch (error) {
      toast(explain(error));
      return null;
    }
  }

  async receipt(message) {
    await this.attempt(async () => {
      const receipt = await get(`api/receipts/${message.receipt}`);
      this.hooks.showPanel(true);
      this.receiptShown = true;
      const close = () => {
        this.closeReceipt();
        this.transcript.goTo(message.number);
      };
      showReceipt(this.nodes.panel, receipt, message.number, { goTo: (turn) => this.goTo(turn), close, hide: () => this.hooks.showPanel(false) });
    });
  }

  closeReceipt() {
    this.receiptShown = false;
    this.panel.show(this.memory, this.transcript.total);
  }

  async goTo(turn) {
    this.hooks.leavePanel();
    await this.attempt(() => this.transcript.goTo(turn));
  }

  // ---- two answers

  async compare(text, strategies) {
    await this.opened;
    try {
      if (!this.id) await this.create();
    } catch (error) {
      toast(explain(error));
      return false;
    }
    this.leaveWelcome();
    let failed = false;
    const comparison = (this.comparison = new Comparison(this.id, text, strategies, {
      goTo: (turn) => this.goTo(turn),
      ready: () => announce("Both answers are there; choose one."),
      choose: (choice) => this.keep(choice),
      close: () => this.endComparison(),
      fail: (error) => {
        failed = true;
        toast(explain(error));
        this.endComparison();
      },
    }));
    this.transcript.tail.replaceChildren(comparison.node);
    this.transcript.toEnd();
    await comparison.run();
    return !failed;
  }

  endComparison() {
    this.comparison = null;
    this.transcript.tail.replaceChildren();
    if (!this.transcript.total) this.welcome();
  }

  async keep(choice) {
    await this.attempt(async () => {
      await call("POST", `${this.path}/choose`, choice);
      this.endComparison();
      this.leaveWelcome();
      this.transcript.follow(true);
      await this.reload(this.transcript.total + 1);
      this.transcript.toEnd();
    });
  }
}
