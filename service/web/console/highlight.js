// Texts as coloured pieces: pairs of a kind and a text, whose texts together are the input. Pure functions.

import { METHODS } from "./notation.js";

const HEAD = new RegExp(`^(${METHODS.join("|")})([ \\t]+)([^?\\s]*)(\\?\\S*)?(.*)$`);
const ATOM = /^(true|false|null|~|-?\d+(\.\d+)?)$/;
const YAML_LINE = /^(\s*(?:- +)*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#:"'][^:]*?)(\s*:)(?=\s|$)(.*)$/;
const JSON_PIECE = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function value(text) {
  const trimmed = text.trim();
  if (!trimmed) return [["", text]];
  const lead = text.length - text.trimStart().length;
  const kind = ATOM.test(trimmed) ? "atom" : /^<[a-z-]+>$/.test(trimmed) ? "hole" : "text";
  return [
    ["", text.slice(0, lead)],
    [kind, text.slice(lead)],
  ];
}

function yamlLine(line) {
  if (line.trimStart().startsWith("#")) return [["comment", line]];
  if (/^\s*(- +)*[{[]/.test(line)) return jsonText(line);
  const found = YAML_LINE.exec(line);
  if (!found)
    return /^\s*- /.test(line)
      ? [["", line.match(/^\s*- /)[0]], ...value(line.replace(/^\s*- /, ""))]
      : [["text", line]];
  const [, lead, key, colon, rest] = found;
  return [["", lead], ["key", key], ["", colon], ...value(rest)];
}

function jsonText(text) {
  const pieces = [];
  let last = 0;
  for (const found of text.matchAll(JSON_PIECE)) {
    pieces.push(["", text.slice(last, found.index)]);
    const [whole, string, colon] = found;
    if (string && colon) pieces.push(["key", string], ["", colon]);
    else pieces.push([string ? "text" : "atom", whole]);
    last = found.index + whole.length;
  }
  return [...pieces, ["", text.slice(last)]];
}

/** Return the pieces of a body in `yaml` or `json`. */
export function body(text, format) {
  if (format === "json") return jsonText(text);
  return text.split("\n").flatMap((line, index) => (index ? [["", "\n"], ...yamlLine(line)] : yamlLine(line)));
}

/** Return the pieces of a document in the console's notation. */
export function notation(text) {
  const pieces = [];
  let inHead = false;
  text.split("\n").forEach((line, index) => {
    if (index) pieces.push(["", "\n"]);
    const head = HEAD.exec(line);
    if (head) {
      const [, method, space, path, query = "", rest] = head;
      pieces.push(
        [`method ${method.toLowerCase()}`, method],
        ["", space],
        ["path", path],
        ["query", query],
        ["", rest],
      );
      inHead = true;
    } else if (line.startsWith("#")) {
      pieces.push(["comment", line]);
    } else if (inHead && /^[A-Za-z][A-Za-z0-9-]*:/.test(line)) {
      const colon = line.indexOf(":");
      pieces.push(["header", line.slice(0, colon)], ["", ":"], ["text", line.slice(colon + 1)]);
    } else {
      inHead = false;
      pieces.push(...yamlLine(line));
    }
  });
  return pieces;
}
