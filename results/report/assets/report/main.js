// The page: facts, theme, links, and the three parts.
const THEMES = ["system", "light", "dark"];
const systemDark = matchMedia("(prefers-color-scheme: dark)"), printed = matchMedia("print");
let theme = "system";

function applyTheme() {
  // Paper is light, whatever the screen.
  const dark = !printed.matches && (theme === "dark" || (theme === "system" && systemDark.matches));
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = `Theme: ${theme}`;
}

function switchTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  applyTheme();
  drawCharts();
}

async function copyLink() {
  const button = byId("copy"), link = `${location.href.split("#")[0]}#${write(state)}`;
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => (button.textContent = "Copy link to this view"), 2500);
}

function start() {
  state = read(location.hash);
  applyTheme();
  byId("facts").append(...DATA.facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
  byId("notes").append(...DATA.notes.map((note) => el("li", {}, note)));
  const syncs = [startBoard(), startCharts(), startExplorer()];
  byId("theme").addEventListener("click", switchTheme);
  for (const medium of [systemDark, printed])
    medium.addEventListener("change", () => {
      applyTheme();
      drawCharts();
    });
  for (const button of document.querySelectorAll("[data-goto]"))
    button.addEventListener("click", () => {
      byId(button.dataset.goto).scrollIntoView();
      byId(button.dataset.goto).focus({ preventScroll: true });
    });
  byId("copy").addEventListener("click", copyLink);
  addEventListener("hashchange", () => {
    update(read(location.hash));
    for (const sync of syncs) sync();
  });
}

start();
