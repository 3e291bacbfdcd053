// The notation of Aidbox's REST console: a method and a path, headers, a blank line, a body in YAML or JSON.
// Lines that begin with # are comments. Pure functions.

export const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
export const REQUEST_LINE = new RegExp(`^(${METHODS.join("|")})[ \\t]+(/\\S*)[ \\t]*$`);
const HEADER_LINE = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$/;

/**
 * Return the requests of a document, each with `method`, `path`, `headers` (pairs), `body`, and where it is:
 * offsets `start` and `end`, and the index of its first `line`.
 */
export function parse(text) {
  const requests = [];
  let current = null;
  let offset = 0;
  text.split("\n").forEach((line, number) => {
    const found = REQUEST_LINE.exec(line);
    if (found) {
      const [, method, path] = found;
      current = { method, path, headers: [], lines: [], inHead: true, start: offset, line: number };
      requests.push(current);
    } else if (current && !line.startsWith("#")) {
      const header = current.inHead && HEADER_LINE.exec(line);
      if (header) current.headers.push([header[1], header[2].trim()]);
      else {
        current.inHead = false;
        current.lines.push(line);
      }
    }
    offset += line.length + 1;
    if (current) current.end = offset - 1;
  });
  return requests.map(({ lines, inHead, ...request }) => ({ ...request, body: lines.join("\n").trim() }));
}

/** Return the request around an offset, the first one for an offset before all, or undefined. */
export function requestAt(requests, offset) {
  return requests.findLast((request) => request.start <= offset) ?? requests[0];
}

/** Return the format of a body: `json` or `yaml`. */
export function bodyFormat(body) {
  return /^\s*[{[]/.test(body) ? "json" : "yaml";
}

/**
 * Return what to send for a request: `method`, `path`, `headers` as an object with names in lower case, `body`.
 * The answer has the format of the body, and is YAML without one. Basic credentials may be written as `id:secret`.
 */
export function toSend(request) {
  const headers = Object.fromEntries(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const body = request.body || undefined;
  const format = body ? bodyFormat(body) : "yaml";
  headers.accept ??= format === "json" ? "application/json" : "text/yaml";
  if (body) headers["content-type"] ??= format === "json" ? "application/json" : "text/yaml";
  const credentials = /^basic[ ]+(.+)$/i.exec(headers.authorization ?? "")?.[1];
  if (credentials?.includes(":")) {
    headers.authorization = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(credentials)))}`;
  }
  return { method: request.method, path: request.path, headers, body };
}

/** Return the notation of a request. */
export function write({ method, path, headers = [], body = "" }) {
  const head = [`${method} ${path}`, ...headers.map(([name, value]) => `${name}: ${value}`)].join("\n");
  return body ? `${head}\n\n${body}` : head;
}
