// Runs the script of an annotation page on the few parts of a browser that it uses, clicks
// candidates, and prints what it exports: node page_driver.cjs PAGE ACTIONS
// ACTIONS: [[place of a question, [places of candidates]], ...]
"use strict";
const fs = require("fs");

class Element {
  constructor(tag) {
    Object.assign(this, {
      tag, children: [], attributes: {}, listeners: {}, own: "", value: "", checked: false,
      disabled: false, type: "", className: "", alt: "", src: "", draggable: false, href: "",
    });
  }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  setAttribute(name, value) { this.attributes[name] = value; }
  getAttribute(name) { return this.attributes[name] ?? null; }
  addEventListener(name, call) { this.listeners[name] = call; }
  focus() { document.activeElement = this; }
  scrollIntoView() {}
  click() {
    if (this.type === "checkbox") {
      this.checked = !this.checked;
      this.listeners.change();
    } else if (this.listeners.click) this.listeners.click();
  }
  inside() { return this.children.flatMap((one) => (one instanceof Element ? [one, ...one.inside()] : [])); }
  querySelectorAll() { return this.inside().filter((one) => one.tag === "button" && !one.disabled); }
  get textContent() {
    return this.own + this.children.map((one) => (one instanceof Element ? one.textContent : one)).join("");
  }
  set textContent(text) { this.own = text; this.children = []; }
}

const html = fs.readFileSync(process.argv[2], "utf8");
const named = {};
for (const [, id] of html.matchAll(/ id="(\w+)"/g)) named[id] = new Element("div");
named.data.textContent = html.match(/id="data">(.*?)<\/script>/s)[1];
const kept = {};
let exported = null;
globalThis.document = {
  getElementById: (id) => named[id],
  createElement: (tag) => new Element(tag),
  querySelector: () => new Element("main"),
};
globalThis.localStorage = { getItem: (at) => kept[at] ?? null, setItem: (at, text) => { kept[at] = text; } };
globalThis.Blob = class { constructor(parts) { exported = parts.join(""); } };
globalThis.URL = { createObjectURL: () => "blob:", revokeObjectURL() {} };
globalThis.setTimeout = () => 0;
const script = html.match(/<script>(.*?)<\/script>/s)[1];
const start = () => new Function(script)();

start();
named.name.value = " Ada ";
named.name.listeners.input();
for (const [question, places] of JSON.parse(process.argv[3])) {
  named.jump.value = `${question}`;
  named.jump.listeners.change();
  const boxes = named.candidates.inside().filter((one) => one.type === "checkbox");
  places.forEach((place) => boxes[place].click());
}
// Whoever opens the page again finds what they have done.
start();
const first = named.ranking.inside().find((one) => one.attributes["data-does"] === "Down");
first.click();
named.export.click();
process.stdout.write(exported);
