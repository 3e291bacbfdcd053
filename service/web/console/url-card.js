// What to do with a signed URL: upload, download, delete, list. And with an upload form.

import { explain } from "./api.js";
import { corsRule, diagnose } from "./diagnosis.js";
import { copyButton, element, icon, size } from "./dom.js";
import { asCurl } from "./snippets.js";
import { duration, keyPath, listing, purpose, terms, withParameters } from "./signed-url.js";
import { Refused, discardParts, hasParts, isLarge, isReachable, send, uploadInParts } from "./transfer.js";

const METHOD = { upload: "PUT", download: "GET", head: "HEAD", delete: "DELETE", list: "GET" };
const TITLE = {
  upload: "Upload a file",
  form: "Upload a file with the form",
  download: "Download the file",
  head: "Read the headers of the file",
  delete: "Delete the file",
  list: "List the bucket",
  other: "Signed URL",
};
const ICON = { upload: "upload", download: "download", head: "eye", delete: "trash", list: "list", other: "check" };
const EXAMPLE_KEY = "AKIAIOSFODNN7EXAMPLE";
const LARGEST_PREVIEW = 25_000_000;
const LARGEST_TEXT = 200_000;
// A blob has the origin of this page, so its type is one that runs no scripts.
const IMAGES = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  bmp: "image/bmp",
};
const TEXTS = /\.(txt|md|csv|tsv|json|ya?ml|xml|html?|css|js|ts|py|log|sh|sql|toml|ini)$/i;

function expiry(expires) {
  const shown = element("span", { class: "badge" });
  const draw = () => {
    const left = expires - Date.now();
    shown.className = `badge ${left <= 0 ? "bad" : left < 60_000 ? "warn" : ""}`;
    shown.replaceChildren(icon("clock"), left <= 0 ? "Expired" : `Expires in ${duration(left)}`);
  };
  draw();
  const timer = setInterval(() => (shown.isConnected ? draw() : clearInterval(timer)), 1000);
  return shown;
}

/** Return the card of a signed URL. `aim` is its purpose, `request` the request for it. */
export function urlCard({ url, aim, request, context }) {
  const kind = aim?.kind ?? "other";
  const { expires, bound } = terms(url);
  const area = element("div", { class: "stack" });
  const method = METHOD[kind];
  // A key that the request writes in an unusual way is not guessed.
  if (aim?.key && !decodeURIComponent(new URL(url).pathname).endsWith(`/${aim.key}`)) aim = { ...aim, key: "" };
  const state = { url, aim, request, context, area, bound, expires };
  const curl = async () =>
    asCurl({ method, url, headers: await boundHeaders(state), file: kind === "upload" ? "FILE" : undefined });
  const node = element(
    "section",
    { class: `url-card ${kind}`, "aria-label": TITLE[kind] },
    element("div", { class: "url-head" }, icon(ICON[kind]), element("h3", {}, TITLE[kind]), expiry(expires)),
    aim?.key
      ? element(
          "p",
          { class: "url-target" },
          element("span", { class: "mono" }, aim.key),
          " in ",
          element("span", { class: "mono" }, aim.bucket),
        )
      : null,
    new URL(url).searchParams.get("X-Amz-Credential")?.startsWith(`${EXAMPLE_KEY}/`)
      ? element(
          "p",
          { class: "notice" },
          icon("warning"),
          element("span", {}, "This account has AWS's example keys. The URL is signed correctly, but S3 refuses it."),
        )
      : null,
    area,
    element(
      "div",
      { class: "row url-foot" },
      copyButton("Copy URL", () => url),
      method ? copyButton("Copy as curl", curl) : null,
    ),
  );
  ({ upload, download, delete: remove, list, head: readHeaders })[kind]?.(state);
  return node;
}

/** Return the card of an upload form. `aim` is its purpose, `request` the request for it. */
export function formCard({ aim, request, context }) {
  const area = element("div", { class: "stack" });
  upload({ aim, request, context, area });
  return element(
    "section",
    { class: "url-card upload", "aria-label": TITLE.form },
    element("div", { class: "url-head" }, icon(ICON.upload), element("h3", {}, TITLE.form)),
    area,
  );
}

async function failure(state, answer, url = state.url) {
  const { aim, context, expires } = state;
  const reachable = answer.status === 0 && (await isReachable(url));
  const facts = { status: answer.status, body: answer.text, url, reachable, expires, now: Date.now() };
  const { cause, title, text } = diagnose({ ...facts, page: location.href, online: navigator.onLine });
  const checks = element("div", {});
  const rule = corsRule(location.origin);
  const check = element("button", { class: "button", type: "button" }, icon("check"), "Check the account");
  check.addEventListener("click", () => checkAccount(aim, context, checks));
  return element(
    "div",
    { class: "failure", role: "alert", "data-cause": cause },
    element(
      "div",
      { class: "notice bad" },
      icon("warning"),
      element("div", {}, element("strong", {}, title), element("p", {}, text)),
    ),
    cause === "cors" || cause === "unreachable"
      ? element(
          "details",
          { open: cause === "cors" },
          element("summary", {}, "CORS rule of the bucket"),
          element("pre", { class: "code", tabindex: "0" }, rule),
          element(
            "div",
            { class: "row" },
            copyButton("Copy the rule", () => rule),
            copyButton(
              "Copy as AWS command",
              () =>
                `aws s3api put-bucket-cors --bucket ${aim.bucket} --cors-configuration '${JSON.stringify(JSON.parse(rule))}'`,
            ),
          ),
        )
      : null,
    answer.text
      ? element(
          "details",
          {},
          element("summary", {}, "Answer of S3"),
          element("pre", { class: "code", tabindex: "0" }, answer.text.slice(0, 4000)),
        )
      : null,
    element("div", { class: "row" }, check),
    checks,
  );
}

async function checkAccount(aim, context, area) {
  const path = `/AwsAccount/${encodeURIComponent(aim.account)}/$check`;
  let answer = await context.api.request("POST", path, { body: { bucket: aim.bucket, live: true } });
  // Only a service with SIGNER_LIVE_CHECK asks S3.
  const cause = {
    422: "Set SIGNER_LIVE_CHECK=true to compare the keys with S3.",
    403: "No access policy allows it.",
  }[answer.status];
  if (cause) answer = await context.api.request("POST", path, { body: { bucket: aim.bucket } });
  if (answer.status !== 200) return area.replaceChildren(element("p", { class: "notice bad" }, explain(answer)));
  const kinds = { pass: "ok", warn: "warn", fail: "bad" };
  const items = answer.data.checks.map(({ name, status, output, advice }) =>
    element(
      "li",
      {},
      element("span", { class: `badge ${kinds[status]}` }, status),
      element(
        "div",
        {},
        element("strong", {}, name),
        " ",
        output,
        advice ? element("p", { class: "muted" }, advice) : null,
      ),
    ),
  );
  area.replaceChildren(
    element("ul", { class: "checks" }, ...items),
    cause ? element("p", { class: "notice warn" }, `S3 was not asked. ${cause}`) : "",
  );
}

function progress(total, verb, onCancel) {
  const bar = element("progress", { max: total || 1, value: 0, "aria-label": verb });
  const text = element("span", { class: "muted small" });
  const cancel = element("button", { class: "button", type: "button", onclick: onCancel }, icon("close"), "Cancel");
  const node = element("div", { class: "progress" }, bar, element("div", { class: "row between" }, text, cancel));
  const show = (bytes) => {
    bar.value = Math.min(bytes, total);
    text.textContent = `${size(Math.min(bytes, total))} of ${size(total)} · ${total ? Math.floor((100 * Math.min(bytes, total)) / total) : 100} %`;
  };
  show(0);
  return { node, show };
}

// The headers that the URL binds, with their values. Only the service can name them.
async function boundHeaders({ bound, request, context }) {
  if (!bound.length) return {};
  const path = withParameters(request.path, { details: "true", _format: "json" });
  const answer = await context.api.request(request.method, path, { body: request.body });
  return answer.data?.headers ?? {};
}

// The answer may be YAML, and its form may have expired, so this asks for the form again.
async function sendForm(state, options) {
  const { request, context } = state;
  const path = withParameters(request.path, { _format: "json" });
  const answer = await context.api.request(request.method, path, { body: request.body });
  if (!answer.data?.fields) throw new Refused(explain(answer));
  const { url, fields } = answer.data;
  // Some servers cannot read a file's name that is not ASCII.
  const key = fields.key.replaceAll("${filename}", options.file.name);
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...fields, key })) body.append(name, value);
  // S3 ignores what comes after the file.
  body.append("file", options.file);
  state.url = url;
  state.aim = { ...state.aim, key };
  return send({ method: "POST", url, body, ...options });
}

function upload(state) {
  const { area, aim, context } = state;
  const isForm = aim.kind === "form";
  // As in the form, ${filename} stands for the name of the file.
  const name = aim.key || (aim.prefix ? `${aim.prefix}\${filename}` : `the key of the ${isForm ? "form" : "URL"}`);
  const input = element("input", { type: "file", class: "hidden" });
  const drop = element(
    "label",
    { class: "drop" },
    input,
    icon("upload"),
    element("span", {}, element("strong", {}, "Choose a file"), " or drop it here"),
    element("small", {}, `S3 stores it as ${name}`),
  );
  const result = element("div", { role: "status" });
  input.addEventListener("change", () => input.files[0] && start(input.files[0]));
  for (const [type, over] of [
    ["dragover", true],
    ["dragleave", false],
    ["drop", false],
  ]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", over);
      if (type === "drop" && event.dataTransfer.files[0]) start(event.dataTransfer.files[0]);
    });
  }
  area.append(drop, result);

  async function start(file) {
    const control = new AbortController();
    const shown = progress(file.size, `Upload of ${file.name}`, () => control.abort());
    const began = performance.now();
    drop.hidden = true;
    result.replaceChildren(element("p", {}, element("strong", {}, file.name), " goes to S3."), shown.node);
    const options = { file, onProgress: shown.show, signal: control.signal };
    try {
      const answer = await transfer(options);
      if (answer.status < 200 || answer.status >= 300) throw new Refused("S3 refuses", answer);
      done(file, answer, performance.now() - began);
    } catch (error) {
      if (!area.isConnected) context.notify(`${file.name} is not on S3: ${error.message}`, "error");
      if (error instanceof Refused)
        result.replaceChildren(
          error.answer ? await failure(state, error.answer) : element("p", { class: "notice bad" }, error.message),
        );
      else if (error.name === "AbortError") cancelled(file);
      else throw error;
      drop.hidden = false;
    } finally {
      input.value = "";
    }
  }

  async function transfer({ file, onProgress, signal }) {
    if (isForm) return sendForm(state, { file, onProgress, signal });
    const place = { account: aim.account, bucket: aim.bucket, key: aim.key };
    if (isLarge(file) && !state.bound.length && aim.key) {
      try {
        return await uploadInParts({ api: context.api, place, file, onProgress, signal });
      } catch (error) {
        // The policies or the account may allow no parts. The URL itself takes the whole file.
        if (!(error instanceof Refused) || error.answer) throw error;
      }
    }
    const headers = await boundHeaders(state);
    const length = headers["content-length"];
    if (length !== undefined && Number(length) !== file.size)
      throw new Refused(`The URL is for a file of exactly ${length} bytes, and this one has ${file.size}.`);
    return send({ method: "PUT", url: state.url, headers, body: file, onProgress, signal });
  }

  function done(file, answer, milliseconds) {
    const { key } = state.aim;
    const next = element("div", { class: "stack" });
    const again = element(
      "button",
      { class: "button quiet", type: "button", onclick: () => ((drop.hidden = false), result.replaceChildren()) },
      "Upload another file",
    );
    const path = `/aws/storage/${encodeURIComponent(aim.account)}/${encodeURIComponent(aim.bucket)}/${keyPath(key)}`;
    const time = milliseconds < 1000 ? `${Math.ceil(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
    const text = `${file.name} is on S3: ${size(file.size)} in ${time}.`;
    if (!area.isConnected) context.notify(text, "success");
    const get = element(
      "button",
      {
        class: "button",
        type: "button",
        onclick: () => signInto(next, { method: "GET", path, headers: [], body: "" }, context),
      },
      icon("download"),
      "Get a download URL",
    );
    result.replaceChildren(
      element(
        "div",
        { class: "notice ok" },
        icon("check"),
        element("div", {}, element("strong", {}, "Uploaded"), element("p", {}, `${text} S3 answers ${answer.status}.`)),
      ),
      element("div", { class: "row" }, key ? get : null, again),
      next,
    );
  }

  function cancelled(file) {
    const place = { account: aim.account, bucket: aim.bucket, key: aim.key };
    const parts = !isForm && hasParts(place, file);
    const resume = element(
      "button",
      { class: "button", type: "button", onclick: () => start(file) },
      icon("play"),
      "Resume",
    );
    const discard = element("button", { class: "button quiet", type: "button" }, icon("trash"), "Discard the parts");
    discard.addEventListener("click", async () => {
      await discardParts({ api: context.api, place, file });
      result.replaceChildren(element("p", { class: "notice" }, "The parts are deleted."));
    });
    const text = parts ? "The parts that S3 has are kept, and the upload can go on." : "S3 has stored nothing.";
    result.replaceChildren(
      element("p", { class: "notice warn" }, `Cancelled. ${text}`),
      parts ? element("div", { class: "row" }, resume, discard) : "",
    );
  }
}

async function signInto(area, request, context) {
  const answer = await context.api.request(request.method, request.path);
  if (!answer.data?.url) return area.replaceChildren(element("p", { class: "notice bad" }, explain(answer)));
  area.replaceChildren(urlCard({ url: answer.data.url, aim: purpose(request), request, context }));
}

function download(state) {
  const { area, aim, request, url, context } = state;
  const shown = element("div", { class: "preview-area" });
  const name = aim.key.split("/").pop() || "file";
  const save = element("button", { class: "button", type: "button" }, icon("download"), "Save");
  save.addEventListener("click", async () => {
    // S3 itself says that the browser should save the object, so a large file needs no memory here.
    const joint = request.path.includes("?") ? "&" : "?";
    const path = /[?&](download|response-content-disposition)=/.test(request.path)
      ? request.path
      : `${request.path}${joint}download=${encodeURIComponent(name)}`;
    const answer = await context.api.request("GET", path);
    if (answer.data?.url) element("a", { href: answer.data.url, target: "_blank", rel: "noopener noreferrer" }).click();
    else shown.replaceChildren(element("p", { class: "notice bad" }, explain(answer)));
  });
  area.append(
    element(
      "div",
      { class: "row" },
      element(
        "a",
        { class: "button primary", href: url, target: "_blank", rel: "noopener noreferrer" },
        icon("external"),
        "Open",
      ),
      save,
      element(
        "button",
        { class: "button", type: "button", onclick: () => preview(state, shown) },
        icon("eye"),
        "Preview",
      ),
    ),
    shown,
  );
}

async function preview(state, area) {
  const control = new AbortController();
  area.replaceChildren(element("p", { class: "muted" }, "Loading …"));
  let response;
  try {
    response = await fetch(state.url, {
      signal: control.signal,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch {
    return area.replaceChildren(await failure(state, { status: 0, text: "" }));
  }
  if (!response.ok)
    return area.replaceChildren(await failure(state, { status: response.status, text: await response.text() }));
  const total = Number(response.headers.get("content-length"));
  if (total > LARGEST_PREVIEW) {
    control.abort();
    return area.replaceChildren(
      element(
        "p",
        { class: "notice" },
        `The file has ${size(total)}. A preview shows at most ${size(LARGEST_PREVIEW)}; open or save it instead.`,
      ),
    );
  }
  const shown = progress(total, "Download", () => control.abort());
  area.replaceChildren(shown.node);
  const pieces = [];
  let loaded = 0;
  try {
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      shown.show((loaded += value.length));
      if (loaded > LARGEST_PREVIEW) control.abort();
    }
  } catch {
    return area.replaceChildren(element("p", { class: "notice warn" }, "The download was cancelled."));
  }
  const type = (response.headers.get("content-type") ?? "").split(";")[0].trim();
  area.replaceChildren(
    element("p", { class: "muted small" }, `${size(loaded)}${type ? ` · ${type}` : ""}`),
    await drawing(new Blob(pieces), type, state.aim.key),
  );
}

async function drawing(content, type, key) {
  const extension = key.split(".").pop().toLowerCase();
  const image = Object.values(IMAGES).includes(type) ? type : IMAGES[extension];
  const asUrl = (kind) => URL.createObjectURL(new Blob([content], { type: kind }));
  if (image) return element("img", { class: "preview", src: asUrl(image), alt: `Preview of ${key}` });
  if (type === "image/svg+xml" || extension === "svg")
    return element("img", { class: "preview", src: asUrl("image/svg+xml"), alt: `Preview of ${key}` });
  if (type === "application/pdf" || extension === "pdf")
    return element("iframe", { class: "preview pdf", src: asUrl("application/pdf"), title: `Preview of ${key}` });
  const start = new Uint8Array(await content.slice(0, 4096).arrayBuffer());
  if (!type.startsWith("text/") && !TEXTS.test(key) && start.includes(0))
    return element("p", { class: "notice" }, "There is no preview for this kind of file. Open or save it.");
  const text = await content.slice(0, LARGEST_TEXT).text();
  return element(
    "pre",
    { class: "code preview", tabindex: "0", "aria-label": `Preview of ${key}` },
    text || "The file is empty.",
  );
}

function remove(state) {
  const { area, aim, url, context } = state;
  const result = element("div", { role: "status" });
  const button = element("button", { class: "button danger", type: "button" }, icon("trash"), "Delete");
  button.addEventListener("click", async () => {
    const text = `S3 deletes ${aim.key} in the bucket ${aim.bucket}. Without versioning of the bucket, nobody can bring it back.`;
    if (!(await context.confirm({ title: "Delete the file?", text, action: "Delete", danger: true }))) return;
    const answer = await send({ method: "DELETE", url });
    const isDone = answer.status >= 200 && answer.status < 300;
    result.replaceChildren(
      isDone
        ? element(
            "p",
            { class: "notice ok" },
            icon("check"),
            element("span", {}, `${aim.key} is deleted. S3 answers ${answer.status}.`),
          )
        : await failure(state, answer),
    );
  });
  area.append(element("div", { class: "row" }, button), result);
}

function readHeaders(state) {
  const result = element("div", { role: "status" });
  const button = element("button", { class: "button", type: "button" }, icon("eye"), "Ask S3");
  button.addEventListener("click", async () => {
    try {
      const answer = await fetch(state.url, { method: "HEAD", cache: "no-store", credentials: "omit" });
      if (!answer.ok) return result.replaceChildren(await failure(state, { status: answer.status, text: "" }));
      result.replaceChildren(
        element(
          "dl",
          { class: "pairs" },
          ...[...answer.headers].flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
        ),
      );
    } catch {
      result.replaceChildren(await failure(state, { status: 0, text: "" }));
    }
  });
  state.area.append(element("div", { class: "row" }, button), result);
}

function list(state) {
  const { area, aim, context } = state;
  const shown = element("div", { role: "status" });
  const storage = `/aws/storage/${encodeURIComponent(aim.account)}/${encodeURIComponent(aim.bucket)}`;
  area.append(
    element(
      "div",
      { class: "row" },
      element(
        "button",
        { class: "button primary", type: "button", onclick: () => load(state.url) },
        icon("list"),
        "Show the objects",
      ),
    ),
    shown,
  );

  async function load(url) {
    const answer = await send({ method: "GET", url });
    if (answer.status !== 200) return shown.replaceChildren(await failure(state, answer, url));
    let found;
    try {
      found = listing(answer.text);
    } catch (error) {
      const text = `The listing of S3 cannot be read: ${error.message}.`;
      return shown.replaceChildren(element("p", { class: "notice bad" }, text));
    }
    const { objects, prefixes, next } = found;
    const rows = [
      ...prefixes.map((prefix) =>
        element(
          "tr",
          {},
          element("td", { class: "mono" }, prefix),
          element("td", {}, "prefix"),
          element("td", {}),
          element(
            "td",
            {},
            element(
              "button",
              { class: "button quiet", type: "button", onclick: () => follow({ prefix, delimiter: "/" }) },
              "Open",
            ),
          ),
        ),
      ),
      ...objects.flatMap((object) => objectRows(object)),
    ];
    const table = element(
      "table",
      { class: "table objects" },
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...["Key", "Size", "Modified"].map((name) => element("th", { scope: "col" }, name)),
          element("th", { scope: "col" }, element("span", { class: "hidden" }, "Actions")),
        ),
      ),
      element("tbody", {}, ...rows),
    );
    const more = next
      ? element(
          "button",
          { class: "button", type: "button", onclick: () => follow({ "continuation-token": next }) },
          "Next page",
        )
      : null;
    const empty = element(
      "div",
      { class: "empty" },
      icon("list"),
      element("h3", {}, "No objects"),
      element("p", {}, "The bucket has no object with this prefix."),
    );
    shown.replaceChildren(
      rows.length
        ? element("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Objects" }, table)
        : empty,
      more ?? "",
    );
  }

  function objectRows({ key, size: bytes, modified }) {
    const cell = element("td", { colspan: 4 });
    const below = element("tr", { hidden: true }, cell);
    const sign = element(
      "button",
      { class: "button quiet", type: "button", "aria-label": `Sign ${key}` },
      icon("download"),
      "Sign",
    );
    sign.addEventListener("click", async () => {
      below.hidden = false;
      await signInto(cell, { method: "GET", path: `${storage}/${keyPath(key)}`, headers: [], body: "" }, context);
    });
    const day = modified
      ? new Date(modified).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })
      : "";
    return [
      element(
        "tr",
        {},
        element("td", { class: "mono key" }, key),
        element("td", { class: "short" }, size(bytes)),
        element("td", { class: "short" }, day),
        element("td", {}, sign),
      ),
      below,
    ];
  }

  async function follow(parameters) {
    const query = new URLSearchParams(aim.query);
    for (const [name, value] of Object.entries(parameters)) query.set(name, value);
    const answer = await context.api.request("GET", `${storage}?${query}`);
    if (answer.data?.url) await load(answer.data.url);
    else shown.replaceChildren(element("p", { class: "notice bad" }, explain(answer)));
  }
}
