// Colours by the page's tokens, which reach into the shadow root.
import { HighlightStyle } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--blue)", fontWeight: "600" },
  { tag: [tags.comment, tags.meta], color: "var(--ink-2)" },
  { tag: [tags.string, tags.content, tags.number, tags.bool, tags.null], color: "var(--ink)" },
  { tag: [tags.keyword, tags.labelName, tags.typeName, tags.attributeValue], color: "var(--ochre)" },
]);

export const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--surface)", fontSize: "13px", border: "1px solid var(--line-strong)" },
  "&.cm-focused": { outline: "2px solid var(--focus)", outlineOffset: "2px" },
  ".cm-scroller": { fontFamily: "var(--mono, monospace)", lineHeight: "20px", minHeight: "320px", maxHeight: "70vh" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--ink-2)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine": { backgroundColor: "transparent", boxShadow: "inset 3px 0 var(--blue)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--blue-soft)", color: "var(--ink)" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    backgroundColor: "var(--blue-soft)",
  },
  ".cm-selectionMatch, .cm-searchMatch": { backgroundColor: "var(--ochre-soft)" },
  ".cm-tooltip, .cm-panels": { backgroundColor: "var(--surface)", color: "var(--ink)", border: "1px solid var(--line-strong)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--blue)", color: "var(--on-blue)" },
  ".cm-completionInfo": { maxWidth: "320px", fontFamily: "var(--font, sans-serif)", whiteSpace: "pre-wrap" },
  ".cm-lintRange-error": { backgroundImage: "none", borderBottom: "2px solid var(--red)" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--red)" },
  ".cm-lint-marker-error": { content: "none", width: "8px", height: "8px", margin: "6px 2px", backgroundColor: "var(--red)" },
});
