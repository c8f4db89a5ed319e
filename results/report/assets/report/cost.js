// Quality against cost: a panel a network, cost on a logarithmic axis, the front as a line with its methods named.
function costPoints(triples, metric) {
  const points = triples
    .map((t) => ({ t, x: t[state.price], y: t.scores[metric.name] }))
    .filter((p) => p.x !== null && p.x !== undefined && p.y !== undefined)
    .sort((a, b) => a.x - b.x || (metric.up ? b.y - a.y : a.y - b.y));
  let best = null, last = null;
  for (const p of points) {
    p.front = !p.t.control && (best === null || better(metric, p.y, best));
    if (!p.front) continue;
    // The one before is better for nothing but what the clock cannot tell.
    if (last && p.x <= last.x * (1 + DATA.clock)) last.front = false;
    [best, last] = [p.y, p];
  }
  return points;
}

// What is to be known before the panels: where all cost the same, cost is no reason to choose.
function aboutCost(panels) {
  const spreads = panels.map((points) => points.filter((p) => !p.t.control && p.x > 0).map((p) => p.x)).filter((costs) => costs.length > 1).map((costs) => Math.max(...costs) / Math.min(...costs));
  const most = Math.max(...spreads);
  if (!spreads.length || most > 1.1) return null;
  return el("p", { className: "notice" }, `On ${spreads.length > 1 ? "every network" : "this network"} these methods cost the same within ${Math.max(1, Math.ceil(100 * (most - 1)))} %: cost is no reason to choose between them.`);
}

const priceText = () => PRICES.find(([key]) => key === state.price)?.[1] ?? "";

// Whole decades say too little of a narrow range.
const costTicks = (least, most) => (most / least < 20 ? d3.ticks(least, most, 4) : d3.scaleLog([least, most], [0, 1]).ticks(4).filter((v) => /^[125]/.test(v.toExponential())));

const onScale = (points, [low, high]) => points.filter((p) => p.y >= low && p.y <= high);

function costPanel(width, points, metric, domains) {
  const { x: [least, most], y } = domains;
  // Controls cost next to nothing, and a logarithmic axis has no zero: they stand at its left end.
  const placed = onScale(points, y).map((p) => ({ ...p, at: Math.max(p.x, least) }));
  const front = placed.filter((p) => p.front);
  const steps = front.flatMap((p, k) => (k ? [{ at: p.at, y: front[k - 1].y }, p] : [p]));
  if (front.length) steps.push({ at: most, y: front.at(-1).y });
  const say = (p) => `${shortOf(p.t)}\n${metric.title} ${format(metric, p.y)}\n${p.x.toPrecision(3)} ${priceText()}`;
  const label = `${metric.title} against ${priceText()} of ${points.length} triples on ${points[0].t.backbone}; the front is in the table below`;
  const svg = chart(label, {
    ...{ width, height: 260, marginLeft: 46, marginRight: 12, marginTop: 18, marginBottom: 34 },
    x: { type: "log", domain: [least, most], label: priceText(), ticks: costTicks(least, most), tickFormat: (v) => Number(v.toPrecision(2)).toString(), labelArrow: "none" },
    y: { domain: y, label: `${metric.title}, ${arrowOf(metric)}`, ticks: 5, labelArrow: "none" },
    marks: [
      Plot.gridY({ stroke: inkOf("--line"), strokeOpacity: 1 }),
      Plot.line(steps, { x: "at", y: "y", stroke: inkOf("--ink"), strokeWidth: 1.5, strokeDasharray: "5 3" }),
      ...dots(placed, { x: "at", y: "y", r: (p) => (p.front ? 5.5 : 3.5), fillOpacity: (p) => (p.front ? 1 : 0.65) }, (p) => p.t),
      ...frontLabels(front, metric, domains, width),
      tips(placed, "at", "y", say),
    ],
  });
  return el("figure", { className: "panel" }, el("figcaption", {}, points[0].t.backbone), svg);
}

// Names beside the points of the front, each in a line of its own.
function frontLabels(front, metric, { x: [least, most], y: [low, high] }, width) {
  const at = (p) => ((Math.log(p.at) - Math.log(least)) / (Math.log(most) - Math.log(least))) * (width - 52);
  const height = (p) => ((p.y - low) / (high - low)) * 208;
  let above = -Infinity;
  return [...front].sort((a, b) => height(a) - height(b)).map((p) => {
    const wanted = Math.max(height(p) + 11, above + 13);
    above = wanted;
    // Towards the right end a name is moved left as far as it takes to be read whole.
    const dx = Math.min(6, width - 56 - 6.6 * shortOf(p.t).length - at(p));
    return Plot.text([p], { x: "at", y: "y", text: () => shortOf(p.t), dy: height(p) - wanted, dx, textAnchor: "start", fill: inkOf("--ink"), stroke: inkOf("--card"), strokeWidth: 3, fontWeight: 600, fontSize: 11 });
  });
}

function drawCost(host) {
  const metric = qualityOf(), shown = shownTriples().filter((t) => !t.alias);
  const points = costPoints(shown, metric);
  if (!points.length) return "No cost was recorded for these triples.";
  const costs = points.filter((p) => !p.t.control).map((p) => p.x).filter((x) => x > 0);
  const span = costs.length ? [Math.min(...costs), Math.max(...costs)] : [0.5, 2];
  const [low, high] = rangeOf(points, (p) => [p.y], (p) => p.t);
  const domains = { x: [span[0] / 1.15, 1.25 * span[1]], y: [low, high + 0.12 * (high - low)] };
  const networks = uniqueTexts("backbone").filter((n) => points.some((p) => p.t.backbone === n));
  const columns = Math.max(1, Math.min(networks.length, Math.floor(host.clientWidth / 330)));
  const width = Math.floor((host.clientWidth - 16 * (columns - 1)) / columns);
  const panels = networks.map((n) => costPoints(shown.filter((t) => t.backbone === n), metric));
  const grid = el("div", { className: "grid" }, ...panels.map((p) => costPanel(width, p, metric, domains)));
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  byId("pareto-front").replaceChildren(frontTable(panels.flat(), metric));
  return [aboutCost(panels), legend(onScale(points, domains.y).map((p) => p.t)), grid].filter(Boolean);
}

function frontTable(points, metric) {
  const row = (cells, tag) => el("tr", {}, ...cells.map((c) => el(tag, tag === "th" ? { scope: "col" } : {}, c)));
  const body = points.filter((p) => p.front).map((p) => row([nameOf(p.t), p.x.toPrecision(3), format(metric, p.y)], "td"));
  const head = el("thead", {}, row(["On the front", priceText(), metric.title], "th"));
  return el("details", {}, el("summary", {}, `The fronts as a table: ${body.length} triple${body.length === 1 ? "" : "s"}`), el("div", { className: "across", tabIndex: 0, role: "region", "aria-label": "Fronts, scrollable" }, el("table", {}, head, el("tbody", {}, ...body))));
}

function startCost() {
  const draw = place("pareto", drawCost);
  const sync = () => {
    fill(byId("quality"), qualities.map((m) => [m.name, `${m.title} (${arrowOf(m)})`]), qualityOf().name);
    fill(byId("price"), measuredPrices.length ? measuredPrices : PRICES.slice(0, 1), state.price);
  };
  byId("quality").addEventListener("change", () => update({ metric: byId("quality").value }));
  byId("price").addEventListener("change", () => update({ price: byId("price").value }));
  watch(["metric", "price", "q", "backbone", "head", "controls"], draw);
  watch(["metric", "price"], sync);
  sync();
  return sync;
}
