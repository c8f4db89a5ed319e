// The explorer: one image, its maps under the ticked triples, boxes and IoU live from the stored maps.
const truthOf = (position) => (EX.firstBox ? (EX.cases[position].boxes ?? []).slice(0, 1) : (EX.cases[position].boxes ?? []));
const className = (label) => EX.classes[label] ?? String(label);

function pairOf() {
  const [a, b] = [state.a || state.ticked[0], state.b || state.ticked.find((t) => t !== (state.a || state.ticked[0]))];
  return [tripleOf(a) ?? DATA.triples[0], tripleOf(b) ?? DATA.triples[DATA.triples.length > 1 ? 1 : 0]];
}

// Hits are right or wrong; of other scores the better of the two counts as right.
const isHit = (name) => EX.hits.includes(name);

function rightOnes(position) {
  const metric = metricOf(state.by);
  const [x, y] = pairOf().map((t) => EX.records[t.record].scores[state.by]?.[position] ?? null);
  if (!metric || x === null || y === null) return null;
  return isHit(state.by) ? [x === 100, y === 100] : [better(metric, x, y), better(metric, y, x)];
}

function fits(position) {
  if (state.class !== "" && String(EX.cases[position].label) !== state.class) return false;
  const ticked = tickedTriples();
  if (state.show === "degenerate")
    return (ticked.length ? ticked : DATA.triples).some((t) => EX.records[t.record].degenerate[position] !== 0);
  if (state.show === "misclassified") {
    const record = EX.records[pairOf()[0].record];
    return record.predicted[position] !== EX.cases[position].label;
  }
  if (state.show === "all") return true;
  const right = rightOnes(position);
  if (!right) return false;
  const wanted = { ab: [true, false], ba: [false, true], both: [true, true], neither: [false, false] }[state.show] ?? right;
  return right[0] === wanted[0] && right[1] === wanted[1];
}

const shownCases = () => EX.cases.map((_, position) => position).filter(fits);

function currentCase() {
  const shown = shownCases();
  const position = EX.cases.findIndex((c) => c.row === state.image);
  return shown.includes(position) ? position : (shown[0] ?? -1);
}

function drawStrip() {
  const shown = shownCases(), current = currentCase();
  const buttons = shown.map((position) => {
    const one = EX.cases[position];
    const label = `${one.id}, ${className(one.label)}`;
    const button = el("button", { type: "button", title: label, "aria-label": label, "aria-current": String(position === current) });
    button.append(one.image ? el("img", { src: one.image, alt: "", loading: "lazy" }) : one.id.slice(-24));
    button.addEventListener("click", () => update({ image: one.row }));
    return button;
  });
  const focused = byId("strip").contains(document.activeElement);
  byId("strip").replaceChildren(...buttons);
  const chosen = byId("strip").querySelector('[aria-current="true"]');
  if (focused) chosen?.focus({ preventScroll: true });
  if (chosen) byId("strip").scrollLeft = chosen.offsetLeft - byId("strip").offsetLeft - byId("strip").clientWidth / 2 + 32;
}

// What a record says of an image at the chosen threshold: boxes, IoU, and a sentence for the caption.
function localise(record, position) {
  const levels = levelsAt(record, position);
  if (!levels) return { levels: null, boxes: [], text: "no map was kept" };
  const peak = levels.reduce((a, b) => Math.max(a, b), 0);
  // A threshold is a fraction of the map's highest level, or of the percentile that the record holds.
  const reference = EX.records[record].reference?.[position] ?? peak;
  const found = boxesOf(levels, EX.size, Math.floor(tauOf(state.tau) * reference));
  if (found.empty && EX.whole) {
    const whole = [0, 0, EX.size - 1, EX.size - 1];
    Object.assign(found, { empty: false, single: whole, multi: [whole] });
  }
  const boxes = state.contours === "multi" ? found.multi : [found.single];
  const truth = truthOf(position);
  const about = EX.records[record].maps.shrunk ? "≈ " : "";
  const text = truth.length ? `IoU ${about}${bestIou(boxes, truth).toFixed(3)}` : "no box to compare with";
  return { levels, boxes: found.empty ? [] : boxes, text: found.empty ? `${text} (nothing above τ)` : text };
}

function captionOf(t, position, found) {
  const record = EX.records[t.record];
  const score = record.scores[state.by]?.[position] ?? null;
  const metric = metricOf(state.by);
  const facts = [`evidence for ${className(record.target[position])}`];
  const verdict = isHit(state.by) ? (score === 100 ? "right" : "wrong") : metric && format(metric, score);
  if (metric && score !== null) facts.push(`recorded ${metric.title}: ${verdict}`);
  if (record.degenerate[position]) facts.push(record.degenerate[position] === 2 ? "map holds NaN or infinity" : "map has no contrast");
  if (t.alias) facts.push(`computed once: ${t.alias}`);
  return el("figcaption", {}, el("b", {}, nameOf(t)), el("span", { className: "iou" }, found.text), ` · ${facts.join(" · ")}`);
}

let drawing = 0;

async function drawPanels() {
  const turn = ++drawing, position = currentCase();
  if (position < 0) {
    byId("case-title").textContent = "No image fits these filters.";
    byId("panels").replaceChildren();
    return;
  }
  const one = EX.cases[position], image = await imageOf(position);
  // A slider sends more events than there are frames.
  await new Promise(requestAnimationFrame);
  if (turn !== drawing) return;
  const shown = shownCases();
  const predicted = [...new Set(DATA.triples.map((t) => EX.records[t.record].predicted[position]))];
  byId("case-title").textContent =
    `${shown.indexOf(position) + 1} of ${shown.length}: ${one.id} · class ${className(one.label)} · predicted ${predicted.map(className).join(" or ")}`;
  const input = el("canvas", { role: "img", "aria-label": `Input ${one.id}, ${className(one.label)}${one.boxes ? ", ground-truth boxes dashed" : ""}` });
  const panels = [];
  if (image) {
    const about = one.boxes?.length ? "ground truth dashed" : "no box";
    panels.push(el("figure", {}, input, el("figcaption", {}, el("b", {}, "Input"), about)));
    paint(input, image, { truth: state.boxes ? (one.boxes ?? []) : [], boxes: [], alpha: 0 });
  }
  for (const t of tickedTriples()) {
    const found = localise(t.record, position);
    const canvas = el("canvas", { role: "img", "aria-label": `Map of ${nameOf(t)}, ${found.text}` });
    paint(canvas, image, {
      ...{ levels: found.levels, alpha: state.opacity },
      truth: state.boxes ? truthOf(position) : [],
      boxes: state.boxes ? found.boxes : [],
    });
    panels.push(el("figure", {}, canvas, captionOf(t, position, found)));
  }
  if (!tickedTriples().length) panels.push(el("p", { className: "notice" }, "Tick triples in the leaderboard to see their maps."));
  // As many in every row as can be.
  const most = Math.max(1, Math.floor(byId("panels").clientWidth / 215)), rows = Math.ceil(panels.length / most);
  byId("panels").style.gridTemplateColumns = panels.length > most ? `repeat(${Math.ceil(panels.length / rows)}, minmax(0, 1fr))` : "";
  byId("panels").replaceChildren(...panels);
}

function step(by) {
  const shown = shownCases();
  if (!shown.length) return;
  const next = shown[(shown.indexOf(currentCase()) + by + shown.length) % shown.length];
  update({ image: EX.cases[next].row });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, summary")) return;
  const names = Object.keys(PALETTES);
  const actions = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    "[": () => update({ tau: Math.max(0, state.tau - 10) }),
    "]": () => update({ tau: Math.min(1000, state.tau + 10) }),
    o: () => update({ opacity: state.opacity ? 0 : DEFAULTS.opacity }),
    b: () => update({ boxes: !state.boxes }),
    c: () => update({ palette: names[(names.indexOf(state.palette) + 1) % names.length] }),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function describe() {
  const how = EX.cases.length < EX.images
    ? `${EX.cases.length} of ${EX.images} images: half where the triples disagree most, half evenly spread.`
    : EX.images === 1 ? "The only image." : `All ${EX.images} images.`;
  byId("explorer-about").textContent = how;
  const missing = [EX.absent, EX.records.some((r) => r.maps) ? "" : "The run kept no maps: run with --keep-maps into a new folder to see them here."];
  for (const text of missing.filter(Boolean)) byId("explorer-about").after(el("p", { className: "notice" }, text));
  const shrunk = EX.records.find((r) => r.maps?.shrunk)?.maps;
  byId("rule").textContent =
    `A stored map is resized to ${EX.size} × ${EX.size} by the protocol's kernel, stretched to [0, 1] (finished masks of ` +
    `controls are not) and cut into 256 levels; τ keeps the pixels above int(τ · highest level). Largest contour: the ` +
    `8-connected region whose outline through pixel centres, holes filled, encloses the largest area; of equal ones the last ` +
    `in reading order. All contours: every region and every hole, the best box counts. Boxes end exclusively and are ` +
    `clipped; the IoU counts whole pixels (+1), against ${EX.firstBox ? "the first ground-truth box" : "the best ground-truth box"}.` +
    (shrunk ? ` Maps of ${shrunk.shrunk.join(" × ")} are shrunk to ${shrunk.height} × ${shrunk.width} in this file; their boxes (≈) are approximate.` : "");
}

function startExplorer() {
  const triples = DATA.triples.map((t) => [t.id, uniqueTexts("backbone").length > 1 ? nameOf(t) : shortOf(t)]);
  const labels = [...new Set(EX.cases.map((c) => c.label))].sort((x, y) => x - y);
  const shows = {
    a: combo("a", triples, (id) => update({ a: id })),
    b: combo("b", triples, (id) => update({ b: id })),
    class: combo("class", [["", "all"], ...labels.map((l) => [String(l), className(l)])], (label) => update({ class: label })),
  };
  const sync = () => {
    const [a, b] = pairOf();
    byId("show").value = state.show;
    shows.a(a.id);
    shows.b(b.id);
    shows.class(state.class);
    fill(byId("by"), EX.metrics.map((n) => [n, metricOf(n).title]), state.by);
    fill(byId("palette"), Object.keys(PALETTES).map((n) => [n, n]), state.palette);
    byId("tau").value = state.tau;
    byId("opacity").value = state.opacity;
    byId("contours").value = state.contours;
    byId("tau-read").textContent = tauOf(state.tau).toFixed(3);
    byId("opacity-read").textContent = `${state.opacity} %`;
  };
  for (const key of ["show", "by", "palette", "contours"]) byId(key).addEventListener("change", () => update({ [key]: byId(key).value }));
  for (const key of ["tau", "opacity"]) byId(key).addEventListener("input", () => update({ [key]: Number(byId(key).value) }));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("explorer").addEventListener("keydown", press);
  whenNear("explorer", drawPanels);
  watch(["show", "a", "b", "by", "class", "ticked", "image"], drawStrip);
  watch(["show", "a", "b", "by", "class", "ticked", "image", "tau", "palette", "opacity", "contours", "boxes"], () => {
    sync();
    drawPanels();
  });
  describe();
  sync();
  drawStrip();
  return sync;
}
