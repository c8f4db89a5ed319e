// The leaderboard: sortable by any column, filtered by words, backbone, head and kind.
const COLUMNS = [
  ...DATA.metrics.map((m) => ({ key: m.name, title: `${m.title} ${m.up ? "↑" : "↓"}`, unit: m.unit, metric: m, down: m.up })),
  ...(DATA.triples.some((t) => t.cost) ? [{ key: "cost", title: "declared cost", unit: "", text: true }] : []),
  ...PRICES
    .filter(([key]) => DATA.triples.some((t) => t[key] !== null))
    .map(([key, title, note]) => ({ key, title: `${title} ↓`, unit: "", down: false, note })),
];

function valueOf(triple, column) {
  return (column.metric ? triple.scores[column.key] : triple[column.key]) ?? null;
}

function shownTriples() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.triples.filter((t) => {
    const text = `${t.id} ${nameOf(t)}`.toLowerCase();
    return (
      words.every((w) => text.includes(w)) &&
      (!state.backbone || t.backbone === state.backbone) &&
      (!state.head || t.head === state.head) &&
      (state.controls || !t.control)
    );
  });
}

function sortedTriples() {
  const rows = shownTriples();
  const column = COLUMNS.find((c) => c.key === state.sort && !c.text);
  const sign = state.down ? -1 : 1;
  if (state.sort === "name") rows.sort((a, b) => sign * nameOf(a).localeCompare(nameOf(b)));
  if (!column) return rows;
  // Rows without a score come last in either direction.
  return rows.sort((a, b) => {
    const [x, y] = [valueOf(a, column), valueOf(b, column)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y);
  });
}

function sortButton(key, title, note, down) {
  const active = state.sort === key;
  const button = el("button", { type: "button", title: note }, title, active ? (state.down ? " ▼" : " ▲") : "");
  button.dataset.sort = key;
  button.addEventListener("click", () => {
    update({ sort: key, down: active ? !state.down : down });
    byId("board").querySelector(`[data-sort="${CSS.escape(key)}"]`)?.focus();
  });
  return el("th", { scope: "col", "aria-sort": active ? (state.down ? "descending" : "ascending") : "none" }, button);
}

function scoreCell(triple, column, best) {
  const value = valueOf(triple, column);
  if (column.text) return el("td", { className: "text" }, value || "–");
  if (!column.metric) return el("td", {}, value === null ? "–" : Number(value.toPrecision(3)).toString());
  const text = format(column.metric, value);
  const interval = triple.intervals[column.key];
  const cell = el("td", {}, el("span", { className: column.metric.ranked && text === best ? "best" : "" }, text));
  const mark = markOf(triple, column.key);
  if (mark) cell.prepend(mark);
  if (state.intervals && interval && value !== null) {
    const rank = rankOf(triple, column.key);
    const ends = `${format(column.metric, interval[0])} – ${format(column.metric, interval[1])}`;
    cell.append(el("small", {}, rank ? `${ends} · #${rank}` : ends));
  }
  return cell;
}

const beats = (metric, a, b) => DATA.beats[metric]?.[a.record]?.includes(b.record) ?? false;

// Of the same backbone: 1 + the records that are significantly better.
function rankOf(triple, metric) {
  const won = DATA.beats[metric];
  if (!won || triple.scores[metric] === undefined) return null;
  return 1 + Object.values(won).filter((losers) => losers.includes(triple.record)).length;
}

function markOf(triple, metric) {
  const other = tripleOf(state.against);
  if (!other || !DATA.beats[metric]) return null;
  const verdict = beats(metric, triple, other) ? "better" : beats(metric, other, triple) ? "worse" : "";
  if (!verdict) return null;
  const note = `significantly ${verdict} than ${nameOf(other)}`;
  return el("span", { className: `mark ${verdict}`, title: note, role: "img", "aria-label": note }, verdict === "better" ? "▲ " : "▼ ");
}

function nameCell(triple) {
  const box = el("input", { type: "checkbox", checked: state.ticked.includes(triple.id) });
  box.addEventListener("change", () => tick(triple.id, box.checked));
  const same = triple.alias ? `same maps as ${nameOf(DATA.triples.find((t) => t.record === triple.record))}` : "";
  const notes = [triple.backbone, triple.control ? "control" : "", same];
  const isReference = tripleOf(state.against)?.record === triple.record;
  if (isReference) notes.push("compared with");
  const name = el("span", { title: triple.alias }, `${triple.cam} / ${triple.head}`, el("small", {}, notes.filter(Boolean).join(" · ")));
  return el("th", { scope: "row" }, el("label", {}, box, name));
}

function tick(id, on) {
  const others = state.ticked.filter((t) => t !== id);
  update({ ticked: on ? [...others, id] : others });
}

function bestTexts(rows) {
  const best = {};
  for (const { metric, key } of COLUMNS) {
    if (!metric?.ranked) continue;
    const values = rows.map((t) => t.scores[key]).filter((v) => v !== undefined);
    if (values.length) best[key] = format(metric, metric.up ? Math.max(...values) : Math.min(...values));
  }
  return best;
}

function drawBoard() {
  const rows = sortedTriples();
  const best = bestTexts(rows);
  const head = el("tr", {}, sortButton("name", "Method", "sort by name", false));
  for (const c of COLUMNS)
    if (c.text) head.append(el("th", { scope: "col", className: "text", title: "of one map alone; N, P, Q: channels, rows, columns of the feature map" }, c.title));
    else head.append(sortButton(c.key, c.unit && c.unit !== "%" ? `${c.title} (${c.unit})` : c.title, c.metric?.source ?? c.note ?? "", c.down));
  const body = el("tbody");
  for (const t of rows) {
    const line = el("tr", { className: state.ticked.includes(t.id) ? "ticked" : "" }, nameCell(t));
    line.append(...COLUMNS.map((c) => scoreCell(t, c, best[c.key])));
    body.append(line);
  }
  const caption = el("caption", { className: "skip" }, "Scores of every triple; the column heads sort");
  const focused = document.activeElement?.closest?.("#board tbody tr")?.rowIndex;
  byId("board").replaceChildren(caption, el("thead", {}, head), body);
  if (focused) byId("board").rows[focused]?.querySelector("input")?.focus();
  byId("board-count").textContent = `${rows.length} of ${DATA.triples.length} triples; scores in % unless a column says otherwise`;
}

function startBoard() {
  const any = (key) => [["", "all"], ...uniqueTexts(key).map((t) => [t, t])];
  const sync = () => {
    byId("q").value = state.q;
    fill(byId("backbone"), any("backbone"), state.backbone);
    fill(byId("head"), any("head"), state.head);
    fill(byId("against"), [["", "nothing"], ...DATA.triples.map((t) => [t.id, nameOf(t)])], state.against);
    byId("controls").checked = state.controls;
    byId("intervals").checked = state.intervals;
  };
  byId("interval-about").textContent = DATA.intervals;
  byId("q").addEventListener("input", () => update({ q: byId("q").value }));
  byId("mark-about").textContent =
    `▲ ▼: significantly better, worse than it at ${DATA.alpha}, in paired tests on the same images; #: rank, 1 + the rows of ` +
    "the backbone that are significantly better. Holm's correction is over the pairs of a metric and backbone.";
  for (const key of ["backbone", "head", "against"]) byId(key).addEventListener("change", () => update({ [key]: byId(key).value }));
  for (const key of ["controls", "intervals"]) byId(key).addEventListener("change", () => update({ [key]: byId(key).checked }));
  watch(["q", "backbone", "head", "against", "controls", "intervals", "sort", "down", "ticked"], drawBoard);
  sync();
  drawBoard();
  return sync;
}
