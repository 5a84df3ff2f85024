// Coasts of Africa and of what lies around it, from Natural Earth's 1:50m land: `<symbol id="coast">`, no borders.
//
// The ways of it: project, simplify by Visvalingam and Whyatt (Cartographic Journal 30, 1993), clip by Sutherland and
// Hodgman (CACM 17, 1974), round to half pixels. x = (lon + 34) * 11 * cos 10 deg, y = (44.5 - lat) * 11.
const WEST = -34;
const EAST = 64;
const NORTH = 44.5;
const SOUTH = -36;
const SCALE = 11;
const ALONG = SCALE * Math.cos((10 * Math.PI) / 180);
const WIDTH = (EAST - WEST) * ALONG;
const HEIGHT = (NORTH - SOUTH) * SCALE;
const MARGIN = 6; // px that a coast goes on outside of the picture, so that its clipped edge is not seen
const SIMPLE_PX2 = 0.5;
const ISLAND_PX2 = 6;

/** The SVG, from the TopoJSON of `world-atlas`. */
export function coast(topology) {
  const arcs = unpacked(topology).map(simplified);
  const lands = topology.objects.land.geometries ?? [topology.objects.land];
  const rings = lands.flatMap((each) => (each.type === "Polygon" ? [each.arcs] : each.arcs)).flat();
  const paths = rings
    .map((ring) => joined(ring, arcs))
    .filter((ring) => !torn(ring))
    .map(clipped)
    .filter((ring) => ring.length > 2 && area(ring) > ISLAND_PX2)
    .map(path);
  const box = `0 0 ${Math.ceil(WIDTH)} ${Math.ceil(HEIGHT)}`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${box}">` +
    `<symbol id="coast" viewBox="${box}"><path d="${paths.join("")}"/></symbol></svg>\n`
  );
}

/** Arcs are whole numbers, each a step from the one before; made into projected points. */
function unpacked({ arcs, transform }) {
  return arcs.map((arc) => {
    let [x, y] = [0, 0];
    return arc.map(([dx, dy]) => {
      x += dx;
      y += dy;
      const lon = x * transform.scale[0] + transform.translate[0];
      const lat = y * transform.scale[1] + transform.translate[1];
      return [(lon - WEST) * ALONG, (NORTH - lat) * SCALE];
    });
  });
}

const triangle = (a, b, c) => Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2;

/** Take away the point that spans the least area until all span enough. */
function simplified(points) {
  const kept = points.slice();
  const areas = kept.map((_, i) => (i === 0 || i === kept.length - 1 ? Infinity : triangle(kept[i - 1], kept[i], kept[i + 1])));
  const closed = points[0][0] === points.at(-1)[0] && points[0][1] === points.at(-1)[1];
  while (kept.length > (closed ? 5 : 2)) {
    let least = 1;
    for (let i = 2; i < kept.length - 1; i++) if (areas[i] < areas[least]) least = i;
    const limit = areas[least];
    if (limit >= SIMPLE_PX2) break;
    kept.splice(least, 1);
    areas.splice(least, 1);
    for (const i of [least - 1, least]) {
      if (i > 0 && i < kept.length - 1) areas[i] = Math.max(limit, triangle(kept[i - 1], kept[i], kept[i + 1]));
    }
  }
  return kept;
}

/** A ring names its arcs by number; ~n is arc n backwards. */
function joined(ring, arcs) {
  return ring.flatMap((number, i) => {
    const arc = number < 0 ? arcs[~number].toReversed() : arcs[number];
    return i === 0 ? arc : arc.slice(1);
  });
}

/** Whether the antimeridian has torn a ring into a stripe around the world. */
function torn(ring) {
  const [xs, ys] = [ring.map((each) => each[0]), ring.map((each) => each[1])];
  return Math.max(...xs) - Math.min(...xs) > 900 && Math.max(...ys) - Math.min(...ys) < 60;
}

function clipped(ring) {
  const edges = [
    [0, -MARGIN, 1],
    [0, WIDTH + MARGIN, -1],
    [1, -MARGIN, 1],
    [1, HEIGHT + MARGIN, -1],
  ];
  return edges.reduce((points, [axis, at, side]) => cutAt(points, axis, at, side), ring);
}

function cutAt(points, axis, at, side) {
  const inside = (point) => (point[axis] - at) * side >= 0;
  return points.flatMap((b, i) => {
    const a = points.at(i - 1);
    const share = (at - a[axis]) / (b[axis] - a[axis]);
    const crossing = [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share];
    crossing[axis] = at;
    if (inside(b)) return inside(a) ? [b] : [crossing, b];
    return inside(a) ? [crossing] : [];
  });
}

function area(ring) {
  return Math.abs(ring.reduce((sum, b, i) => sum + ring.at(i - 1)[0] * b[1] - b[0] * ring.at(i - 1)[1], 0)) / 2;
}

/** Relative steps on a grid of half pixels, written as short as SVG allows. */
function path(ring) {
  const grid = ring.map(([x, y]) => [Math.round(x * 2), Math.round(y * 2)]);
  const points = grid.filter((each, i) => i === 0 || each[0] !== grid[i - 1][0] || each[1] !== grid[i - 1][1]);
  if (points[0][0] === points.at(-1)[0] && points[0][1] === points.at(-1)[1]) points.pop();
  if (points.length < 3) return "";
  const word = (halves) => String(halves / 2).replace(/^(-?)0\./, "$1.");
  const pair = (x, y) => `${word(x)}${y < 0 ? "" : " "}${word(y)}`;
  const steps = points.slice(1).map((each, i) => pair(each[0] - points[i][0], each[1] - points[i][1]));
  return `M${pair(...points[0])}l${steps.join(" ").replaceAll(" -", "-")}z`;
}
