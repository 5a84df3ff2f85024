// `<figure data-plot>` with its data as JSON becomes a line plot. Without this script its table is shown.
//
// {"x": [ms, ...], "series": [{"label": "...", "unit": "...", "values": [number or null, ...],
//  "kind": "line" | "forecast" | "limit"}], "zero": true, "zone": "Africa/Casablanca", "months": true}
// `months` says that each x is the beginning of a month (UTC), and nothing lies between.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { locale } from "./locale.js";
import "./plot.css";

const COLOURS = ["--blue", "--ink-2", "--mid", "--ink"];
const DASHES = [[], [], [6, 3], [2, 3]];
const KINDS = { line: undefined, forecast: [4, 4], limit: [10, 3] };
const LABEL_PX = 16;
const MONTH_PX = 80;
const DAY_MS = 86_400_000;
const drawn = new WeakMap();

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (most) => new Intl.NumberFormat(locale(), { maximumFractionDigits: most, notation: "compact" });

class Plot {
  constructor(figure, text) {
    this.figure = figure;
    this.text = text;
    this.data = JSON.parse(text);
    this.place = document.createElement("tawtin-plot"); // a name that no page has, so that no update takes it for its own
    this.place.className = "plot-drawn";
    this.place.dir = "ltr";
    this.place.setAttribute("data-local", "");
    this.place.setAttribute("aria-hidden", "true");
    figure.append(this.place);
    this.names = this.data.series.map((each, index) => {
      const name = document.createElement("span");
      name.className = `plot-name s${index % COLOURS.length} ${each.kind ?? "line"}`;
      return name;
    });
    const columns = [this.data.x, ...this.data.series.map((each) => each.values)];
    this.plot = new uPlot(this.#options(), columns, this.place);
    this.place.querySelector(".u-wrap").append(...this.names);
    this.#name();
    figure.setAttribute("data-js-plotted", "");
    this.watch = new ResizeObserver(() => this.#fit());
    this.watch.observe(figure);
  }

  remove() {
    this.watch.disconnect();
    this.plot.destroy();
    this.place.remove();
  }

  redraw() {
    this.plot.redraw(false);
  }

  #size() {
    return { width: Math.max(160, this.figure.clientWidth), height: Number(this.figure.dataset.height) || 160 };
  }

  #fit() {
    const size = this.#size();
    if (size.width !== this.plot.width || size.height !== this.plot.height) this.plot.setSize(size);
  }

  #options() {
    const { zero, months } = this.data;
    const zone = months ? "UTC" : this.data.zone;
    const font = `12px ${css("--font") || "sans-serif"}`;
    const grid = { stroke: () => css("--line"), width: 1 };
    const axis = { stroke: () => css("--ink-2"), font, grid, ticks: { show: false } };
    return {
      ...this.#size(),
      ms: 1,
      padding: [10, this.#room(font), 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      tzDate: zone ? (ms) => uPlot.tzDate(new Date(ms), zone) : undefined,
      scales: { x: { time: true }, y: { range: (_, least, most) => range(zero ? Math.min(0, least) : least, most) } },
      axes: [
        months
          ? { ...axis, splits: (plot, _, from, to) => beginnings(from, to, plot.bbox.width / devicePixelRatio), values: (_, each) => names(each) }
          : { ...axis, values: (_, splits, __, ___, step) => times(splits, step, zone) },
        { ...axis, size: 52, values: (_, splits) => splits.map((each) => number(3).format(each)) },
      ],
      series: [{}, ...this.data.series.map(line)],
      hooks: { draw: [() => this.#name()], setCursor: [() => this.#name()] },
    };
  }

  /** The widest that a name with its value gets, in px, so that a figure that changes moves nothing. */
  #room(font) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = font;
    const widths = this.data.series.map((each) => {
      const most = Math.max(0, ...each.values.filter((value) => value !== null).map(Math.abs));
      return pen.measureText(`${saying(each, most)}00`).width;
    });
    return Math.min(Math.max(40, ...widths) + 28, this.figure.clientWidth / 2);
  }

  /** Write names where their lines end, and keep them apart. They carry the value under the pointer, or the last one. */
  #name() {
    if (!this.plot) return;
    const { over, cursor } = this.plot;
    const at = this.data.series.map((each, index) => {
      const last = each.values.findLastIndex((value) => value !== null);
      const value = each.values[cursor.idx ?? last] ?? null;
      this.names[index].textContent = saying(each, value);
      return { index, top: last < 0 ? 0 : this.plot.valToPos(each.values[last], "y") - LABEL_PX / 2 };
    });
    at.sort((one, other) => one.top - other.top);
    let least = -LABEL_PX;
    for (const each of at) {
      each.top = Math.max(each.top, least);
      least = each.top + LABEL_PX;
    }
    for (const each of at) {
      const style = this.names[each.index].style;
      style.left = `${over.offsetLeft + over.offsetWidth + 2}px`;
      style.top = `${over.offsetTop + each.top}px`;
    }
  }
}

function saying(series, value) {
  const amount = value === null ? "–" : number(2).format(value);
  return `${series.label} \u2066${amount}${series.unit ? `\u202f${series.unit}` : ""}\u2069`;
}

function line(series, index) {
  const dash = KINDS[series.kind] ?? DASHES[index % DASHES.length];
  const colour = series.kind === "limit" ? "--red" : COLOURS[index % COLOURS.length];
  return { label: series.label, stroke: () => css(colour), width: index === 0 ? 2 : 1.5, dash, points: { show: false } };
}

function range(least, most) {
  if (least === null || most === null) return [0, 1];
  const over = (most - least || Math.abs(most) || 1) * 0.08;
  return [least === 0 ? 0 : least - over, most + over];
}

function times(splits, step, zone) {
  const parts = step >= DAY_MS ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (step < 60_000) parts.second = "2-digit";
  const words = new Intl.DateTimeFormat(locale(), { ...parts, timeZone: zone });
  return splits.map((each) => words.format(each));
}

/** The beginnings of months in a stretch of time, so few that their names have room in `width` px. */
function beginnings(from, to, width) {
  const first = new Date(from);
  const found = [];
  for (let month = first.getUTCMonth(); ; month++) {
    const at = Date.UTC(first.getUTCFullYear(), month);
    if (at > to) break;
    if (at >= from) found.push(at);
  }
  const every = Math.max(1, Math.ceil((found.length * MONTH_PX) / Math.max(1, width)));
  return found.filter((_, index) => (found.length - 1 - index) % every === 0);
}

function names(splits) {
  const words = new Intl.DateTimeFormat(locale(), { month: "short", year: "numeric", timeZone: "UTC" });
  return splits.map((each) => words.format(each));
}

function draw() {
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const text = figure.querySelector('script[type="application/json"]')?.textContent ?? "";
    const present = drawn.get(figure);
    if (!text || present?.text === text) continue;
    present?.remove();
    drawn.set(figure, new Plot(figure, text));
  }
}

const redraw = () => {
  for (const figure of document.querySelectorAll("figure[data-plot]")) drawn.get(figure)?.redraw();
};

draw();
document.addEventListener("tawtin:morphed", draw);
document.addEventListener("tawtin:theme", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
