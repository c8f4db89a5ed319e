// Scores of each class: a small panel a class, a mark a ticked triple, all on one scale.
function drawClasses(host) {
  const per = DATA.perClass;
  if (!per) return "No metric of these runs is a mean over images.";
  const metric = per.values[qualityOf().name] ? qualityOf() : metricOf(per.lead);
  const triples = tickedTriples().filter((t) => per.values[metric.name][t.record]);
  if (!triples.length) return "Tick triples in the leaderboard to see their classes.";
  const columns = Math.max(1, Math.floor(host.clientWidth / 190)), width = Math.floor((host.clientWidth - 12 * (columns - 1)) / columns);
  const every = triples.flatMap((t) => per.values[metric.name][t.record].map((value) => ({ t, value })));
  const domain = rangeOf(every, (p) => [p.value ?? NaN], (p) => p.t);
  const panels = per.classes.map((one, place) => {
    const points = triples.map((t) => ({ t, value: per.values[metric.name][t.record][place] })).filter((p) => p.value !== null);
    const inside = points.filter((p) => p.value >= domain[0] && p.value <= domain[1]);
    const svg = chart(`${metric.title} of ${one.name}: ${points.map((p) => `${nameOf(p.t)} ${format(metric, p.value)}`).join(", ")}`, {
      ...{ width, height: 24 + 13 * triples.length, marginLeft: 6, marginRight: 14, marginTop: 4, marginBottom: 18 },
      x: { domain, label: null, ticks: 3, tickSize: 0 },
      y: { type: "point", domain: triples.map((t) => t.id), axis: null },
      marks: [
        Plot.gridX({ stroke: inkOf("--line"), strokeOpacity: 1, ticks: 3 }),
        ...dots(inside, { x: "value", y: (p) => p.t.id }, (p) => p.t),
        tips(inside, "value", (p) => p.t.id, (p) => `${shortOf(p.t)}\n${format(metric, p.value)}`),
      ],
    });
    return el("figure", { className: "panel" }, el("figcaption", {}, one.name, el("small", {}, `${one.images} image${one.images === 1 ? "" : "s"}`)), svg);
  });
  const grid = el("div", { className: "grid" }, ...panels);
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  const rows = el("ul", { className: "legend" }, ...triples.map((t) => el("li", {}, swatch(t), shortOf(t))));
  const which = per.all > per.classes.length ? `The ${per.classes.length} of ${per.all} classes with images in which the triples differ most. ` : "";
  return [hint(`${which}${titleOf(metric)}, ${arrowOf(metric)}; from above: the ticked triples in this order; controls off the scale are left out.`), rows, grid];
}

function startClasses() {
  const draw = place("classes-grid", drawClasses);
  watch(["ticked", "metric"], draw);
}
