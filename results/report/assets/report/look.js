// One visual system: heads have fixed colours and shapes, controls are grey; every chart is made by `chart`.
const inkOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isDark = () => document.documentElement.dataset.theme === "dark";
const SYMBOLS = { o: "circle", s: "square", "^": "triangle", D: "diamond", v: "wye", P: "cross", p: "star", h: "hexagon", X: "times" };
const lookOf = (t) => PAGE.looks[t.control ? "" : t.headName] ?? PAGE.looks[""];
const colourOf = (t) => lookOf(t)[isDark() ? "dark" : "light"];
const symbolOf = (t) => SYMBOLS[lookOf(t).marker] ?? "circle";

// An SVG of Observable Plot with the page's type and inks; its text alternative is `label`.
function chart(label, options) {
  const made = Plot.plot({
    symbol: { type: "identity" },
    color: { type: "identity" },
    r: { type: "identity" },
    opacity: { type: "identity" },
    ...options,
    style: { background: "none", color: inkOf("--ink"), fontFamily: "inherit", fontSize: "12px", overflow: "visible" },
  });
  made.removeAttribute("aria-describedby");
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  // What the label says as a whole is not read out again, piece by piece.
  for (const part of made.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  return made;
}

// Plot draws a cross by its stroke, and the other shapes by their fill.
function dots(points, channels, tripleOfPoint = (t) => t) {
  const of = (control) => points.filter((p) => tripleOfPoint(p).control === control);
  const colour = (p) => colourOf(tripleOfPoint(p)), symbol = (p) => symbolOf(tripleOfPoint(p));
  return [
    Plot.dot(of(true), { r: 4, ...channels, stroke: colour, strokeWidth: 1.5, symbol, fillOpacity: undefined }),
    Plot.dot(of(false), { r: 4, ...channels, fill: colour, symbol }),
  ];
}
// Of the methods: controls are often so far away that they would leave these no room.
function rangeOf(points, endsOf, tripleOfPoint = (t) => t) {
  const methods = points.filter((p) => !tripleOfPoint(p).control);
  const ends = (methods.length ? methods : points).flatMap(endsOf).filter(Number.isFinite);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  // The ends of one image's interval differ in their last bits at most.
  const room = high - low > 1e-6 * Math.max(1, Math.abs(high)) ? (high - low) * 0.05 : Math.max(1, 0.05 * Math.abs(high));
  return [low - room, high + room];
}

const cut = (text, room) => (text.length > room ? `${text.slice(0, room - 1)}…` : text);
const widthOf = (host, least = 240) => Math.max(least, Math.floor(host.clientWidth));
const hint = (text) => el("p", { className: "hint" }, text);

// What a point says when the pointer is on it.
function tips(points, x, y, text) {
  return Plot.tip(points, Plot.pointer({ x, y, title: text, fill: inkOf("--card"), stroke: inkOf("--line"), maxRadius: 30, lineWidth: 26 }));
}

function swatch(t) {
  const size = 14, namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg"), path = document.createElementNS(namespace, "path");
  svg.setAttribute("viewBox", "-7 -7 14 14");
  svg.setAttribute("width", size);
  svg.setAttribute("height", size);
  svg.setAttribute("aria-hidden", "true");
  const kind = { circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond, wye: d3.symbolWye, cross: d3.symbolCross, star: d3.symbolStar, hexagon: d3.symbolAsterisk, times: d3.symbolTimes }[symbolOf(t)];
  path.setAttribute("d", d3.symbol(kind ?? d3.symbolCircle, 50)());
  path.setAttribute(kind === d3.symbolTimes ? "stroke" : "fill", colourOf(t));
  if (kind === d3.symbolTimes) path.setAttribute("stroke-width", "2");
  svg.append(path);
  return svg;
}

// Heads stand in the order of the tables, whichever data set is shown.
const HEADS = [...new Set(PAGE.sets.flatMap((set) => set.triples.map((t) => t.head)))];
const byHead = (a, b) => HEADS.indexOf(a) - HEADS.indexOf(b);

// The heads of some triples, each once, then the controls.
function legend(triples) {
  const seen = new Map();
  for (const t of triples) if (!t.control && !seen.has(t.head)) seen.set(t.head, t);
  const control = triples.find((t) => t.control);
  const ordered = [...seen].sort(([a], [b]) => byHead(a, b));
  const items = ordered.map(([head, t]) => el("li", {}, swatch(t), head));
  if (control) items.push(el("li", {}, swatch(control), "control"));
  return el("ul", { className: "legend" }, ...items);
}

const redraws = [];

// Draws into an element now, with the theme, and whenever its width changes.
function place(id, make) {
  const host = byId(id);
  const draw = () => {
    const made = make(host);
    host.replaceChildren(...(Array.isArray(made) ? made : [typeof made === "string" ? hint(made) : made]));
  };
  let width = 0;
  const again = whenNear(id, draw);
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    again();
  }).observe(host);
  redraws.push(again);
  return again;
}
