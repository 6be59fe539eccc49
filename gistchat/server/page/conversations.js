// The list of conversations: by day, more as it is scrolled.

import { get } from "./api.js";
import { el, iconButton, menu } from "./dom.js";

const DAY = 86_400_000;
const ORIGINS = { chat: "terminal", api: "API", proxy: "proxy" };

function dayOf(seconds) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = (midnight - seconds * 1000) / DAY;
  if (days < 0) return "Today";
  if (days < 1) return "Yesterday";
  if (days < 7) return "Last seven days";
  return new Date(seconds * 1000).toLocaleDateString("en", { month: "long", year: "numeric" });
}

export class ConversationList {
  /** `actions`: open(id), rename(conversation), remove(conversation), save(conversation), fail(error). */
  constructor(node, actions) {
    Object.assign(this, { node, actions, known: [], next: null, current: null, hidden: new Set() });
    this.end = el("div", { class: "list-end" });
    new IntersectionObserver((entries) => entries[0].isIntersecting && this.next && this.more(), { root: node }).observe(this.end);
  }

  async load() {
    try {
      const found = await get("api/conversations?limit=50");
      this.known = found.conversations;
      this.next = found.next;
      this.draw();
    } catch (error) {
      this.actions.fail(error);
    }
  }

  async more() {
    const before = this.next;
    this.next = null; // so that no page is asked for twice
    try {
      const found = await get(`api/conversations?limit=50&before=${encodeURIComponent(before)}`);
      const ids = new Set(this.known.map(({ id }) => id));
      this.known.push(...found.conversations.filter(({ id }) => !ids.has(id)));
      this.next = found.next;
      this.draw();
    } catch (error) {
      this.actions.fail(error);
    }
  }

  select(id) {
    this.current = id;
    this.draw();
  }

  /** Not shown any more, or again. */
  hide(id, hidden) {
    if (hidden) this.hidden.add(id);
    else this.hidden.delete(id);
    this.draw();
  }

  draw() {
    const focused = this.node.contains(document.activeElement) ? document.activeElement.closest("[data-id]")?.dataset.id : null;
    const scroll = this.node.scrollTop;
    const days = new Map();
    for (const conversation of this.known) {
      if (this.hidden.has(conversation.id)) continue;
      const day = dayOf(conversation.updated);
      if (!days.has(day)) days.set(day, []);
      days.get(day).push(this.entry(conversation));
    }
    const groups = [...days].map(([day, entries]) => el("section", {}, el("h2", { class: "day" }, day), el("ul", {}, entries)));
    this.node.replaceChildren(...(groups.length ? groups : [el("p", { class: "note list-empty" }, "Your conversations will be here.")]), this.end);
    this.node.scrollTop = scroll;
    if (focused) this.node.querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus();
  }

  entry(conversation) {
    const title = conversation.title || "Untitled";
    const current = conversation.id === this.current;
    const item = el("li", { class: current ? "entry current" : "entry" },
      el("a", { href: `#${conversation.id}`, "aria-current": current && "page", onclick: () => this.actions.open(conversation.id) },
        el("span", { class: "entry-title", dir: "auto" }, title), ORIGINS[conversation.origin] && el("span", { class: "origin" }, ORIGINS[conversation.origin])),
      iconButton("more", `Menu of ${title}`, (event) => menu(event.currentTarget, this.menuOf(conversation)), { "aria-haspopup": "menu" }));
    item.dataset.id = conversation.id;
    return item;
  }

  menuOf(conversation) {
    return [
      ["edit", "Rename…", () => this.actions.rename(conversation)],
      ["save", "Export as JSONL", () => this.actions.save(conversation)],
      ["forget", "Delete", () => this.actions.remove(conversation), true],
    ];
  }
}
