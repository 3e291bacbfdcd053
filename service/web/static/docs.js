// Shows the service's own OpenAPI document. Whatever comes from it goes into the page as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(name, content) {
  return element(name, {}, String(content));
}

function resolve(api, object) {
  if (!object || !object.$ref) return object;
  return object.$ref.split("/").slice(1).reduce((found, key) => found[key], api);
}

// A rule as one reads it: what is referred to is shown under its name, further down.
function written(schema) {
  return JSON.stringify(schema, (key, value) => (value && value.$ref ? value.$ref.split("/").pop() : value), 2);
}

function table(headings, rows) {
  const head = element("tr", {}, ...headings.map((heading) => text("th", heading)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function parameters(api, operation) {
  const rows = (operation.parameters || []).map((given) => {
    const parameter = resolve(api, given);
    const required = parameter.required ? " (required)" : "";
    return [text("code", parameter.name), parameter.in + required, parameter.description || "", text("code", written(parameter.schema))];
  });
  return rows.length ? [text("h4", "Parameters"), table(["name", "in", "meaning", "rule"], rows)] : [];
}

function body(api, operation) {
  if (!operation.requestBody) return [];
  const content = operation.requestBody.content;
  const schema = Object.values(content)[0].schema;
  const example = (resolve(api, schema).examples || [])[0];
  return [
    text("h4", "Body"),
    element("p", {}, "As ", text("code", Object.keys(content).join(", ")), ", ", text("code", written(schema))),
    ...(example ? [text("pre", JSON.stringify(example, null, 2))] : []),
  ];
}

function answers(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, given]) => {
    const response = resolve(api, given);
    const first = Object.values(response.content || {})[0];
    const headers = Object.keys(response.headers || {}).join(", ");
    return [text("code", status), response.description, text("code", first ? written(first.schema) : ""), headers];
  });
  return [text("h4", "Answers"), table(["status", "meaning", "body", "headers"], rows)];
}

function operationOf(api, path, method, operation) {
  const line = element("summary", {}, text("b", method.toUpperCase()), text("code", path), " ", operation.summary);
  const parts = [...parameters(api, operation), ...body(api, operation), ...answers(api, operation)];
  return element("details", { id: operation.operationId }, line, ...parts);
}

function show(api) {
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("about").append(...api.info.description.split("\n\n").map((part) => text("p", part)));
  const contents = document.getElementById("contents");
  const main = document.getElementById("operations");
  for (const tag of api.tags) {
    main.append(text("h2", tag.name));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((name) => item[name] && item[name].tags.includes(tag.name))) {
        const operation = item[method];
        contents.append(element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.summary)));
        main.append(operationOf(api, path, method, operation));
      }
    }
  }
  main.append(text("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    main.append(element("details", { id: name }, element("summary", {}, text("code", name)), text("pre", written(schema))));
  }
}

function open() {
  const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (wanted instanceof HTMLDetailsElement) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

async function load() {
  const state = document.getElementById("state");
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`openapi.json answers ${response.status}`);
    show(await response.json());
    state.remove();
    addEventListener("hashchange", open);
    open();
  } catch (error) {
    state.textContent = `The document cannot be shown: ${error.message}`;
  }
  document.getElementById("operations").setAttribute("aria-busy", "false");
}

load();
