// A text area over a coloured copy of its text, with a button at each request, and completion.

import { complete } from "./completion.js";
import { element, icon } from "./dom.js";
import { notation } from "./highlight.js";
import { parse, requestAt } from "./notation.js";

let editors = 0;

function colored(pieces) {
  return pieces.map(([kind, text]) => (kind ? element("span", { class: `t-${kind}` }, text) : text));
}

/**
 * Return an editor: its `node`, its `text`, which may be set, and `runCurrent()`.
 *
 * `run(request)` is called for the request at the cursor, or for the one whose button is pressed. `known()` returns the
 * knowledge for completion, or null.
 */
export function createEditor({ text, label, run, known = () => null, changed = () => {} }) {
  const id = `editor-${++editors}`;
  const copy = element("pre", { class: "editor-copy", "aria-hidden": "true" });
  const current = element("div", { class: "editor-current" });
  const runs = element("div", { class: "editor-runs" });
  const options = element("ul", {
    class: "suggestions",
    role: "listbox",
    id: `${id}-options`,
    "aria-label": "Suggestions",
    hidden: true,
  });
  const area = element("textarea", {
    class: "editor-area",
    "aria-label": label,
    "aria-controls": options.id,
    "aria-autocomplete": "list",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    autocorrect: "off",
  });
  const node = element("div", { class: "editor" }, current, copy, area, runs, options);
  let requests = [];
  let offered = null;
  let chosen = -1;

  function draw() {
    requests = parse(area.value);
    // The last line has a height only if something follows its line end.
    copy.replaceChildren(...colored(notation(area.value)), "\n");
    runs.replaceChildren(
      ...requests.map((request) => {
        const name = `Run ${request.method} ${request.path}`;
        const press = () => {
          area.setSelectionRange(request.start, request.start);
          mark();
          run(request);
        };
        return element(
          "button",
          { class: "run", type: "button", title: name, "aria-label": name, onclick: press },
          icon("play"),
          "Run",
        );
      }),
    );
    place();
  }

  // The places of the buttons depend on how lines wrap.
  function place() {
    const methods = copy.querySelectorAll(".t-method");
    [...runs.children].forEach((button, index) => (button.style.top = `${(methods[index]?.offsetTop ?? 0) - 3}px`));
    mark();
  }

  function mark() {
    const request = requestAt(requests, area.selectionStart);
    const index = requests.indexOf(request);
    const methods = copy.querySelectorAll(".t-method");
    current.hidden = index < 0 || !methods[index];
    [...runs.children].forEach((button, position) => button.classList.toggle("current", position === index));
    if (current.hidden) return;
    const top = methods[index].offsetTop;
    const end = caret(area.value.slice(0, request.end).trimEnd().length).top;
    current.style.top = `${top - 4}px`;
    current.style.height = `${end - top + 6}px`;
  }

  function caret(offset) {
    const walker = document.createTreeWalker(copy, NodeFilter.SHOW_TEXT);
    let rest = offset;
    while (walker.nextNode()) {
      const { data } = walker.currentNode;
      if (rest <= data.length) {
        const range = document.createRange();
        range.setStart(walker.currentNode, rest);
        const found = range.getBoundingClientRect();
        const frame = node.getBoundingClientRect();
        return { left: found.left - frame.left, top: found.bottom - frame.top };
      }
      rest -= data.length;
    }
    return { left: 0, top: 0 };
  }

  function close() {
    offered = null;
    chosen = -1;
    options.hidden = true;
    area.removeAttribute("aria-activedescendant");
  }

  function choose(index) {
    chosen = (index + options.children.length) % options.children.length;
    [...options.children].forEach((option, position) =>
      option.setAttribute("aria-selected", String(position === chosen)),
    );
    area.setAttribute("aria-activedescendant", options.children[chosen].id);
    options.children[chosen].scrollIntoView({ block: "nearest" });
  }

  function accept(index) {
    const { from, options: found } = offered;
    area.setRangeText(found[index].text, from, area.selectionStart, "end");
    close();
    area.focus();
    draw();
    changed(area.value);
  }

  function offer() {
    const facts = known();
    offered =
      facts && area.selectionStart === area.selectionEnd ? complete(area.value, area.selectionStart, facts) : null;
    if (!offered) return close();
    chosen = -1;
    options.replaceChildren(
      ...offered.options.map(({ text: value, detail }, index) =>
        element(
          "li",
          {
            role: "option",
            id: `${id}-option-${index}`,
            "aria-selected": "false",
            onmousedown: (event) => (event.preventDefault(), accept(index)),
          },
          element("span", { class: "mono" }, value.trim()),
          detail ? element("small", {}, detail) : null,
        ),
      ),
    );
    const { left, top } = caret(offered.from);
    options.style.left = `${Math.max(0, Math.min(left, node.clientWidth - 330))}px`;
    options.style.top = `${top + 4}px`;
    options.hidden = false;
  }

  area.addEventListener("input", () => {
    draw();
    offer();
    changed(area.value);
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      close();
      editor.runCurrent();
    } else if (!offered) return;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(event.key === "ArrowDown" ? chosen + 1 : chosen < 0 ? -1 : chosen - 1);
    } else if ((event.key === "Enter" && chosen >= 0) || (event.key === "Tab" && !event.shiftKey)) {
      event.preventDefault();
      accept(Math.max(chosen, 0));
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
    }
  });
  for (const moved of ["keyup", "click", "focus"]) area.addEventListener(moved, mark);
  area.addEventListener("blur", close);
  new ResizeObserver(place).observe(copy);

  const editor = {
    node,
    area,
    get text() {
      return area.value;
    },
    set text(value) {
      area.value = value;
      draw();
    },
    runCurrent() {
      const request = requestAt(requests, area.selectionStart);
      if (request) run(request);
    },
  };
  editor.text = text;
  return editor;
}
