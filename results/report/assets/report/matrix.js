// Who beats whom: for a network and the chosen metric, each row against each column.
const networks = uniqueTexts("backbone");

function drawMatrix() {
  const metric = qualityOf(), shown = networks.includes(state.network) ? [state.network] : networks;
  const made = shown.map((name) => matrixOf(name, metric)).filter(Boolean);
  if (!made.length) return "Two rows of a network are needed.";
  const about = `${titleOf(metric)}, ${arrowOf(metric)}. ▲ the row is significantly better than the column, ▼ worse; the deeper the colour, the larger the difference; empty: no significant difference.`;
  return [hint(about), el("div", { className: "matrices" }, ...made)];
}

function matrixOf(network, metric) {
  const rows = distinct.filter((t) => t.backbone === network && t.scores[metric.name] !== undefined).sort(byQuality(metric));
  if (rows.length < 2) return null;
  const sign = metric.up ? 1 : -1, cells = [];
  for (const a of rows)
    for (const b of rows) {
      if (a === b) continue;
      const verdict = beats(metric.name, a, b) ? 1 : beats(metric.name, b, a) ? -1 : 0;
      cells.push({ a, b, verdict, by: sign * (a.scores[metric.name] - b.scores[metric.name]) });
    }
  const most = Math.max(...cells.map((c) => Math.abs(c.by))) || 1;
  const tones = isDark() ? ["#e08a4f", "#333842", "#4d9fdb"] : ["#d9732f", "#f4f4f2", "#2b7fc0"];
  const tone = d3.interpolateRgbBasis([tones[0], tones[1], tones[1], tones[2]]);
  const colour = (c) => (c.verdict ? tone(0.5 + 0.5 * c.verdict * Math.min(1, 0.45 + (0.55 * Math.abs(c.by)) / most)) : "transparent");
  const room = Math.max(14, Math.min(34, Math.floor((0.4 * byId("matrix").clientWidth) / 7)));
  const longest = Math.max(...rows.map((t) => Math.min(shortOf(t).length, room)));
  const cell = rows.length > 24 ? 18 : 24, left = 16 + 7 * longest;
  const names = rows.map((t) => t.id), text = (id) => cut(shortOf(tripleOf(id)), room);
  const say = (c) => {
    const how = c.verdict > 0 ? "significantly better than" : c.verdict < 0 ? "significantly worse than" : "not significantly different from";
    return `${shortOf(c.a)}\n${how}\n${shortOf(c.b)}\n${metric.title}: ${format(metric, c.a.scores[metric.name])} and ${format(metric, c.b.scores[metric.name])}`;
  };
  const label = `Who beats whom in ${metric.title} on ${network}: ${cells.filter((c) => c.verdict > 0).length} of ${cells.length / 2} pairs differ significantly`;
  const svg = chart(label, {
    ...{ width: left + cell * rows.length + 12, height: 10 + cell * rows.length + 7 * longest, marginLeft: left, marginTop: 6, marginRight: 6, marginBottom: 7 * longest },
    x: { domain: names, label: null, tickFormat: text, tickRotate: -90, tickSize: 2, padding: 0 },
    y: { domain: names, label: null, tickFormat: text, tickSize: 2, padding: 0 },
    marks: [
      Plot.cell(cells, { x: (c) => c.b.id, y: (c) => c.a.id, fill: colour, stroke: inkOf("--line"), strokeWidth: 0.5, inset: 0.5 }),
      Plot.text(cells.filter((c) => c.verdict), { x: (c) => c.b.id, y: (c) => c.a.id, text: (c) => (c.verdict > 0 ? "▲" : "▼"), fontSize: 9, fill: inkOf("--ink") }),
      Plot.tip(cells, Plot.pointer({ x: (c) => c.b.id, y: (c) => c.a.id, title: say, fill: inkOf("--card"), stroke: inkOf("--line"), lineWidth: 30 })),
    ],
  });
  const title = el("figcaption", {}, network, el("small", {}, `${cells.filter((c) => c.verdict > 0).length} of ${cells.length / 2} pairs differ significantly`));
  return el("figure", { className: "panel" }, title, el("div", { className: "across", tabIndex: 0, role: "region", "aria-label": `Who beats whom on ${network}, scrollable` }, svg));
}

function startMatrix() {
  const draw = place("matrix", drawMatrix);
  const sync = () => fill(byId("network"), [...(networks.length > 1 ? [["", "all"]] : []), ...networks.map((n) => [n, n])], state.network);
  byId("network").addEventListener("change", () => update({ network: byId("network").value }));
  watch(["metric", "network"], () => {
    sync();
    draw();
  });
  sync();
  return sync;
}
