// Images on which the ticked triples differ most: the input, the best map and the worst of each.
const CARDS = 8;

async function galleryCard(position, triples) {
  const metric = metricOf(state.by), one = EX.cases[position];
  const scored = triples
    .map((t) => ({ t, value: EX.records[t.record].scores[state.by]?.[position] ?? null }))
    .filter((s) => s.value !== null)
    .sort((a, b) => (metric.up ? b.value - a.value : a.value - b.value));
  if (scored.length < 2 || scored[0].value === scored.at(-1).value) return null;
  const parts = [];
  if (one.image) parts.push(el("figure", {}, (await mapCanvas(null, position, `Input ${one.id}`)).canvas, el("figcaption", {}, "input")));
  for (const { t, value } of [scored[0], scored.at(-1)]) {
    const { canvas } = await mapCanvas(t, position, `Map of ${nameOf(t)}`);
    const verdict = isHit(state.by) ? (value === 100 ? "right" : "wrong") : format(metric, value);
    parts.push(el("figure", {}, canvas, el("figcaption", {}, el("b", {}, verdict), ` ${shortOf(t)}`)));
  }
  const open = el("button", { type: "button", className: "link" }, "Open in the explorer");
  open.addEventListener("click", () => update({ image: one.row, show: "all", class: "", view: "explorer" }));
  return el("li", {}, el("p", { className: "name" }, className(one.label), el("small", {}, ` ${one.id}`)), el("div", { className: "trio" }, ...parts), open);
}

let galleryTurn = 0;

async function drawGallery() {
  const methods = tickedTriples().filter((t) => !t.control);
  const turn = ++galleryTurn, triples = methods.length > 1 ? methods : tickedTriples();
  if (!metricOf(state.by) || !EX.records.some((r) => r.maps)) {
    byId("gallery-cards").replaceChildren();
    byId("gallery-about").textContent = "The run kept no maps: with --keep-maps, the images that set the methods apart stand here.";
    return;
  }
  const cards = [];
  for (const position of tellingCases(triples, CARDS, { differing: true })) {
    const card = await galleryCard(position, triples);
    if (turn !== galleryTurn) return;
    if (card) cards.push(card);
  }
  byId("gallery-about").textContent = cards.length
    ? `By ${metricOf(state.by).title}, among the ticked triples: the best map of each image, then the worst. The metric is the explorer's “Judged by”.`
    : `No image of the explorer tells the ticked triples apart in ${metricOf(state.by).title}.`;
  byId("gallery-cards").replaceChildren(...cards);
}

function startGallery() {
  const draw = whenNear("gallery", drawGallery);
  watch(["ticked", "by", "tau", "palette", "opacity", "contours"], draw);
}
