// The first lines: what was compared, the answer of the chosen metric, and maps of a few telling images.
const HERO_ROWS = 3;
// Of boxes in pictures that are shown small.
const SMALL_LINE = 7;

function drawAnswer() {
  const metric = qualityOf(), found = DATA.answers[metric.name] ?? { lines: [], doubts: {} };
  const [first, ...others] = found.lines, doubts = Object.entries(found.doubts);
  const everywhere = doubts.length > 0 && doubts.length === new Set(distinct.filter((t) => !t.control && t.scores[metric.name] !== undefined).map((t) => t.backbone)).size;
  const answer = [el("p", { className: everywhere ? "" : "lead" }, first ?? "No metric is ranked."), ...others.map((line) => el("p", {}, line))];
  const doubt = doubted(doubts, everywhere), heads = headChanges(found.heads);
  byId("answer-text").replaceChildren(...(everywhere ? [...doubt, ...answer, ...heads] : [...answer, ...heads, ...doubt]));
}

// What each head changes, a line a head, with its mark.
function headChanges(heads) {
  if (!heads?.items.length) return [];
  const markOf = (title) => swatch(DATA.triples.find((t) => !t.control && t.head === title));
  const items = heads.items.map(([title, text]) => el("li", {}, markOf(title), el("span", {}, el("b", {}, title), ` ${text}`)));
  return [el("p", {}, `${heads.about}:`), el("ul", { className: "heads" }, ...items)];
}

// The reason once; the other networks on demand.
function doubted(doubts, everywhere) {
  if (!doubts.length) return [];
  const text = ([backbone, reason]) => `‡ ${backbone}: ${reason}`;
  const more = doubts.slice(1).map((one) => el("p", {}, text(one)));
  const lead = everywhere ? "This metric cannot tell methods from controls here. " : "";
  const rest = more.length ? el("details", {}, el("summary", {}, `So on ${more.length} more network${more.length === 1 ? "" : "s"}`), ...more) : null;
  return [el("div", { className: "notice" }, el("p", {}, el("b", {}, lead), text(doubts[0])), rest)];
}

// What tells methods apart on an image beside right and wrong, which a hair may decide: boxes by several rules, and pixels.
const GRADED = ["max_box_acc_v2", "pxap"];

// Images whose scores differ most between the ticked methods: those with a picture first, then the most telling one of
// each class before a second of any. `differing`: only those that differ in the metric they are judged by.
function tellingCases(chosen, count, { name = state.by, differing = false } = {}) {
  const methods = chosen.filter((t) => !t.control), triples = methods.length > 1 ? methods : chosen;
  const spread = (position, of) => {
    const values = triples.map((t) => EX.records[t.record].scores[of]?.[position] ?? null).filter((v) => v !== null);
    return values.length ? Math.max(...values) - Math.min(...values) : 0;
  };
  const spreads = [...new Set([name, ...GRADED])].map((of) => EX.cases.map((_, position) => spread(position, of)));
  const tops = spreads.map((values) => Math.max(...values));
  const rank = EX.cases.map((one, position) => ({
    ...{ position, label: one.label, turn: 0, picture: Boolean(one.image), by: spreads[0][position] },
    // Each in units of its largest, so that one metric's scale does not decide.
    all: spreads.reduce((sum, values, k) => sum + (tops[k] > 0 ? values[position] / tops[k] : 0), 0),
  }));
  const telling = (a, b) => b.picture - a.picture || b.all - a.all || a.position - b.position;
  const found = rank.filter((r) => !differing || r.by > 0).sort(telling), seen = {};
  for (const one of found) one.turn = seen[one.label] = (seen[one.label] ?? -1) + 1;
  const fair = (a, b) => b.picture - a.picture || a.turn - b.turn || telling(a, b);
  return found.sort(fair).slice(0, count).map((r) => r.position);
}

async function mapCanvas(t, position, label) {
  const image = await imageOf(position), canvas = el("canvas", { role: "img", "aria-label": label });
  const found = t ? localise(t.record, position) : { levels: null, boxes: [] };
  paint(canvas, image, { levels: found.levels, truth: t ? truthOf(position) : (EX.cases[position].boxes ?? []), boxes: found.boxes, alpha: t ? state.opacity : 0, line: SMALL_LINE });
  return { canvas, found };
}

let heroTurn = 0;

async function drawHero() {
  const turn = ++heroTurn, triples = tickedTriples().slice(0, 5);
  if (!EX.records.some((r) => r.maps) || !triples.length) {
    byId("hero").replaceChildren(hint(EX.records.some((r) => r.maps) ? "Tick triples in the leaderboard to see their maps here." : "The run kept no maps: with --keep-maps, a few telling ones stand here."));
    return;
  }
  const pictured = EX.cases.some((one) => one.image), table = el("table", { className: "hero" });
  // As wide as the column, but for a few pictures, which would be blown up.
  table.style.maxWidth = `${9.5 * (triples.length + 1)}rem`;
  const head = el("tr", {}, el("th", { scope: "col" }, pictured ? "input" : "image"));
  for (const t of triples) head.append(el("th", { scope: "col", title: nameOf(t) }, t.cam, el("small", {}, t.control ? "control" : t.head)));
  const body = el("tbody");
  for (const position of tellingCases(triples, HERO_ROWS)) {
    const one = EX.cases[position], row = el("tr");
    const name = className(one.label);
    row.append(el("th", { scope: "row" }, pictured ? (await mapCanvas(null, position, `Input ${one.id}, ${name}`)).canvas : null, el("small", {}, name)));
    for (const t of triples) {
      const { canvas, found } = await mapCanvas(t, position, `Map of ${nameOf(t)} on ${one.id}`);
      row.append(el("td", {}, canvas, el("small", {}, found.text)));
    }
    if (turn !== heroTurn) return;
    row.addEventListener("click", () => update({ image: one.row, view: "explorer" }));
    body.append(row);
  }
  table.append(el("thead", {}, head), body);
  byId("hero").replaceChildren(table, hint(heroAbout(triples)));
}

function heroAbout(triples) {
  const where = `${triples[0].backbone}${triples.some((t) => t.backbone !== triples[0].backbone) ? " and others" : ""}`;
  const which = triples.filter((t) => !t.control).length > 1 && EX.images > HERO_ROWS ? `Where they differ most, on ${where}.` : `On ${where}.`;
  const truth = EX.boxed ? "Dashed: the truth; yellow" : "Yellow";
  return `${which} ${truth}: the box of the map at τ = ${tauOf(state.tau).toFixed(2)}.`;
}

function startAnswer() {
  byId("compared").textContent = `${DATA.compared}; protocol ${DATA.protocol}.`;
  const chooser = byId("set");
  if (PAGE.sets.length > 1) {
    fill(chooser, PAGE.sets.map((s, k) => [String(k), `${s.name} (${s.protocol}, ${s.triples.length} triples)`]), String(SET));
    chooser.addEventListener("change", () => {
      location.hash = `set=${chooser.value}`;
      location.reload();
    });
  } else byId("set-choice").remove();
  watch(["metric"], drawAnswer);
  watch(["ticked", "tau", "opacity", "palette", "by", "contours"], whenNear("hero", drawHero));
  drawAnswer();
}
