// A form from the JSON Schema of the API document: one control for each field, with its description as help.

import { element } from "./dom.js";

let forms = 0;

/** Return the type of a field, without the null that stands for an absent one. */
function typeOf(rule) {
  return [rule.type].flat().find((type) => type && type !== "null");
}

/** Return the values of a rule that allows only some, such as `^(?:allow|matcho)$`; null for others. */
export function choicesOf(rule) {
  if (typeOf(rule) === "boolean") return ["true", "false"];
  if (rule.enum) return rule.enum.filter((value) => value !== null);
  const [, words] = /^\^\(\?:([\w|-]+)\)\$$/.exec(rule.pattern ?? "") ?? [];
  return words?.includes("|") ? words.split("|") : null;
}

function control(name, rule, { required, secret }) {
  const type = typeOf(rule);
  const words = rule.items?.enum;
  if (type === "array" && words) return checkboxes(words);
  if (type === "object" || type === "array") return json(type, rule);
  const choices = choicesOf(rule);
  if (choices) return select(choices, type, required);
  const input = element("input", {
    type: secret ? "password" : type === "integer" ? "number" : "text",
    min: rule.minimum,
    max: rule.maximum,
    autocomplete: secret ? "new-password" : "off",
    spellcheck: "false",
    autocapitalize: "none",
    placeholder: rule.default ?? "",
  });
  return {
    input,
    read: () => (input.value === "" ? undefined : type === "integer" ? Number(input.value) : input.value),
    fill: (value) => (input.value = value ?? ""),
  };
}

function select(choices, type, required) {
  const none = required ? null : element("option", { value: "" }, "not set");
  const input = element("select", {}, none, ...choices.map((choice) => element("option", { value: choice }, choice)));
  const read = () => (input.value === "" ? undefined : type === "boolean" ? input.value === "true" : input.value);
  return { input, read, fill: (value) => (input.value = value ?? (required ? choices.at(-1) : "")) };
}

function checkboxes(words) {
  const boxes = words.map((word) => element("input", { type: "checkbox", value: word }));
  const labels = boxes.map((box) =>
    element("label", { class: "row" }, box, element("span", { class: "mono" }, box.value)),
  );
  return {
    input: element("div", { class: "row choices", role: "group" }, ...labels),
    read: () =>
      boxes.some((box) => box.checked) ? boxes.filter((box) => box.checked).map((box) => box.value) : undefined,
    fill: (value) => boxes.forEach((box) => (box.checked = (value ?? []).includes(box.value))),
  };
}

function json(type, rule) {
  const example = JSON.stringify(rule.examples?.[0] ?? (type === "array" ? [] : {}), null, 2);
  const input = element("textarea", { class: "mono", rows: 5, spellcheck: "false", placeholder: example });
  return {
    input,
    read: () => (input.value.trim() === "" ? undefined : JSON.parse(input.value)),
    fill(value) {
      input.value = value === undefined ? "" : JSON.stringify(value, null, 2);
      input.rows = Math.min(20, Math.max(5, input.value.split("\n").length + 1));
    },
  };
}

/**
 * Return a form of the fields `names` of a schema: `elements` by name, `fill(values)`, `read()` and `showErrors(issues)`.
 *
 * `read` returns the values, or null if a field cannot be read; the field says why. `showErrors` takes the issues of an
 * outcome, shows each at the field that its expression names, and returns those without a field.
 */
export function createForm(schema, names, { required = [], secrets = [] } = {}) {
  const prefix = `form-${++forms}`;
  const fields = {};
  for (const name of names) {
    const rule = schema.properties[name];
    const made = control(name, rule, { required: required.includes(name), secret: secrets.includes(name) });
    const id = `${prefix}-${name}`;
    const target = made.input.matches("div") ? null : id;
    made.input.id = id;
    made.input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
    if (!target) made.input.setAttribute("aria-label", name);
    if (required.includes(name)) made.input.setAttribute("aria-required", "true");
    const error = element("span", { class: "error", id: `${id}-error` });
    const note = element("span", {});
    const help = element("small", { id: `${id}-help` }, note, rule.description ?? "");
    const label = element(target ? "label" : "span", { for: target, class: "mono" }, name);
    const whole = element("div", { class: "field" }, label, made.input, error, help);
    fields[name] = { ...made, error, note, whole };
  }

  const fail = (name, text) => {
    const { input, error } = fields[name];
    error.textContent = text;
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };

  const focusFirst = () => {
    const first = names.find((name) => fields[name].error.textContent);
    if (!first) return;
    const { input } = fields[first];
    const details = input.closest("details");
    if (details) details.open = true;
    (input.matches("div") ? input.querySelector("input") : input).focus();
  };

  return {
    fields,
    elements: Object.fromEntries(names.map((name) => [name, fields[name].whole])),
    fill: (values) => names.forEach((name) => fields[name].fill(values[name])),
    read() {
      const values = {};
      let failed = false;
      for (const name of names) {
        fail(name, "");
        try {
          const value = fields[name].read();
          if (value !== undefined) values[name] = value;
        } catch (error) {
          fail(name, `This is no JSON: ${error.message}`);
          failed = true;
        }
      }
      if (failed) focusFirst();
      return failed ? null : values;
    },
    showErrors(issues) {
      const others = [];
      for (const { diagnostics, expression = [] } of issues) {
        const name = expression[0]?.split(".").slice(-1)[0].replace(/\[.*$/, "");
        if (fields[name]) fail(name, diagnostics);
        else others.push(diagnostics);
      }
      focusFirst();
      return others;
    },
  };
}
