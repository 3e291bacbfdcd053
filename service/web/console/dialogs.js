// Toasts, confirmations and the sign-in.

import { element, icon } from "./dom.js";

const TOAST_MILLISECONDS = 6000;

export function notify(text, kind = "info") {
  const toast = element("div", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), TOAST_MILLISECONDS);
}

function show(dialog, value) {
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(value());
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask before something that cannot be undone. Resolves to whether the person agrees. */
export function confirm({ title, text, action = "Continue", danger = false }) {
  const dialog = element("dialog", { "aria-labelledby": "confirm-title", class: "dialog" });
  const cancel = element(
    "button",
    { class: "button", type: "button", autofocus: true, onclick: () => dialog.close() },
    "Cancel",
  );
  const agree = element(
    "button",
    { class: `button ${danger ? "danger" : "primary"}`, type: "button", onclick: () => dialog.close("yes") },
    action,
  );
  dialog.append(
    element("h2", { id: "confirm-title" }, title),
    element("p", {}, text),
    element("div", { class: "row end" }, cancel, agree),
  );
  return show(dialog, () => dialog.returnValue === "yes");
}

function field(label, properties, help) {
  const input = element("input", properties);
  const parts = [element("span", {}, label), input, help ? element("small", {}, help) : null];
  return [element("label", { class: "field" }, ...parts), input];
}

/** Ask for credentials. Resolves to whether somebody has signed in. */
export function signIn(api) {
  const dialog = element("dialog", { "aria-labelledby": "sign-in-title", class: "dialog" });
  const [idField, id] = field("Client id", {
    name: "username",
    autocomplete: "username",
    required: true,
    autofocus: true,
  });
  const [secretField, secret] = field("Secret", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const [tokenField, token] = field(
    "Token",
    { name: "token", type: "password", autocomplete: "off", spellcheck: "false" },
    "An access token of this service, or a JWT of its issuer.",
  );
  const error = element("p", { class: "notice bad", role: "alert", hidden: true });
  const basicPart = element("div", { class: "stack" }, idField, secretField);
  const tokenPart = element("div", { class: "stack", hidden: true }, tokenField);
  const kinds = [
    ["Id and secret", basicPart],
    ["Token", tokenPart],
  ].map(([label, part], index) => {
    const input = element("input", { type: "radio", name: "kind", checked: index === 0 });
    input.addEventListener("change", () => {
      basicPart.hidden = part !== basicPart;
      tokenPart.hidden = part !== tokenPart;
      id.required = secret.required = part === basicPart;
      token.required = part === tokenPart;
    });
    return element("label", {}, input, element("span", {}, label));
  });
  const submit = element("button", { class: "button primary", type: "submit" }, "Sign in");
  const form = element(
    "form",
    { class: "stack", method: "dialog" },
    element("fieldset", { class: "segments" }, element("legend", { class: "hidden" }, "Sign in with"), ...kinds),
    basicPart,
    tokenPart,
    error,
    element("p", { class: "muted small" }, "The secret stays in this tab and is never stored."),
    element(
      "div",
      { class: "row end" },
      element("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Cancel"),
      submit,
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    error.hidden = true;
    const credentials = tokenPart.hidden ? { id: id.value, secret: secret.value } : { token: token.value.trim() };
    const reason = await api.signIn(credentials).catch(() => "The service cannot be reached.");
    submit.disabled = false;
    if (!reason) return dialog.close("yes");
    error.replaceChildren(icon("warning"), element("span", {}, reason));
    error.hidden = false;
    secret.select();
  });
  dialog.append(element("h2", { id: "sign-in-title" }, "Sign in"), form);
  return show(dialog, () => dialog.returnValue === "yes");
}
