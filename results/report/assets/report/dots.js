// The main chart: scores with intervals, a panel a network, a row a method, a mark a head.
const FEW = 12;

function methodsOf(triples, metric) {
  const best = new Map();
  for (const t of triples) {
    const value = valueIn(metric, t);
    if (!best.has(t.cam) || better(metric, value, best.get(t.cam).value)) best.set(t.cam, { cam: t.cam, value, control: t.control });
  }
  return [...best.values()].sort((a, b) => a.control - b.control || (metric.up ? b.value - a.value : a.value - b.value)).map((m) => m.cam);
}

// Marks of one row stand below each other, so that their intervals do not cover each other.
function offsets(heads) {
  const gap = Math.min(7, 20 / Math.max(1, heads.length - 1));
  return new Map(heads.map((head, k) => [head, (k - (heads.length - 1) / 2) * gap]));
}

function dotPanel(width, triples, metric, domain, doubt) {
  const cams = methodsOf(triples, metric);
  const shift = offsets([...new Set(triples.filter((t) => !t.control).map((t) => t.head))].sort(byHead));
  const low = (t) => t.intervals[metric.name]?.[0] ?? t.scores[metric.name], high = (t) => t.intervals[metric.name]?.[1] ?? t.scores[metric.name];
  const marks = [Plot.gridX({ stroke: inkOf("--line"), strokeOpacity: 1, ticks: 4 })];
  const outside = (t) => t.scores[metric.name] < domain[0] || t.scores[metric.name] > domain[1];
  const control = triples.find((t) => t.control && !outside(t));
  if (control) marks.push(Plot.ruleX([control.scores[metric.name]], { stroke: inkOf("--soft"), strokeDasharray: "2 3" }));
  for (const t of triples) {
    if (outside(t)) {
      // Far from every method: a number at the end of the axis, so that the methods keep the room.
      const below = t.scores[metric.name] < domain[0], text = format(metric, t.scores[metric.name]);
      const where = below ? { frameAnchor: "left", textAnchor: "start", text: () => `◂ ${text}` } : { frameAnchor: "right", textAnchor: "end", text: () => `${text} ▸` };
      marks.push(Plot.text([t], { y: "cam", ...where, fill: inkOf("--soft"), fontSize: 11 }));
      continue;
    }
    const dy = t.control ? 0 : shift.get(t.head);
    marks.push(Plot.ruleY([t], { y: "cam", x1: Math.max(low(t), domain[0]), x2: Math.min(high(t), domain[1]), stroke: colourOf(t), strokeWidth: 2, strokeOpacity: 0.55, dy }));
    marks.push(...dots([t], { y: "cam", x: () => t.scores[metric.name], dy }));
  }
  const say = (t) => `${t.cam} / ${t.head}\n${format(metric, t.scores[metric.name])} (${format(metric, low(t))} to ${format(metric, high(t))})`;
  marks.push(tips(triples.filter((t) => !outside(t)), (t) => t.scores[metric.name], "cam", say));
  const longest = Math.max(...cams.map((c) => Math.min(c.length, 22)));
  const label = `${metric.title} of ${triples.length} triples on ${triples[0].backbone}, with intervals; the values are in the leaderboard`;
  const svg = chart(label, {
    ...{ width, height: 40 + cams.length * Math.max(22, 8 + 6 * shift.size), marginLeft: Math.min(0.42 * width, 18 + 7.3 * longest), marginRight: 8, marginTop: 10, marginBottom: 26 },
    x: { domain, label: null, ticks: 4, tickSize: 0 },
    y: { domain: cams, label: null, tickSize: 0, tickFormat: (c) => cut(c, 22), padding: 0.5 },
    marks,
  });
  const title = el("figcaption", {}, triples[0].backbone, doubt ? el("span", { className: "doubt", title: doubt }, " ‡") : null);
  return el("figure", { className: "panel" }, title, svg);
}

function drawDots(host) {
  const wanted = qualityOf(), panels = [], shownIn = [];
  for (const [number, set] of PAGE.sets.entries()) {
    const metric = set.metrics.find((m) => m.name === wanted.name && m.ranked);
    const triples = set.triples.filter((t) => !t.alias && metric && Number.isFinite(t.scores[metric.name]));
    for (const backbone of new Set(triples.map((t) => t.backbone))) panels.push({ set, number, metric, own: triples.filter((t) => t.backbone === backbone), backbone });
  }
  if (!panels.length) return "No metric is ranked.";
  const columns = Math.max(1, Math.min(panels.length, Math.floor(host.clientWidth / (panels.length > 5 ? 260 : 205))));
  const width = Math.floor((host.clientWidth - 16 * (columns - 1)) / columns);
  const domains = PAGE.sets.map((set) => {
    const own = panels.filter((p) => p.set === set).flatMap((p) => p.own);
    return own.length ? rangeOf(own, (t) => [t.scores[wanted.name], ...(t.intervals[wanted.name] ?? [])]) : null;
  });
  let left = 0;
  for (const p of panels) {
    const keep = methodsOf(p.own, p.metric);
    const methods = keep.filter((c) => p.own.some((t) => t.cam === c && !t.control));
    const controls = keep.filter((c) => !methods.includes(c));
    const few = state.all ? keep : [...methods.slice(0, FEW), ...controls.slice(0, 1)];
    left = Math.max(left, methods.length - FEW, controls.length - 1);
    const panel = dotPanel(width, p.own.filter((t) => few.includes(t.cam)), p.metric, domains[p.number], p.set.answers[p.metric.name]?.doubts[p.backbone]);
    if (PAGE.sets.length > 1) panel.firstChild.prepend(`${p.set.name} · `);
    shownIn.push(panel);
  }
  const grid = el("div", { className: "grid" }, ...shownIn);
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  const more = left > 0 ? el("button", { type: "button" }, state.all ? "Show fewer rows" : "Show all methods and controls") : null;
  more?.addEventListener("click", () => update({ all: !state.all }));
  const heading = el("h3", {}, `${titleOf(panels[0].metric)}: ${arrowOf(panels[0].metric)}`);
  return [heading, legend(panels.flatMap((p) => p.own)), grid, more].filter(Boolean);
}

function startDots() {
  const draw = place("dots", drawDots);
  const sync = () => fill(byId("metric"), qualities.map((m) => [m.name, `${m.title} (${arrowOf(m)})`]), qualityOf().name);
  byId("metric").addEventListener("change", () => update({ metric: byId("metric").value }));
  watch(["metric", "all"], draw);
  watch(["metric"], sync);
  sync();
  return sync;
}
