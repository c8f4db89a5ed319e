// The page: facts, theme, links, and its parts.
const THEMES = ["system", "light", "dark"];
const systemDark = matchMedia("(prefers-color-scheme: dark)"), printed = matchMedia("print");
let theme = "system";

function applyTheme() {
  // Paper is light, whatever the screen.
  const dark = !printed.matches && (theme === "dark" || (theme === "system" && systemDark.matches));
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = `Theme: ${theme}`;
}

function recolour() {
  applyTheme();
  drawBoard();
  for (const redraw of redraws) redraw();
}

const viewed = () => document.querySelector(`main > section[id="${CSS.escape(state.view)}"]`);
let followed = 0;

// Sections above are drawn when they come near, which moves the target: it is followed until the reader takes over.
function scrollToView() {
  const section = viewed();
  if (!section) return;
  followed = performance.now() + 3000;
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

function startFollowing() {
  for (const event of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(event, () => (followed = 0), { passive: true });
  new ResizeObserver(() => {
    if (performance.now() < followed) viewed()?.scrollIntoView({ behavior: "instant" });
  }).observe(byId("main"));
}

// The address of a section, with everything that is chosen in it.
const linkTo = (view) => `${location.href.split("#")[0]}#${write({ ...state, view })}`;

function startLinks() {
  for (const section of document.querySelectorAll("main > section[id]")) {
    const heading = section.querySelector("h2");
    if (!heading || section.id === "answer") continue;
    const button = el("button", { type: "button", className: "anchor", "aria-label": `Copy link to ${heading.textContent}` }, "Copy link");
    button.addEventListener("click", () => copyText(button, linkTo(section.id), "Link copied"));
    heading.after(button);
  }
  for (const link of document.querySelectorAll("[data-goto]"))
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (state.view === link.dataset.goto) scrollToView();
      update({ view: link.dataset.goto });
    });
  byId("copy").addEventListener("click", () => copyText(byId("copy"), linkTo("explorer"), "Link copied"));
  watch(["view"], scrollToView);
}

function startCitation() {
  const { text, commands, digests } = DATA.cite;
  byId("cite-text").textContent = text;
  byId("cite-commands").textContent = commands.join("\n");
  byId("cite-digests").append(...digests.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, el("code", {}, value))]));
  const whole = [text, "", ...commands, "", ...digests.map(([name, value]) => `${name}: ${value}`)].join("\n");
  byId("cite-copy").addEventListener("click", () => copyText(byId("cite-copy"), whole, "Copied"));
}

function start() {
  state = read(location.hash);
  applyTheme();
  byId("facts").append(...DATA.facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
  for (const list of ["notes", "asides"]) byId(list).append(...DATA[list].map((note) => el("li", {}, note)));
  startAnswer();
  const syncs = [startDots(), startBoard(), startCost(), startMatrix(), startCurves(), startExplorer()];
  startClasses();
  startGallery();
  startCitation();
  startLinks();
  startExports();
  startFollowing();
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    recolour();
  });
  for (const medium of [systemDark, printed]) medium.addEventListener("change", recolour);
  addEventListener("hashchange", () => {
    if (setOf(location.hash) !== SET && PAGE.sets[setOf(location.hash)]) location.reload();
    update(read(location.hash));
    for (const sync of syncs) sync();
  });
  scrollToView();
}

start();
