// The shell: the list of views, the address, the theme and the sign-in.

import { api } from "./api.js";
import { confirm, notify, signIn } from "./dialogs.js";
import { element, icon } from "./dom.js";

const resources = (kind) => import("./resources.js").then(({ viewOf }) => viewOf(kind));
const VIEWS = {
  tutorial: { title: "Tutorial", load: () => import("./tutorial.js") },
  requests: { title: "Requests", load: () => import("./requests.js") },
  accounts: { title: "Accounts", load: () => resources("AwsAccount") },
  clients: { title: "Clients", load: () => resources("Client") },
  policies: { title: "Policies", load: () => resources("AccessPolicy") },
  history: { title: "History", load: () => import("./history-view.js") },
};
const THEMES = { system: "dark", dark: "light", light: "system" };
const THEME_KEY = "s3-signer.theme";

const content = document.getElementById("content");
const links = {};
let leave = null;
let visit = 0;

function navigate(view, params = {}) {
  const query = new URLSearchParams(params).toString();
  location.hash = `#/${view}${query ? `?${query}` : ""}`;
}

async function route() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const [, name, query = ""] = /^#\/([\w-]*)\??(.*)$/s.exec(location.hash || "#/tutorial") ?? [];
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : VIEWS.tutorial;
  const first = visit === 0;
  const current = ++visit;
  for (const [other, link] of Object.entries(links)) {
    if (VIEWS[other] === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view.title} · s3-signer`;
  const module = await view.load();
  if (current !== visit) return;
  leave?.();
  const area = element("div", { class: "view" });
  content.replaceChildren(area);
  const params = Object.fromEntries(new URLSearchParams(query));
  leave = module.mount(area, { api, navigate, notify, confirm, params, reload: route }) ?? null;
  // The focus follows a change of the view, so that a screen reader reads its heading.
  if (!first) content.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function drawViews() {
  const list = document.getElementById("views");
  for (const [name, { title }] of Object.entries(VIEWS)) {
    links[name] = element("a", { href: `#/${name}` }, icon(name), element("span", {}, title));
    list.append(element("li", {}, links[name]));
  }
  const docs = element("a", { href: new URL("docs", api.base).href }, icon("book"), element("span", {}, "API page"));
  list.append(element("li", {}, docs));
}

function themeButton() {
  const label = element("span", {});
  const button = element("button", { class: "button quiet", type: "button" });
  const draw = () => {
    const theme = document.documentElement.dataset.theme ?? "system";
    label.textContent = `Theme: ${theme}`;
    button.replaceChildren(icon({ system: "system", dark: "moon", light: "sun" }[theme]), label);
  };
  button.addEventListener("click", () => {
    const next = THEMES[document.documentElement.dataset.theme ?? "system"];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(THEME_KEY, next);
    } catch {
      // Storage is blocked: the theme lasts as long as the page.
    }
    draw();
  });
  draw();
  return button;
}

function accessButton(needed) {
  const slot = element("div", {});
  const draw = () => {
    const { caller } = api;
    if (caller === null) {
      const open = element(
        "button",
        { class: "button primary wide", type: "button", onclick: () => signIn(api) },
        icon("user"),
        "Sign in",
      );
      slot.replaceChildren(
        needed ? open : element("p", { class: "muted small open-note" }, "No sign-in is needed here."),
      );
      return;
    }
    const name = element(
      "span",
      { class: "caller" },
      icon("user"),
      element("span", {}, caller || "signed in by token"),
    );
    const out = element("button", { class: "button quiet", type: "button", onclick: () => api.signOut() }, "Sign out");
    slot.replaceChildren(element("div", { class: "row between" }, name, out));
  };
  api.onChange(draw);
  draw();
  return slot;
}

async function start() {
  api.ask = () => signIn(api);
  drawViews();
  const foot = document.getElementById("foot");
  foot.append(themeButton());
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    content.focus();
  });
  window.addEventListener("hashchange", route);
  route();
  const about = await api.about();
  if (!about) return notify("The service gives no answer. Check that it runs, and load this page again.", "error");
  foot.prepend(accessButton(Boolean(about.links.token)));
  foot.append(element("p", { class: "muted small version" }, `Version ${about.version}`));
}

start();
