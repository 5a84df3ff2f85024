// Streams an answer into the page. Without this script the form posts, and the whole answer is on the next page.
"use strict";

(() => {
  const form = document.querySelector("form[data-ask]");
  if (!form || !window.fetch || !window.ReadableStream) return;
  const part = (name) => document.querySelector(`[data-answer${name}]`);
  const box = part("");
  const stop = form.querySelector("[data-ask-stop]");
  const button = form.querySelector("button.primary");
  let leaving = null;

  const show = (name, on) => { part(name).hidden = !on; };

  const facts = (pairs) => {
    const list = part("-facts");
    list.replaceChildren();
    for (const [name, value] of pairs) {
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      const alone = document.createElement("bdi");
      term.textContent = name;
      alone.textContent = value;
      text.append(alone);
      list.append(term, text);
    }
  };

  const problem = (text) => {
    part("-problem").textContent = text;
    show("-problem", true);
  };

  const take = (event) => {
    let name = "";
    let data = "";
    for (const line of event.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      if (line.startsWith("data: ")) data = line.slice(6);
    }
    if (!data) return false;
    const value = JSON.parse(data);
    show("-wait", false);
    if (name === "text") part("-text").append(value); // a text node, whatever the model says
    if (name === "problem") problem(value);
    if (name === "facts") facts(value);
    return name === "facts";
  };

  const read = async (answer) => {
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let held = "";
    let whole = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return whole;
      held += decoder.decode(value, { stream: true });
      const events = held.split("\n\n");
      held = events.pop();
      for (const event of events) whole = take(event) || whole;
    }
  };

  const plainly = (page) => {
    const found = new DOMParser().parseFromString(page, "text/html").querySelector("main");
    return found ? found.textContent.trim().replace(/\s+/g, " ") : "";
  };

  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    if (leaving) return;
    leaving = new AbortController();
    part("-text").textContent = "";
    facts([]);
    show("", true);
    show("-problem", false);
    show("-cut", false);
    show("-wait", true);
    button.disabled = true;
    stop.hidden = false;
    box.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action.split("#")[0], {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { accept: "text/event-stream" },
        signal: leaving.signal,
      });
      const streams = (answer.headers.get("content-type") || "").startsWith("text/event-stream");
      if (!streams) problem(plainly(await answer.text()) || String(answer.status));
      else show("-cut", !(await read(answer)));
    } catch {
      show("-cut", true);
    }
    show("-wait", false);
    box.removeAttribute("aria-busy");
    button.disabled = false;
    stop.hidden = true;
    leaving = null;
  });

  stop.addEventListener("click", () => { if (leaving) leaving.abort(); });
})();
