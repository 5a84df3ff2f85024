// Names and values that the JSON Schema allows where the cursor is.
import { syntaxTree } from "@codemirror/language";
import { pathAt } from "./path.js";

const DEPTH_MAX = 12;

/**
 * A source of completions from the schema at `address`, which is fetched when first asked for, again if that failed.
 *
 * Where there is nothing to complete it says so at once. What it finds to be nothing after a wait is an empty list, not
 * null: the editor forgets a question that was put meanwhile when an older one ends with null.
 */
export function completeFrom(address) {
  let schema = null;
  const fetched = () =>
    fetch(address, { credentials: "same-origin" })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
      .catch(() => (schema = null));
  return async (context) => {
    const asked = address && !inText(context) && question(context);
    if (!asked) return null;
    const known = await (schema ??= fetched());
    return { from: context.pos - asked.typed.length, options: known ? answer(known, asked) : [], validFor: /^["'\w.-]*$/ };
  };
}

function inText({ state, pos }) {
  for (let node = syntaxTree(state).resolveInner(pos, -1); node; node = node.parent) {
    if (node.name === "Comment" || node.name === "BlockLiteralContent") return true;
  }
  return false;
}

/** What is typed at the cursor, the key whose value it is (if any) and the path to it; null where nothing is. */
function question(context) {
  const line = context.state.doc.lineAt(context.pos);
  const before = line.text.slice(0, context.pos - line.from);
  const above = [];
  for (let i = 1; i < line.number; i++) above.push(context.state.doc.line(i).text);
  const value = /^\s*(?:-\s+)*(["']?)([\w./-]+)\1:\s+(["']?[\w.-]*)$/.exec(before);
  const name = /^\s*(?:-\s+)*([\w.-]*)$/.exec(before);
  const typed = value?.[3] ?? name?.[1];
  if (typed === undefined || (!typed && !context.explicit && !value)) return null;
  return { typed, key: value?.[2], path: pathAt(above, before), line: line.text };
}

function answer(schema, { key, path, line }) {
  const forms = at(schema, path);
  return key ? values(step(forms, key)) : [...names(forms, line), ...values(forms)];
}

/** The schemas that hold at a path. */
function at(schema, path) {
  return path.reduce((forms, key) => step(forms, key, schema), open([schema], schema));
}

function step(forms, key, root = forms.root) {
  const next = forms.flatMap((form) => {
    if (key === "[]") return form.items ? [form.items] : [];
    const known = form.properties?.[key];
    if (known) return [known];
    return form.additionalProperties && typeof form.additionalProperties === "object" ? [form.additionalProperties] : [];
  });
  return open(next, root);
}

/** Follow `$ref`, `anyOf`, `oneOf` and `allOf` down to schemas that say something themselves. */
function open(schemas, root, depth = 0) {
  const found = [];
  for (const each of schemas) {
    if (!each || typeof each !== "object") continue;
    found.push(each);
    const inner = [each.anyOf, each.oneOf, each.allOf].flat().filter(Boolean);
    if (typeof each.$ref === "string" && each.$ref.startsWith("#")) inner.push(pointed(root, each.$ref));
    if (depth < DEPTH_MAX) found.push(...open(inner, root, depth + 1));
  }
  found.root = root;
  return found;
}

function pointed(root, ref) {
  const parts = ref.slice(1).split("/").filter(Boolean);
  return parts.reduce((here, part) => here?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], root);
}

function names(forms, text) {
  const colon = text.includes(":") ? "" : ": ";
  const found = new Map();
  for (const form of forms) {
    for (const [label, schema] of Object.entries(form.properties ?? {})) {
      if (!found.has(label)) found.set(label, { label, type: "property", apply: label + colon, info: schema.description });
    }
  }
  return [...found.values()];
}

function values(forms) {
  const found = new Map();
  const put = (value, info) => {
    const label = String(value);
    if (value !== null && !found.has(label)) found.set(label, { label, type: "enum", info });
  };
  for (const form of forms) {
    for (const value of form.enum ?? []) put(value);
    if (form.const !== undefined) put(form.const, form.description);
    if (form.type === "boolean") [true, false].forEach((value) => put(value));
  }
  return [...found.values()];
}
