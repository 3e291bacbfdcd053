// The examples of the specification as a guided tutorial, for the reader's own S3.

import { runRequest } from "./answer.js";
import { copyButton, element, icon } from "./dom.js";
import { createEditor } from "./editor.js";
import { write } from "./notation.js";
import { keyPath } from "./signed-url.js";

const EXAMPLE = {
  account: "my-account",
  bucket: "aidboxtestbucket",
  fields: [
    ["access-key-id", "AKIAIOSFODNN7EXAMPLE"],
    ["secret-access-key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
    ["region", "us-east-1"],
  ],
};
const LOCAL = {
  account: "my-account",
  bucket: "tutorial",
  fields: [
    ["access-key-id", "TUTORIALACCESSKEY"],
    ["secret-access-key", "tutorial-secret-key"],
    ["region", "us-east-1"],
    ["host", "127.0.0.1:9000"],
    ["path-style", "true"],
    ["use-ssl", "false"],
  ],
};
const FILE = "example.txt";
const COMMAND = "make s3";

const FORM = [
  ["account", "Name of the account", "my-account", "You choose it. Requests name the account by it."],
  ["bucket", "Bucket", "my-bucket", "It must exist, and allow this page by a CORS rule."],
  ["access-key-id", "Access key id", "AKIA…", ""],
  ["secret-access-key", "Secret access key", "", "It goes to this service only."],
  ["region", "Region", "us-east-1", ""],
  ["host", "Host", "s3.example.com", "Only for S3 servers other than AWS, such as MinIO, Garage or Ceph."],
];

// What the reader has chosen and written; in memory only, because it has a secret.
const state = { choice: "example", own: {}, edited: {} };

function own() {
  const { account, bucket, host, ...fields } = state.own;
  const isPlain = /^http:\/\//.test(host ?? "");
  const given = ["access-key-id", "secret-access-key", "region"].map((name) => [name, fields[name] || `<${name}>`]);
  const server = host
    ? [
        ["host", host],
        ["path-style", "true"],
      ]
    : [];
  return {
    account: account || "my-account",
    bucket: bucket || "my-bucket",
    fields: [...given, ...server, ...(isPlain || /^https:/.test(host ?? "") ? [] : [["use-ssl", "true"]])],
  };
}

function place() {
  return { example: EXAMPLE, local: LOCAL, own: own() }[state.choice];
}

// A value that YAML could read as something else is quoted.
function scalar(value) {
  return /^[A-Za-z0-9+/<][\w+/.:@<>=-]*$/.test(value) && !value.endsWith(":") ? value : JSON.stringify(value);
}

function yaml(pairs) {
  return pairs.map(([name, value]) => `${name}: ${scalar(value)}`).join("\n");
}

function steps({ account, bucket, fields }) {
  const storage = `/aws/storage/${encodeURIComponent(account)}/${encodeURIComponent(bucket)}`;
  const object = `${storage}/${keyPath(FILE)}`;
  return [
    {
      name: "account",
      title: "Store an account",
      text: "An AwsAccount has the access key, the secret and the address of one S3. Nobody can read the secret back.",
      request: { method: "PUT", path: "/AwsAccount", body: yaml([["id", account], ...fields]) },
    },
    {
      name: "upload",
      title: "Get a signed URL to upload the file",
      text: "The answer is a URL that takes one file. Drop a file into it, and your browser sends the file to S3 itself.",
      request: { method: "POST", path: storage, body: yaml([["filename", FILE]]) },
    },
    {
      name: "download",
      title: "Get a signed URL to retrieve the file",
      text: "Anyone who has the URL can read the file, until the URL expires after 24 hours.",
      request: { method: "GET", path: object },
    },
    {
      name: "delete",
      title: "Get a signed URL to delete the file",
      text: "The answer is a URL too. The file is deleted only when somebody sends a DELETE to it.",
      request: { method: "DELETE", path: object },
    },
    {
      name: "expiration",
      title: "Choose how long a URL works",
      text: "The parameter expiration is in seconds. For 12 hours, it is 43200.",
      request: { method: "GET", path: `${object}?expiration=43200` },
    },
    {
      name: "compatible",
      title: "Use an S3 other than AWS",
      text: "MinIO, Garage, Ceph and others need their host. Most of them have the bucket in the path.",
      request: {
        method: "PUT",
        path: "/AwsAccount/my-minio",
        body: [
          "access-key-id: <access-key-id>",
          "secret-access-key: <secret-access-key>",
          "region: us-east-1",
          "host: 127.0.0.1:9000",
          "path-style: true",
          "use-ssl: false",
        ].join("\n"),
      },
    },
  ];
}

export function mount(view, context) {
  const list = element("ol", { class: "steps" });
  const panel = element("div", {});

  function draw() {
    const details = { example: exampleNote, local: localNote, own: ownForm }[state.choice];
    panel.replaceChildren(details(drawSteps));
    drawSteps();
  }

  function drawSteps() {
    list.replaceChildren(...steps(place()).map((step) => stepCard(step, context)));
  }

  const choices = [
    ["example", "Example keys"],
    ["local", "Local S3"],
    ["own", "My own S3"],
  ].map(([value, label]) => {
    const input = element("input", { type: "radio", name: "s3", value, checked: state.choice === value });
    input.addEventListener("change", () => {
      state.choice = value;
      state.edited = {};
      draw();
    });
    return element("label", {}, input, element("span", {}, label));
  });
  view.classList.add("narrow");
  view.append(
    element(
      "div",
      { class: "page-head" },
      element("h1", {}, "Upload your first file"),
      element(
        "p",
        {},
        "This service signs URLs, and your browser uses them: the file goes straight to S3. Run the steps in order. You can change every request before you run it.",
      ),
    ),
    element(
      "section",
      { class: "card place", "aria-label": "Your S3" },
      element(
        "fieldset",
        { class: "stack" },
        element("legend", { class: "h2" }, "Where do your files go?"),
        element("div", { class: "segments" }, ...choices),
      ),
      panel,
    ),
    list,
  );
  draw();
}

function exampleNote() {
  return element(
    "p",
    { class: "muted" },
    "The requests are those of the specification, with the example keys of AWS. Every step gives a valid answer, but S3 does not know these keys. To upload a file, choose a local S3 or your own.",
  );
}

function localNote() {
  return element(
    "div",
    { class: "stack" },
    element(
      "p",
      {},
      "Start a small S3 server on this machine. In a second terminal, in the directory of s3-signer, run:",
    ),
    element(
      "div",
      { class: "command" },
      element("code", {}, COMMAND),
      copyButton("Copy", () => COMMAND),
    ),
    element(
      "p",
      { class: "muted small" },
      "It keeps files in memory until it ends, and has a bucket that allows this page. The requests below have its keys.",
    ),
  );
}

function ownForm(changed) {
  const fields = FORM.map(([name, label, placeholder, help]) => {
    const input = element("input", {
      name,
      placeholder,
      type: name === "secret-access-key" ? "password" : "text",
      value: state.own[name] ?? "",
      autocomplete: "off",
      spellcheck: "false",
      autocapitalize: "off",
    });
    input.addEventListener("input", () => {
      state.own[name] = input.value.trim();
      state.edited = {};
      changed();
    });
    return element(
      "label",
      { class: "field" },
      element("span", {}, label),
      input,
      help ? element("small", {}, help) : null,
    );
  });
  return element(
    "form",
    { class: "form-grid", autocomplete: "off", onsubmit: (event) => event.preventDefault() },
    ...fields,
  );
}

function stepCard({ name, title, text, request }, context) {
  const answer = element("div", { class: "answer", "aria-live": "polite" });
  const mark = element("span", { class: "step-mark", "aria-hidden": "true" });
  const run = async (asked) => {
    const given = await runRequest(asked, answer, context);
    card.classList.toggle("done", Boolean(given && given.status < 300));
  };
  const editor = createEditor({
    text: state.edited[name] ?? write(request),
    label: `Request: ${title}`,
    run,
    changed: (changed) => (state.edited[name] = changed),
  });
  const button = element(
    "button",
    { class: "button primary", type: "button", onclick: () => editor.runCurrent() },
    icon("play"),
    "Run",
    element("span", { class: "hidden" }, `: ${title}`),
  );
  const card = element(
    "li",
    { class: "step" },
    mark,
    element(
      "section",
      { class: "card", "aria-label": title },
      element(
        "div",
        { class: "step-head" },
        element("div", { class: "grow" }, element("h2", {}, title), element("p", { class: "muted" }, text)),
        button,
      ),
      editor.node,
      answer,
    ),
  );
  return card;
}
