// Bytes of a log -> lines of (class, text). Nothing of it is ever taken for HTML.
//
// Colours (SGR) become `w` (yellow), `e` (red) and `m` (dim); other escape sequences and control characters are dropped.
// A carriage return starts its line anew, as progress bars want it.
const TOKEN =
  // CSI | OSC | DCS, SOS, PM, APC | other escapes | line ends | control characters
  /\x1b\[([0-?]*)([ -/]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b[ -/]*[0-OQ-WYZ\\`-~]|(\r?\n)|(\r)|[\x00-\x08\x0b-\x0d\x0e-\x1f\x7f-\x9f]/g;
/** An escape sequence, or a carriage return, that the end of a chunk may have cut. */
const CUT = /(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)|\r)$/;
const ESCAPE_MAX = 4096;
const LINE_MAX = 8192;
/** Parts of a line that may differ in colour. */
const PARTS_MAX = 200;

export class Terminal {
  #decoder = new TextDecoder("utf-8");
  #rest = "";
  #colour = "";
  #dim = false;
  #again = false;

  constructor() {
    this.line = [];
    this.length = 0;
  }

  /** Take bytes; return the lines that they ended. The one that is not ended is `line`. */
  take(bytes, { last = false } = {}) {
    let text = this.#rest + this.#decoder.decode(bytes, { stream: !last });
    this.#rest = "";
    const cut = last ? null : CUT.exec(text);
    if (cut && cut[0].length < ESCAPE_MAX) {
      this.#rest = cut[0];
      text = text.slice(0, cut.index);
    }
    const lines = [];
    let at = 0;
    for (const token of text.matchAll(TOKEN)) {
      this.#write(text.slice(at, token.index), lines);
      at = token.index + token[0].length;
      if (token[3] === "m" && !token[2]) this.#paint(token[1]);
      else if (token[4]) this.#end(lines);
      else if (token[5]) this.#again = true;
    }
    this.#write(text.slice(at), lines);
    return lines;
  }

  #write(text, lines) {
    if (!text) return;
    if (this.#again) this.#clear();
    for (let at = 0; at < text.length; ) {
      const part = text.slice(at, at + LINE_MAX - this.length);
      const name = this.#colour || (this.#dim ? "m" : "");
      const before = this.line.at(-1);
      if (before && (before[0] === name || this.line.length >= PARTS_MAX)) before[1] += part;
      else this.line.push([name, part]);
      this.length += part.length;
      at += part.length;
      if (this.length >= LINE_MAX) this.#end(lines);
    }
  }

  #end(lines) {
    lines.push(this.line);
    this.#clear();
  }

  #clear() {
    this.line = [];
    this.length = 0;
    this.#again = false;
  }

  #paint(list) {
    const codes = list.split(/[;:]/).map(Number);
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      if (code === 38 || code === 48) {
        if (codes[i + 1] === 5 && code === 38) this.#palette(codes[i + 2]);
        i += codes[i + 1] === 5 ? 2 : 4;
      } else if (code === 0) {
        this.#colour = "";
        this.#dim = false;
      } else if (code === 2) this.#dim = true;
      else if (code === 22) this.#dim = false;
      else if (code >= 30 && code <= 37) this.#palette(code - 30);
      else if (code >= 90 && code <= 97) this.#palette(code - 82);
      else if (code === 39) this.#colour = "";
    }
  }

  #palette(number) {
    this.#colour = { 1: "e", 9: "e", 3: "w", 11: "w", 8: "m" }[number] ?? "";
  }
}
