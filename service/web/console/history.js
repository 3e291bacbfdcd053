// Earlier requests, in the storage of this browser. No secret and no signed URL is ever in it.

import { write } from "./notation.js";

const KEY = "s3-signer.history";
const LIMIT = 200;
const HARMLESS_HEADERS = new Set([
  "accept",
  "content-type",
  "if-match",
  "if-none-match",
  "if-none-exist",
  "x-request-id",
]);
const SECRET = /secret|token|passw|credential|authorization|assertion|x-amz-/i;
const HIDDEN = "<secret>";

function withoutSecrets(data) {
  if (Array.isArray(data)) return data.map(withoutSecrets);
  if (data === null || typeof data !== "object")
    return typeof data === "string" && /x-amz-/i.test(data) ? HIDDEN : data;
  // An operation of a JSON Patch names the field in its path.
  const isSecret = SECRET.test(data.path);
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => [
      name,
      SECRET.test(name) || (isSecret && name === "value") ? HIDDEN : withoutSecrets(value),
    ]),
  );
}

/** Return a body without secrets; an empty text if it cannot be known that none is left. Pure. */
export function redactBody(body) {
  if (/^\s*[{[]/.test(body)) {
    try {
      return JSON.stringify(withoutSecrets(JSON.parse(body)), null, 2);
    } catch {
      return "";
    }
  }
  // An escape in a name could hide what the name is.
  if (/"[^"\n]*\\[^"\n]*"\s*:/.test(body)) return "";
  const kept = [];
  let hiddenIndent = -1;
  for (const line of body.split("\n")) {
    const indent = line.search(/\S/);
    // The further lines of a hidden value are indented.
    if (hiddenIndent >= 0 && (indent < 0 || indent > hiddenIndent)) continue;
    hiddenIndent = -1;
    if (SECRET.test(line)) {
      const found = /^(\s*(?:- +)?)([\w-]+|"[\w-]+"|'[\w-]+')\s*:(?:\s|$)/.exec(line);
      // The path of a JSON Patch names a field whose value is in another line.
      if (!found || /[{}[\]]/.test(found[2]) || /path/.test(found[2])) return "";
      // Only the name may be what is suspicious, or the value is in a form that is not understood.
      kept.push(`${found[1]}${found[2]}: ${HIDDEN}`);
      hiddenIndent = found[1].length;
    } else kept.push(line);
  }
  return kept.join("\n");
}

/** Return the notation of a request, without what must not be stored. Pure. */
export function redact({ method, path, headers = [], body = "" }) {
  const [plain, query] = path.split("?", 2);
  const safe = query && !SECRET.test(decoded(query)) ? `${plain}?${query}` : plain;
  const harmless = headers.filter(([name]) => HARMLESS_HEADERS.has(name.toLowerCase()));
  return write({
    method,
    path: /x-amz-/i.test(decoded(plain)) ? "/" : safe,
    headers: harmless,
    body: redactBody(body),
  });
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Return the earlier requests, the newest first, each with `text`, `status` and `at` in milliseconds. */
export function entries() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

function store(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list.slice(0, LIMIT)));
  } catch {
    // Storage is full or blocked: there is no history then.
  }
}

/** Remember a request and the status of its answer. A request that equals the newest one replaces it. */
export function remember(request, status) {
  const entry = { text: redact(request), status, at: Date.now() };
  const [newest, ...others] = entries();
  store(newest?.text === entry.text ? [entry, ...others] : [entry, ...(newest ? [newest] : []), ...others]);
}

export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Storage is blocked: there is nothing to forget.
  }
}
