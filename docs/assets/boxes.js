// The answer boxes. A reader types a formula; it is read, typeset, and compared with values that the package computed when
// the site was built (tinyddpm/exercises/classroom/boxes.py). Nothing typed is ever run as code or put into the page as
// HTML, and nothing leaves the machine. Four parts: read (text to tree), show (tree to MathML), judge (tree to verdict),
// and the box in the page.
"use strict";

(() => {
  // Read. -------------------------------------------------------------------------------------------------------------

  const GREEK = Object.fromEntries(
    ("α alpha β beta γ gamma δ delta ε epsilon ϵ epsilon ζ zeta η eta θ theta κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho " +
      "σ sigma τ tau φ phi ϕ phi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega")
      .split(" ").map((word, i, all) => [word, all[i + 1]]).filter((_, i) => i % 2 === 0),
  );
  const NAMES = new Set(Object.values(GREEK));
  const ACCENTS = { bar: "bar", overline: "bar", hat: "hat", widehat: "hat", tilde: "tilde", widetilde: "tilde" };
  const COMBINING = { "\u0304": "bar", "\u0305": "bar", "\u0302": "hat", "\u0303": "tilde" };
  const SUBSCRIPTS = { "₊": "+", "₋": "-", "ₜ": "t", "ₛ": "s", "ᵢ": "i", "ₖ": "k", "ₙ": "n" };
  const SUPERSCRIPTS = { "⁺": "+", "⁻": "-", "¹": "1", "²": "2", "³": "3" };
  "0123456789".split("").forEach((digit, i) => {
    SUBSCRIPTS["₀₁₂₃₄₅₆₇₈₉"[i]] = digit;
    SUPERSCRIPTS["⁰¹²³⁴⁵⁶⁷⁸⁹"[i]] = digit;
  });
  const FRACTIONS = { "½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4 };
  const OPERATORS = { "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/" };
  const MACROS = { cdot: "*", times: "*", ast: "*", div: "/" };
  const CLOSING = { "(": ")", "[": "]", "{": "}" };
  const SKIPPED = /^(?:\s|[~$&]|\\(?:left|right|[bB]igg?[lr]?|quad|qquad|displaystyle|[,;:! ]))+/;
  const FUNCTIONS = {
    sqrt: Math.sqrt, exp: Math.exp, log: Math.log, ln: Math.log, abs: Math.abs, sin: Math.sin, cos: Math.cos,
    tanh: Math.tanh, expm1: Math.expm1, log1p: Math.log1p,
  };
  const CONSTANTS = { pi: Math.PI, e: Math.E };
  const DEEPEST = 100;

  // What cannot be read: in words, and where it is in the text.
  class Unreadable extends Error {
    constructor(words, from, to = from + 1) {
      super(words);
      this.from = from;
      this.to = to;
    }
  }

  // A name at a place of the text: alpha_bar_t-1 for any of \bar\alpha_{t-1}, ᾱₜ₋₁, alpha_bar_{t-1}. Null if there is none.
  function nameAt(text, start) {
    let at = start;
    const take = (pattern) => {
      pattern.lastIndex = at;
      const found = pattern.exec(text);
      if (found) at = pattern.lastIndex;
      return found;
    };
    let name;
    let accent = "";
    let greedy = true; // in LaTeX an index without braces is one character
    const macro = take(/\\([A-Za-z]+)/y);
    if (macro && macro[1] in ACCENTS) {
      accent = "_" + ACCENTS[macro[1]];
      const braced = take(/\s*\{\s*/y);
      take(/\s*/y);
      const inner = nameAt(text, at);
      if (!inner) throw new Unreadable(`\\${macro[1]} needs a letter after it`, start, at);
      // Without braces the accent is on the letter alone; an index that nameAt took with it stays behind the accent.
      [name, at] = [inner.name, inner.to];
      if (braced && !take(/\s*\}/y)) throw new Unreadable("a brace is not closed", start, at);
      const cut = name.indexOf("_");
      [name, accent] = cut < 0 ? [name, accent] : [name.slice(0, cut), accent + name.slice(cut)];
      greedy = false;
    } else if (macro && NAMES.has(macro[1].replace(/^var(?=epsilon|theta|phi|rho|sigma)/, ""))) {
      name = macro[1].replace(/^var/, "");
      greedy = false;
    } else if (macro) {
      return null;
    } else {
      const [base, mark] = (text[at] || "").normalize("NFD");
      const next = mark || text[at + 1];
      if (base in GREEK || (next in COMBINING && /[A-Za-z]/.test(base))) {
        name = GREEK[base] || base;
        at += 1;
        if (next in COMBINING) {
          accent = "_" + COMBINING[next];
          at += mark ? 0 : 1;
        }
        const more = take(/(?:_[A-Za-z0-9]+)+/y);
        accent += more ? more[0] : "";
      } else {
        const word = take(/[A-Za-z][A-Za-z0-9]*(?:[_.][A-Za-z0-9]+)*/y);
        if (!word) return null;
        name = word[0].replace(/^(?:np|numpy|math|torch)\./, "");
      }
    }
    name += accent;
    for (;;) {
      const index = take(/_\{\s*([^{}]*?)\s*\}/y) || take(greedy ? /_([A-Za-z0-9]+)/y : /_([A-Za-z0-9])/y);
      const small = index ? null : take(/[₀-₉₊₋ₜₛᵢₖₙ]+/y);
      if (!index && !small) break;
      name += "_" + (index ? index[1].replace(/\s/g, "").replace(/−/g, "-") : [...small[0]].map((c) => SUBSCRIPTS[c]).join(""));
    }
    return { name, to: at };
  }

  function tokens(text) {
    const found = [];
    let at = 0;
    const put = (kind, to, more) => {
      found.push({ kind, from: at, to, text: text.slice(at, to), ...more });
      at = to;
    };
    while (at < text.length) {
      const rest = text.slice(at);
      const char = rest[0];
      const skipped = SKIPPED.exec(rest);
      const number = /^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/.exec(rest);
      const raised = /^[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+/.exec(rest);
      const macro = /^\\([A-Za-z]+)/.exec(rest);
      const last = found[found.length - 1];
      if (skipped) {
        at += skipped[0].length;
      } else if (number && last && last.kind === "frac" && /^\d\d$/.test(number[0])) {
        put("number", at + 1, { value: Number(char) }); // \frac12
      } else if (number) {
        put("number", at + number[0].length, { value: Number(number[0]) });
        if (/^,\d/.test(text.slice(at))) throw new Unreadable("write a decimal point, not a comma: 0.5", at);
      } else if (raised) {
        const value = Number([...raised[0]].map((c) => SUPERSCRIPTS[c]).join(""));
        if (Number.isNaN(value)) throw new Unreadable("this power is not a number", at, at + raised[0].length);
        found.push({ kind: "^", from: at, to: at, text: "" });
        put("number", at + raised[0].length, { value, text: String(value).replace("-", "−") });
      } else if (char in FRACTIONS) {
        put("number", at + 1, { value: FRACTIONS[char] });
      } else if (rest.startsWith("**")) {
        put("^", at + 2);
      } else if ("+-*/^()[]{}".includes(char)) {
        put(char, at + 1);
      } else if (char in OPERATORS) {
        put(OPERATORS[char], at + 1);
      } else if (char === "√") {
        put("name", at + 1, { name: "sqrt" });
      } else if (macro && macro[1] in MACROS) {
        put(MACROS[macro[1]], at + macro[0].length);
      } else if (macro && /^[dt]?frac$/.test(macro[1])) {
        put("frac", at + macro[0].length);
      } else if (macro && macro[1] in FUNCTIONS) {
        put("name", at + macro[0].length, { name: macro[1] });
      } else {
        const named = nameAt(text, at);
        if (named) put("name", named.to, { name: named.name });
        else if (macro) throw new Unreadable(`${macro[0]} is not known here`, at, at + macro[0].length);
        else if (char === "=") throw new Unreadable("write only what stands on the right of the equals sign", at);
        else throw new Unreadable(`“${[...rest][0]}” has no meaning here`, at, at + [...rest][0].length);
      }
    }
    found.push({ kind: "end", from: text.length, to: text.length, text: "" });
    return found;
  }

  // A tree of {op: "number" | "letter" | "call" | "neg" | "+" | "-" | "*" | "/" | "^"} from the text.
  // Products without a sign bind as those with one, from left to right: 1/2 x is (1/2) x, and the typeset formula says so.
  function read(text, letters) {
    const spellings = new Map(letters.flatMap((letter, i) => letter.spellings.map((name) => [name, i])));
    const all = tokens(text);
    let place = 0;
    let depth = 0;
    const next = () => all[place];
    const is = (...kinds) => kinds.includes(next().kind);
    const fail = (words) => {
      throw new Unreadable(words, next().from, Math.max(next().to, next().from + 1));
    };

    function sum() {
      let left = product();
      while (is("+", "-")) left = { op: all[place++].kind, left, right: product() };
      return left;
    }
    function product() {
      if (is("-")) {
        if ((depth += 1) > DEEPEST) fail("this is nested too deeply");
        place++;
        const left = product();
        depth -= 1;
        return { op: "neg", left }; // -a b is -(a b): the same number, and typeset without parentheses
      }
      let left = signed();
      for (;;) {
        if (is("*", "/")) left = { op: all[place++].kind, left, right: signed() };
        else if (is("number", "name", "frac", "(", "[", "{")) {
          if (is("number") && all[place - 1].kind === "number") fail("there is no sign between two numbers");
          left = { op: "*", left, right: power() };
        } else return left;
      }
    }
    function signed() {
      if ((depth += 1) > DEEPEST) fail("this is nested too deeply");
      let made;
      if (is("-")) made = (place++, { op: "neg", left: signed() });
      else made = is("+") ? (place++, signed()) : power();
      depth -= 1;
      return made;
    }
    function power() {
      const base = primary();
      return is("^") ? (place++, { op: "^", left: base, right: signed() }) : base;
    }
    function group() {
      const open = all[place++];
      const inside = sum();
      if (!is(CLOSING[open.kind])) fail(is("end") ? `a “${open.kind}” is not closed` : `a “${CLOSING[open.kind]}” is missing before this`);
      place++;
      return inside;
    }
    function primary() {
      const token = next();
      if (is("(", "[", "{")) return group();
      if (is("number")) return place++, { op: "number", value: token.value, text: token.text };
      if (is("frac")) return place++, { op: "/", left: primary(), right: primary() };
      if (!is("name")) {
        if (is("end")) fail(place ? "something is missing at the end" : "write a formula");
        fail(is(")", "]", "}") ? `there is nothing before this “${token.text}”, or it was never opened` : `something is missing before “${token.text}”`);
      }
      place++;
      if (spellings.has(token.name)) return { op: "letter", at: spellings.get(token.name) };
      if (Object.hasOwn(FUNCTIONS, token.name)) {
        if (is("end", "+", "-", "*", "/", "^", ")", "]", "}")) fail(`${token.name} needs something after it, in parentheses`);
        return { op: "call", name: token.name, left: primary() };
      }
      if (Object.hasOwn(CONSTANTS, token.name)) return { op: "number", value: CONSTANTS[token.name], text: token.name === "pi" ? "π" : "e" };
      throw new Unreadable(`there is no letter “${token.text}” here`, token.from, token.to);
    }

    const tree = sum();
    if (!is("end")) fail(is(")", "]", "}") ? `this “${next().text}” was never opened` : `“${next().text}” is not understood here`);
    return tree;
  }

  // Show. -------------------------------------------------------------------------------------------------------------

  // MathML of a tree. It holds no text of the reader's but digits: letters come from the box, names from the tables above.
  function show(tree, letters) {
    const rank = (node) => {
      if (node.op === "letter") return letters[node.at].fenced ? 1 : 5;
      return { "+": 1, "-": 1, neg: 1, "*": 2, "/": 4, "^": 4, call: node.name === "sqrt" ? 5 : 4, number: 5 }[node.op];
    };
    const row = (...parts) => `<mrow>${parts.join("")}</mrow>`;
    const sign = (char) => `<mo>${char}</mo>`;
    const within = (node, least) => (rank(node) < least ? row(sign("("), draw(node), sign(")")) : draw(node));
    const first = (node) => (node.left && !["call", "neg", "/"].includes(node.op) ? first(node.left) : node);
    function draw(node) {
      const { op, left, right } = node;
      if (op === "number") return /^[eπ]$/.test(node.text) ? `<mi>${node.text}</mi>` : `<mn>${node.text}</mn>`;
      if (op === "letter") return `<mrow>${letters[node.at].mathml || `<mi>${letters[node.at].name}</mi>`}</mrow>`;
      if (op === "call") {
        if (node.name === "sqrt") return `<msqrt>${draw(left)}</msqrt>`;
        return row(`<mi>${node.name}</mi>`, sign("("), draw(left), sign(")"));
      }
      if (op === "neg") return row(sign("−"), within(left, 2));
      if (op === "+") return row(draw(left), sign("+"), right.op === "neg" ? within(right, 2) : draw(right));
      if (op === "-") return row(draw(left), sign("−"), within(right, 2));
      if (op === "/") return `<mfrac>${draw(left)}${draw(right)}</mfrac>`;
      if (op === "^") return `<msup>${within(left, 5)}${draw(right)}</msup>`;
      const dot = (rank(right) > 1 && first(right).op === "number") || (left.op === "/" && right.op === "/");
      return row(within(left, 2), sign(dot ? "·" : "\u2062"), dot ? "" : '<mspace width="0.15em"/>', within(right, 2));
    }
    return `<math display="block">${draw(tree)}</math>`;
  }

  // Judge. ------------------------------------------------------------------------------------------------------------

  class Impossible extends Error {}

  function evaluate(node, values) {
    if (node.op === "number") return node.value;
    if (node.op === "letter") return values[node.at];
    const left = evaluate(node.left, values);
    if (node.op === "neg") return -left;
    if (node.op === "call") return FUNCTIONS[node.name](left);
    const right = evaluate(node.right, values);
    if (node.op === "+") return left + right;
    if (node.op === "-") return left - right;
    if (node.op === "*") return left * right;
    if ((node.op === "/" && right === 0) || (node.op === "^" && left === 0 && right < 0)) throw new Impossible("divides by 0");
    return node.op === "/" ? left / right : left ** right;
  }

  function valueAt(tree, given, letters) {
    // A letter that is the root of another has no value of its own in the box.
    const values = letters.map((letter, i) => ("root" in letter ? Math.sqrt(given[letter.root]) : given[i]));
    try {
      const got = evaluate(tree, values);
      return Number.isFinite(got) ? { got, values } : { wrong: "gives no number", values };
    } catch (problem) {
      if (!(problem instanceof Impossible)) throw problem;
      return { wrong: problem.message, values };
    }
  }

  // The verdict on a tree: right, or the first example where it fails, and the slip if it is one. What a right answer may
  // differ by was measured by the package, example by example: enough for forms whose digits cancel, and for no more.
  function judge(tree, box) {
    const tried = box.given.map((given) => valueAt(tree, given, box.letters));
    const near = (a, b, slack) => a === b || Math.abs(a - b) <= slack;
    const at = tried.findIndex(({ got, wrong }, i) => wrong || !near(got, box.expected[i], box.allowed[i]));
    if (at < 0) return { right: true, examples: tried.length };
    const used = new Set();
    (function walk(node) {
      if (node.op === "letter") used.add(node.at);
      if (node.left) walk(node.left);
      if (node.right) walk(node.right);
    })(tree);
    // As the command does, examples on which the answer is no number are left out of the comparison with slips.
    const places = box.slips_at.map((i, column) => [i, column]).filter(([i]) => !tried[i].wrong);
    const isIt = ([, values]) => places.every(([i, column]) =>
      values[column] !== null && near(tried[i].got, values[column], box.allowed[i] + 1e-6 * Math.abs(tried[i].got)));
    const slip = places.length >= Math.max(2, box.slips_at.length / 2) && box.slips.find(isIt);
    return {
      right: false,
      where: box.where[at],
      used: [...used].sort((a, b) => a - b).map((i) => [box.letters[i].name, tried[at].values[i]]),
      expected: box.expected[at],
      got: tried[at].got,
      wrong: tried[at].wrong,
      slip: slip ? slip[0] : "",
    };
  }

  const short = (value) => String(Number(value.toPrecision(10)));

  // The box. ----------------------------------------------------------------------------------------------------------

  function mount(root, folder) {
    const form = root.querySelector("form");
    const input = form.querySelector("input");
    const [shown, said] = ["shown", "said"].map((name) => form.querySelector(`.answer-${name}`));
    let loading = null;
    let box = null;

    const element = (name, text, parent, ...more) => {
      const made = document.createElement(name);
      made.append(text, ...more);
      parent.append(made);
      return made;
    };
    const load = () => {
      loading ||= fetch(new URL(`${root.dataset.answer}.json`, folder))
        .then((reply) => (reply.ok ? reply.json() : Promise.reject(new Error(String(reply.status)))))
        .then((values) => { box = values; update(); })
        .catch((problem) => {
          loading = null;
          said.textContent = `The values of this box could not be loaded (${problem.message}).`;
        });
      return loading;
    };
    const parsed = () => {
      try {
        return { tree: read(input.value, box.letters) };
      } catch (problem) {
        if (problem instanceof Unreadable) return { problem };
        throw problem;
      }
    };
    const words = (problem, parent) => element("p", `At place ${problem.from + 1}: ${problem.message}.`, parent);
    const marked = (problem) => {
      const text = input.value;
      const line = element("code", text.slice(0, problem.from), shown);
      element("mark", text.slice(problem.from, problem.to) || " ", line);
      line.append(text.slice(problem.to));
    };

    // At every key: the formula as it was read, or where it could not be.
    function update() {
      shown.replaceChildren();
      said.replaceChildren();
      said.className = "answer-said";
      input.removeAttribute("aria-invalid");
      shown.hidden = !input.value.trim() || !box;
      if (shown.hidden) return;
      const { tree, problem } = parsed();
      if (tree) shown.innerHTML = show(tree, box.letters);
      else {
        marked(problem);
        words(problem, shown);
      }
    }

    // On Enter or the button: the verdict, which a screen reader reads out.
    async function check(event) {
      event.preventDefault();
      await load();
      if (!box) return;
      update();
      const { tree, problem } = parsed();
      if (problem) {
        input.setAttribute("aria-invalid", "true");
        shown.querySelector("p").remove(); // it is said below
        words(problem, said);
        said.classList.add("is-wrong");
        return;
      }
      const verdict = judge(tree, box);
      said.classList.add(verdict.right ? "is-right" : "is-wrong");
      if (verdict.right) {
        const edge = box.where.some((where) => where.startsWith("t = 1 ")) ? ", t = 1 among them" : "";
        element("p", box.letters.length ? `Right: it agrees with the book on ${verdict.examples} examples${edge}.` : "Right.", said);
      } else if (!box.letters.length) {
        element("p", verdict.wrong ? `It ${verdict.wrong}.` : `${short(verdict.got)} is not it.`, said);
      } else {
        element("p", `Not right${verdict.where ? ` at ${verdict.where}` : ", for example here"}:`, said);
        const list = element("dl", "", said);
        const rows = [...verdict.used.map(([name, value]) => [name, short(value)]), ["expected", short(verdict.expected)],
          ["got", verdict.wrong ? `it ${verdict.wrong}` : short(verdict.got)]];
        for (const [name, value] of rows) element("div", element("dt", name, list), list, element("dd", value, list));
        if (verdict.slip) element("p", `It equals the book's ${verdict.slip}.`, said);
      }
    }

    input.addEventListener("focus", load);
    input.addEventListener("input", () => (box ? update() : load()));
    form.addEventListener("submit", check);
    for (const button of form.querySelectorAll("button[data-insert]")) {
      button.addEventListener("click", () => {
        const [from, to] = [input.selectionStart, input.selectionEnd];
        const space = /\w$/.test(input.value.slice(0, from)) ? " " : "";
        input.setRangeText(space + button.dataset.insert, from, to, "end");
        input.focus();
        input.dispatchEvent(new Event("input"));
      });
    }
    form.hidden = false;
  }

  if (typeof document === "undefined") {
    module.exports = { read, show, judge, evaluate, Unreadable }; // for the tests, in Node
  } else {
    const folder = new URL("answers/", document.currentScript.src);
    for (const root of document.querySelectorAll("[data-answer]")) mount(root, folder);
  }
})();
