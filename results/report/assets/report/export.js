// What a reader takes along: the table as Markdown or CSV, a chart as one SVG.
function tableTexts() {
  const columns = columnsShown(), heads = ["network", "method", "head", ...columns.map((c) => c.title)];
  const cell = (t, c) => (c.metric ? format(c.metric, valueOf(t, c)) : c.text ? valueOf(t, c) || "–" : valueOf(t, c) === null ? "–" : String(Number(valueOf(t, c).toPrecision(3))));
  // In the order of the page: a block a network while nothing is sorted.
  const rows = groupsOf(sortedTriples()).flatMap((group) => group.rows);
  return [heads, ...rows.map((t) => [t.backbone, t.cam, t.control ? "control" : t.head, ...columns.map((c) => cell(t, c))])];
}

function markdownTable() {
  const [heads, ...rows] = tableTexts();
  const line = (cells) => `| ${cells.map((c) => c.replace(/[\\|<>*_`[\]]/g, "\\$&")).join(" | ")} |`;
  return [line(heads), `|${heads.map((_, k) => (k < 3 ? "---" : "---:")).join("|")}|`, ...rows.map(line), ""].join("\n");
}

function csvTable() {
  // A spreadsheet would take a name that begins so for a formula.
  const safe = (text) => (/^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  return tableTexts().map((cells) => cells.map((c) => quoted(safe(c === "–" ? "" : c))).join(",")).join("\r\n") + "\r\n";
}

// The charts of an element where they stand, with their captions, as one picture.
function pictureOf(host) {
  const space = "http://www.w3.org/2000/svg", frame = host.getBoundingClientRect();
  const whole = document.createElementNS(space, "svg"), put = (node, values) => {
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
    return whole.appendChild(node);
  };
  const size = { width: Math.ceil(frame.width), height: Math.ceil(frame.height) };
  const edge = 12, room = { width: size.width + 2 * edge, height: size.height + 2 * edge };
  for (const [key, value] of Object.entries({ xmlns: space, ...room, viewBox: `${-edge} ${-edge} ${room.width} ${room.height}`, "font-family": "system-ui, sans-serif", fill: inkOf("--ink") })) whole.setAttribute(key, value);
  put(document.createElementNS(space, "rect"), { x: -edge, y: -edge, ...room, fill: inkOf("--card") });
  for (const svg of host.querySelectorAll("svg")) {
    const at = svg.getBoundingClientRect(), copy = svg.cloneNode(true);
    copy.style.fontFamily = "system-ui, sans-serif";
    put(copy, { x: at.left - frame.left, y: at.top - frame.top, width: at.width, height: at.height });
  }
  const words = document.createTreeWalker(host, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const node = words.currentNode, owner = node.parentElement;
    if (!node.data.trim() || owner.closest("svg, button, details, label")) continue;
    const range = document.createRange(), style = getComputedStyle(owner);
    range.selectNodeContents(node);
    const at = range.getBoundingClientRect(), text = put(document.createElementNS(space, "text"), { x: at.left - frame.left, y: at.top - frame.top + 0.8 * at.height, "font-size": style.fontSize, "font-weight": style.fontWeight, fill: style.color });
    text.textContent = node.data.trim();
  }
  return new XMLSerializer().serializeToString(whole);
}

function save(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Section -> the charts of it that are saved together.
const PICTURES = { answer: "#dots", cost: "#pareto", wins: "#matrix", curves: "#curves .pair", classes: "#classes-grid" };

function startExports() {
  const button = (text, name, work) => {
    const made = el("button", { type: "button", className: "anchor", "aria-label": `${text}: ${name}` }, text);
    made.addEventListener("click", () => work(made));
    return made;
  };
  const stem = DATA.name.replace(/[^\w.-]+/g, "-").slice(0, 60) || "cambench";
  for (const [section, host] of Object.entries(PICTURES)) {
    const heading = byId(`h-${section}`), name = heading.textContent;
    (heading.nextElementSibling?.matches(".anchor") ? heading.nextElementSibling : heading).after(button("Save as SVG", name, () => save(`${stem}-${section}.svg`, pictureOf(document.querySelector(host)), "image/svg+xml")));
  }
  byId("h-leaderboard").nextElementSibling.after(
    button("Copy as Markdown", "Leaderboard", (made) => copyText(made, markdownTable(), "Table copied")),
    button("Save as CSV", "Leaderboard", () => save(`${stem}.csv`, csvTable(), "text/csv")),
  );
}
