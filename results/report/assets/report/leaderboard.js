// The leaderboard: sortable by any column, filtered by words, backbone, head and kind; rows of the same records as one.
const COLUMNS = [
  ...DATA.metrics.map((m) => ({ key: m.name, title: m.title, note: m.source, unit: m.unit, metric: m, down: m.up })),
  ...(DATA.triples.some((t) => t.cost) ? [{ key: "cost", title: "declared cost", unit: "", text: true }] : []),
  ...PRICES
    .filter(([key]) => DATA.triples.some((t) => t[key] !== null))
    .map(([key, title, note]) => ({ key, title, unit: "", down: false, note })),
];
const columnsShown = () => COLUMNS.filter((c) => state.columns.includes(c.key));

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

// Of the rows that share a record, the first that the filters leave stands for all.
function folded(rows) {
  const first = new Map();
  for (const t of rows) if (!first.has(t.record)) first.set(t.record, t);
  return state.fold ? [...first.values()] : rows;
}

// Unsorted, a block a network, as the tables have; sorted, one of all. Controls stand last, below a rule.
function groupsOf(rows) {
  const networks = state.sort ? [] : [...new Set(rows.map((t) => t.backbone))];
  return networks.length > 1 ? networks.map((name) => ({ name, rows: rows.filter((t) => t.backbone === name) })) : [{ name: "", rows }];
}

// Controls stand last, below a rule, whatever the table is sorted by.
function sortedTriples() {
  const rows = folded(shownTriples());
  const column = COLUMNS.find((c) => c.key === state.sort && !c.text);
  const sign = state.down ? -1 : 1;
  const order = (a, b) => {
    if (state.sort === "name") return sign * nameOf(a).localeCompare(nameOf(b));
    if (!column) return 0;
    // Rows without a score come last in either direction.
    const [x, y] = [valueOf(a, column), valueOf(b, column)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y);
  };
  return rows.sort((a, b) => a.control - b.control || order(a, b));
}

function sortButton(key, title, sub, note, down) {
  const active = state.sort === key;
  const glyph = active ? el("span", { className: "glyph", "aria-hidden": "true" }, state.down ? "▼" : "▲") : null;
  const button = el("button", { type: "button", title: note }, title, glyph, el("small", {}, sub));
  button.dataset.sort = key;
  button.addEventListener("click", () => {
    update({ sort: key, down: active ? !state.down : down });
    byId("board").querySelector(`[data-sort="${CSS.escape(key)}"]`)?.focus();
  });
  return el("th", { scope: "col", "aria-sort": active ? (state.down ? "descending" : "ascending") : "none" }, button);
}

function headCell(column) {
  if (column.text)
    return el("th", { scope: "col", className: "text", title: "of one map alone; N, P, Q: channels, rows, columns of the feature map" }, column.title);
  const doubted = column.metric && Object.keys(DATA.answers[column.key]?.doubts ?? {}).length > 0;
  const unit = column.unit && column.unit !== "%" ? ` (${column.unit})` : "";
  const sub = column.metric?.ranked === false ? "not ranked" : column.down ? "higher is better" : "lower is better";
  const note = [column.note, doubted ? "does not discriminate, see below the table" : ""].filter(Boolean).join("; ");
  return sortButton(column.key, `${column.title}${unit}${doubted ? " ‡" : ""}`, sub, note, column.down);
}

function scoreCell(triple, column, best) {
  const value = valueOf(triple, column);
  if (column.text) return el("td", { className: "text" }, value || "–");
  if (!column.metric) return el("td", {}, value === null ? "–" : Number(value.toPrecision(3)).toString());
  const text = format(column.metric, value);
  const interval = triple.intervals[column.key];
  const isBest = column.metric.ranked && !triple.control && text === best[triple.backbone]?.[column.key];
  const cell = el("td", {}, deltaOf(triple, column), el("span", { className: isBest ? "best" : "" }, text));
  if (state.intervals && interval && value !== null) {
    const rank = rankOf(triple, column.key);
    const ends = `${format(column.metric, interval[0])} – ${format(column.metric, interval[1])}`;
    cell.append(el("small", {}, rank ? `${ends} · #${rank}` : ends));
  }
  return cell;
}

// Of the same backbone: 1 + the records that are significantly better.
function rankOf(triple, metric) {
  const won = DATA.beats[metric];
  if (!won || triple.scores[metric] === undefined) return null;
  return 1 + Object.values(won).filter((losers) => losers.includes(triple.record)).length;
}

// The difference to the chosen reference; with ▲ ▼ and colour where it is significant.
function deltaOf(triple, column) {
  const other = tripleOf(state.against), metric = column.metric;
  if (!other || other.record === triple.record) return null;
  const [x, y] = [triple.scores[column.key], other.scores[column.key]];
  if (x === undefined || y === undefined) return null;
  const verdict = beats(column.key, triple, other) ? "better" : beats(column.key, other, triple) ? "worse" : "";
  const sign = x - y > 0 ? "+" : x - y < 0 ? "−" : "±", text = `${sign}${fixed(Math.abs(x - y), metric.digits)}`;
  const note = `${text} against ${nameOf(other)}: ${verdict ? `significantly ${verdict}` : "not significant, or of another network"}`;
  const glyph = { better: "▲", worse: "▼", "": "" }[verdict];
  return el("span", { className: `mark ${verdict}`, title: note, role: "img", "aria-label": note }, `${glyph}${text} `);
}

function foldedNames(triple, twins) {
  if (!twins.length) return "";
  return twins.length > 2 ? `and ${twins.length} with the same maps` : `also ${twins.map((t) => (t.cam === triple.cam ? t.head : shortOf(t))).join("; ")}`;
}

function nameCell(triple, inBlock) {
  const box = el("input", { type: "checkbox", checked: state.ticked.includes(triple.id) });
  box.addEventListener("change", () => tick(triple.id, box.checked));
  const twins = DATA.triples.filter((t) => t.record === triple.record && t !== triple);
  const same = state.fold
    ? foldedNames(triple, twins)
    : triple.alias ? `same maps as ${nameOf(DATA.triples.find((t) => t.record === triple.record))}` : "";
  const notes = [inBlock ? "" : triple.backbone, triple.control ? "control" : "", same];
  if (tripleOf(state.against)?.record === triple.record) notes.push("compared with");
  const why = twins.map((t) => t.alias).concat(triple.alias).filter(Boolean)[0] ?? "";
  const title = twins.length ? `same maps: ${[triple, ...twins].map(shortOf).join("; ")} (${why})` : "";
  const name = el("span", { title }, swatch(triple), ` ${triple.cam} / ${triple.head}`, el("small", {}, notes.filter(Boolean).join(" · ")));
  return el("th", { scope: "row" }, el("label", {}, box, name));
}

function tick(id, on) {
  const others = state.ticked.filter((t) => t !== id);
  update({ ticked: on ? [...others, id] : others });
}

// Network -> column -> the best score of the shown rows, as it is printed.
function bestTexts(rows) {
  const best = {};
  for (const network of new Set(rows.map((t) => t.backbone))) {
    best[network] = {};
    for (const { metric, key } of COLUMNS) {
      if (!metric?.ranked) continue;
      const values = rows.filter((t) => !t.control && t.backbone === network).map((t) => t.scores[key]).filter((v) => v !== undefined);
      if (values.length) best[network][key] = format(metric, metric.up ? Math.max(...values) : Math.min(...values));
    }
  }
  return best;
}

function drawBoard() {
  const rows = sortedTriples(), columns = columnsShown();
  const best = bestTexts(rows);
  const head = el("tr", {}, sortButton("name", "Method", "by name", "sort by name", false), ...columns.map(headCell));
  const bodies = groupsOf(rows).flatMap(({ name, rows: own }) => {
    const title = el("tbody", { className: "network" }, el("tr", {}, el("th", { scope: "rowgroup", colspan: columns.length + 1 }, el("span", {}, name))));
    const methods = el("tbody"), controls = el("tbody", { className: "controls-rows" });
    for (const t of own) {
      const line = el("tr", { className: state.ticked.includes(t.id) ? "ticked" : "" }, nameCell(t, Boolean(name)));
      line.append(...columns.map((c) => scoreCell(t, c, best)));
      (t.control ? controls : methods).append(line);
    }
    return name ? [title, methods, controls] : [methods, controls];
  });
  const caption = el("caption", { className: "skip" }, "Scores of every triple; the column heads sort");
  const focused = document.activeElement?.closest?.("#board tbody tr")?.rowIndex;
  byId("board").replaceChildren(caption, el("thead", {}, head), ...bodies);
  if (focused) byId("board").rows[focused]?.querySelector("input")?.focus();
  const hidden = shownTriples().length - rows.length;
  byId("board-count").textContent =
    `${rows.length} of ${DATA.triples.length} triples${hidden ? `, ${hidden} more folded into rows with the same maps` : ""}; scores in % unless a column says otherwise`;
  byId("signs-about").textContent = signsAbout();
  const doubts = columns.flatMap((c) => Object.entries(DATA.answers[c.key]?.doubts ?? {}));
  byId("board-doubts").replaceChildren(...doubts.map(([network, text]) => el("li", {}, `‡ ${network}: ${text}`)));
}

// What the signs mean that the table has at the moment.
function signsAbout() {
  const ranks = state.intervals, marks = Boolean(tripleOf(state.against));
  return [
    ranks ? `${DATA.intervals}; #: rank, 1 + the rows of the backbone that are significantly better.` : "",
    marks ? `▲ ▼: significantly better, worse than the reference at ${DATA.alpha}, in paired tests on the same images.` : "",
    ranks || marks ? "Holm's correction is over the pairs of a metric and backbone." : "",
  ].filter(Boolean).join(" ");
}

function drawChooser() {
  const boxes = COLUMNS.map((c) => {
    const box = el("input", { type: "checkbox", checked: state.columns.includes(c.key) });
    box.addEventListener("change", () => update({ columns: COLUMNS.map((o) => o.key).filter((k) => (k === c.key ? box.checked : state.columns.includes(k))) }));
    return el("label", { className: "check" }, box, c.title);
  });
  byId("columns").replaceChildren(...boxes);
}

function startBoard() {
  const any = (key) => [["", "all"], ...uniqueTexts(key).map((t) => [t, t])];
  const against = combo("against", [["", "nothing"], ...DATA.triples.map((t) => [t.id, nameOf(t)])], (id) => update({ against: id }));
  const sync = () => {
    byId("q").value = state.q;
    fill(byId("backbone"), any("backbone"), state.backbone);
    fill(byId("head"), any("head"), state.head);
    against(state.against);
    for (const key of ["controls", "intervals", "fold"]) byId(key).checked = state[key];
    drawChooser();
  };
  byId("q").addEventListener("input", () => update({ q: byId("q").value }));
  for (const key of ["backbone", "head"]) byId(key).addEventListener("change", () => update({ [key]: byId(key).value }));
  for (const key of ["controls", "intervals", "fold"]) byId(key).addEventListener("change", () => update({ [key]: byId(key).checked }));
  byId("reset").addEventListener("click", () => {
    update({ ...DEFAULTS, view: "leaderboard" });
    dispatchEvent(new HashChangeEvent("hashchange"));
  });
  watch(["q", "backbone", "head", "against", "controls", "intervals", "fold", "columns", "sort", "down", "ticked"], drawBoard);
  sync();
  drawBoard();
  return sync;
}
