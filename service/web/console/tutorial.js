import { element } from "./dom.js";

export function mount(view) {
  view.append(element("div", { class: "page-head" }, element("h1", {}, "tutorial")));
}
