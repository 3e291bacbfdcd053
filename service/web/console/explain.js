// The try-out of policies: which one allows a described request, or why none does.

import { explain } from "./api.js";
import { element, icon } from "./dom.js";
import { createForm } from "./form.js";

const FIRST = ["request-method", "uri", "client", "params"];

/** Return a card in which a person describes a request and reads the decision. */
export async function explainPanel({ api }) {
  const document = (await api.request("GET", "/openapi.json")).data;
  const schema = document.components.schemas.DescribedRequest;
  const example = document.components.examples.DescribedRequest.value;
  const names = [...FIRST, ...Object.keys(schema.properties).filter((name) => !FIRST.includes(name))];
  const form = createForm(schema, names);
  form.fill(example);
  const decision = element("div", { class: "stack", "aria-live": "polite" });
  const asked = element(
    "form",
    { class: "stack", novalidate: true },
    element("div", { class: "form-grid" }, ...FIRST.map((name) => form.elements[name])),
    element(
      "details",
      {},
      element("summary", {}, "More parts of the request"),
      element("div", { class: "form-grid" }, ...names.slice(FIRST.length).map((name) => form.elements[name])),
    ),
    element("div", { class: "row" }, element("button", { class: "button primary", type: "submit" }, "Explain")),
    decision,
  );
  asked.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = form.read();
    if (!body) return;
    const answer = await api.request("POST", "/AccessPolicy/$explain", { body });
    if (answer.status === 200) return decision.replaceChildren(...shown(answer.data));
    const texts = answer.status === 422 ? form.showErrors(answer.data.issue) : [explain(answer)];
    decision.replaceChildren(...texts.map((text) => element("p", { class: "notice bad", role: "alert" }, text)));
  });
  return element(
    "section",
    { class: "card stack", "aria-labelledby": "explain-title" },
    element("h2", { id: "explain-title" }, "Try out a request"),
    element(
      "p",
      { class: "muted" },
      "Describe a request, and see which policy allows it, or why none does. Nothing is executed.",
    ),
    asked,
  );
}

function shown({ allowed, policy, reason, policies = [] }) {
  const link = (id) => element("a", { href: `#/policies?id=${encodeURIComponent(id)}`, class: "mono" }, id);
  if (allowed) {
    const by = policy ? ["Allowed by ", link(policy)] : [`Allowed. ${reason ?? ""}`];
    return [element("p", { class: "notice ok" }, icon("check"), element("span", {}, ...by))];
  }
  const denied = element(
    "p",
    { class: "notice bad" },
    icon("close"),
    element("span", {}, reason ?? "Denied: no policy allows this request."),
  );
  const rows = policies.map(({ policy: id, mismatch }) =>
    element("tr", {}, element("th", { scope: "row" }, link(id)), element("td", {}, mismatch)),
  );
  const head = element(
    "tr",
    {},
    element("th", { scope: "col" }, "Policy"),
    element("th", { scope: "col" }, "Why it does not allow the request"),
  );
  return [
    denied,
    rows.length
      ? element(
          "div",
          { class: "table-wrap" },
          element("table", { class: "table" }, element("thead", {}, head), element("tbody", {}, ...rows)),
        )
      : null,
  ].filter(Boolean);
}
