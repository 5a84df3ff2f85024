// Asks in place before something that cannot be undone: the first press shows `[data-confirm-ask]`, its own button submits.
const OPEN = "data-js-shown";

const askOf = (form) =>
  form.querySelector("[data-confirm-ask]") ?? form.parentElement?.querySelector(":scope > [data-confirm-ask]");

export function confirmInPlace() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-confirm]")) return;
    const ask = askOf(form);
    if (!ask || ask.hasAttribute(OPEN) || ask.contains(event.submitter)) return;
    event.preventDefault();
    show(ask, true);
    ask.querySelector("button,input,a")?.focus();
  });
  document.addEventListener("click", (event) => {
    const no = event.target.closest?.("[data-confirm-no]");
    if (no) close(no.closest("[data-confirm-ask]"), event);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close(event.target.closest?.("[data-confirm-ask]"), event);
  });
}

function show(ask, shown) {
  ask.hidden = !shown;
  ask.toggleAttribute(OPEN, shown);
}

function close(ask, event) {
  if (!ask) return;
  event.preventDefault();
  show(ask, false);
  const form = ask.closest("form") ?? ask.parentElement.querySelector(":scope > form[data-confirm]");
  [...(form?.querySelectorAll("button") ?? [])].find((each) => !ask.contains(each))?.focus();
}
