// Earlier requests of this browser.

import { kindOf } from "./answer.js";
import { element, icon } from "./dom.js";
import { entries, forget } from "./history.js";

export function mount(view, { navigate, confirm }) {
  const list = element("div", {});
  const clear = element("button", { class: "button", type: "button" }, icon("trash"), "Clear");
  clear.addEventListener("click", async () => {
    if (
      !(await confirm({
        title: "Clear the history?",
        text: "The requests are only in this browser.",
        action: "Clear",
        danger: true,
      }))
    )
      return;
    forget();
    draw();
  });
  function draw() {
    const found = entries();
    clear.hidden = !found.length;
    if (!found.length) {
      const start = element(
        "button",
        { class: "button primary", type: "button", onclick: () => navigate("tutorial") },
        "Open the tutorial",
      );
      return list.replaceChildren(
        element(
          "div",
          { class: "card empty" },
          icon("history"),
          element("h2", {}, "No requests yet"),
          element("p", {}, "Requests that you run are listed here."),
          start,
        ),
      );
    }
    list.replaceChildren(element("ol", { class: "card flush history" }, ...found.map(row)));
  }
  function row({ text, status, at }) {
    const [line] = text.split("\n", 1);
    const [method, path] = line.split(" ", 2);
    const when = new Date(at);
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", onclick: () => navigate("requests", { text }) },
        element("span", { class: `badge ${kindOf(status)}` }, String(status)),
        element(
          "span",
          { class: "grow mono" },
          element("span", { class: `t-method ${method.toLowerCase()}` }, method),
          ` ${path}`,
        ),
        element(
          "time",
          { class: "muted small", datetime: when.toISOString() },
          when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
        ),
      ),
    );
  }
  view.append(
    element(
      "div",
      { class: "page-head" },
      element("h1", {}, "History"),
      clear,
      element("p", {}, "The history stays in this browser. It has no secrets, no signed URLs and no answers."),
    ),
    list,
  );
  draw();
}
