// Asks the server what it would do with the text: its answer is the plan as HTML, and errors with line and column.
import { setDiagnostics } from "@codemirror/lint";

const WAIT_MS = 500;

export function checker(area) {
  const address = area.dataset.check;
  let timer = 0;
  let under = null;

  async function now(view) {
    if (!address) return;
    under?.abort();
    const mine = (under = new AbortController());
    const plan = document.getElementById("plan");
    const text = view.state.doc.toString();
    plan?.setAttribute("data-js-state", "asking");
    try {
      const answer = await fetch(address, {
        method: "POST",
        body: text,
        credentials: "same-origin",
        signal: mine.signal,
        headers: {
          "Content-Type": "application/yaml",
          "X-Tawtin-Csrf": document.querySelector('meta[name="csrf"]')?.content ?? "",
        },
      });
      const html = await answer.text();
      if (!(answer.headers.get("Content-Type") ?? "").startsWith("text/html")) throw new Error("no plan");
      if (mine.signal.aborted) return;
      show(plan, html, view);
    } catch {
      if (!mine.signal.aborted) plan?.setAttribute("data-js-state", "unknown");
    }
  }

  return {
    now,
    soon(view) {
      clearTimeout(timer);
      timer = setTimeout(() => now(view), WAIT_MS);
    },
  };
}

/** Our own server's HTML, parsed without running anything in it. */
function show(plan, html, view) {
  const wanted = new DOMParser().parseFromString(html, "text/html");
  const found = wanted.getElementById("plan-errors")?.textContent;
  const content = wanted.getElementById("plan") ?? wanted.body;
  plan?.replaceChildren(...content.childNodes);
  plan?.setAttribute("data-js-state", "known");
  const marks = (found ? JSON.parse(found) : []).map((each) => mark(view.state.doc, each));
  view.dispatch(setDiagnostics(view.state, marks));
  document.dispatchEvent(new CustomEvent("tawtin:plan"));
}

/** From the column to the end of its word, or the whole line where no column is known. */
function mark(doc, { line, column, message }) {
  const at = doc.line(Math.min(Math.max(1, line ?? 1), doc.lines));
  const from = Math.min(at.to, at.from + Math.max(0, (column ?? 1) - 1));
  const word = column ? /^[\w.-]+/.exec(at.text.slice(from - at.from))?.[0].length : 0;
  return { from, to: word ? from + word : at.to, severity: "error", message };
}
