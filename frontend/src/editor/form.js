// The form beside the editor: `<form data-fill="URL">` with `[data-field=NAME]` around `#f-NAME` and its `was-NAME`.
//
// A field that is changed is written into the text by the server, which keeps the rest of it; a text that is changed fills
// the fields from what the plan's answer says of it. Mistakes of the text stand at their fields as well.
const WAIT_MS = 300;

export function joinForm(area) {
  const form = area.form;
  const address = form?.dataset.fill;
  if (!address) return;
  const fields = new Map();
  for (const box of form.querySelectorAll("[data-field]")) {
    const name = box.dataset.field;
    fields.set(name, { name, box, input: form.elements[`f-${name}`], was: form.elements[`was-${name}`] });
  }
  let timer = 0;
  let under = null;

  function typed(event) {
    if (!event.target.name?.startsWith("f-")) return;
    clearTimeout(timer);
    timer = setTimeout(write, event.type === "change" ? 0 : WAIT_MS);
  }

  async function write() {
    timer = 0;
    const sent = new Map([...fields.values()].map((each) => [each, each.input.value]));
    if ([...sent].every(([each, value]) => each.input.disabled || same(value, each.was.value))) return;
    under?.abort();
    const mine = (under = new AbortController());
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(address, { method: "POST", body, credentials: "same-origin", signal: mine.signal });
      if (!answer.ok) throw new Error(answer.status);
      const { spec, error } = await answer.json();
      if (mine.signal.aborted) return;
      say(document.getElementById("form-wrong"), error);
      if (error) return;
      for (const [each, value] of sent) each.was.value = value;
      area.value = spec;
      area.dispatchEvent(new CustomEvent("tawtin:set"));
    } catch {
      // what differs is written into the text when the form is sent
    } finally {
      if (under === mine) under = null;
    }
  }

  /** What the text says, unless somebody is typing into a field whose change is not in it yet. */
  function read() {
    const said = JSON.parse(document.getElementById("plan-form")?.textContent ?? "null");
    const marks = JSON.parse(document.getElementById("plan-errors")?.textContent ?? "[]");
    for (const each of fields.values()) {
      const value = said?.[each.name] ?? null;
      each.input.disabled = value === null && document.activeElement !== each.input;
      each.box.querySelector("[data-field-bound]").hidden = value !== null;
      if (value !== null && !timer && !under && same(each.input.value, each.was.value)) {
        if (!same(value, each.input.value)) each.input.value = value;
        each.was.value = value;
      }
      const mistake = marks.find((mark) => mark.field === each.name)?.text ?? "";
      say(document.getElementById(`error-${each.name}`), mistake);
      if (mistake) each.input.setAttribute("aria-invalid", "true");
      else each.input.removeAttribute("aria-invalid");
    }
  }

  form.addEventListener("input", typed);
  form.addEventListener("change", typed);
  document.addEventListener("tawtin:plan", read);
}

const same = (one, other) => one.trim() === other.trim();

function say(place, text) {
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
}
