// The view: one flat state that lives in the address, so that a link restores it.
const PAGE = JSON.parse(document.getElementById("data").textContent);
const setOf = (hash) => Number(new URLSearchParams(hash.replace(/^#/, "")).get("set")) || 0;
// A table of several is shown at a time; another one is a new start of the page.
const SET = PAGE.sets[setOf(location.hash)] ? setOf(location.hash) : 0;
const DATA = PAGE.sets[SET];
const EX = DATA.explorer;

const qualities = DATA.metrics.filter((m) => m.ranked);
const primary = qualities.find((m) => m.name === DATA.primary) ?? qualities[0] ?? DATA.metrics[0];

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

const distinct = DATA.triples.filter((t) => !t.alias);
const valueIn = (metric, t) => t.scores[metric.name] ?? (metric.up ? -Infinity : Infinity);
const byQuality = (metric) => (a, b) => (metric.up ? valueIn(metric, b) - valueIn(metric, a) : valueIn(metric, a) - valueIn(metric, b));

// What a first look needs: the best, the same method under the other heads, the next methods, and the best control.
function firstTicked() {
  const ranked = distinct.filter((t) => !t.control).sort(byQuality(primary));
  const best = ranked[0];
  if (!best) return DATA.triples.slice(0, 3).map((t) => t.id);
  const near = ranked.filter((t) => t !== best && t.backbone === best.backbone);
  const heads = DATA.triples.filter((t) => t.cam === best.cam && near.includes(t)).slice(0, 2);
  const cams = [];
  for (const t of near) if (t.cam !== best.cam && !cams.some((c) => c.cam === t.cam)) cams.push(t);
  const control = distinct.filter((t) => t.control && t.backbone === best.backbone).sort(byQuality(primary))[0];
  return [best, ...heads, ...cams.slice(0, 4 - heads.length - 1), control].filter(Boolean).map((t) => t.id);
}

const DEFAULTS = {
  view: "", q: "", backbone: "", head: "", against: "", controls: true, intervals: false, fold: true, sort: "", down: true,
  columns: DATA.shown,
  ticked: firstTicked(), metric: primary.name, price: measuredPrices[0]?.[0] ?? "ms", network: "", all: false,
  row: "single", show: "all", a: "", b: "", class: "",
  by: ["gt_known_loc", "pxap"].find((n) => EX.metrics.includes(n)) ?? EX.metrics[0] ?? "",
  image: EX.cases[0]?.row ?? 0, tau: Math.round(EX.tau * 1000), palette: "viridis", opacity: 55, contours: "single",
  boxes: true,
};
const KNOWN_LISTS = { ticked: DATA.triples.map((t) => t.id), columns: [...DATA.metrics.map((m) => m.name), "cost", ...PRICES.map(([key]) => key)] };
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
  const params = new URLSearchParams(SET ? [["set", SET]] : []);
  for (const [key, value] of Object.entries(values)) {
    if (String(value) === String(DEFAULTS[key])) continue;
    if (Array.isArray(value)) (value.length ? value : [""]).forEach((v) => params.append(key, v));
    else params.set(key, typeof value === "boolean" ? Number(value) : value);
  }
  return params.toString();
}

// Values of the wrong kind, and names that this report does not have, fall back to the defaults.
function read(hash) {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const found = { ...DEFAULTS };
  for (const key of params.keys()) {
    if (!Object.hasOwn(DEFAULTS, key)) continue;
    const kind = DEFAULTS[key], text = params.get(key);
    if (Array.isArray(kind)) found[key] = params.getAll(key).filter((name) => KNOWN_LISTS[key].includes(name));
    else if (typeof kind === "boolean") found[key] = text === "1";
    else if (typeof kind === "number") found[key] = Number.isFinite(Number(text)) && text !== "" ? Number(text) : kind;
    else found[key] = text;
  }
  // A plain name of a section is a link to it.
  const plain = [...params.entries()].find(([key, text]) => text === "" && document.querySelector(`main > section[id="${CSS.escape(key)}"]`));
  if (plain) found.view = plain[0];
  found.tau = Math.min(1000, Math.max(0, Math.round(found.tau)));
  found.opacity = Math.min(100, Math.max(0, Math.round(found.opacity)));
  return found;
}

const metricOf = (name) => DATA.metrics.find((m) => m.name === name);
const qualityOf = () => qualities.find((m) => m.name === state.metric) ?? primary;
const tripleOf = (id) => DATA.triples.find((t) => t.id === id);
const tickedTriples = () => state.ticked.map(tripleOf).filter(Boolean);
const beats = (metric, a, b) => DATA.beats[metric]?.[a.record]?.includes(b.record) ?? false;
const nameOf = (t) => `${t.backbone} / ${t.cam} / ${t.head}`;
const shortOf = (t) => (t.control ? t.cam : `${t.cam} / ${t.head}`);
// Rounded as the tables are, ties to even: toFixed rounds 78.125 to 78.13.
const fixed = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false, roundingMode: "halfEven" });
const format = (metric, value) => (value === undefined || value === null ? "–" : fixed(value, metric.digits));
const uniqueTexts = (key) => [...new Set(DATA.triples.map((t) => t[key]))];
const arrowOf = (metric) => (metric.up ? "higher is better" : "lower is better");
const titleOf = (metric) => (metric.unit ? `${metric.title}, ${metric.unit}` : metric.title);
