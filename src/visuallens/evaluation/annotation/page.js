"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const { about, key, images, questions } = JSON.parse(find("data").textContent);
  const place = `${about.format}/${key}`;
  const state = { name: "", at: 0, rankings: questions.map(() => []) };
  let cards = new Map();
  let dragged = null;

  // What a browser kept is believed only as far as it fits this page.
  function restore() {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(place));
    } catch {
      // It keeps nothing, or something else: begin anew.
    }
    if (kept === null || typeof kept !== "object") return;
    if (typeof kept.name === "string") state.name = kept.name;
    if (Number.isInteger(kept.at) && questions[kept.at]) state.at = kept.at;
    state.rankings = questions.map(({ candidates }, at) => {
      const known = new Set(candidates.map((one) => one.id));
      const ranked = Array.isArray(kept.rankings) ? kept.rankings[at] : null;
      return Array.isArray(ranked) ? [...new Set(ranked)].filter((id) => known.has(id)) : [];
    });
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      say("This browser keeps no progress: export before you close the page.");
    }
  }

  function say(text) {
    find("message").textContent = text;
  }

  // Text is only ever set as text, so that no name can become markup.
  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function picture(number, alt) {
    if (images[number] === null) return make("div", { className: "gap" }, "no photo");
    return make("img", { alt, draggable: false, src: `data:image/jpeg;base64,${images[number]}` });
  }

  const current = () => questions[state.at];
  const ranking = () => state.rankings[state.at];

  // Moves a candidate to a place of the ranking; null takes it out.
  function move(id, to) {
    const others = ranking().filter((one) => one !== id);
    if (to !== null) others.splice(to, 0, id);
    state.rankings[state.at] = others;
    showRanking();
    showProgress();
    const { name } = current().candidates.find((one) => one.id === id);
    say(to === null ? `${name}: not ranked` : `${name}: rank ${others.indexOf(id) + 1}`);
    keep();
  }

  // After a step the buttons are new; the hand or the keyboard is put where it was.
  function step(id, to, does) {
    move(id, to);
    const own = [...find("ranking").querySelectorAll("button:enabled")].filter(
      (one) => one.getAttribute("data-of") === id);
    const same = own.find((one) => one.getAttribute("data-does") === does);
    (same || own[0] || cards.get(id).box).focus({ preventScroll: true });
  }

  function control(does, candidate, sign, to, disabled) {
    const button = make("button", { type: "button", disabled }, sign);
    button.setAttribute("aria-label", `${does}: ${candidate.name}`);
    button.setAttribute("data-of", candidate.id);
    button.setAttribute("data-does", does);
    button.addEventListener("click", () => step(candidate.id, to, does));
    return button;
  }

  function makeDraggable(item, id) {
    item.draggable = true;
    item.setAttribute("data-id", id);
    item.addEventListener("dragstart", (event) => {
      dragged = id;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", id);
    });
    item.addEventListener("dragend", () => { dragged = null; });
    return item;
  }

  function rankedItem(candidate, at, count) {
    return makeDraggable(make("li", null,
      make("span", { className: "rank" }, `${at + 1}`),
      make("span", { className: "name" }, candidate.name),
      control("Up", candidate, "↑", at - 1, at === 0),
      control("Down", candidate, "↓", at + 1, at === count - 1),
      control("Remove", candidate, "×", null, false)), candidate.id);
  }

  function card(candidate) {
    const box = make("input", { type: "checkbox" });
    const rank = make("span", { className: "rank" });
    box.addEventListener("change", () => {
      move(candidate.id, box.checked ? ranking().length : null);
    });
    cards.set(candidate.id, { box, rank });
    const thumb = candidate.photo === null || images[candidate.photo] === null
      ? [] : [picture(candidate.photo, "")];
    const told = make("span", null,
      make("span", { className: "name" }, candidate.name),
      make("span", { className: "about" }, candidate.description));
    const label = make("label", { className: "card" }, box, ...thumb, told, rank);
    return makeDraggable(make("li", null, label), candidate.id);
  }

  function showRanking() {
    const byId = new Map(current().candidates.map((one) => [one.id, one]));
    const ranked = ranking();
    find("ranking").replaceChildren(
      ...ranked.map((id, at) => rankedItem(byId.get(id), at, ranked.length)));
    for (const [id, { box, rank }] of cards) {
      const at = ranked.indexOf(id);
      box.checked = at >= 0;
      rank.textContent = at >= 0 ? `${at + 1}` : "";
    }
  }

  function showProgress() {
    const answered = state.rankings.filter((one) => one.length > 0).length;
    find("answered").textContent = `${answered} of ${questions.length} answered`;
    find("progress").max = questions.length;
    find("progress").value = answered;
    find("jump").replaceChildren(...state.rankings.map((one, at) =>
      make("option", { value: `${at}` }, `${at + 1}${one.length > 0 ? " ✓" : ""}`)));
    find("jump").value = `${state.at}`;
    find("previous").disabled = state.at === 0;
    find("next").disabled = state.at === questions.length - 1;
  }

  function showQuestion() {
    const { text, taken, history, candidates } = current();
    const some = `${history.length} of ${taken} photos, spread evenly`;
    find("question").textContent = text;
    find("shown").textContent = `${history.length < taken ? some : `All ${taken} photos`}, newest first.`;
    find("history").replaceChildren(...history.map((number, at) =>
      make("figure", null, picture(number, `Photo ${at + 1}`),
        make("figcaption", null, `${at + 1}`))));
    cards = new Map();
    find("candidates").replaceChildren(...candidates.map(card));
    showRanking();
    showProgress();
  }

  function goTo(at) {
    state.at = Math.min(Math.max(at, 0), questions.length - 1);
    say("");
    keep();
    showQuestion();
    document.querySelector("main").scrollIntoView();
    find("question").focus({ preventScroll: true });
  }

  // Where a drop falls: before the item under the pointer, or after it in its lower half.
  function dropped(event) {
    if (dragged === null) return;
    event.preventDefault();
    const others = ranking().filter((one) => one !== dragged);
    const item = event.target.closest("li");
    const over = item === null ? -1 : others.indexOf(item.getAttribute("data-id"));
    if (item !== null && over < 0) return;
    if (item === null) {
      move(dragged, others.length);
    } else {
      const box = item.getBoundingClientRect();
      move(dragged, event.clientY > box.top + box.height / 2 ? over + 1 : over);
    }
    dragged = null;
  }

  function exported() {
    const answers = questions.map((question, at) => {
      const ranked = state.rankings[at];
      const ids = question.candidates.map((one) => one.id);
      return { example_id: question.id, ranked, unranked: ids.filter((id) => !ranked.includes(id)) };
    });
    return {
      ...about,
      annotator: state.name.trim(),
      exported_at: new Date().toISOString(),
      questions: answers.filter((one) => one.ranked.length > 0),
    };
  }

  function download() {
    const record = exported();
    if (!record.annotator) {
      say("Write your name first: files of several people are told apart by it.");
      find("name").focus();
      return;
    }
    if (!record.questions.length) {
      say("Nothing is ranked yet.");
      return;
    }
    const blob = new Blob([JSON.stringify(record, null, 1)], { type: "application/json" });
    const name = [about.benchmark, about.split, record.annotator].join("-");
    const link = make("a", { href: URL.createObjectURL(blob) });
    link.download = `${name.replace(/[^\p{L}\p{N}-]+/gu, "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`Exported: ${record.questions.length} of ${questions.length} questions.`);
  }

  function reset() {
    if (!window.confirm("Delete all of your rankings on this page?")) return;
    state.rankings = questions.map(() => []);
    state.name = find("name").value = "";
    goTo(0);
  }

  restore();
  find("name").value = state.name;
  find("name").addEventListener("input", () => {
    state.name = find("name").value;
    keep();
  });
  find("export").addEventListener("click", download);
  find("reset").addEventListener("click", reset);
  find("previous").addEventListener("click", () => goTo(state.at - 1));
  find("next").addEventListener("click", () => goTo(state.at + 1));
  find("jump").addEventListener("change", () => goTo(Number(find("jump").value)));
  find("ranking").addEventListener("dragover", (event) => {
    if (dragged !== null) event.preventDefault();
  });
  find("ranking").addEventListener("drop", dropped);
  showQuestion();
})();
