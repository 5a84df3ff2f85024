// Follows a log: `<pre data-log="URL">`, a stream of `log` events (JSON whose `data` is base64) that ends with `end`.
//
// In the same `[data-log-box]` may be a checkbox `[data-follow]`, a field `[data-log-search]`, and `[data-log-found]`, which
// gets the number of lines found. `data-log-older` on the <pre> is what is said in the place of the oldest lines.
import { locale } from "../locale.js";
import { retrying } from "./stream.js";
import { Terminal } from "./terminal.js";

const LINES_MAX = 5000;
/** Lines wait this long for others; longer where showing them takes long, so that reading has most of the time. */
const SHOW_MS = 50;
const attached = new WeakSet();

export function followLogs() {
  const attach = () => {
    for (const pre of document.querySelectorAll("pre[data-log]")) {
      if (!attached.has(pre)) new Log(pre);
    }
  };
  attach();
  document.addEventListener("tawtin:morphed", attach);
}

class Log {
  constructor(pre) {
    attached.add(pre);
    this.pre = pre;
    this.box = pre.closest("[data-log-box]") ?? document;
    this.terminal = new Terminal();
    this.pending = [];
    this.count = 0;
    this.cut = false;
    this.timer = 0;
    this.pause = SHOW_MS;
    this.begun = false;
    this.older = null;
    this.unended = null;
    this.atEnd = true;
    this.top = 0;
    if (!pre.hasAttribute("tabindex")) pre.tabIndex = 0;
    pre.addEventListener("scroll", () => this.#scrolled());
    this.follow?.addEventListener("change", () => this.#followed());
    this.search?.addEventListener("input", () => this.#filter(pre.children));
    this.stream = retrying(pre.dataset.log, {
      log: (data) => this.#take(JSON.parse(data).data),
      end: () => this.#end(),
      lost: () => this.#state("waiting"),
      open: () => this.#state("following"),
    });
    this.stream.start();
  }

  get follow() {
    return this.box.querySelector("[data-follow]");
  }

  get search() {
    return this.box.querySelector("[data-log-search]");
  }

  #state(name) {
    this.pre.setAttribute("data-js-state", name);
  }

  #take(data) {
    const bytes = Uint8Array.fromBase64?.(data) ?? Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    this.#hold(this.terminal.take(bytes));
  }

  #end() {
    this.stream.stop();
    this.#hold(this.terminal.take(new Uint8Array(), { last: true }));
    this.#state("ended");
  }

  /** A flood of events is one change of the page, and only its end is shown. */
  #hold(lines) {
    for (const line of lines) this.pending.push(line);
    if (this.pending.length > 2 * LINES_MAX) this.#drop();
    this.timer ||= setTimeout(() => this.#flush(), this.pause);
  }

  #drop() {
    this.cut = true;
    this.pending = this.pending.slice(-LINES_MAX);
  }

  #flush() {
    const began = performance.now();
    this.#show();
    this.pause = Math.max(SHOW_MS, 4 * (performance.now() - began));
  }

  #show() {
    this.timer = 0;
    if (!this.begun) this.pre.replaceChildren();
    this.begun = true;
    if (this.pending.length > LINES_MAX) this.#drop();
    const made = this.pending.map((line) => row(line, "\n"));
    this.pending = [];
    this.unended?.remove();
    this.unended = this.terminal.line.length ? row(this.terminal.line, "") : null;
    this.count += made.length;
    if (this.unended) made.push(this.unended);
    this.pre.append(...made);
    this.#filter(made);
    this.#trim();
    if (this.atEnd && this.follow?.checked !== false) this.#toEnd();
  }

  #trim() {
    const over = this.count - LINES_MAX;
    if (over > 0) {
      this.cut = true;
      this.count = LINES_MAX;
      const range = document.createRange();
      const from = this.older ? 1 : 0;
      range.setStart(this.pre, from);
      range.setEnd(this.pre, from + over);
      range.deleteContents();
    }
    if (this.cut && !this.older) {
      this.older = row([["m", this.pre.dataset.logOlder ?? "…"]], "\n");
      this.older.setAttribute("data-js-older", "");
      this.pre.prepend(this.older);
    }
  }

  #filter(rows) {
    const sought = this.search?.value.toLowerCase() ?? "";
    for (const each of rows) {
      each.hidden = sought !== "" && each !== this.older && !each.textContent.toLowerCase().includes(sought);
    }
    const found = this.box.querySelector("[data-log-found]");
    if (!found) return;
    const shown = sought && this.pre.querySelectorAll(":scope > :not([hidden], [data-js-older])").length;
    found.textContent = sought ? new Intl.NumberFormat(locale()).format(shown) : "";
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.pre;
    if (scrollTop + clientHeight >= scrollHeight - 4) this.atEnd = true;
    else if (scrollTop < this.top) this.atEnd = false;
    this.top = scrollTop;
  }

  #followed() {
    this.atEnd = true;
    if (this.follow.checked) this.#toEnd();
  }

  #toEnd() {
    this.pre.scrollTop = this.pre.scrollHeight;
    this.top = this.pre.scrollTop;
  }
}

/** An element for a line, a block so that lines are laid out one by one: text, and spans of one of the three classes. */
function row(line, end) {
  const made = document.createElement("div");
  for (const [name, text] of line) {
    if (!name) made.append(text);
    else {
      const painted = document.createElement("span");
      painted.className = name;
      painted.textContent = text;
      made.append(painted);
    }
  }
  made.append(end);
  return made;
}
