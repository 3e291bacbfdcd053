// The editor: a document of requests, of which the one at the cursor runs.

import { runRequest } from "./answer.js";
import { knowledge, operationOf } from "./completion.js";
import { copyButton, element, icon } from "./dom.js";
import { createEditor } from "./editor.js";
import { parse, requestAt, toSend } from "./notation.js";
import { asCurl, asJavaScript, asPython } from "./snippets.js";

const FIRST = `# Ctrl+Enter runs the request at the cursor. Lines that begin with # are comments.

GET /AwsAccount

PUT /AwsAccount

id: my-account
access-key-id: AKIAIOSFODNN7EXAMPLE
secret-access-key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
region: us-east-1
use-ssl: true

POST /aws/storage/my-account/aidboxtestbucket

filename: example.txt

GET /aws/storage/my-account/aidboxtestbucket?prefix=
`;

// In memory only: the document may have secrets.
let draft = FIRST;
let known = null;

async function learn(api) {
  const [description, about] = await Promise.all([api.request("GET", "/openapi.json"), api.about()]);
  // Suggestions are no reason to ask for a sign-in. A caller who may not list the accounts gets none for them.
  const accounts =
    api.authorization || !about?.links.token
      ? await api.request("GET", "/AwsAccount?_count=200", { ask: false })
      : null;
  known = knowledge(
    description.data,
    (accounts?.data?.entry ?? []).map(({ resource }) => resource.id),
  );
}

export function mount(view, context) {
  const { text } = context.params;
  if (text && !draft.startsWith(text)) draft = draft === FIRST ? text : `${text}\n\n${draft}`;
  const { api } = context;
  const answer = element("div", { class: "answer", "aria-live": "polite" });
  answer.append(
    element(
      "div",
      { class: "empty" },
      icon("requests"),
      element("h3", {}, "No answer yet"),
      element("p", {}, "Run a request, and its answer is here."),
    ),
  );
  const run = async (request) => {
    await runRequest(request, answer, context);
    if (request.path.includes("AwsAccount")) learn(api).catch(() => {});
    if (matchMedia("(max-width: 1100px)").matches) answer.scrollIntoView({ block: "start" });
  };
  const editor = createEditor({
    text: draft,
    label: "Requests",
    run,
    known: () => known,
    changed: (changed) => (draft = changed),
  });
  const asked = () => {
    const sent = toSend(requestAt(parse(editor.text), editor.area.selectionStart));
    return {
      ...sent,
      url: api.urlOf(sent.path),
      signedIn: Boolean(api.authorization) && !sent.headers.authorization,
    };
  };
  const copies = [
    ["curl", asCurl],
    ["Python", asPython],
    ["JavaScript", asJavaScript],
  ].map(([name, write]) => copyButton(name, () => write(asked())));
  const page = new URL("docs", api.base).href;
  const about = element(
    "a",
    { class: "button quiet", href: page, "aria-label": "Docs of this request" },
    icon("book"),
    "Docs",
  );
  about.addEventListener("click", () => {
    about.href = page + (operationOf(requestAt(parse(editor.text), editor.area.selectionStart), known)?.about ?? "");
  });
  view.classList.add("wide");
  view.append(
    element(
      "div",
      { class: "page-head" },
      element("h1", {}, "Requests"),
      element(
        "button",
        { class: "button primary", type: "button", onclick: () => editor.runCurrent() },
        icon("play"),
        "Run",
        element("kbd", { "aria-hidden": "true" }, /Mac/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵"),
      ),
    ),
    element(
      "div",
      { class: "workbench" },
      element(
        "section",
        { class: "card flush", "aria-label": "Editor" },
        element("div", { class: "toolbar" }, element("span", { class: "muted small" }, "Copy as"), ...copies, about),
        editor.node,
      ),
      element(
        "section",
        { class: "card", "aria-label": "Answer" },
        element("h2", { class: "hidden" }, "Answer"),
        answer,
      ),
    ),
  );
  if (!known) learn(api).catch(() => {});
  editor.area.focus({ preventScroll: true });
  const at = requestAt(parse(draft), 0)?.start ?? 0;
  editor.area.setSelectionRange(at, at);
}
