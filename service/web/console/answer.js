// Runs a request, and shows its answer.

import { copyButton, element, icon, size } from "./dom.js";
import { body as highlighted } from "./highlight.js";
import { remember } from "./history.js";
import { bodyFormat, toSend } from "./notation.js";
import { purpose, signedUrls } from "./signed-url.js";
import { formCard, urlCard } from "./url-card.js";

const LONGEST_COLORED = 200_000;

export function kindOf(status) {
  return status < 300 ? "ok" : status < 400 ? "warn" : "bad";
}

export function coloredBody(text, format) {
  if (text.length > LONGEST_COLORED) return [text];
  return highlighted(text, format).map(([kind, piece]) =>
    kind ? element("span", { class: `t-${kind}` }, piece) : piece,
  );
}

const HINTS = {
  401: "The service does not know the caller. Sign in, and run the request again.",
  403: "The caller may not do this: no access policy allows it. Ask for a policy, or sign in as another caller.",
  429: "Too many failed sign-ins came from here. Wait, and try again.",
};

// The faults of an OperationOutcome in YAML or JSON. The service writes each on one line.
function diagnostics(text) {
  const found = [...text.matchAll(/(?:^[ -]*|[{,]\s*)"?diagnostics"?:\s*("(?:[^"\\]|\\.)*"|[^\n]*)/gm)].map(
    ([, value]) => value.trim(),
  );
  return found.map((value) => {
    try {
      return JSON.parse(value);
    } catch {
      return value.replace(/^'(.*)'$/, (_, inner) => inner.replaceAll("''", "'"));
    }
  });
}

function showAnswer(area, request, answer, context) {
  const type = answer.headers["content-type"] ?? "";
  const format = type.includes("json") || (!type && bodyFormat(answer.text) === "json") ? "json" : "yaml";
  const text = answer.data === undefined ? answer.text.trimEnd() : JSON.stringify(answer.data, null, 2);
  const names = Object.entries(answer.headers);
  const urls = answer.status < 300 ? signedUrls(answer.text) : [];
  const aim = purpose(request);
  const hint = HINTS[answer.status];
  const faults = answer.status < 400 || hint ? [] : diagnostics(answer.text);
  area.replaceChildren(
    element(
      "div",
      { class: "answer-head" },
      element("span", { class: `badge ${kindOf(answer.status)}` }, `${answer.status} ${answer.statusText}`.trim()),
      element(
        "span",
        { class: "muted small" },
        `${Math.max(1, Math.round(answer.milliseconds))} ms · ${size(answer.text.length)}`,
      ),
      element("span", { class: "grow" }),
      text ? copyButton("Copy", () => text) : null,
    ),
    ...(faults.length
      ? [
          element(
            "div",
            { class: "notice bad" },
            icon("warning"),
            element("ul", { class: "faults" }, ...faults.map((fault) => element("li", {}, fault))),
          ),
        ]
      : []),
    ...(hint ? [element("p", { class: "notice warn" }, icon("warning"), element("span", {}, hint))] : []),
    ...(answer.status < 300 && aim?.kind === "form" ? [formCard({ aim, request, context })] : []),
    ...urls.map((url) => urlCard({ url, aim, request, context })),
    element(
      "pre",
      { class: "code", tabindex: "0", "aria-label": "Body of the answer" },
      ...(text ? coloredBody(text, format) : [element("span", { class: "t-comment" }, "The body is empty.")]),
    ),
    element(
      "details",
      { class: "headers" },
      element("summary", {}, `${names.length} headers`),
      element("dl", {}, ...names.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    ),
  );
}

const latest = new WeakMap();

/**
 * Send a request, and show its answer in `area`, which is a live region. Returns the answer, or null.
 * If another request has been run in the meantime, its answer stays.
 */
export async function runRequest(request, area, context) {
  area.setAttribute("aria-busy", "true");
  latest.set(area, request);
  const { method, path, headers, body } = toSend(request);
  try {
    const answer = await context.api.request(method, path, { headers, body });
    remember(request, answer.status);
    if (latest.get(area) === request) showAnswer(area, request, answer, context);
    return answer;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const text = "The service gives no answer. Check that it runs, and run the request again.";
    area.replaceChildren(element("p", { class: "notice bad" }, icon("warning"), element("span", {}, text)));
    return null;
  } finally {
    if (latest.get(area) === request) area.removeAttribute("aria-busy");
  }
}
