// Buttons that print and copy, and the present entry of a navigation that scrolls.

export function printPage() {
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-print]")) print();
  });
}

export function copyText() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button || !(await copied(button.dataset.copy))) return;
    button.setAttribute("data-js-copied", "");
    setTimeout(() => button.removeAttribute("data-js-copied"), 2000);
  });
}

/** Copy; over plain HTTP, where browsers have no clipboard for pages, by a selection. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

export function showCurrent() {
  const current = document.querySelector(".nav [aria-current]");
  const nav = current?.closest(".nav");
  if (nav && nav.scrollWidth > nav.clientWidth) current.scrollIntoView({ block: "nearest", inline: "center" });
}
