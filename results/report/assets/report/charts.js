// Charts, drawn by uPlot; each is redrawn with the theme, the size and the ticked triples.
const plots = {};
const DASHES = [[], [8, 4], [2, 3]];

function place(id, make) {
  const host = byId(id);
  plots[id]?.destroy();
  delete plots[id];
  host.replaceChildren();
  const made = make(host);
  if (typeof made === "string") host.append(el("p", { className: "hint" }, made));
  else plots[id] = made;
}

function widthOf(host) {
  return Math.max(240, Math.floor(host.clientWidth));
}

function axis(label) {
  const ink = inkOf("--soft"), line = inkOf("--line");
  return { label, stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, labelSize: 22, size: 46 };
}

function tickedRecords() {
  return state.ticked.map(tripleOf).filter(Boolean);
}

function lines(host, x, triples, valuesOf, labels, label) {
  const kept = triples.map((t, position) => ({ t, position, values: valuesOf(t) })).filter((k) => k.values);
  if (!triples.length) return "Tick triples in the leaderboard to draw them.";
  if (!kept.length) return "None of the ticked triples has these records.";
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", `${label} of ${kept.map((k) => nameOf(k.t)).join(", ")}`);
  const series = kept.map(({ t, position }) => ({
    ...{ label: nameOf(t), stroke: colourOf(position), width: 2, points: { show: false } },
    dash: DASHES[Math.floor(position / 8) % DASHES.length],
    value: (u, v) => (v === null || v === undefined ? "–" : v.toFixed(1)),
  }));
  const options = {
    ...{ width: widthOf(host), height: 300, series: [{ label: labels[0], value: (u, v) => v?.toFixed(3) ?? "–" }, ...series] },
    scales: { x: { time: false, range: [0, 1] }, y: { range: [0, 100] } },
    axes: [axis(labels[0]), axis(labels[1])],
    legend: { live: true },
  };
  return new uPlot(options, [x, ...kept.map((k) => k.values)], host);
}

function drawThreshold() {
  place("threshold", (host) => {
    if (!DATA.curves) return "The data set has no boxes.";
    const valuesOf = (t) => DATA.curves.values[t.record]?.[state.row];
    return lines(host, DATA.curves.x, tickedRecords(), valuesOf, ["τ", "images located, %"], "Accuracy against threshold");
  });
}

function drawPrecision() {
  place("pr", (host) => {
    if (!DATA.pr) return "The data set has no masks.";
    const valuesOf = (t) => DATA.pr.values[t.record]?.map((v) => 100 * v);
    return lines(host, DATA.pr.x, tickedRecords(), valuesOf, ["recall", "precision, %"], "Precision against recall");
  });
}

// Cheapest first; on the front are those that no cheaper one equals or beats, controls aside.
function paretoPoints() {
  const metric = DATA.metrics.find((m) => m.name === state.quality) ?? primary;
  const points = shownTriples()
    .map((t) => ({ t, x: t[state.price], y: t.scores[metric.name] }))
    .filter((p) => p.x !== null && p.x !== undefined && p.y !== undefined)
    .sort((a, b) => a.x - b.x || (metric.up ? b.y - a.y : a.y - b.y));
  let best = null;
  for (const p of points) {
    p.front = !p.t.control && (best === null || better(metric, p.y, best));
    if (p.front) best = p.y;
  }
  return { metric, points };
}

function drawPareto() {
  const { metric, points } = paretoPoints();
  const price = PRICES.find(([key]) => key === state.price)?.[1] ?? "";
  byId("pareto-read").textContent = "";
  byId("pareto-front").replaceChildren();
  place("pareto", (host) => {
    if (!points.length) return "No cost was recorded for these triples.";
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", `${metric.title} against ${price} of ${points.length} triples; the front is in the table below`);
    const names = uniqueTexts("backbone");
    const groups = names.map((name, k) => ({
      ...{ label: name, stroke: colourOf(k), paths: () => null },
      points: { show: true, size: 9, fill: colourOf(k), stroke: colourOf(k) },
    }));
    let level = null;
    const front = points.map((p) => (level = p.front ? p.y : level));
    const data = [
      points.map((p) => p.x), front, ...names.map((name) => points.map((p) => (p.t.backbone === name ? p.y : null))),
    ];
    const steps = {
      ...{ label: "Pareto front", stroke: inkOf("--ink"), width: 1.5, dash: [5, 4], points: { show: false } },
      paths: uPlot.paths.stepped({ align: 1 }),
    };
    const options = {
      ...{ width: widthOf(host), height: 340, series: [{ label: price }, steps, ...groups], legend: { live: false } },
      scales: { x: { time: false, ...spread(points) }, y: { range: (u, low, high) => padded(low, high) } },
      axes: [axis(price), axis(`${metric.title} ${metric.up ? "↑" : "↓"}`)],
      hooks: { setCursor: [(u) => readPoint(u.cursor.idx, points, metric, price)] },
      cursor: { drag: { x: false, y: false } },
    };
    return new uPlot(options, data, host);
  });
  if (points.length) byId("pareto-front").append(frontTable(points, metric, price));
}

// Costs over more than a decade: linear up to one forward or millisecond, logarithmic beyond.
function spread(points) {
  const costs = points.map((p) => p.x).filter((x) => x >= 0.5);
  const wide = Math.max(...costs) > 10 * Math.min(...costs);
  const range = (u, low, high) => (wide ? [low > 1 ? 0.7 * low : low - 0.3, 1.3 * high] : padded(low, high));
  return wide ? { distr: 4, asinh: 1, range } : { range };
}

function padded(low, high) {
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - room, high + room];
}

function readPoint(index, points, metric, price) {
  const p = points[index];
  if (p) byId("pareto-read").textContent = `${nameOf(p.t)}: ${metric.title} ${format(metric, p.y)} at ${p.x.toPrecision(3)} ${price}`;
}

function frontTable(points, metric, price) {
  const row = (cells, tag) => el("tr", {}, ...cells.map((c) => el(tag, tag === "th" ? { scope: "col" } : {}, c)));
  const body = points.filter((p) => p.front).map((p) => row([nameOf(p.t), p.x.toPrecision(3), format(metric, p.y)], "td"));
  const head = el("thead", {}, row(["On the front", price, metric.title], "th"));
  return el("details", {}, el("summary", {}, `The Pareto front: ${body.length} triples`), el("table", {}, head, el("tbody", {}, ...body)));
}

function drawCharts() {
  drawPareto();
  drawThreshold();
  drawPrecision();
}

function startCharts() {
  const sync = () => {
    fill(byId("quality"), qualities.map((m) => [m.name, `${m.title} ${m.up ? "↑" : "↓"}`]), state.quality);
    fill(byId("price"), measuredPrices.length ? measuredPrices : PRICES.slice(0, 1), state.price);
    fill(byId("curve-row"), DATA.curves?.rows ?? [["single", "no boxes"]], state.row);
  };
  for (const [id, key] of [["quality", "quality"], ["price", "price"], ["curve-row", "row"]])
    byId(id).addEventListener("change", () => update({ [key]: byId(id).value }));
  watch(["quality", "price", "q", "backbone", "head", "controls"], drawPareto);
  watch(["row", "ticked"], drawThreshold);
  watch(["ticked"], drawPrecision);
  sync();
  drawCharts();
  new ResizeObserver(() => {
    for (const [id, plot] of Object.entries(plots)) {
      const width = widthOf(byId(id));
      if (width !== plot.width) plot.setSize({ width, height: plot.height });
    }
  }).observe(document.body);
  return sync;
}
