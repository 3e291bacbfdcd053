// The views of accounts, Clients and policies: a list, and a form for one resource.

import { explain } from "./api.js";
import { copyButton, element, icon } from "./dom.js";
import { explainPanel } from "./explain.js";
import { createForm } from "./form.js";
import { KINDS } from "./kinds.js";

const PAGE_SIZE = 50;

const button = (label, name, onclick, kind = "button") =>
  element("button", { class: kind, type: "button", onclick }, icon(name), label);

function failure(answer) {
  const text =
    answer.status === 403
      ? `${explain(answer)} Sign in as a caller who may do this, or ask for a policy.`
      : explain(answer);
  return element("p", { class: "notice bad", role: "alert" }, icon("warning"), element("span", {}, text));
}

/** Return the module of a view, for one kind of resource. */
export function viewOf(kind) {
  return {
    mount(view, context) {
      const { id, page = "1", find = "" } = context.params;
      if (id !== undefined) showOne(view, context, kind, id);
      else showList(view, context, kind, Number(page) || 1, find);
    },
  };
}

// The list is ordered by id, so the place of an id is found in a few steps, however many there are.
async function placeOf(api, kind, text, total) {
  let [low, high] = [0, total];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const answer = await api.request("GET", `/${kind}?_count=1&_page=${middle + 1}`);
    const id = answer.data?.entry?.[0]?.resource.id;
    if (id !== undefined && id < text) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return `total`, and the `resources` of a page of those whose id begins with `find`; or the answer that is no list. */
async function load(api, kind, page, find) {
  const get = (number) => api.request("GET", `/${kind}?_count=${PAGE_SIZE}&_page=${number}`);
  const resourcesOf = (answer) => (answer.data.entry ?? []).map(({ resource }) => resource);
  const answer = await get(find ? 1 : page);
  if (answer.status !== 200) return { answer };
  const all = answer.data.total;
  if (!find) return { total: all, resources: resourcesOf(answer) };
  // No id has a character after z.
  const [start, end] = [await placeOf(api, kind, find, all), await placeOf(api, kind, `${find}~`, all)];
  const offset = start + (page - 1) * PAGE_SIZE;
  const number = Math.floor(offset / PAGE_SIZE) + 1;
  const parts = await Promise.all([get(number), get(number + 1)]);
  const failed = parts.find(({ status }) => status !== 200);
  if (failed) return { answer: failed };
  const skipped = offset % PAGE_SIZE;
  return {
    total: end - start,
    resources: parts.flatMap(resourcesOf).slice(skipped, skipped + Math.min(PAGE_SIZE, end - offset)),
  };
}

async function showList(view, context, kind, page, find) {
  const { api, navigate } = context;
  const { title, one, view: name, about } = KINDS[kind];
  const add = button(
    `Add ${/^[aeiou]/i.test(one) ? "an" : "a"} ${one}`,
    "plus",
    () => navigate(name, { id: "" }),
    "button primary",
  );
  const search = element("input", {
    type: "search",
    "aria-label": "Find by the beginning of the id",
    placeholder: "Find by id",
    value: find,
    autocomplete: "off",
    spellcheck: "false",
  });
  const state = element("p", { class: "muted small", role: "status" }, "Loading …");
  const body = element("div", { class: "table-wrap" });
  const pages = element("nav", { class: "row", "aria-label": "Pages", hidden: true });
  const form = element(
    "form",
    { class: "row finder", role: "search" },
    search,
    element("button", { class: "button", type: "submit" }, "Find"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    navigate(name, search.value.trim() ? { find: search.value.trim() } : {});
  });
  view.append(
    element("div", { class: "page-head" }, element("h1", {}, title), add, element("p", {}, about)),
    element(
      "section",
      { class: "card stack", "aria-label": title },
      element("div", { class: "row between" }, form, state),
      body,
      pages,
    ),
  );
  if (kind === "AccessPolicy")
    explainPanel(context).then(
      (panel) => view.append(panel),
      () => {},
    );

  const { answer, total, resources } = await load(api, kind, page, find);
  if (answer) {
    state.textContent = "";
    return body.replaceChildren(failure(answer));
  }
  const last = Math.max(1, Math.ceil(total / PAGE_SIZE));
  const move = (number) => navigate(name, { page: number, ...(find ? { find } : {}) });
  if (page > last) return move(last);
  const first = (page - 1) * PAGE_SIZE + 1;
  const range = total ? `${first} to ${first + resources.length - 1} of ${total}` : "";
  state.textContent = find ? (total ? `${range} that begin with ${find}` : `No id begins with ${find}`) : range;
  const step = (label, number, possible) =>
    element("button", { class: "button", type: "button", disabled: !possible, onclick: () => move(number) }, label);
  pages.hidden = last === 1;
  pages.replaceChildren(
    step("Previous", page - 1, page > 1),
    element("span", { class: "muted small" }, `Page ${page} of ${last}`),
    step("Next", page + 1, page < last),
  );
  if (total) body.replaceChildren(table(context, kind, resources));
  else if (!find) body.replaceChildren(empty(KINDS[kind]));
}

function empty({ one, view, start }) {
  return element(
    "div",
    { class: "empty" },
    icon(view),
    element("h2", {}, `There is no ${one} yet`),
    element("p", {}, start),
  );
}

function table(context, kind, resources) {
  const { columns, view } = KINDS[kind];
  const head = ["Id", ...columns.map(([heading]) => heading), "Changed"].map((heading) =>
    element("th", { scope: "col" }, heading),
  );
  const rows = resources.map((resource) => {
    const link = element("a", { href: `#/${view}?id=${encodeURIComponent(resource.id)}`, class: "mono" }, resource.id);
    const changed = new Date(resource.meta.lastUpdated);
    const cells = columns.map(([, text]) => element("td", {}, text(resource)));
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, link),
      ...cells,
      element(
        "td",
        { class: "nowrap" },
        element(
          "time",
          { datetime: resource.meta.lastUpdated, title: changed.toLocaleString() },
          changed.toLocaleDateString(),
        ),
      ),
      element("td", {}, element("div", { class: "row end nowrap" }, ...actions(context, kind, resource))),
    );
  });
  const actionsHead = element("th", { scope: "col" }, element("span", { class: "hidden" }, "Actions"));
  return element(
    "table",
    { class: "table" },
    element("thead", {}, element("tr", {}, ...head, actionsHead)),
    element("tbody", {}, ...rows),
  );
}

function actions(context, kind, resource, after = () => context.reload()) {
  const label = (text, made) => {
    made.setAttribute("aria-label", `${text} ${resource.id}`);
    return made;
  };
  const own = {
    AwsAccount: () =>
      label(
        "Check",
        button("Check", "check", () => checkDialog(context, resource), "button quiet"),
      ),
    Client: () =>
      label(
        "Rotate the secret of",
        button("Rotate secret", "history", () => rotateDialog(context, resource, after), "button quiet"),
      ),
  }[kind];
  return [
    own?.(),
    label(
      "Delete",
      button("Delete", "trash", () => remove(context, kind, resource, after), "button quiet"),
    ),
  ].filter(Boolean);
}

async function remove(context, kind, resource, after) {
  const { api, confirm, notify } = context;
  const losses = {
    AwsAccount: "Nobody can sign URLs with this account any more. URLs that exist stay valid until they expire.",
    Client: "This Client can no longer log in, and its tokens end.",
    AccessPolicy: "Requests that only this policy allows are denied from now on.",
  };
  const agreed = await confirm({
    title: `Delete ${kind}/${resource.id}?`,
    text: losses[kind],
    action: `Delete ${resource.id}`,
    danger: true,
  });
  if (!agreed) return;
  const headers = { "if-match": `W/"${resource.meta.versionId}"` };
  const answer = await api.request("DELETE", `/${kind}/${encodeURIComponent(resource.id)}`, { headers });
  if (answer.status >= 400) return notify(explain(answer), "error");
  notify(`${kind}/${resource.id} is deleted`, "success");
  after();
}

function dialog(title, ...parts) {
  const id = "dialog-title";
  const made = element(
    "dialog",
    { class: "dialog wide", "aria-labelledby": id },
    element("h2", { id }, title),
    ...parts,
  );
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}

async function schemasOf(api) {
  return (await api.request("GET", "/openapi.json")).data.components.schemas;
}

async function checkDialog({ api }, { id }) {
  const form = createForm((await schemasOf(api)).CheckRequest, ["bucket", "live"], { required: ["bucket"] });
  form.fill({});
  const results = element("div", { class: "stack", "aria-live": "polite" });
  const close = element("button", { class: "button", type: "button", onclick: () => made.close() }, "Close");
  const asked = element(
    "form",
    { class: "stack", novalidate: true },
    form.elements.bucket,
    form.elements.live,
    results,
    element(
      "div",
      { class: "row end" },
      close,
      element("button", { class: "button primary", type: "submit" }, "Check"),
    ),
  );
  asked.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = form.read();
    const answer = await api.request("POST", `/AwsAccount/${encodeURIComponent(id)}/$check`, { body });
    if (answer.status === 422)
      return results.replaceChildren(
        ...form.showErrors(answer.data.issue).map((text) => element("p", { class: "notice bad", role: "alert" }, text)),
      );
    if (answer.status !== 200) return results.replaceChildren(failure(answer));
    results.replaceChildren(element("ul", { class: "checks" }, ...answer.data.checks.map(shownCheck)));
  });
  const made = dialog(`Check ${id}`, asked);
}

function shownCheck({ name, status, output, advice }) {
  const kind = { pass: "ok", warn: "warn", fail: "bad" }[status];
  const text = element(
    "div",
    {},
    element("strong", {}, name),
    element("p", {}, output),
    advice ? element("p", { class: "muted" }, advice) : null,
  );
  return element("li", {}, element("span", { class: `badge ${kind}` }, status), text);
}

async function rotateDialog({ api, notify }, { id }, after) {
  const form = createForm((await schemasOf(api)).Rotation, ["previous-valid-for"]);
  form.fill({});
  const result = element("div", { class: "stack", "aria-live": "polite" });
  const close = element("button", { class: "button", type: "button", onclick: () => made.close() }, "Close");
  const submit = element("button", { class: "button primary", type: "submit" }, "Rotate");
  const text = "The Client gets a new secret, which is shown here once. Write 0 to end the secret before at once.";
  const asked = element(
    "form",
    { class: "stack", novalidate: true },
    element("p", {}, text),
    form.elements["previous-valid-for"],
    result,
    element("div", { class: "row end" }, close, submit),
  );
  asked.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await api.request("POST", `/Client/${encodeURIComponent(id)}/$rotate-secret`, { body: form.read() });
    if (answer.status === 422)
      return result.replaceChildren(
        ...form.showErrors(answer.data.issue).map((line) => element("p", { class: "notice bad", role: "alert" }, line)),
      );
    if (answer.status !== 200) return result.replaceChildren(failure(answer));
    submit.remove();
    form.elements["previous-valid-for"].remove();
    notify(`The secret of Client/${id} is replaced`, "success");
    result.replaceChildren(
      newSecret(answer.data.secret),
      element(
        "p",
        { class: "muted" },
        `The secret before ends at ${new Date(answer.data["previous-expires"]).toLocaleString()}.`,
      ),
    );
  });
  const made = dialog(`Rotate the secret of ${id}`, asked);
  made.addEventListener("close", after);
}

function newSecret(secret) {
  const shown = element("code", { class: "mono" }, secret);
  return element(
    "div",
    { class: "stack" },
    element(
      "p",
      { class: "notice warn" },
      icon("warning"),
      element("span", {}, "Copy the secret now. Nobody can read it later."),
    ),
    element(
      "div",
      { class: "command" },
      shown,
      copyButton("Copy", () => secret),
    ),
  );
}

async function showOne(view, context, kind, id) {
  const { api, navigate, notify } = context;
  const { one, view: name, first, required, presets } = KINDS[kind];
  const path = `/${kind}/${encodeURIComponent(id)}`;
  const back = element("a", { href: `#/${name}`, class: "button quiet" }, "Back to the list");
  const heading = element("h1", {}, id || `New ${one}`);
  view.append(element("div", { class: "page-head" }, heading, back));
  const area = element("section", { class: "card stack", "aria-label": id || `New ${one}` });
  view.append(area);
  const [schemas, answer] = await Promise.all([schemasOf(api), id ? api.request("GET", path) : null]);
  if (answer && answer.status !== 200) return area.replaceChildren(failure(answer));
  let stored = answer?.data ?? {};

  const schema = schemas[`${kind}WithId`];
  const secrets = Object.keys(schema.properties).filter((field) => schema.properties[field].writeOnly);
  const names = Object.keys(schema.properties).filter((field) => !/^_|^(meta|resourceType)$/.test(field));
  const form = createForm(schema, names, { required: [...required, "id"], secrets });
  const removals = {};
  for (const secret of secrets) {
    if (!stored[`_${secret}`]) continue;
    form.fields[secret].note.textContent = "A value is stored; leave this empty to keep it. ";
    const box = element("input", { type: "checkbox" });
    removals[secret] = box;
    form.elements[secret].append(element("label", { class: "row small" }, box, `Remove the stored ${secret}`));
  }
  form.fill(stored);
  if (id) form.elements.id.remove();
  const rest = names.filter((field) => field !== "id" && !first.includes(field));
  const more = rest.length
    ? element(
        "details",
        { open: rest.some((field) => stored[field] !== undefined || stored[`_${field}`]) },
        element("summary", {}, "More fields"),
        element("div", { class: "form-grid" }, ...rest.map((field) => form.elements[field])),
      )
    : null;
  const problems = element("div", { class: "stack" });
  const save = element("button", { class: "button primary", type: "submit" }, id ? "Save" : "Create");
  const asked = element(
    "form",
    { class: "stack", novalidate: true, "aria-label": heading.textContent },
    presets && !id ? presetField(presets, form) : null,
    element(
      "div",
      { class: "form-grid" },
      ...(id ? [] : [form.elements.id]),
      ...first.map((field) => form.elements[field]),
    ),
    more,
    problems,
    element(
      "div",
      { class: "row between" },
      element("div", { class: "row" }, save, element("a", { class: "button", href: `#/${name}` }, "Cancel")),
      element("div", { class: "row" }, ...(id ? actions(context, kind, stored, () => navigate(name)) : [])),
    ),
  );
  asked.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = form.read();
    if (!values) return;
    const body = { ...values, ...(id ? { id } : {}) };
    for (const secret of Object.keys(removals)) {
      // The marker keeps the stored secret, which this page has never had.
      if (body[secret] === undefined && !removals[secret].checked) body[`_${secret}`] = stored[`_${secret}`];
    }
    save.disabled = true;
    const headers = id ? { "if-match": `W/"${stored.meta.versionId}"` } : {};
    const sent = await api.request(id ? "PUT" : "POST", id ? path : `/${kind}`, { headers, body }).catch(() => null);
    save.disabled = false;
    if (!sent)
      return problems.replaceChildren(
        element(
          "p",
          { class: "notice bad", role: "alert" },
          "The service cannot be reached. Nothing is stored; try again.",
        ),
      );
    if (sent.status === 412) return problems.replaceChildren(conflict(id, context));
    if (sent.status >= 400) {
      const texts = form.showErrors(sent.data?.issue ?? [{ diagnostics: explain(sent) }]);
      if (!texts.length) texts.push("Some fields are not valid; see the notes at them.");
      return problems.replaceChildren(
        ...texts.map((text) =>
          element("p", { class: "notice bad", role: "alert" }, icon("warning"), element("span", {}, text)),
        ),
      );
    }
    notify(`${kind}/${sent.data.id} is stored`, "success");
    const generated = secrets.find((secret) => sent.data[secret]);
    if (generated)
      return area.replaceChildren(
        newSecret(sent.data[generated]),
        element("div", { class: "row" }, element("a", { class: "button primary", href: `#/${name}` }, "Done")),
      );
    navigate(name);
  });
  area.replaceChildren(asked);
}

function conflict(id, { reload }) {
  const again = element("button", { class: "button", type: "button", onclick: reload }, "Load the stored version");
  const text = `Somebody else has changed ${id} since you opened it, so nothing is stored. Your entries are still here. Copy what you need, and load the stored version.`;
  return element(
    "div",
    { class: "notice warn", role: "alert" },
    icon("warning"),
    element("div", { class: "stack" }, element("span", {}, text), element("div", {}, again)),
  );
}

function presetField(presets, form) {
  const input = element(
    "select",
    { id: "preset" },
    element("option", { value: "" }, "Choose your S3"),
    ...Object.keys(presets).map((label) => element("option", {}, label)),
  );
  input.addEventListener("change", () => {
    for (const [field, value] of Object.entries(presets[input.value] ?? {})) form.fields[field].fill(value);
  });
  return element(
    "div",
    { class: "field preset" },
    element("label", { for: "preset" }, "Preset"),
    input,
    element("small", {}, "Fills region, host, use-ssl and path-style. Change them as you need."),
  );
}
