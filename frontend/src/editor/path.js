// Where a line of YAML is: the keys above it, by indentation, so that a text that is not whole yet has an answer as well.
const LINE = /^(\s*)((?:-\s+)*)(?:(["']?)([\w./-]+)\3:(?:\s+(.*))?)?/;

/** Columns of the dashes of a line, outermost first, and of what stands behind them. */
function columns(indent, dashes) {
  const places = [];
  for (let i = 0; i < dashes.length; i++) if (dashes[i] === "-") places.push(indent.length + i);
  return { dashes: places, key: indent.length + dashes.length };
}

/**
 * Keys from the document down to where `before`, the present line up to the cursor, stands; "[]" is an item of a list.
 * `lines` are the lines above it, the first one first.
 */
export function pathAt(lines, before) {
  const [, indent, dashes] = /^(\s*)((?:-\s+)*)/.exec(before);
  const here = columns(indent, dashes);
  const path = [];
  let column = here.key;
  let item = false;
  const climb = (places) => {
    for (const place of [...places].reverse()) {
      if (place >= column) continue;
      path.unshift("[]");
      column = place;
      item = true;
    }
  };
  climb(here.dashes);
  for (let i = lines.length - 1; i >= 0 && (column > 0 || item); i--) {
    const text = lines[i].replace(/\s+#.*$/, "");
    if (!text.trim() || text.trimStart().startsWith("#")) continue;
    if (/^(---|\.\.\.)/.test(text)) break;
    const [, left, marks, , key] = LINE.exec(text);
    const there = columns(left, marks);
    if (key !== undefined && (there.key < column || (item && there.key === column))) {
      path.unshift(key);
      column = there.key;
      item = false;
    }
    climb(there.dashes);
  }
  return path;
}
