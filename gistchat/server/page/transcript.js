// A list of messages of any length: only those near the visible part have elements, and pages are fetched as needed.
//
// Every message has a height, measured or guessed. Above and below the elements, two spacers stand for all others. When a
// height turns out different, or older messages come, the scroll position is corrected by the same amount, so that what
// people read stays where it is. That is computed from the heights alone, not from the browser's layout.

import { el } from "./dom.js";

const PAGE = 100; // messages a request
const BEYOND = 700; // pixels above and below the visible part that have elements
const GUESS = 110; // pixels of a message that was not shown yet
const AT_ONCE = 2; // requests: a fast scroll passes many pages, and only those where it ends are worth asking for
const AHEAD = 40; // messages beyond those with elements that are asked for
const AT_END = 40; // pixels from the end that count as the end

export class Transcript {
  /**
   * `load(first, limit)`: a page of messages; `draw(message)`: its element; `look(message)`: a string that changes when
   * it looks different, though the message is the same; `onfollow(following)`: whether the end is in view.
   */
  constructor(scroller, { load, draw, look, onfollow }) {
    Object.assign(this, { scroller, load, draw, look, onfollow });
    this.above = el("div", { class: "space" });
    this.feed = el("div", { class: "feed", role: "feed", "aria-label": "Messages" });
    this.below = el("div", { class: "space" });
    this.tail = el("div", { class: "tail" }); // what stands after the last message
    this.sizes = new ResizeObserver((entries) => this.resized(entries));
    this.sizes.observe(scroller);
    this.sizes.observe(this.tail);
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    scroller.append(this.above, this.feed, this.below, this.tail);
    this.clear();
  }

  clear() {
    this.generation = (this.generation ?? 0) + 1; // answers to older requests are not for this list
    this.messages = new Map();
    this.heights = [];
    this.rows = new Map();
    this.loading = new Set();
    this.total = 0;
    this.tops = null;
    this.feed.replaceChildren();
    this.tail.replaceChildren();
    this.follow(true);
    this.pad(1, 0);
  }

  // ---- what is in it

  /** Take a page of messages. */
  take({ total, messages }) {
    this.resize(total);
    for (const message of messages) this.set(message);
    this.update();
  }

  /** Set one message, new or changed. */
  put(message) {
    if (message.number > this.total) this.resize(message.number);
    this.set(message);
    this.update();
  }

  set(message) {
    this.messages.set(message.number, message);
    const row = this.rows.get(message.number);
    if (!row) return;
    const focused = row.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    const fresh = this.row(message.number);
    if (row.classList.contains("flash")) fresh.classList.add("flash");
    row.replaceWith(fresh);
    if (focused) [fresh, ...fresh.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
  }

  get(number) {
    return this.messages.get(number);
  }

  /** All from a number on have changed: they are asked for again when they are seen. */
  forgetFrom(number) {
    this.generation++;
    this.loading.clear();
    for (const known of [...this.messages.keys()]) if (known >= number) this.messages.delete(known);
    for (const [known, row] of [...this.rows]) if (known >= number) this.remove(known, row);
    this.heights.length = Math.min(this.heights.length, number - 1);
    this.tops = null;
  }

  resize(total) {
    if (total < this.total) {
      this.forgetFrom(total + 1);
    }
    this.total = total;
    this.tops = null;
  }

  /** Draw those anew that look different now; others keep their elements, and what is selected in them. */
  redraw() {
    for (const [number, row] of this.rows) {
      const message = this.messages.get(number);
      if (message && !message.editing && row.look !== this.look(message)) this.set(message);
    }
    this.update();
  }

  // ---- heights

  height(number) {
    return this.heights[number - 1] ?? GUESS;
  }

  /** Pixels above a message: from 1 to total + 1. */
  top(number) {
    if (!this.tops) {
      this.tops = new Float64Array(this.total + 1);
      for (let at = 1; at <= this.total; at++) this.tops[at] = this.tops[at - 1] + this.height(at);
    }
    return this.tops[Math.max(0, Math.min(number - 1, this.total))];
  }

  /** The message at so many pixels. */
  at(pixels) {
    let low = 1;
    let high = Math.max(1, this.total);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.top(middle) <= pixels) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The first visible message that is loaded, as people may be reading it, and pixels from its top. */
  anchor() {
    const pixels = this.scroller.scrollTop;
    const first = this.at(pixels);
    let number = first;
    while (number < this.total && !this.messages.has(number) && this.top(number) < pixels + this.scroller.clientHeight) number++;
    if (!this.messages.has(number)) number = first;
    return [number, pixels - this.top(number)];
  }

  hold([number, pixels]) {
    const { scroller } = this;
    const aim = this.following ? scroller.scrollHeight - scroller.clientHeight : this.top(number) + pixels;
    if (Math.abs(scroller.scrollTop - aim) >= 1) scroller.scrollTop = aim;
  }

  // ---- elements

  scrolled() {
    const { scroller } = this;
    this.follow(scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - AT_END);
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      this.update();
    });
  }

  follow(following) {
    if (this.following === following) return;
    this.following = following;
    this.onfollow(following);
  }

  /** Give elements to what is near the visible part, and take them from the rest. */
  update() {
    const anchor = this.anchor();
    const first = this.following ? this.top(this.total + 1) - this.scroller.clientHeight : this.scroller.scrollTop;
    const from = this.at(first - BEYOND);
    const to = Math.min(this.total, this.at(first + this.scroller.clientHeight + BEYOND));
    this.fill(from, to);
    this.measure();
    this.pad(from, to);
    this.hold(anchor);
    this.fetch(Math.max(1, from - AHEAD), Math.min(this.total, to + AHEAD));
  }

  fill(from, to) {
    for (const [number, row] of [...this.rows]) if (number < from || number > to) this.remove(number, row);
    let next = this.feed.firstChild;
    for (let number = from; number <= to; number++) {
      const known = this.rows.get(number);
      const row = known ?? this.row(number);
      if (row === next) next = next.nextSibling;
      else this.feed.insertBefore(row, next);
      row.setAttribute("aria-setsize", this.total);
    }
  }

  row(number) {
    const message = this.messages.get(number);
    const row = message ? this.draw(message) : el("article", { class: "turn waiting", "aria-label": `Turn ${number}, loading` });
    if (!message) row.style.height = `${this.height(number)}px`;
    row.setAttribute("aria-posinset", number);
    row.setAttribute("aria-setsize", this.total);
    row.tabIndex = -1;
    row.number = number;
    row.dataset.number = number;
    row.look = message && this.look(message);
    const before = this.rows.get(number);
    if (before) this.sizes.unobserve(before);
    this.rows.set(number, row);
    this.sizes.observe(row);
    return row;
  }

  remove(number, row) {
    this.sizes.unobserve(row);
    row.remove();
    this.rows.delete(number);
  }

  measure() {
    for (const [number, row] of this.rows) {
      const { height } = row.getBoundingClientRect();
      if (height && this.heights[number - 1] !== height) {
        this.heights[number - 1] = height;
        this.tops = null;
      }
    }
  }

  pad(from, to) {
    this.above.style.height = `${this.total ? this.top(from) : 0}px`;
    this.below.style.height = `${this.total ? this.top(this.total + 1) - this.top(to + 1) : 0}px`;
  }

  resized(entries) {
    const anchor = this.anchor();
    if (entries.some(({ target }) => target === this.scroller)) return this.update();
    this.measure();
    this.hold(anchor);
  }

  // ---- pages

  fetch(from, to) {
    for (let number = from; number <= to && this.loading.size < AT_ONCE; number++) {
      if (this.messages.has(number)) continue;
      const page = Math.floor((number - 1) / PAGE);
      this.page(page);
      number = (page + 1) * PAGE;
    }
  }

  async page(page) {
    if (this.loading.has(page)) return;
    const { generation } = this;
    this.loading.add(page);
    try {
      const found = await this.load(page * PAGE + 1, PAGE);
      if (generation !== this.generation) return;
      this.loading.delete(page);
      this.take(found); // and ask for what is in view by now
    } finally {
      if (generation === this.generation) this.loading.delete(page);
    }
  }

  // ---- moving

  toEnd() {
    this.follow(true);
    this.update();
    this.hold([this.total, 0]);
  }

  /** Bring a message into view and highlight it. Gives its element. */
  async goTo(number, { focus = true } = {}) {
    number = Math.max(1, Math.min(number, this.total));
    if (!this.messages.has(number)) await this.page(Math.floor((number - 1) / PAGE));
    this.follow(false);
    // Twice: heights that were guessed are known only after the first.
    for (let time = 0; time < 2; time++) {
      this.scroller.scrollTop = this.top(number) - this.scroller.clientHeight / 4;
      this.update();
    }
    const row = this.rows.get(number);
    if (!row) return null;
    row.classList.remove("flash");
    row.getBoundingClientRect(); // so that the highlight begins anew
    row.classList.add("flash");
    if (focus) row.focus({ preventScroll: true });
    return row;
  }

  /** Move the focus by so many messages, from the one that has it or is in view. */
  step(by) {
    const focused = document.activeElement.closest?.(".turn")?.number;
    return this.goTo(focused ? focused + by : this.anchor()[0] + (by > 0 ? 1 : 0));
  }
}
