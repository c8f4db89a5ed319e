// Elements and controls. Names come from data sets and plug-ins: text nodes only, never markup.
const byId = (id) => document.getElementById(id);

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || ["scope", "role", "list", "colspan"].includes(key)) node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

function fill(select, options, value) {
  select.replaceChildren(...options.map(([v, text]) => el("option", { value: v }, text)));
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

// A select that is searched by typing: an input over a list of names. Returns what shows a value.
function combo(id, options, choose) {
  const input = byId(id), list = el("datalist", { id: `${id}-list` });
  const seen = {};
  const names = options.map(([value, text]) => {
    seen[text] = (seen[text] ?? 0) + 1;
    return [value, seen[text] > 1 ? `${text} (${value})` : text];
  });
  list.append(...names.map(([, text]) => el("option", { value: text })));
  input.after(list);
  input.setAttribute("list", list.id);
  let shown = "";
  const show = (value) => {
    shown = names.find(([v]) => v === value)?.[1] ?? "";
    input.value = shown;
  };
  // An empty field offers every name; leaving it without a choice brings the old one back.
  input.addEventListener("focus", () => {
    input.placeholder = shown || "type to search";
    input.value = "";
  });
  input.addEventListener("blur", () => (input.value = shown));
  const take = () => {
    const found = names.find(([value, text]) => input.value === text || input.value === value);
    if (!found) return;
    shown = found[1];
    input.placeholder = shown;
    choose(found[0]);
  };
  input.addEventListener("input", take);
  input.addEventListener("change", take);
  return show;
}

async function copyText(button, text, done) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = done;
  } catch {
    button.textContent = "Copying is not allowed here";
  }
  setTimeout(() => (button.textContent = before), 2500);
}

// Work that is not needed before its section comes near the window, the page is printed, or nothing else is to be done:
// pictures take a moment, and a print does not wait for them.
function whenNear(id, work) {
  let done = false;
  const once = () => {
    if (!done) work();
    done = true;
  };
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((e) => e.isIntersecting)) return;
    observer.disconnect();
    once();
  }, { rootMargin: "600px" });
  observer.observe(byId(id));
  addEventListener("load", () => setTimeout(() => requestIdleCallback(once), 1500));
  addEventListener("beforeprint", once);
  matchMedia("print").addEventListener("change", once);
  return () => done && work();
}
