// The same turn answered in two ways, side by side; one is chosen and kept.

import { ApiError, stream } from "./api.js";
import { el, plural, textButton } from "./dom.js";
import { show } from "./markdown.js";
import { receiptParts } from "./receipt.js";

export class Comparison {
  /** `choose(text, answers, chosen)` keeps one; `close()` keeps none; `fail(error)`. */
  constructor(id, text, strategies, actions) {
    Object.assign(this, { id, text, strategies, actions });
    this.answers = ["", ""];
    this.done = [false, false];
    this.cancel = new AbortController();
    this.sides = strategies.map((strategy, side) => this.side(strategy, side));
    this.node = el("section", { class: "comparison", "aria-label": "Two answers side by side" },
      el("div", { class: "turn person" }, el("div", { class: "text" }, el("p", { dir: "auto" }, text))),
      el("div", { class: "sides" }, this.sides.map(({ node }) => node)),
      el("div", { class: "row end" }, el("span", { class: "note" }, "Nothing is kept until you choose."), textButton("Choose neither", () => this.close())));
  }

  side(strategy, side) {
    const text = el("div", { class: "text" }, el("span", { class: "dots", role: "img", "aria-label": "The model is reading" }, el("i"), el("i"), el("i")));
    const foot = el("div", { class: "side-receipt" });
    const choose = textButton("Choose this", () => this.choose(side), { class: "button filled", disabled: true, "aria-label": `Choose the answer by ${strategy}` });
    const node = el("article", { class: "answer", "aria-label": `Answer by ${strategy}` }, el("div", { class: "answer-head" }, el("h3", {}, strategy)), text, foot, choose);
    return { node, text, foot, choose };
  }

  async run() {
    try {
      const body = { text: this.text, with: this.strategies.map((strategy) => ({ strategy })) };
      for await (const event of stream("POST", `api/conversations/${this.id}/compare`, body, this.cancel.signal)) this.take(event);
    } catch (error) {
      if (!this.cancel.signal.aborted) this.actions.fail(error);
    }
    // Stopped: what came of an answer can be chosen, too.
    this.sides.forEach(({ choose, text }, side) => {
      choose.disabled = !this.answers[side];
      text.querySelector(".dots")?.remove();
    });
  }

  take(event) {
    if (event.type === "error") throw new ApiError(event.error.message, 400);
    const side = this.sides[event.side];
    if (event.type === "piece") this.answers[event.side] += event.text;
    if (event.type === "done") {
      this.answers[event.side] = event.text;
      this.done[event.side] = true;
      side.choose.disabled = !event.text;
      if (event.receipt) side.foot.replaceChildren(el("details", { class: "more" },
        el("summary", {}, `Read ${plural(event.receipt.tokens, "token")}`), receiptParts(event.receipt, this.actions.goTo)));
    }
    if (event.type === "done" || this.answers[event.side]) {
      side.text.querySelector(".dots")?.remove();
      show(side.text, this.answers[event.side] || "No answer came.");
    }
    if (this.done.every(Boolean)) this.actions.ready();
  }

  choose(side) {
    this.cancel.abort();
    this.actions.choose({
      text: this.text,
      answer: this.answers[side],
      other: this.answers[1 - side] || undefined,
      chosen: { strategy: this.strategies[side] },
      rejected: { strategy: this.strategies[1 - side] },
    });
  }

  close() {
    this.cancel.abort();
    this.actions.close();
  }
}
