// A stream of server-sent events that comes back whatever ended it.
const FIRST_MS = 2000;
const LAST_MS = 15000;

/**
 * Read `address` between start() and stop(). `on` maps names of events to what takes their data; `on.open(first)` is
 * called at each connection, `on.lost()` when it goes, and `on.refused()` besides where the server has none to give.
 * A stream that the browser has given up is asked for anew, with the last event's id as `after` in its address. A server
 * that sends `ping` events, with the seconds to the next one as data, is taken for lost when three are missing.
 */
export function retrying(address, on) {
  let source = null;
  let wait = FIRST_MS;
  let timer = 0;
  let watch = 0;
  let first = true;
  let last = "";

  function again() {
    source?.close();
    source = null;
    clearTimeout(watch);
    on.lost?.();
    clearTimeout(timer);
    timer = setTimeout(start, wait);
    wait = Math.min(wait * 1.5, LAST_MS);
  }

  function start() {
    clearTimeout(timer);
    if (source) return;
    const from = new URL(address, location.href);
    if (last) from.searchParams.set("after", last);
    source = new EventSource(from);
    source.onopen = () => {
      wait = FIRST_MS;
      on.open?.(first);
      first = false;
    };
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) {
        again();
        on.refused?.();
      } else {
        on.lost?.();
      }
    };
    source.addEventListener("ping", (event) => {
      clearTimeout(watch);
      watch = setTimeout(again, 3000 * Math.max(1, Number(event.data) || 15));
    });
    for (const [name, take] of Object.entries(on)) {
      if (name === "open" || name === "lost" || name === "refused") continue;
      source.addEventListener(name, (event) => {
        last = event.lastEventId;
        take(event.data);
      });
    }
  }

  function stop() {
    clearTimeout(timer);
    clearTimeout(watch);
    source?.close();
    source = null;
  }

  return { start, stop };
}
