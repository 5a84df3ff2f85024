// Turns the present <main> into the one that the server has now, and leaves alone what the reader did.
//
// What belongs to scripts: elements with `data-local`, attributes that begin with `data-js-`. What is never touched:
// elements with `data-keep`, logs, editors, and fields in which something was entered. What has `data-keep` or `data-log` needs
// an id, by which it is found in what the server has now.
import { Idiomorph } from "idiomorph";

const KEPT = "[data-keep],[data-local],pre[data-log],textarea[data-editor]";
const OURS = "data-js-";

/** Whether something was entered in a field since the server wrote it. */
export function entered(field) {
  if (field instanceof HTMLSelectElement) {
    const options = [...field.options];
    if (!field.multiple && !options.some((each) => each.defaultSelected)) return field.selectedIndex > 0;
    return options.some((each) => each.selected !== each.defaultSelected);
  }
  if (field instanceof HTMLTextAreaElement) return field.value !== field.defaultValue;
  if (!(field instanceof HTMLInputElement) || field.type === "hidden") return false;
  if (field.type === "file") return field.files.length > 0;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  return field.value !== field.defaultValue;
}

const isField = (node) => node instanceof Element && node.matches("input,textarea,select");

const callbacks = {
  beforeNodeMorphed(present, wanted) {
    if (!(present instanceof Element)) return true;
    if (present.matches(KEPT) && (!(wanted instanceof Element) || present.id === wanted.id)) return false;
    return !(isField(present) && (entered(present) || present === document.activeElement));
  },
  beforeNodeRemoved: (node) => !(node instanceof Element && node.hasAttribute("data-local")),
  beforeAttributeUpdated(name, element) {
    if (name.startsWith(OURS)) return false;
    if (name === "open" && element instanceof HTMLDetailsElement) return false;
    return !(name === "hidden" && element.hasAttribute(`${OURS}shown`));
  },
};

/** Morph `present` into `wanted`, then tell other scripts by the event `tawtin:morphed`. */
export function morph(present, wanted) {
  Idiomorph.morph(present, wanted, { morphStyle: "outerHTML", callbacks });
  document.dispatchEvent(new CustomEvent("tawtin:morphed"));
}
