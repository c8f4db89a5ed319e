// Curves of the ticked triples over the threshold and over recall, each named at its end.
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "1 2", "12 4", "5 2 1 2", "3 6"];

// Lines of one head share its colour and differ in their dashes.
function dashOf(t, triples) {
  return DASHES[triples.filter((o) => colourOf(o) === colourOf(t)).indexOf(t) % DASHES.length];
}

function lineChart(host, x, triples, valuesOf, [xLabel, yLabel], title, tau) {
  if (!triples.length) return "Tick triples in the leaderboard to draw them.";
  const kept = triples.map((t) => ({ t, values: valuesOf(t) })).filter((k) => k.values);
  if (!kept.length) return "None of the ticked triples has these records.";
  const all = kept.flatMap((k) => k.values), high = Math.max(...all), low = Math.min(...all);
  const width = widthOf(host), points = kept.flatMap(({ t, values }) => values.map((y, i) => ({ t, x: x[i], y })));
  const floor = low > 30 ? 10 * Math.floor(low / 10) : 0;
  const marks = [
    Plot.gridY({ stroke: inkOf("--line"), strokeOpacity: 1 }),
    ...(tau ? [Plot.ruleX([tau], { stroke: inkOf("--soft"), strokeDasharray: "2 3" }), Plot.text([tau], { x: (v) => v, frameAnchor: "top", text: () => `τ = ${tau}`, dx: 4, dy: -4, textAnchor: "start", fill: inkOf("--soft") })] : []),
    ...kept.map(({ t, values }) => Plot.line(values.map((y, i) => [x[i], y]), { stroke: colourOf(t), strokeWidth: 2, strokeDasharray: dashOf(t, triples) })),
    Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: (p) => `${shortOf(p.t)}\n${xLabel} ${p.x.toFixed(3)}\n${p.y.toFixed(1)} %`, fill: inkOf("--card"), stroke: inkOf("--line") })),
  ];
  const svg = chart(`${title} of ${kept.map((k) => nameOf(k.t)).join(", ")}`, {
    ...{ width, height: 290, marginLeft: 38, marginRight: 10, marginBottom: 34, marginTop: 20 },
    x: { domain: [0, 1], label: xLabel, labelArrow: "none" },
    y: { domain: [floor, Math.min(100, 5 * Math.ceil((high + 1) / 5))], label: yLabel, labelArrow: "none" },
    marks,
  });
  return [svg, lineKey(kept, triples, x, tau)];
}

// Best first, as the lines are read from above.
function lineKey(kept, triples, x, tau) {
  const items = kept.map(({ t, values }) => ({ t, best: Math.max(...values), at: x[values.indexOf(Math.max(...values))] })).sort((a, b) => b.best - a.best);
  return el("ul", { className: "legend lines" }, ...items.map(({ t, best, at }) => {
    const line = d3.create("svg").attr("width", 30).attr("height", 10).attr("aria-hidden", "true");
    line.append("line").attr("x2", 30).attr("y1", 5).attr("y2", 5).attr("stroke", colourOf(t)).attr("stroke-width", 2.5).attr("stroke-dasharray", dashOf(t, triples));
    const note = tau === undefined ? "" : ` · best ${best.toFixed(1)} % at τ = ${at.toFixed(2)}`;
    return el("li", {}, line.node(), el("span", {}, nameOf(t), el("small", {}, note)));
  }));
}

function startCurves() {
  const threshold = place("threshold", (host) => {
    if (!DATA.curves) return "The data set has no boxes.";
    const row = DATA.curves.rows.some(([key]) => key === state.row) ? state.row : DATA.curves.rows[0][0];
    return lineChart(host, DATA.curves.x, tickedTriples(), (t) => DATA.curves.values[t.record]?.[row], ["τ", "images located, %"], "Accuracy against threshold", DATA.curves.tau);
  });
  const precision = place("pr", (host) => {
    if (!DATA.pr) return "The data set has no masks.";
    return lineChart(host, DATA.pr.x, tickedTriples(), (t) => DATA.pr.values[t.record]?.map((v) => 100 * v), ["recall", "precision, %"], "Precision against recall");
  });
  const sync = () => fill(byId("curve-row"), DATA.curves?.rows ?? [["single", "no boxes"]], state.row);
  byId("curve-row").addEventListener("change", () => update({ row: byId("curve-row").value }));
  watch(["row", "ticked"], threshold);
  watch(["ticked"], precision);
  sync();
  return sync;
}
