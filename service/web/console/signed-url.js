// What a signed URL, and the request for it, say. Pure functions.

const SIGNED_URL = /https?:\/\/[^\s"'<>\\]*[?&]X-Amz-Signature=[0-9a-f]{64}/g;
const STORAGE = /^\/aws\/storage\/([^/?]+)\/([^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/s;

/** Return the signed URLs in a text. */
export function signedUrls(text) {
  return [...new Set(text.match(SIGNED_URL) ?? [])];
}

/** Return when a signed URL was signed and when it expires, in milliseconds, and the headers that it binds. */
export function terms(url) {
  const query = new URL(url).searchParams;
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get("X-Amz-Date") ?? "") ?? [];
  const [year, month, ...rest] = parts.map(Number);
  const signed = parts.length ? Date.UTC(year, month - 1, ...rest) : NaN;
  const bound = (query.get("X-Amz-SignedHeaders") ?? "host").split(";").filter((name) => name !== "host");
  return { signed, expires: signed + Number(query.get("X-Amz-Expires")) * 1000, bound };
}

/** Return a duration as people say it, such as `23 h 59 min`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  // People say 24 hours rather than one day.
  const days = seconds < 2 * 86400 ? 0 : Math.floor(seconds / 86400);
  const parts = [
    [days, "d"],
    [Math.floor((seconds - days * 86400) / 3600), "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = Math.max(
    parts.findIndex(([count]) => count > 0),
    0,
  );
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
}

/** Return what the URLs of an answer are for, or null: `kind` is upload, form, download, head, delete, list or other. */
export function purpose({ method, path, body = "" }) {
  const found = STORAGE.exec(path);
  if (!found) return null;
  const [, account, bucket, rawKey, rawQuery = ""] = found;
  const place = { account: decoded(account), bucket: decoded(bucket) };
  if (rawKey === "$upload-form")
    return { ...place, kind: "form", key: fieldOf(body, "filename"), prefix: fieldOf(body, "starts-with") };
  if (rawKey?.startsWith("$")) return { ...place, kind: "other" };
  if (method === "POST") return { ...place, kind: "upload", key: fieldOf(body, "filename") };
  if (method === "DELETE") return { ...place, kind: "delete", key: decoded(rawKey ?? "") };
  if (rawKey === undefined) return { ...place, kind: "list", query: rawQuery };
  const kind = new URLSearchParams(rawQuery).get("method") === "HEAD" ? "head" : "download";
  return { ...place, kind, key: decoded(rawKey), query: rawQuery };
}

// The service signs no URL for a path that cannot be decoded.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// A field at the top of a body, which may be YAML or JSON.
function fieldOf(body, name) {
  try {
    return String(JSON.parse(body)[name] ?? "");
  } catch {
    const line = new RegExp(`^["']?${name}["']?[ \\t]*:[ \\t]*(.*)$`, "m").exec(body)?.[1].trim() ?? "";
    if (/^".*"$/.test(line)) {
      try {
        return JSON.parse(line);
      } catch {
        return line.slice(1, -1);
      }
    }
    return /^'.*'$/.test(line) ? line.slice(1, -1).replaceAll("''", "'") : line.replace(/\s+#.*$/, "");
  }
}

/** Return a key as a part of a path: every character that is not unreserved is escaped, except slashes. */
export function keyPath(key) {
  return key.split("/").map(escaped).join("/");
}

function escaped(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Return a path with these parameters, which replace those of the same names. */
export function withParameters(path, parameters) {
  const [place, query = ""] = path.split(/\?(.*)/s);
  const others = query.split("&").filter((pair) => pair && !Object.hasOwn(parameters, pair.split("=", 1)[0]));
  return `${place}?${[...others, ...Object.entries(parameters).map((pair) => pair.join("="))].join("&")}`;
}

/** Return the texts of all elements with this name in S3's XML. */
export function elements(xml, name) {
  return [...xml.matchAll(new RegExp(`<${name}(?:\\s[^>]*)?>([\\s\\S]*?)</${name}>`, "g"))].map(([, inner]) => inner);
}

// Throws for a number that is no character.
function unescaped(text) {
  const entities = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (all, decimal, hex, named) => {
    if (named) return entities[named] ?? all;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    if (code >= 0xd800 && code <= 0xdfff) throw new RangeError(`${all} is half a character`);
    return String.fromCodePoint(code);
  });
}

/** Return the text of the first element with this name, without escapes, or an empty text. Wrong escapes stay. */
export function textOf(xml, name) {
  const [inner = ""] = elements(xml, name);
  try {
    return unescaped(inner);
  } catch {
    return inner;
  }
}

/**
 * Return the objects and prefixes of S3's answer to a listing, and the token of the next page.
 *
 * Throws for a name that cannot be decoded: a URL for it would be for another object.
 */
export function listing(xml) {
  const isEncoded = textOf(xml, "EncodingType") === "url";
  const nameIn = (part, tag) => {
    const text = unescaped(elements(part, tag)[0] ?? "");
    return isEncoded ? decodeURIComponent(text.replaceAll("+", " ")) : text;
  };
  return {
    objects: elements(xml, "Contents").map((object) => ({
      key: nameIn(object, "Key"),
      size: Number(textOf(object, "Size")),
      modified: textOf(object, "LastModified"),
    })),
    prefixes: elements(xml, "CommonPrefixes").map((prefix) => nameIn(prefix, "Prefix")),
    next: textOf(xml, "NextContinuationToken") || null,
  };
}
