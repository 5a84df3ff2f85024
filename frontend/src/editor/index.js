// A YAML editor in the place of `<textarea data-editor="yaml" data-schema="URL" data-check="URL">`.
//
// It lives in a shadow root, where its styles are made by script, which a strict policy allows. The textarea keeps the text,
// so its form is submitted as ever. Whoever sets the textarea's value sends it the event `tawtin:set`.
import { autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { checker } from "./check.js";
import { completeFrom } from "./complete.js";
import { joinForm } from "./form.js";
import { colours, look } from "./look.js";

function takeOver(area) {
  const host = document.createElement("tawtin-editor"); // a name that no page has, so that no update takes it for its own
  host.className = "editor";
  host.dir = "ltr";
  host.setAttribute("data-local", "");
  host.setAttribute("data-keep", "");
  const root = host.attachShadow({ mode: "open" });
  host.style.display = "block";
  area.after(host);
  const check = checker(area);
  const label = area.labels?.[0]?.textContent.trim() ?? area.getAttribute("aria-label") ?? "YAML";
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: area.value,
      extensions: [
        lineNumbers(),
        highlightActiveLineGutter(),
        history(),
        drawSelection(),
        indentUnit.of("  "),
        bracketMatching(),
        highlightActiveLine(),
        highlightSelectionMatches(),
        yaml(),
        syntaxHighlighting(colours),
        look,
        lintGutter(),
        autocompletion({ override: [completeFrom(area.dataset.schema)], icons: false }),
        keymap.of([...completionKeymap, ...lintKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap]),
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false" }),
        EditorView.lineWrapping,
        EditorState.phrases.of(JSON.parse(area.dataset.phrases ?? "{}")),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) changed(update.state.doc.toString());
        }),
      ],
    }),
  });
  let setting = false;

  function changed(text) {
    if (!setting) {
      area.value = text;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    check.soon(view);
  }

  const show = () => {
    if (area.value === view.state.doc.toString()) return;
    setting = true;
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: area.value } });
    setting = false;
  };
  area.addEventListener("tawtin:set", show);
  area.form?.addEventListener("reset", () => setTimeout(show));
  for (const each of area.labels ?? []) each.addEventListener("click", () => view.focus());
  area.hidden = true;
  area.setAttribute("data-js-shown", "");
  joinForm(area);
  check.now(view);
}

for (const area of document.querySelectorAll('textarea[data-editor="yaml"]')) takeOver(area);
