// Live pages: the server says on a stream that something changed; the page is fetched again and morphed into the answer.
import { locale } from "../locale.js";
import { retrying } from "./stream.js";
import { entered, morph } from "./morph.js";

/** Keep the page up to date if its <body> has `data-live`. */
export function live() {
  const address = document.body.dataset.live;
  if (!address) return;
  const notice = awayNotice();
  const page = refresher(notice);
  const stream = retrying(address, {
    changed: page.refresh,
    open: page.reconnected,
    lost: page.cutOff,
    refused: page.askWho,
  });
  const look = () => (document.hidden ? stream.stop() : stream.start());
  document.addEventListener("visibilitychange", look);
  addEventListener("offline", page.cutOff);
  addEventListener("pagehide", stream.stop);
  addEventListener("pageshow", look);
  look();
}

/** The notice `#away`, and the age of what the page shows. */
function awayNotice() {
  let fresh = Date.now();
  let timer = 0;
  const say = () => {
    const time = document.querySelector("#away time[data-age]");
    if (!time) return;
    time.dateTime = new Date(fresh).toISOString();
    time.textContent = ago(Date.now() - fresh);
  };
  return {
    fresh() {
      fresh = Date.now();
    },
    show() {
      if (timer) return;
      timer = setInterval(say, 5000);
      say();
      toggle(true);
    },
    hide() {
      clearInterval(timer);
      timer = 0;
      toggle(false);
    },
  };
}

function toggle(shown) {
  const away = document.getElementById("away");
  if (!away) return;
  away.hidden = !shown;
  away.toggleAttribute("data-js-shown", shown);
}

function ago(ms) {
  const words = new Intl.RelativeTimeFormat(locale());
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return words.format(-seconds, "second");
  if (seconds < 3600) return words.format(-Math.floor(seconds / 60), "minute");
  return words.format(-Math.floor(seconds / 3600), "hour");
}

/** Fetches the page: one request under way, at most one more after it. */
function refresher(notice) {
  let under = false;
  let again = false;
  let missed = false;
  let retry = 0;

  async function fetchOnce() {
    const answer = await fetch(location.href, {
      headers: { "X-Tawtin-Part": "main" },
      credentials: "same-origin",
      cache: "no-cache",
    });
    const elsewhere = answer.redirected && new URL(answer.url).pathname !== location.pathname;
    if (answer.status === 401 || elsewhere) return signedOut();
    if (!answer.ok) throw new Error(String(answer.status));
    const wanted = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = wanted.getElementById("main");
    if (!main) throw new Error("no main");
    morph(document.getElementById("main"), main);
    if (wanted.title) document.title = wanted.title;
    return true;
  }

  async function refresh() {
    if (under) {
      again = true;
      return;
    }
    under = true;
    clearTimeout(retry);
    try {
      do {
        again = false;
        if (!(await fetchOnce())) throw new Error("signed out");
      } while (again);
      missed = false;
      notice.fresh();
      notice.hide();
    } catch {
      again = false;
      lost();
      retry = setTimeout(refresh, 5000);
    } finally {
      under = false;
    }
  }

  function lost() {
    missed = true;
    notice.show();
  }

  /** The stream went, so what is shown was right until now. */
  function cutOff() {
    if (!missed) notice.fresh();
    lost();
  }

  /** It may be the session that went, and not the factory. */
  async function askWho() {
    try {
      const answer = await fetch(location.href, { headers: { "X-Tawtin-Part": "main" }, cache: "no-store" });
      if (answer.status === 401) signedOut();
    } catch {
      // the factory went: the notice says so
    }
  }

  /** Whatever happened while there was no stream is fetched. */
  function reconnected(first) {
    if (missed || !first) refresh();
  }

  return { refresh, cutOff, askWho, reconnected };
}

/** The session has ended: show the sign-in page, unless that would lose what was entered. */
function signedOut() {
  if (![...document.querySelectorAll("input,textarea,select")].some(entered)) location.reload();
  return false;
}
