// The view: one flat state that lives in the address, so that a link restores it.
const DATA = JSON.parse(document.getElementById("data").textContent);
const EX = DATA.explorer;
const byId = (id) => document.getElementById(id);

const qualities = DATA.metrics.filter((m) => m.ranked);
const PREFERRED = ["max_box_acc_v2", "pxap", "gt_known_loc", "average_drop"];
const primary = PREFERRED.map((n) => qualities.find((m) => m.name === n)).find(Boolean) ?? qualities[0] ?? DATA.metrics[0];

// Measured costs: key of a triple, name, what it holds.
const PRICES = [
  ["map", "forwards, map alone", "the map without any score, in plain forwards of its backbone"],
  ["forwards", "forwards, map and scores", "the triple alone, in plain forwards of its backbone"],
  ["ms", "ms per image", "the triple alone: forward, map, boxes, pixels, fidelity"],
];
const measuredPrices = PRICES.filter(([key]) => DATA.triples.some((t) => t[key] !== null));

function better(metric, a, b) {
  return metric.up ? a > b : a < b;
}

function firstTicked() {
  const scored = DATA.triples.map((t, i) => i).filter((i) => !DATA.triples[i].alias && !DATA.triples[i].control);
  const value = (i) => DATA.triples[i].scores[primary.name] ?? (primary.up ? -Infinity : Infinity);
  const ranked = scored.sort((a, b) => (primary.up ? value(b) - value(a) : value(a) - value(b)) || a - b);
  const chosen = ranked.slice(0, 3).map((i) => DATA.triples[i].id);
  return chosen.length ? chosen : DATA.triples.slice(0, 3).map((t) => t.id);
}

const DEFAULTS = {
  q: "", backbone: "", head: "", against: "", controls: true, intervals: true, sort: "", down: true, ticked: firstTicked(),
  quality: primary.name, price: measuredPrices[0]?.[0] ?? "ms", row: "single", show: "all", a: "", b: "", class: "",
  by: ["gt_known_loc", "pxap"].find((n) => EX.metrics.includes(n)) ?? EX.metrics[0] ?? "",
  image: EX.cases[0]?.row ?? 0, tau: Math.round(EX.tau * 1000), palette: "viridis", opacity: 55, contours: "single",
  boxes: true,
};
let state = { ...DEFAULTS };
const listeners = [];

// Called with the new state whenever one of the keys has changed.
function watch(keys, draw) {
  listeners.push({ keys, draw });
}

function update(changes) {
  const old = state;
  state = { ...state, ...changes };
  const changed = Object.keys(state).filter((k) => String(state[k]) !== String(old[k]));
  if (!changed.length) return;
  history.replaceState(null, "", `#${write(state)}`);
  for (const { keys, draw } of listeners) if (keys.some((k) => changed.includes(k))) draw();
}

function write(values) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (String(value) === String(DEFAULTS[key])) continue;
    if (Array.isArray(value)) (value.length ? value : [""]).forEach((v) => params.append(key, v));
    else params.set(key, typeof value === "boolean" ? Number(value) : value);
  }
  return params.toString();
}

// Values of the wrong kind, and triples that this report does not have, fall back to the defaults.
function read(hash) {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const found = { ...DEFAULTS };
  for (const key of params.keys()) {
    if (!Object.hasOwn(DEFAULTS, key)) continue;
    const kind = DEFAULTS[key], text = params.get(key);
    if (Array.isArray(kind)) found[key] = params.getAll(key).filter((id) => DATA.triples.some((t) => t.id === id));
    else if (typeof kind === "boolean") found[key] = text === "1";
    else if (typeof kind === "number") found[key] = Number.isFinite(Number(text)) && text !== "" ? Number(text) : kind;
    else found[key] = text;
  }
  found.tau = Math.min(1000, Math.max(0, Math.round(found.tau)));
  found.opacity = Math.min(100, Math.max(0, Math.round(found.opacity)));
  return found;
}

// Names come from data sets and plug-ins: text nodes only, never markup.
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "scope" || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

function fill(select, options, value) {
  select.replaceChildren(...options.map(([v, text]) => el("option", { value: v }, text)));
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

function tripleOf(id) {
  return DATA.triples.find((t) => t.id === id);
}

const colourOf = (position) => getComputedStyle(document.documentElement).getPropertyValue(`--c${position % 8}`).trim();
const inkOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const nameOf = (t) => `${t.backbone} / ${t.cam} / ${t.head}`;
const format = (metric, value) => (value === undefined || value === null ? "–" : value.toFixed(metric.digits));
const uniqueTexts = (key) => [...new Set(DATA.triples.map((t) => t[key]))];
