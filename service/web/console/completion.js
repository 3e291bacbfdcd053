// What may be written at the cursor. Pure functions on the text and on what is known of the API.

import { METHODS, parse, requestAt } from "./notation.js";

/**
 * Return the values that the API document and the accounts offer: `paths` by method, `fields` of the body by method and
 * path pattern, and `accounts`.
 */
export function knowledge(document, accounts) {
  const paths = [];
  for (const [path, item] of Object.entries(document?.paths ?? {})) {
    if (path.startsWith("/fhir/") || path === "/") continue;
    for (const [method, operation] of Object.entries(item)) {
      if (!METHODS.includes(method.toUpperCase())) continue;
      paths.push({
        method: method.toUpperCase(),
        path,
        detail: operation.summary ?? "",
        fields: fieldsOf(document, operation),
        // The address of the operation on the API page.
        about: `#tag/${operation.tags?.[0].toLowerCase().replaceAll(" ", "-")}/${operation.operationId}`,
      });
    }
  }
  return { paths, accounts };
}

function fieldsOf(document, operation) {
  const schema = Object.values(operation.requestBody?.content ?? {})[0]?.schema;
  const names = new Map();
  const collect = (node, depth) => {
    if (!node || depth > 4) return;
    if (node.$ref) return collect(document.components.schemas[node.$ref.split("/").pop()], depth + 1);
    for (const part of [...(node.allOf ?? []), ...(node.anyOf ?? []), ...(node.oneOf ?? [])]) collect(part, depth + 1);
    for (const [name, field] of Object.entries(node.properties ?? {})) names.set(name, field.description ?? "");
  };
  collect(schema, 0);
  return [...names].map(([text, detail]) => ({ text, detail }));
}

function matches(pattern, path) {
  const parts = pattern.split("/");
  const given = path.split("?")[0].split("/");
  return parts.length === given.length && parts.every((part, index) => /^\{/.test(part) || part === given[index]);
}

/** Return the operation of `known` to which a request belongs, or undefined. */
export function operationOf(request, known) {
  // A key may have slashes.
  return known?.paths.find(
    ({ method, path }) =>
      method === request?.method &&
      (matches(path, request.path) || (path.endsWith("{key}") && request.path.startsWith("/aws/storage/"))),
  );
}

/** Return where the completed word begins (`from`) and its `options`, pairs of `text` and `detail`; null for none. */
export function complete(text, offset, known) {
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const line = text.slice(lineStart, offset);
  const result = (word, options) => {
    const found = options.filter(
      (option) => option.text.toLowerCase().startsWith(word.toLowerCase()) && option.text !== word,
    );
    return found.length ? { from: offset - word.length, options: found.slice(0, 12) } : null;
  };
  const head = /^([A-Z]+)[ \t]+(\/\S*)$/.exec(line);
  if (head) return result(head[2], pathOptions(head[1], head[2], known));
  if (/^[A-Z]+$/.test(line) && METHODS.some((method) => method.startsWith(line) && method !== line)) {
    return result(
      line,
      METHODS.map((method) => ({ text: `${method} `, detail: "" })),
    );
  }
  const word = /^[A-Za-z][\w-]*$/.exec(line)?.[0];
  const request = requestAt(parse(text), offset);
  if (!word || !request || request.start >= lineStart) return null;
  const route = operationOf(request, known);
  const written = new Set(request.body.split("\n").map((other) => /^([\w-]+):/.exec(other)?.[1]));
  return result(
    word,
    (route?.fields ?? [])
      .filter((field) => !written.has(field.text))
      .map((field) => ({ ...field, text: `${field.text}: ` })),
  );
}

function pathOptions(method, word, { paths, accounts }) {
  const options = new Map();
  for (const { method: own, path, detail } of paths) {
    if (own !== method) continue;
    if (/\{account\}|^\/AwsAccount\/\{id\}/.test(path)) {
      for (const account of accounts) options.set(path.replace(/\{account\}|\{id\}/, account), detail);
      if (accounts.length) continue;
    }
    options.set(path, detail);
  }
  return [...options]
    .map(([text, detail]) => ({ text, detail }))
    .sort((one, other) => (one.text < other.text ? -1 : 1));
}
